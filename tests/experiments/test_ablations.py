"""The ablations: their table, what is run again, and the pages made from the results."""

import json
import os
import shlex
import subprocess
import sys
import time

import pandas as pd
import pytest

from experiments.ablations import run
from experiments.ablations.pages import ablations_page, write_tables
from experiments.ablations.readme import (
    DOCUMENTS,
    README_DATA,
    UNTOUCHED_DATA,
    readme_table,
    with_results,
)
from experiments.ablations.results import COLUMNS, add_result, data_name, folder_of, read_results
from experiments.ablations.rows import CLAIMS, ROWS, TABLES, Claim, Row
from experiments.ablations.run import choose_rows, plan, run_all
from experiments.ablations.stats import shows, summary, verdict
from pokefast.errors import UserError
from pokefast.files import ROOT
from pokefast.task import read_line
from tasks import TASKS, load_task
from tasks.published import BY_CLASS, CLASSES, EXPERIMENTS, PUBLISHED

RESULTS = ROOT / "results" / "ablations.csv"


def line(row="t1-fast", seed=0, hidden=0.9, local=0.8, data="a:1", options=None):
    """A line of results as `record` makes it."""
    if options is None:
        options = next((r.options for r in ROWS if r.name == row), "")
    values = [row, seed, local, None, None, hidden, 3, 10.0, options, data, "abc", "{}", "{}"]
    return dict(zip(COLUMNS, values, strict=True))


def frame(*lines):
    return pd.DataFrame(lines, columns=COLUMNS)


# the table


def test_names_are_unique_and_tables_known():
    names = [r.name for r in ROWS]
    assert len(names) == len(set(names))
    assert {r.table for r in ROWS} == set(TABLES)
    for table in TABLES.values():
        assert table.reference in names
    for claim in CLAIMS:
        assert set(claim.rows) <= set(names) and claim.column in ("hidden", "local", "gap")


@pytest.mark.parametrize("row", ROWS, ids=lambda r: r.name)
def test_scripts_take_the_rows_options(row):
    task = load_task(row.task)
    o, *_ = read_line(task, shlex.split(row.options))
    assert o != task.recipe() or row.name.endswith("-fast")  # a row changes something


def test_every_figure_of_the_report_is_a_rows():
    assert set(EXPERIMENTS) <= {row.name for row in ROWS}
    assert set(PUBLISHED) == set(TASKS) and all(len(f1) == len(CLASSES) for f1 in BY_CLASS.values())


def test_choice_by_row_table_and_task():
    assert [r.name for r in choose_rows(None, "t1-fast")] == ["t1-fast"]
    assert {r.table for r in choose_rows("task2", "stages,t2-fast")} == {"stages", "parts2"}
    assert {TABLES[r.table].task for r in choose_rows("task3")} == {"task3"}
    with pytest.raises(UserError, match="did you mean stages"):
        choose_rows(None, "stage")


# what runs


def test_finished_runs_are_not_planned_again():
    rows, data = choose_rows("task1", "crops"), {"task1": "a:1"}
    done = frame(line("t1-fast", 0), line("t1-report", 0, options="--recipe old"))
    runs, left = plan(rows, 2, done, data)
    names = [(r.name, s) for r, s in runs]
    assert ("t1-fast", 0) not in names and ("t1-fast", 1) in names
    assert ("t1-report", 0) in names  # its options have changed since
    assert left == [] and len(runs) == 2 * len(rows) - 1
    assert [s for _, s in runs] == sorted(s for _, s in runs)  # each row once before any twice
    assert len(plan(rows, 2, done, {"task1": "b:2"})[0]) == 2 * len(rows)  # other data


def test_budget_takes_what_tells_most_a_minute():
    rows = [
        Row("long", "crops", "", minutes=10, tells=3),
        Row("short", "crops", "", minutes=1, tells=1),
        Row("weighty", "crops", "", minutes=2, tells=3),
    ]
    runs, left = plan(rows, 1, frame(), {"task1": "a"}, budget=4)
    assert [r.name for r, _ in runs] == ["weighty", "short"]
    assert [r.name for r, _ in left] == ["long"]
    runs, left = plan(rows, 1, frame(), {"task1": "a"}, budget=13)
    assert len(runs) == 3 and not left


