"""The pages and pictures of runs, made from their folders, as a browser shows them."""

import json
import os
import re
import resource
import shutil
import subprocess
import sys
import time
import webbrowser
from pathlib import Path

import numpy as np
import pytest

from pokefast.errors import UserError
from pokefast.report.page import main, write_index, write_report
from pokefast.report.plots import FIGURES, draw_figures
from pokefast.runs import newest_run

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
DRIVER = shutil.which("chromedriver")
CHARTS = {"class_counts", "curves", "f1", "confusion", "reliability"}


@pytest.fixture(scope="module")
def runs(make_run, tmp_path_factory):
    """Two finished runs with their pages, an unfinished one, and one of another version."""
    runs = tmp_path_factory.mktemp("pages") / "runs"
    first = make_run(runs / "task1-a", cams=False)
    edit(first / "metrics.json", f1_macro=0.5, epochs=10, n_parameters=7)
    second = make_run(runs / "task2-#1 %41?")
    for i, folder in enumerate((first, second)):
        os.utime(folder / "metrics.json", (1e9 + i, 1e9 + i))
        write_report(folder)
    make_run(runs / "task3-open", finished=False)
    (runs / "task3-old").mkdir()
    (runs / "task3-old" / "options.json").write_text("{}")
    return runs


def edit(file, **values):
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


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


def show(browser, file, width=1280, dark=False):
    scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500},
    )
    browser.get(file.resolve().as_uri())
    return browser.execute_script("return document.body.innerText")


def each(browser, selector, what):
    script = f"return Array.from(document.querySelectorAll('{selector}')).map(e => {what})"
    return browser.execute_script(script)


@pytest.mark.parametrize("task", ["task1", "task2"])
def test_a_browser_shows_the_page_without_a_fault(runs, browser, evil, task):
    folder = run_of(runs, task)
    text = show(browser, folder / "report.html")
    assert browser.get_log("browser") == []
    assert browser.execute_script("return window.evil") is None
    assert all(name.strip() in text for name in evil)
    sizes = each(browser, "img", "e.complete && e.naturalWidth")
    assert len(sizes) > 16 and min(sizes) >= 16
    metrics = json.loads((folder / "metrics.json").read_text())
    assert f"{metrics['f1_macro']:.4f}" in text and f"{metrics['accuracy']:.4f}" in text
    assert {"Ba$$in", "<b>", "truth"} <= set(each(browser, "svg text", "e.textContent"))
    heads = each(browser, "h2", "e.innerText")
    assert ("What the model looked at" in heads) == (task == "task2")
    assert {"Training", "Confusion matrix", "Options", "Run it again"} <= set(heads)
    loaded = browser.execute_script(
        "return performance.getEntriesByType('resource').map(e => e.name)"
    )
    assert [name for name in loaded if not name.startswith("data:")] == []


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [390, 1280])
def test_pages_fit_their_window_and_follow_the_colour_scheme(runs, browser, width, dark):
    for file in (run_of(runs, "task2") / "report.html", write_index(runs)):
        show(browser, file, width, dark)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
        background = each(browser, "body", "getComputedStyle(e).backgroundColor")
        letters = each(browser, "svg text, section h2", "getComputedStyle(e).fill")
        assert all((brightness(c) < 60) == dark for c in background)
        if file.name == "report.html":
            on_card = [c for c in letters if c != "rgb(0, 0, 0)"]
            assert on_card and (np.median([brightness(c) for c in on_card]) > 120) == dark
    # no letters outside their figure
    show(browser, run_of(runs, "task2") / "report.html", width, dark)
    outside = each(
        browser,
        "svg text",
        "{const a = e.getBoundingClientRect(), b = e.closest('svg').getBoundingClientRect();"
        "return a.left < b.left - 1 || a.right > b.right + 1}",
    )
    assert outside and not any(outside)


def brightness(color):
    return np.mean([int(v) for v in re.findall(r"\d+", color)[:3]])


def test_the_table_of_runs_sorts_by_any_column(runs, browser):
    text = show(browser, write_index(runs))
    assert "2 finished and 1 unfinished runs" in text
    assert "1 more, of another version or damaged, is left out" in text

    def column(i):
        return each(browser, "tbody tr", f"e.cells[{i}].dataset.v")

    def click(i):
        browser.execute_script(f"document.querySelectorAll('thead button')[{i}].click()")

    tasks = column(3)
    assert tasks[0] == "task3" and tasks[1:] == ["task2", "task1"]
    assert column(-1 + len(each(browser, "thead th", "1")))[0]
    click(3)
    assert column(3) == ["task3", "task2", "task1"]
    click(3)
    assert column(3) == ["task1", "task2", "task3"]
    for i in (1, 2, 8):  # numbers
        click(i)
        values = [float(v) for v in column(i)]
        assert values == sorted(values, reverse=True)
    click(8)
    assert column(8) == sorted(column(8), key=float)
    assert each(browser, "tbody tr:first-child td:nth-child(2)", "e.innerText") == ["unfinished"]
    assert "metric" not in each(browser, "thead th", "e.innerText")  # macro-F1 everywhere
    assert browser.get_log("browser") == []
    for i, name in enumerate(sorted(f.name for f in runs.glob("task[12]*"))):
        show(browser, runs / "index.html")
        links = each(browser, "tbody a", "e.innerText")
        assert sorted(links)[i] == name
        browser.execute_script(f"document.querySelectorAll('tbody a')[{links.index(name)}].click()")
        assert browser.execute_script("return document.querySelector('.kicker').innerText") == name


