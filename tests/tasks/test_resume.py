"""Runs that are killed go on, and end with the very bytes of one that was never killed."""

import json
import os
import re
import signal
import subprocess
import sys

import pytest

from pokefast.errors import UserError
from pokefast.files import ROOT
from pokefast.runs import newest_unfinished, unfinished, work_folder
from pokefast.task import main, read_line, run_task
from tasks import TASKS, load_task

QUICK = ["--epochs", "4", "--bs", "16", "--precision", "fp32"]
# a checkpoint after every epoch, however short, and an epoch that takes a while
START = """
import sys, time
from pokefast.training import checkpoint
from pokefast.task import main
from tasks import load_task
checkpoint.SHORTEST, checkpoint.COST = 0, 1e9
sys.exit(main(load_task(sys.argv[1]), sys.argv[2:]))
"""


def start(task, *words):
    """A task's command in a process of its own."""
    env = {**os.environ, "PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", START, task, *map(str, words)],
        cwd=ROOT,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def stop_at(process, text, number):
    """Send the signal when a line of output has `text`; returns all output and the status."""
    lines = []
    for line in process.stdout:
        lines.append(line)
        if text in line:
            process.send_signal(number)
            break
    lines += process.stdout.readlines()
    return "".join(lines), process.wait()


def results(out):
    """The bytes that count, and the metrics without seconds."""
    (folder,) = (out / "runs").glob("task*")
    files = sorted([*folder.glob("**/model.safetensors"), folder / "probabilities.csv"])
    history = re.sub(r"\d\d:\d\d", "", (folder / "history.csv").read_text())
    metrics = json.loads((folder / "metrics.json").read_text())
    metrics = {k: v for k, v in metrics.items() if not k.endswith("_seconds")}
    (submission,) = (out / "submissions").glob("*.csv")
    return [file.read_bytes() for file in [*files, submission]], history, metrics


@pytest.fixture(scope="module")
def whole(small, tmp_path_factory):
    """What runs that nobody kills end with, by their command lines."""
    done = {}

    def _whole(task, *words):
        key = (task, *words)
        if key not in done:
            out = tmp_path_factory.mktemp("whole")
            process = start(task, "--data", small / "task1", "--out", out, *QUICK, *words)
            assert process.wait() == 0, process.stdout.read()
            done[key] = results(out)
        return done[key]

    return _whole


KILLS = [
    ("task1", [], "epoch 2/4"),
    ("task2", ["--ema", "0.9"], "epoch 3/4"),
    ("task1", ["--folds", "2", "--refit"], "fold 2 of 2"),
]


@pytest.mark.parametrize("task, words, text", KILLS, ids=[" ".join([k[0], *k[1]]) for k in KILLS])
def test_a_killed_run_goes_on_to_the_same_bytes(task, words, text, small, whole, tmp_path):
    line = ["--data", small / "task1", "--out", tmp_path, *QUICK, *words]
    said, status = stop_at(start(task, *line), text, signal.SIGKILL)
    assert status == -signal.SIGKILL and "submission: " not in said
    process = start(task, "--out", tmp_path, "--resume")
    again = process.communicate()[0]
    assert process.returncode == 0 and "valid_loss 00:" not in again, again
    epoch = r"epoch \d/\d"
    trained = [re.findall(epoch, text) for text in (said, again)]
    fits = 3 if "--folds" in words else 1  # the last of them on everything
    assert len(trained[0]) + len(trained[1]) <= 4 * fits + 1  # the killed epoch at most twice
    assert results(tmp_path) == whole(task, *words)
    (folder,) = (tmp_path / "runs").glob("task*")
    assert not work_folder(folder).exists()
    assert main(load_task(task), ["--out", str(tmp_path), "--resume"]) == 2  # nothing is left


@pytest.mark.parametrize("number, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_run_says_how_to_go_on_without_a_traceback(number, status, small, tmp_path):
    process = start(
        "task1", "--data", small / "task1", "--out", tmp_path, *QUICK, "--epochs", "500"
    )
    said, found = stop_at(process, "epoch 2/", number)
    assert found == status and "Traceback" not in said
    assert "stopped: what was finished is kept in" in said.splitlines()[-1]
    (folder,) = (tmp_path / "runs").glob("task*")
    assert f"--resume {folder}" in said and (work_folder(folder) / "checkpoint.pt").exists()


@pytest.fixture
def stopped(small, tmp_path, monkeypatch):
    """The folder of a run of task 1 that an error ended."""

    def fails(*_):
        raise RuntimeError("the power goes")

    task = load_task("task1")
    with monkeypatch.context() as patch:
        patch.setattr("pokefast.task.predict_test", fails)
        with pytest.raises(RuntimeError):
            run_task(task, task.recipe(epochs=1, bs=16), small / "task1", tmp_path)
    (folder,) = (tmp_path / "runs").glob("task1*")
    return folder


def test_options_beside_resume_are_named(stopped, tmp_path):
    with pytest.raises(UserError, match="leave out --epochs, --no-flip"):
        read_line(load_task("task1"), ["--resume", "--epochs", "3", "--no-flip"])


def test_a_run_of_another_task_or_that_has_finished_is_refused(stopped, tmp_path):
    with pytest.raises(UserError, match="a run of task1, not of task2"):
        run_task(load_task("task2"), resume=stopped)
    result = run_task(load_task("task1"), resume=stopped)
    assert result.submission == tmp_path / "submissions" / "task1_submit.csv"
    with pytest.raises(UserError, match="it has finished"):
        run_task(load_task("task1"), resume=stopped)


def test_a_run_that_is_under_way_is_not_taken(stopped, tmp_path):
    with unfinished(stopped):
        with pytest.raises(UserError, match="no unfinished run of task1"):
            newest_unfinished(tmp_path / "runs", "task1")
        with pytest.raises(UserError, match="another process"), unfinished(stopped):
            pass
        work_folder(stopped).mkdir(exist_ok=True)


def test_a_full_disk_is_one_line(small, tmp_path, monkeypatch, capsys):
    def full(*_):
        raise OSError(28, "No space left on device", "somewhere/model.safetensors")

    monkeypatch.setattr("pokefast.steps.save_model", full)
    line = ["--data", str(small / "task1"), "--out", str(tmp_path), "--epochs", "1", "--bs", "16"]
    assert main(load_task("task1"), line) == 2
    said = capsys.readouterr().err
    assert said == "error: somewhere/model.safetensors: No space left on device\n"


def test_every_task_takes_resume():
    for name in TASKS:
        *_, resume = read_line(load_task(name), ["--resume", "runs/x"])
        assert str(resume) == "runs/x"
