"""What goes wrong around a run is said in one line, and costs no more than it must."""

import json
import math
import os

import pytest

from pokefast.errors import UserError
from pokefast.files import read_csv
from pokefast.task import main, run_task
from pokefast.training.checkpoint import CheckpointCallback
from tasks import load_task

TASK = load_task("task1")
QUICK = dict(epochs=1, bs=16, precision="fp32")


@pytest.fixture(scope="module")
def stopped(small, tmp_path_factory):
    """The folder of a run that was stopped after its training."""
    out = tmp_path_factory.mktemp("stopped")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(
            "pokefast.task.predict_test", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)
        )
        run_task(TASK, TASK.recipe(**QUICK), small / "task1", out)
    (folder,) = (out / "runs").iterdir()
    return folder


DAMAGE = {
    "model.safetensors": (lambda data: data[:-100], "model.safetensors: damaged"),
    "model.json": (lambda data: b"{", "model.json: damaged"),
    "history.csv": (lambda data: b"x", "history.csv: damaged"),
    "run.json": (
        lambda data: json.dumps(json.loads(data) | {"images": "others"}).encode(),
        "not what they were when it began",
    ),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_what_a_resumption_cannot_use_is_named(name, stopped):
    change, says = DAMAGE[name]
    data = (stopped / name).read_bytes()
    (stopped / name).write_bytes(change(data))
    try:
        with pytest.raises(UserError, match=says):
            run_task(TASK, resume=stopped)
    finally:
        (stopped / name).write_bytes(data)


@pytest.mark.parametrize("options", [dict(nonsense=1), None])
def test_a_run_of_other_options_is_refused(options, stopped):
    data = (stopped / "run.json").read_bytes()
    about = json.loads(data)
    about = about | {"options": about["options"] | options} if options else {"format": 2}
    (stopped / "run.json").write_text(json.dumps(about))
    try:
        with pytest.raises(UserError, match="run.json: (options that|damaged)"):
            run_task(TASK, resume=stopped)
    finally:
        (stopped / "run.json").write_bytes(data)


@pytest.mark.parametrize("place", ["runs", "submissions", "submissions/task1_submit.csv"])
def test_a_place_that_takes_no_results_is_refused_before_any_work(place, tmp_path, small, capsys):
    bad = tmp_path / place
    bad.mkdir(parents=True) if place.endswith(".csv") else bad.write_text("a file")
    with pytest.raises(UserError, match=place):
        run_task(TASK, TASK.recipe(**QUICK), small / "task1", tmp_path)
    assert capsys.readouterr().out == ""


def test_training_that_diverges_is_no_model(small, tmp_path):
    with pytest.raises(UserError, match="training diverged: make --lr smaller"):
        run_task(TASK, TASK.recipe(**QUICK, wd=math.inf), small / "task1", tmp_path)
    assert not list(tmp_path.glob("runs/*/model.*"))


def test_a_checkpoint_that_cannot_be_written_costs_a_line(tmp_path, monkeypatch, capsys, small):
    (tmp_path / "out" / "runs").mkdir(parents=True)
    monkeypatch.setattr("pokefast.training.checkpoint.SHORTEST", 0)
    monkeypatch.setattr("pokefast.training.checkpoint.COST", 1e9)

    def full(*_):
        raise RuntimeError("unexpected pos 64 vs 0")  # torch's words for a full disk

    monkeypatch.setattr("torch.save", full)
    learn = TASK.get_learner(
        TASK.get_dls(small / "task1", TASK.recipe(**QUICK)), TASK.recipe(**QUICK)
    )
    with learn.no_logging():
        learn.fit(3, cbs=CheckpointCallback(tmp_path / "c.pt"))
    assert capsys.readouterr().out.count("cannot be written (") == 1
    assert [f.name for f in tmp_path.iterdir()] == ["out"]


def test_options_that_cannot_be_together_name_both(tmp_path):
    with pytest.raises(UserError, match="--groups g.csv --split image: they contradict"):
        load_task("task3").recipe(groups="g.csv", split="image")
    for name in ("task1", "task2", "task3"):
        with pytest.raises(UserError, match="--folds 1: at least 2"):
            load_task(name).recipe(folds=1)


def test_a_file_that_the_system_refuses_is_one_line(capsys):
    assert main(TASK, ["--data", "x" * 300]) == 2
    assert capsys.readouterr().err == f"error: {'x' * 300}: {os.strerror(36)}\n"


def test_a_table_with_other_marks_than_commas_says_so(tmp_path):
    (tmp_path / "t.csv").write_text("Id;label\n1;a\n")
    with pytest.raises(UserError, match="cells stand between ';'; save it with commas"):
        read_csv(tmp_path / "t.csv")