def test_runs_that_are_ticked_stand_side_by_side(runs, browser):
    for width in (390, 1280):
        show(browser, write_index(runs), width)
        score = "document.querySelector('tbody.rows td:nth-child(2)').getBoundingClientRect().right"
        assert browser.execute_script(f"return {score}") < width  # without scrolling
        browser.execute_script(
            "document.querySelectorAll('tbody.rows input:enabled').forEach(e => e.click())"
        )
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    text = browser.execute_script("return document.body.innerText")
    assert "2 runs side by side" in text and f"{runs}/" in text.split("make compare")[1]
    first, other = (f.name for f in (run_of(runs, "task1"), run_of(runs, "task2")))
    (pair,) = json.loads((runs / other / "compared.json").read_text())
    assert pair["of"] == [first, other]
    shown = [f"{abs(pair[k]):.3f}" for k in ("difference", "low", "high")]
    cells = each(browser, "#together .lines tbody tr:last-child td", "e.innerText")
    assert re.findall(r"[\d.]+\d", cells[1]) == shown and cells[3] == "40"
    assert int(cells[4]) == pair["better"]["n"] and int(cells[5]) == pair["worse"]["n"]
    assert f"Only {other} is right: {cells[4]}" in text or cells[4] == "0"
    assert len(each(browser, "#together figure", "1")) == int(cells[4]) + int(cells[5])
    assert len(each(browser, "#together polyline", "1")) == 6  # three charts of two
    assert browser.get_log("browser") == []
    assert each(browser, "tbody.rows input", "e.disabled").count(True) == 1  # the unfinished one


def test_a_run_that_has_not_finished_is_marked(runs):
    text = write_index(runs).read_text()
    marked = {
        re.search('data-v="([^"]*)"', row)[1]: "unfinished" in row for row in table_rows(text)
    }
    assert [name for name, yes in marked.items() if yes] == ["task3-open"] and len(marked) == 3
    data = json.loads(re.search(r'id="data">(.*?)</script>', text, re.S)[1])
    assert "task3-open" not in [run["name"] for run in data["runs"]]


def table_rows(text):
    return re.findall(r"<tr>(.*?)</tr>", text.split('class="rows">')[1].split("</tbody>")[0], re.S)


def test_the_page_needs_nothing_from_elsewhere(runs, evil):
    for file in (run_of(runs, "task1") / "report.html", write_index(runs)):
        text = file.read_text()
        assert not re.search(r'(?:src|href|url)[=(]"?https?:', text)
        assert "default-src 'none'" in text and evil[0] not in text
        sources = re.findall(r'(?:src|[^:]href)="([^"]*)"', text)
        assert all(s.startswith(("data:", "../index.html", "task", "#")) for s in sources)
        assert text.count("<script>") == ("index" in file.name)


def test_the_same_files_make_the_same_page(runs, tmp_path):
    folder = shutil.copytree(run_of(runs, "task2"), tmp_path / run_of(runs, "task2").name)
    before = (folder / "report.html").read_bytes()
    code = f"from pokefast.report.page import write_report; write_report({str(folder)!r})"
    (folder / "report.html").unlink()
    subprocess.run(
        [sys.executable, "-c", code], check=True, env=os.environ | {"PYTHONHASHSEED": "7"}
    )
    assert (folder / "report.html").read_bytes() == before


def test_a_page_shows_what_there_is(make_run, tmp_path):
    folder = make_run(tmp_path / "task1-x")
    edit(folder / "run.json", published=None)
    text = write_report(folder).read_text()
    assert "published report" not in text and text.count("<svg") == 5
    (folder / "examples.json").unlink()
    (folder / "history.csv").unlink()
    text = write_report(folder).read_text()
    assert "most wrong" not in text and text.count("<svg") == 4
    edit(folder / "metrics.json", f1_macro_low=0.1234, f1_macro_high=0.4321)
    assert "0.123 to 0.432" in write_report(folder).read_text() and "scored is" not in text
    edit(folder / "metrics.json", submitted="scored is a model of 7 images")
    assert "0.123 to 0.432; scored is a model of 7 images<" in write_report(folder).read_text()
    assert ">contrast</dt><dd>0<" in text and ">flip</dt><dd>yes<" in text
    assert '>bs</dt><dd class="given">16<' in text and ">weights</dt><dd>none<" in text