def test_a_result_replaces_its_older_one(tmp_path):
    file = tmp_path / "results.csv"
    add_result(file, line("t1-fast", 0, 0.5))
    add_result(file, line("t1-report", 0, 0.6))
    add_result(file, line("t1-fast", 1, 0.7))
    add_result(file, line("t1-fast", 0, 0.8))
    table = read_results(file)
    assert list(table["row"]) == ["t1-report", "t1-fast", "t1-fast"]  # in the table's order
    assert list(table["hidden"]) == [0.6, 0.8, 0.7]


def test_results_of_a_folder_that_was_remade_go(tmp_path):
    file = tmp_path / "results.csv"
    for row, data in (("t1-fast", "a:1"), ("t3-fast", "a:7"), ("t1-report", "b:3")):
        add_result(file, line(row, data=data))
    add_result(file, line("t1-report", data="a:2"))
    assert list(read_results(file)["data"]) == ["a:2", "b:3", "a:7"]


@pytest.fixture
def competition(tmp_path):
    """A folder with a task1/ and solution/ of four test pictures."""
    (tmp_path / "data" / "task1").mkdir(parents=True)
    (tmp_path / "data" / "task1" / "train_labels.csv").write_text("Id,label\na,Bug\n")
    (tmp_path / "data" / "solution").mkdir()
    truth = "Id,label,split\n" + "".join(
        f"{i},{n},Test\n" for i, n in enumerate(["Bug", "Bug", "Fire", "Fire"])
    )
    (tmp_path / "data" / "solution" / "task1.csv").write_text(truth)
    return tmp_path / "data"


SCRIPT = """
import json, sys
from pathlib import Path
out = Path(sys.argv[sys.argv.index("--out") + 1])
assert not list(out.glob("runs/*")), "an interrupted run was not cleared"
(out / "runs" / "x").mkdir(parents=True)
(out / "submissions").mkdir()
if "--fail" in sys.argv:
    sys.exit("error: it was asked to")
rows = ["Id,Category"] + [f"{i},{n}" for i, n in enumerate("Bug Bug Fire Bug".split())]
(out / "submissions" / "task1_submit.csv").write_text("\\n".join(rows))
metrics = dict(f1_macro=0.5, epochs=4, total_seconds=1.5, per_class_f1={"Bug": 1.0})
(out / "runs" / "x" / "metrics.json").write_text(json.dumps(metrics))
"""


@pytest.fixture
def script(tmp_path, monkeypatch):
    """Runs are this script instead of a task's."""
    file = tmp_path / "script.py"
    file.write_text(SCRIPT)
    real = run.command
    monkeypatch.setattr(run, "command", lambda *a: [sys.executable, str(file), *real(*a)[3:]])


def test_runs_are_recorded_and_failures_named(competition, script, tmp_path, capsys):
    good, bad = Row("t1-fast", "crops", "", 0.1), Row("t1-bad", "crops", "--fail", 0.1)
    file, work = tmp_path / "results" / "ablations.csv", tmp_path / "work"
    (work / "data-t1-fast-0" / "runs" / "half").mkdir(parents=True)  # of an interrupted run
    failed = run_all([(good, 0), (bad, 0), (good, 1)], 2, 1, file, competition, work)
    said = capsys.readouterr().out
    assert failed == ["t1-bad seed 0"] and "error: it was asked to" in said
    assert "3/3" in said and "0 min left" in said
    table = read_results(file)
    assert list(table["seed"]) == [0, 1]
    # Bug: 2 of 3 right, both found; Fire: the one is right, one of two found
    assert table["hidden"][0] == pytest.approx((0.8 + 2 / 3) / 2, abs=1e-4)
    assert json.loads(table["hidden_f1"][0]) == {"Bug": 0.8, "Fire": 0.667}
    assert table["data"][0].startswith("data:") and table["local"][0] == 0.5


SLEEPER = """
import os, sys, time
from pathlib import Path
out = Path(sys.argv[sys.argv.index("--out") + 1])
(out / "part").write_text(str(os.getpid()))
(out / "part").rename(out / "started")
time.sleep(60)
(out / "ended").touch()
"""


