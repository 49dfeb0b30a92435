"""The comparison with other systems: what runs, what is kept of it, and the page."""

import subprocess
import sys

import pandas as pd
import pytest

from experiments.peers import environments, measure, page, plan, run
from experiments.peers.plan import PEERS, Job
from pokefast.errors import UserError

BUDGETS = [10, 40]
# set-up takes 2 s, an epoch 3; every epoch learns one of eight images more
STAND_IN = """
import sys
sys.path.insert(0, {scripts!r})
from stopwatch import Stopwatch
watch = Stopwatch()
truth = "aabbaabb"
def submit(right, seconds):
    watch.images, watch.fit_seconds = 100 * right, 3.0 * watch.epochs
    labels = [t if i < right else "x" for i, t in enumerate(truth)]
    with watch.paused():
        watch.submit(range(8), labels, seconds)
if (watch.data / "broken").exists() and {peer!r} == "yolo":
    sys.exit("error: it was asked to")
if {peer!r} == "bare":
    watch.note(seconds=5.0, marks=watch.marks)
elif watch.marks:
    for mark in list(watch.marks):
        submit(min(8, int(mark / 3)), mark)
else:
    submit(min(8, watch.epochs), 2.0 + 3.0 * watch.epochs)
"""


@pytest.fixture
def competition(tmp_path):
    """A folder of a task2/ and solution/ of eight test images."""
    (tmp_path / "data" / "task2").mkdir(parents=True)
    (tmp_path / "data" / "task2" / "train_labels.csv").write_text("Id,label\nx,a\n")
    (tmp_path / "data" / "solution").mkdir()
    rows = "".join(f"{i},{label},Test\n" for i, label in enumerate("aabbaabb"))
    (tmp_path / "data" / "solution" / "task2.csv").write_text(f"Id,label,split\n{rows}")
    return tmp_path / "data"


@pytest.fixture
def stand_ins(tmp_path, monkeypatch):
    """Every system is a script that says what it would have taken; the runs that were made."""
    made, real = [], run.command

    def command(job, folder, out):
        made.append(job)
        script = tmp_path / f"{job.peer}.py"
        script.write_text(STAND_IN.format(scripts=str(run.SCRIPTS), peer=job.peer))
        return [sys.executable, "-S", script, *real(job, folder, out)[2:]]

    monkeypatch.setattr(run, "python_of", lambda name: "no-python")
    monkeypatch.setattr(run, "_versions", lambda peer: "1.0")
    monkeypatch.setattr(run, "command", command)
    monkeypatch.setattr(run, "RUNS", tmp_path / "runs")
    return made


def call(competition, **more):
    run.main("10,40", data=competition, results=competition.parent / "results", threads=1, **more)
    return run.read_bench(competition.parent / "results" / "bench.csv")


def test_a_table_is_made_goes_on_and_is_not_made_twice(competition, stand_ins, capsys):
    call(competition, only="pokefast", minutes=0.7)  # 40 s of training need more
    assert [job.epochs for job in stand_ins] == [1, 2]
    call(competition, only="pokefast")
    assert [job.epochs for job in stand_ins] == [1, 2, 12, 5, 8, 6]  # from 5 on, in search of 0.95
    assert "the same call goes on" in capsys.readouterr().out
    stand_ins.clear()
    table = call(competition, only="pokefast, torch, bare")
    assert [job.peer for job in stand_ins] == ["bare", "torch"]
    torch = table[table["peer"] == "torch"].set_index("mark")
    assert torch.loc[10, "hidden"] < torch.loc[40, "hidden"] == 1
    text = (competition.parent / "results" / "bench.md").read_text()
    assert "| 26 (8 epochs; 6 had not) |" in text and "**level**, 1.000" in text
    assert "| the arithmetic alone |  |  |  | 0 |" in text
    stand_ins.clear()
    table = call(competition, only="pokefast", repeats=2)
    assert [(job.repeat, job.epochs) for job in stand_ins] == [(1, 2), (1, 12)]
    assert not table.duplicated(["peer", "repeat", "epochs", "mark"]).any()
    assert list(competition.parent.glob("runs/peers/*")) == []  # folders of finished runs go


def test_the_others_go_on_where_one_fails(competition, stand_ins):
    (competition / "task2" / "broken").touch()
    with pytest.raises(UserError, match="failed: yolo"):
        call(competition, only="yolo,bare")
    table = run.read_bench(competition.parent / "results" / "bench.csv")
    assert list(table["peer"]) == ["bare"]


def test_wrong_words_are_errors(competition):
    with pytest.raises(UserError, match="did you mean fastai"):
        call(competition, only="fastia")
    with pytest.raises(UserError, match="--budgets"):
        run.main("15,soon", data=competition)
    with pytest.raises(UserError, match="--repeats"):
        call(competition, repeats=0)


