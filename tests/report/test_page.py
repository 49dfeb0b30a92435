"""The pages of runs, made from a real short run, as a browser shows them."""

import importlib
import json
import re
import shutil
import webbrowser
from pathlib import Path

import pytest

from pokefast.errors import UserError
from pokefast.report import html as page
from pokefast.report.page import command, main, newest_run, write_index, write_report

EVIL = '<script>window.evil=1</script>"&'  # a label like any other
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
DRIVER = shutil.which("chromedriver")


@pytest.fixture(scope="module")
def runs(small, tmp_path_factory):
    """A folder with one run of task 2 and one of task 1."""
    out = tmp_path_factory.mktemp("pages")
    data = shutil.copytree(small / "task1", out / "data")
    labels = (data / "train_labels.csv").read_text()
    (data / "train_labels.csv").write_text(
        re.sub(",Bug$", ',"' + EVIL.replace('"', '""') + '"', labels, flags=re.M)
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pokefast.task.RUNS", out / "runs")
        patch.setattr("pokefast.task.SUBMISSIONS", out / "submissions")
        for name in ("task2_cnn", "task1_mlp"):
            importlib.import_module(f"tasks.{name}").main(data=data, epochs=2, bs=16)
    return out / "runs"


def run_of(runs, task):
    return next(runs.glob(f"{task}-*"))


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """Headless Chromium, driven by Selenium."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="no selenium: no browser test")
    if not (CHROMIUM and DRIVER):
        pytest.skip("no browser: install chromium and chromium-driver to test the pages in one")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for flag in (
        "headless",
        "no-sandbox",  # CI runs as root
        "disable-gpu",
        "disable-quic",
        "disable-dev-shm-usage",
        "no-first-run",
        "disable-background-networking",
        "disable-component-update",
        "disable-sync",
        f"user-data-dir={tmp_path_factory.mktemp('profile')}",
    ):
        options.add_argument(f"--{flag}")
    service = webdriver.ChromeService(DRIVER)
    driver = webdriver.Chrome(options=options, service=service)
    yield driver
    driver.quit()


def show(browser, file, width=1200, dark=False):
    scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500},
    )
    browser.get(file.resolve().as_uri())
    return browser.execute_script("return document.body.innerText")


@pytest.mark.parametrize("task", ["task1", "task2"])
def test_a_browser_shows_the_page_without_a_fault(runs, browser, task):
    folder = run_of(runs, task)
    text = show(browser, folder / "report.html")
    assert browser.get_log("browser") == []
    assert browser.execute_script("return window.evil") is None and EVIL in text
    sizes = browser.execute_script(
        "return Array.from(document.images).map(i => i.complete && i.naturalWidth)"
    )
    assert len(sizes) > 16 and min(sizes) >= 16
    metrics = json.loads((folder / "metrics.json").read_text())
    assert f"{metrics['f1_macro']:.4f}" in text and f"{metrics['accuracy']:.4f}" in text
    heads = browser.execute_script(
        "return Array.from(document.querySelectorAll('h2')).map(h => h.innerText)"
    )
    assert ("What the model looked at" in heads) == (task == "task2")
    assert {"Training", "Confusion matrix", "Options", "Run it again"} <= set(heads)
    loaded = browser.execute_script(
        "return performance.getEntriesByType('resource').map(e => e.name)"
    )
    assert [name for name in loaded if not name.startswith("data:")] == []


@pytest.mark.parametrize("dark", [False, True])
def test_the_page_fits_a_phone_and_follows_the_colour_scheme(runs, browser, dark):
    for file in (run_of(runs, "task2") / "report.html", runs / "index.html"):
        show(browser, file, width=390, dark=dark)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= 390
        color = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, re.findall(r"\d+", color))) < 3 * 60) == dark


def test_the_table_of_runs_sorts_by_any_column(runs, browser):
    write_index(runs)
    show(browser, runs / "index.html")

    def column(i):
        return browser.execute_script(
            f"return Array.from(document.querySelectorAll('tbody tr')).map("
            f"r => r.cells[{i}].dataset.v)"
        )

    def click(i):
        browser.execute_script(f"document.querySelectorAll('thead button')[{i}].click()")

    tasks = column(1)
    assert sorted(tasks) == ["task1", "task2"]
    click(1)
    assert column(1) == ["task2", "task1"]
    click(1)
    assert column(1) == ["task1", "task2"]
    for i in (3, 5, 8):  # numbers
        click(i)
        values = [float(v) for v in column(i)]
        assert values == sorted(values, reverse=True)
    click(8)
    assert column(8) == sorted(column(8), key=float)
    assert browser.get_log("browser") == []
    browser.execute_script("document.querySelector('tbody a').click()")
    assert browser.current_url.endswith("/report.html")


def test_the_page_needs_nothing_from_elsewhere(runs):
    for file in (run_of(runs, "task1") / "report.html", runs / "index.html"):
        text = file.read_text()
        assert "http://" not in text and "https://" not in text
        assert EVIL not in text
        sources = re.findall(r'(?:src|href)="([^"]*)"', text)
        assert all(s.startswith(("data:", "../index.html", "task")) for s in sources)


def test_pages_are_made_again_from_the_files_of_the_run(runs, tmp_path):
    folder = shutil.copytree(run_of(runs, "task2"), tmp_path / run_of(runs, "task2").name)
    before = (folder / "report.html").read_text()
    (folder / "report.html").unlink()
    assert write_report(folder).read_text() == before
    (folder / "examples.json").unlink()
    assert "most wrong" not in write_report(folder).read_text()
    (folder / "metrics.json").unlink()
    with pytest.raises(UserError, match="metrics.json: there is no such file"):
        write_report(folder)
    assert "0 finished" in write_index(tmp_path).read_text()
    with pytest.raises(UserError, match="no finished run"):
        newest_run(tmp_path)


def test_folds_are_lines_of_their_own_and_give_an_interval(runs, tmp_path):
    folder = shutil.copytree(run_of(runs, "task1"), tmp_path / "task3-x")
    lines = (folder / "history.csv").read_text().splitlines()
    (folder / "history.csv").write_text("\n".join(lines + lines[1:]) + "\n")
    metrics = json.loads((folder / "metrics.json").read_text())
    metrics |= {"f1_macro_low": 0.1234, "f1_macro_high": 0.4321}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    text = write_report(folder).read_text()
    assert "0.123 to 0.432" in text and text.count("<polyline") == 2 * 4
    (folder / "history.csv").write_text(lines[0] + "\n")  # no epochs at all
    assert "no epochs" in write_report(folder).read_text()


def test_the_command_repeats_what_was_given():
    options = {
        "given": {"recipe": "report", "early_stop": False, "grey": True, "epochs": 3},
        "seed": 7,
        "data": "/my data/task1",
    }
    assert command("task2", options) == (
        "make task2 DATA='/my data/task1' "
        'ARGS="--recipe report --no-early-stop --grey --epochs 3 --seed 7"'
    )


def test_the_newest_page_is_opened_where_there_is_a_browser(runs, monkeypatch, capsys):
    opened = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    monkeypatch.setattr("pokefast.report.page.newest_run", lambda: newest_run(runs))
    main()
    newest = newest_run(runs)
    assert newest.name.startswith("task1")
    assert opened == [(newest / "report.html").as_uri()]
    assert Path(capsys.readouterr().out.strip()) == newest / "report.html"


def test_charts_leave_out_what_is_not_a_number():
    chart = page.line_chart([("a<b", [[(1, float("nan")), (2, 0.5), (3, 0.75)]])], "epoch")
    assert "nan" not in chart and "a&lt;b" in chart and chart.count("<circle") == 2