def test_a_killed_call_takes_its_runs_with_it(competition, tmp_path):
    (tmp_path / "sleeper.py").write_text(SLEEPER)
    call = f"""
import sys
from pathlib import Path
from experiments.ablations import run
run.command = lambda row, seed, folder, out: [
    sys.executable, {str(tmp_path / "sleeper.py")!r}, "--out", str(out)
]
run.RUNS = Path({str(tmp_path)!r})
data, results = Path({str(competition)!r}), Path({str(tmp_path)!r})
run.main(task="task1", rows="t1-fast", data=data, results=results)
"""
    process = subprocess.Popen([sys.executable, "-c", call], cwd=ROOT, stderr=subprocess.PIPE)
    out = tmp_path / "ablations" / "data-t1-fast-0"
    deadline = time.monotonic() + 120
    while not (out / "started").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    child = int((out / "started").read_text())
    os.kill(child, 0)  # raises where there is no such process
    process.terminate()
    assert b"the same call goes on" in process.communicate(timeout=60)[1]
    time.sleep(0.5)
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)
    assert not (tmp_path / "ablations.csv").exists()


def test_data_without_the_task_is_an_error(tmp_path):
    with pytest.raises(UserError, match="train_labels.csv"):
        data_name(tmp_path, "task2")


def test_main_rejects_before_running(competition):
    with pytest.raises(UserError, match="--jobs"):
        run.main(jobs=0, data=competition)


# what is said about them


def test_summary_leaves_out_other_options():
    table = summary(
        frame(line(hidden=0.8), line(seed=1, hidden=0.9), line("t1-report", options="x"))
    )
    assert list(table.index) == ["t1-fast"]
    row = table.loc["t1-fast"]
    assert (row["runs"], row["hidden_low"], row["hidden_high"]) == (2, 0.8, 0.9)
    assert row["hidden"] == pytest.approx(0.85)


@pytest.mark.parametrize(
    "values, expected",
    [
        (((0.1, 0.12), (0.5, 0.52)), "held"),
        (((0.5, 0.52), (0.1, 0.12)), "did not hold"),
        (((0.1, 0.5), (0.2, 0.6)), "undecided"),
        (((0.2,), (0.5,)), "held"),
    ],
)
def test_verdict_on_an_order(values, expected):
    names = ("t1-report", "t1-fast")
    rows = [
        line(n, s, hidden=v) for n, vs in zip(names, values, strict=True) for s, v in enumerate(vs)
    ]
    assert verdict(Claim("x", names), summary(frame(*rows)))[0] == expected


def test_verdict_on_no_worse_and_missing_rows():
    claim = Claim("x", ("t1-report", "t1-fast"), no_worse=True)
    near = [line(n, s, hidden=0.5 + s / 100) for n in claim.rows for s in (0, 1)]
    assert verdict(claim, summary(frame(*near)))[0] == "held"
    better = near[:2] + [line("t1-fast", s, hidden=0.9 + s / 100) for s in (0, 1)]
    assert verdict(claim, summary(frame(*better)))[0] == "held"
    worse = [line("t1-report", s, hidden=0.9 + s / 100) for s in (0, 1)] + near[2:]
    assert verdict(claim, summary(frame(*worse)))[0] == "did not hold"
    assert verdict(claim, summary(frame(line("t1-fast")))) is None


def test_verdict_on_a_local_score_that_flatters():
    claim = Claim("x", ("t3-by-image",), "gap")
    assert verdict(claim, summary(frame(line("t3-by-image", 0, 0.3, 0.5))))[0] == "held"
    assert verdict(claim, summary(frame(line("t3-by-image", 0, 0.3, 0.35))))[0] == "did not hold"


def test_single_runs_that_are_close_are_undecided():
    rows = [line("t1-report", hidden=0.50), line("t1-fast", hidden=0.51)]
    claim = Claim("x", ("t1-report", "t1-fast"))
    assert verdict(claim, summary(frame(*rows)))[0] == "undecided"


