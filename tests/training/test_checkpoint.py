"""A fit that is killed after any epoch and goes on ends with the very same bytes."""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from fastai.callback.core import Callback
from fastai.callback.tracker import ReduceLROnPlateau
from fastai.torch_core import set_seed

from pokefast.data.competition import read_competition
from pokefast.errors import UserError
from pokefast.training.checkpoint import CheckpointCallback, ResumeCallback, read_checkpoint
from pokefast.training.learner import fit
from pokefast.training.stopping import PatienceStopCallback
from tasks import load_task

EPOCHS = 5


class Killed(BaseException):
    """As abrupt as a kill: no callback of the fit sees it."""


class KillAfter(Callback):
    """Raise after an epoch's checkpoint was written."""

    order = CheckpointCallback.order + 1

    def __init__(self, epoch):
        self.at = epoch

    def after_epoch(self):
        if self.epoch + 1 == self.at:
            raise Killed


class Count(Callback):
    """How many epochs were trained."""

    epochs = 0

    def before_train(self):
        self.epochs += 1


@pytest.fixture(autouse=True)
def every_epoch(monkeypatch):
    """Epochs of a fraction of a second have a checkpoint too."""
    monkeypatch.setattr("pokefast.training.checkpoint.SHORTEST", 0)
    monkeypatch.setattr("pokefast.training.checkpoint.COST", 1e9)


CASES = {
    "task1, one-cycle": ("task1", {}, []),
    "task1, steps and sampler": ("task1", dict(schedule="step", step_size=2, sampler=True), []),
    "task2, averaged": ("task2", {}, []),
    "task2, early stop": ("task2", dict(early_stop=True, stop_window=4, stop_tolerance=0.9), []),
    "task1, plateau": (
        "task1",
        dict(schedule="plateau"),
        [PatienceStopCallback, ReduceLROnPlateau],
    ),
}


@pytest.fixture(scope="module")
def images(small):
    """The small competition, looked at once."""
    return read_competition(small / "task1", check_images=False)


def learner(images, name, given, extra):
    task = load_task(name)
    o = task.recipe(bs=16, epochs=EPOCHS, **given)
    learn = task.get_learner(task.get_dls(images, o), o)
    for dl in learn.dls.loaders:
        dl.prepare()  # draws random numbers, as the driver does before a fit
    learn.add_cbs([kind() for kind in extra])
    return learn, o


def outcome(learn):
    """Everything that a fit leaves, and the random numbers that would come next."""
    weights = {k: v.clone() for k, v in learn.model.state_dict().items()}
    state = [random.random(), np.random.rand(), torch.rand(1).item(), learn.dls.train.rng.random()]
    values = [list(row) for row in learn.recorder.values]
    return weights, state, values, [float(v) for v in learn.recorder.losses], learn.recorder.lrs


@pytest.mark.parametrize("case", CASES)
def test_a_fit_that_goes_on_is_the_one_that_was_never_killed(case, images, tmp_path):
    file = tmp_path / "checkpoint.pt"
    learn, o = learner(images, *CASES[case])
    count = Count()
    fit(learn, o, cbs=[CheckpointCallback(tmp_path / "whole.pt"), count])
    whole, trained = outcome(learn), count.epochs
    for at in (1, 3) if case == "task2, averaged" else (3,):
        learn, o = learner(images, *CASES[case])
        with pytest.raises(Killed):
            fit(learn, o, cbs=[CheckpointCallback(file), KillAfter(at)])
        set_seed(123)  # another process has other random numbers
        learn, o = learner(images, *CASES[case])
        state, count = read_checkpoint(file), Count()
        assert state["epoch"] == at
        fit(learn, o, cbs=[ResumeCallback(state), CheckpointCallback(file), count])
        again = outcome(learn)
        assert count.epochs == trained - at
        assert all(torch.equal(v, again[0][k]) for k, v in whole[0].items())
        assert whole[1:] == again[1:]


def test_a_checkpoint_replaces_the_one_before_it_and_is_not_written_at_the_end(images, tmp_path):
    learn, o = learner(images, "task1", {}, [])
    sizes = []

    class Look(Callback):
        order = CheckpointCallback.order + 1

        def after_epoch(self):
            sizes.append([f.name for f in tmp_path.iterdir()])

    fit(learn, replace(o, epochs=3), cbs=[CheckpointCallback(tmp_path / "c.pt"), Look()])
    assert sizes == [["c.pt"]] * 3 and read_checkpoint(tmp_path / "c.pt")["epoch"] == 2


def test_short_epochs_have_none(images, tmp_path, monkeypatch):
    monkeypatch.setattr("pokefast.training.checkpoint.SHORTEST", 1e9)
    learn, o = learner(images, "task1", {}, [])
    fit(learn, replace(o, epochs=2), cbs=[CheckpointCallback(tmp_path / "c.pt")])
    assert not (tmp_path / "c.pt").exists()


@pytest.mark.parametrize("damage", [b"", b"no checkpoint", None])
def test_a_damaged_checkpoint_is_named(damage, tmp_path):
    file = tmp_path / "c.pt"
    if damage is None:
        torch.save({"x": torch.zeros(1000)}, file)
        damage = file.read_bytes()[:-500]
    file.write_bytes(damage)
    with pytest.raises(UserError, match="c.pt: damaged"):
        read_checkpoint(file)