def lines(*rows):
    """Results of (peer, repeat, epochs, mark, seconds, hidden)."""
    rest = [100, None, 500, 0.1, 20.0, "1.0", "machine, 2 threads", "here:1", "abc"]
    table = pd.DataFrame([[*row, *rest] for row in rows], columns=run.COLUMNS)
    table["fit_seconds"] = table["seconds"] - 2
    return run._with_numbers(table)


def test_epochs_are_those_that_fit_by_the_pace_of_the_run_before():
    table = lines(("fastai", 0, 1, None, 7.0, 0.3))
    assert plan.epochs_for("fastai", [15, 60], table) == {15: 2}
    table = lines(("fastai", 0, 1, None, 7.0, 0.3), ("fastai", 0, 2, None, 10.0, 0.3))
    assert plan.epochs_for("fastai", [15, 60], table) == {15: 2, 60: 14}
    assert plan.epochs_for("fastai", [3], table) == {3: 1}  # a user would wait for one
    assert plan.epochs_for("yolo", [15], table) == {}


def test_time_to_the_goal_is_searched_between_too_few_and_enough_epochs():
    table = lines(("fastai", 0, 3, None, 11.0, 0.5), ("fastai", 0, 14, None, 44.0, 0.97))
    assert plan.seconds_to_goal("fastai", table) == (44.0, 14, 3)
    assert [job.epochs for job in plan._search("fastai", table)] == [6]
    near = lines(("fastai", 0, 10, None, 32.0, 0.5), ("fastai", 0, 14, None, 44.0, 0.97))
    assert plan._search("fastai", near) == []
    never = lines(("fastai", 0, 10, None, 32.0, 0.5))
    assert plan.seconds_to_goal("fastai", never) is None and plan._search("fastai", never) == []


def test_the_page_says_where_pokefast_is_not_first():
    rows = [("pokefast", 0, 1, None, 8.0, 0.7), ("pokefast", 0, 5, None, 20.0, 0.96)]
    rows += [("pokefast", 1, 1, None, 9.0, 0.8), ("torch", 0, None, 10.0, 10.0, 0.9)]
    text = page.bench_page(lines(*rows), [8.5])
    assert "| pokefast | 0.750 (0.700 to 0.800) |" in text
    assert "20 (5 epochs; 1 had not)" in text and "not reached in 10" in text
    assert "- seconds to 0.95: **first**" not in text  # nobody else has one
    text = page.bench_page(lines(*rows), [10])
    assert "- hidden macro-F1 after 10 s: **not first**, 0.750; plain PyTorch" in text


def test_lines_of_a_script_are_its_users():
    counts = {peer.script: page.user_lines(peer.script) for peer in PEERS.values()}
    assert counts["pokefast_task2"] == 3 < counts["plain_fastai"] < counts["plain_torch"]
    for script in counts:
        compile((run.SCRIPTS / f"{script}.py").read_text(), script, "exec")


def test_memory_counts_what_a_run_starts(tmp_path):
    grow = "import time; x = bytearray(60 * 2**20); x[::4096] = bytes(len(x[::4096])); "
    child = f"import subprocess, sys; {grow}subprocess.run([sys.executable, '-c', {grow!r} + "
    child += "'time.sleep(0.5)'])"
    took = measure.measured([sys.executable, "-c", child], tmp_path / "log", None, tmp_path, 60)
    assert took.code == 0 and (sys.platform != "linux" or took.memory > 115)


def test_a_run_that_takes_too_long_is_ended(tmp_path):
    line = [sys.executable, "-S", "-c", "import time; time.sleep(60)"]
    took = measure.measured(line, tmp_path / "log", None, tmp_path, 0.2)
    assert took.code < 0 and took.seconds < 30


def test_an_environment_is_made_once(tmp_path, monkeypatch):
    called = []

    def fake(*words):
        called.append(words)
        if words[1:3] == ("-m", "venv"):
            (tmp_path / words[3].split("/")[-1]).mkdir()
        return str(tmp_path) if "-c" in words else ""

    monkeypatch.setattr(environments, "_call", fake)
    python = environments.python_of("fastai", tmp_path)
    assert python == tmp_path / "fastai" / "bin" / "python"
    pip = [words for words in called if "pip" in words]
    assert [len(words) - words.index("--quiet") for words in pip] == [6, 3]
    assert pip[0][-4].startswith("torch==") and pip[1][-1] == "fastai==2.8.12"
    n = len(called)
    assert environments.python_of("fastai", tmp_path) == python and len(called) == n


def test_pip_that_fails_is_named():
    with pytest.raises(UserError, match="failed: .*no such thing"):
        environments._call(sys.executable, "-c", "raise SystemExit('no such thing')")


def test_a_job_is_in_the_words_that_scripts_take(tmp_path):
    job = Job("pokefast", 3, 7, (), 10)
    line = list(map(str, run.command(job, tmp_path, tmp_path / "out")))
    assert line[1].endswith("pokefast_task2.py") and line[-4:] == ["--seed", "3", "--epochs", "7"]
    assert subprocess.run([sys.executable, "-S", line[1]], capture_output=True).returncode