def test_page_and_figures(tmp_path):
    rows = [line(r.name, s, 0.5 + s / 10) for r in choose_rows("task1") for s in (0, 1)]
    rows += [line("t1-fast", 0, 0.7, data="b:2")]
    write_tables(frame(*rows), tmp_path, [(ROWS[0], 7)])
    page = (tmp_path / "ablations.md").read_text()
    assert "those below are on a, " in page and "| b | t1-fast |  | 0.700 | 0.800 | 1 |" in page
    assert "0.550 (0.500 to 0.600)" in page and "t1-report-none (seed 7)" in page
    assert "t2-stages2" in page.split("## Not run")[1]
    for name in ("crops", "parts1"):
        assert (tmp_path / f"{name}.png").stat().st_size > 5000
        assert f"({name}.png)" in page


def test_a_local_score_that_flatters_is_said():
    table = summary(frame(line("t3-full", 0, 0.3, 0.35), line("t3-by-image", 0, 0.3, 0.5)))
    assert "flatters by 0.200" in shows(table, "t3-by-image", "t3-full")
    assert shows(table, "t3-full", "t3-full") == ""


def test_table_by_class():
    scores = json.dumps({"Bug": 0.25})
    rows = [line(n) | {"hidden_f1": scores, "local_f1": scores} for n in ("t3-full", "t3-focal")]
    page = ablations_page(frame(*rows))
    assert "| Bug | 0.25 | 0.25 | 0.25 | 0.25 | 0.09 | 0.27 | 0.43 |" in page


def test_readme_parts_are_replaced():
    marks = ["<!-- start of {}, by make ablations -->", "<!-- end of {}, by make ablations -->"]
    part = "{}\nstale\n{}\n".format(*marks)
    parts = [part.format(name, name) for name in ("results", "findings", "estimates")]
    text = f"before\n{parts[0]}middle\n{parts[1]}{parts[2]}after\n"
    data = "seed7-even:1"
    inside = {"low": 0.3, "high": 0.7}
    results = frame(
        line("t1-fast", 0, 0.2, data=data),
        line("t1-fast", 0, 0.75, data=f"{UNTOUCHED_DATA[0]}:3"),
        line("t1-report", 0, 0.4, data=data),
        line("t1-report-none", 0, 0.5, data=data),
        line("t1-fast", 0, 0.1, data="mine:2"),
        line("t3-fast", 0, 0.6, 0.5, data=data) | inside,
        line("t3-fast", 0, 0.8, 0.5, data="seed8-odd:1") | inside,
    )
    new = with_results("docs/results.md", with_results("README.md", text, results), results)
    assert new.startswith("before\n") and new.endswith("after\n")
    assert "middle" in new and "stale" not in new and "mine" not in new
    assert "| task 1, MLP | 0.896 | 0.400 (1 run) | **0.750** (1 run) |" in new
    assert (
        "- Cropping makes the MLP: 0.22 to 0.896. Here: t1-report-none 0.500, t1-report 0.400"
        in new
    )
    assert "| seed7-even | 0.500 | 0.300 to 0.700 | 0.600 |" in new
    assert "| seed8-odd | 0.500 | 0.300 to 0.700 | 0.800, outside |" in new
    assert "1 of 2; mean of local - hidden: -0.200." in new
    assert with_results("README.md", new, results) == new
    with pytest.raises(UserError, match="start of results"):
        with_results("README.md", "no marks", results)


# the committed ones


@pytest.mark.parametrize("document", DOCUMENTS)
def test_documents_are_what_the_results_say(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    found = with_results(document, text, read_results(RESULTS))
    assert found == text, "run: make ablations ROWS=t1-fast"


def test_page_is_what_the_results_say():
    page = (RESULTS.with_suffix(".md")).read_text(encoding="utf-8")
    made = ablations_page(read_results(RESULTS))
    assert page.startswith(made.rstrip("\n"))


def test_committed_results_are_from_real_sprites():
    results = read_results(RESULTS)
    # rows on other data are whoever's this checkout is
    ours = results[results["data"].str.match(r"seed\d+-(even|odd):[0-9a-f]{8}$")]
    assert set(folder_of(ours)) >= {README_DATA, *UNTOUCHED_DATA}
    assert ours["commit"].str.match(r"[0-9a-f]{7,}$").all(), "runs of files that no commit has"
    assert readme_table(results).count("**") == 6
    assert not results.duplicated(["row", "seed", "data"]).any()
    assert set(results["row"]) <= {r.name for r in ROWS}