def test_runs_that_cannot_be_shown_are_refused_by_name(make_run, tmp_path):
    folder = make_run(tmp_path / "task1-x")
    edit(folder / "metrics.json", n_train="many")
    with pytest.raises(UserError, match="do not make a page"):
        write_report(folder)
    (folder / "metrics.json").write_text("{")
    with pytest.raises(UserError, match="metrics.json: damaged"):
        write_report(folder)
    (folder / "metrics.json").unlink()
    with pytest.raises(UserError, match="has not finished"):
        write_report(folder)
    with pytest.raises(UserError, match="no finished run"):
        newest_run(tmp_path)
    edit(folder / "run.json", format=3)
    for act in (write_report, draw_figures):
        with pytest.raises(UserError, match="this version reads 2"):
            act(folder)
    assert "0 finished runs" in write_index(tmp_path).read_text()


def test_the_table_counts_what_it_leaves_out(make_run, tmp_path):
    for name in "abc":
        make_run(tmp_path / name)
    edit(tmp_path / "a" / "run.json", format=1)
    (tmp_path / "b" / "metrics.json").write_text('{"f1_macro": 1}')
    (tmp_path / "other").mkdir()
    text = write_index(tmp_path).read_text()
    assert "1 finished runs" in text and "2 more, of another version or damaged, are" in text


def test_a_run_is_headed_by_the_metric_that_it_was_scored_by(make_run, tmp_path):
    folder = make_run(tmp_path / "task1-x")
    more = dict(metric="log_loss", log_loss=0.4321, log_loss_low=0.41, log_loss_high=0.47)
    edit(folder / "metrics.json", **more)
    text = write_report(folder).read_text()
    tile = re.search(r'class="tile first">(.*?)</div>', text, re.S)[1]
    assert "0.4321" in tile and "log loss" in tile and "0.410 to 0.470" in tile
    assert "macro-F1" in text and "Calibration" in text
    assert "log_loss 0.4321" in write_index(tmp_path).read_text()


def test_a_run_from_before_there_were_metrics_has_its_page(make_run, tmp_path):
    folder = make_run(tmp_path / "task1-x")
    metrics = json.loads((folder / "metrics.json").read_text())
    del metrics["metric"], metrics["calibration"]
    (folder / "metrics.json").write_text(json.dumps(metrics))
    text = write_report(folder).read_text()
    assert "macro-F1, local test part" in text and "Calibration" not in text


def test_pictures_are_drawn_from_what_there_is(make_run, tmp_path):
    folder = make_run(tmp_path / "task1-x")
    drawn = draw_figures(folder)
    assert {f.stem for f in drawn} == set(FIGURES) and all(f.stat().st_size > 500 for f in drawn)
    assert {f.name for f in folder.glob("*.png")} == {f.name for f in drawn}
    assert draw_figures(folder, ["f1"]) == [folder / "f1.png"]
    begun = make_run(tmp_path / "task1-y", finished=False, folds=3)
    assert {f.stem for f in draw_figures(begun)} == {"class_counts", "curves"}
    begun = make_run(tmp_path / "task1-z", finished=False, epochs=0)
    assert [f.stem for f in draw_figures(begun)] == ["class_counts"]
    assert {f.stem for f in draw_figures(make_run(tmp_path / "m", cams=False))} == (
        CHARTS | {"batch", "crops"}
    )


def test_a_picture_that_fails_takes_no_other_with_it(make_run, tmp_path):
    folder = make_run(tmp_path / "task1-x")
    edit(folder / "examples.json", crops=[{"class": "x", "before": "no image", "after": ""}])
    with pytest.raises(UserError, match="crops.png: it cannot be drawn"):
        draw_figures(folder)
    assert {f.stem for f in folder.glob("*.png")} == set(FIGURES) - {"crops"}


def test_1300_classes_take_little_time_and_memory(make_run, tmp_path):
    folder = make_run(tmp_path / "task3-x", [f"class {i}" for i in range(1300)])
    peak, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    page = write_report(folder)
    draw_figures(folder, ["class_counts", "f1", "confusion"])
    assert time.process_time() - start < 15  # 3 on a quiet machine
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 500e3  # KiB
    assert page.stat().st_size < 1e6


def test_the_newest_page_is_opened_where_there_is_a_browser(runs, monkeypatch, capsys):
    opened = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    monkeypatch.setattr("pokefast.report.page.newest_run", lambda: newest_run(runs))
    main()
    newest = newest_run(runs)
    assert newest.name.startswith("task2") and (newest / "gradcam.png").is_file()
    assert opened == [(newest / "report.html").as_uri()]
    assert Path(capsys.readouterr().out.strip()) == newest / "report.html"
