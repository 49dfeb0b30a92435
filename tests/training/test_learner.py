"""The learner writes nothing into the data's folder, and trains by the schedule it is told."""

from dataclasses import dataclass, replace

import pytest
import torch
from fastai.callback.core import Callback
from fastai.callback.tracker import SaveModelCallback
from fastai.data.core import DataLoaders
from fastai.data.load import DataLoader
from fastai.learner import Learner
from torch import nn

from pokefast.errors import UserError
from pokefast.training.learner import LeanLearner, decay_split, fit, make_learner


@dataclass(frozen=True)
class Options:
    bs: int = 8
    lr: float = 1e-2
    wd: float = 0.1
    optimizer: str = "adamw"
    precision: str = "fp32"
    cuda_graph: bool = False
    label_smoothing: float = 0.0
    metric: str = "f1_macro"
    epochs: int = 2
    schedule: str = "constant"
    div: float = 10
    pct_start: float = 0.25
    step_size: int = 1
    gamma: float = 0.5


def loaders(path, n=16, bs=8):
    torch.manual_seed(0)
    rows = [(torch.randn(6), torch.tensor(i % 3)) for i in range(n)]
    train = DataLoader(rows, bs=bs, shuffle=True, drop_last=True)
    dls = DataLoaders(train, DataLoader(rows, bs=bs), path=path, device=torch.device("cpu"))
    dls.vocab = ["a", "b", "c"]
    return dls


def model():
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """A data folder, and another one that is the current."""
    data, here = tmp_path / "data", tmp_path / "here"
    data.mkdir()
    here.mkdir()
    monkeypatch.chdir(here)
    return data, here


def test_nothing_is_written_into_the_datas_folder(folders):
    data, here = folders
    learn = make_learner(loaders(data), model(), Options())
    learn.lr_find(num_it=20, show_plot=False)
    assert list(here.iterdir()) == []
    fit(learn, Options(), cbs=[SaveModelCallback(monitor="valid_loss", fname="best")])
    learn.save("last")
    assert sorted(p.name for p in here.iterdir()) == ["best.pth", "last.pth"]
    assert list(data.iterdir()) == []


def test_the_folder_can_be_given(folders, tmp_path):
    learn = make_learner(loaders(folders[0]), model(), Options(), path=tmp_path / "run")
    learn.save("last")
    assert (tmp_path / "run" / "last.pth").exists()
    assert not any(list(folder.iterdir()) for folder in folders)


class Hypers(Callback):
    """Keep learning rates and weight decays of every step, by group."""

    def before_fit(self):
        self.rates, self.decays = [], []

    def before_step(self):
        self.rates.append(self.opt.hypers[0]["lr"])
        self.decays.append([h["wd"] for h in self.opt.hypers])


@pytest.mark.parametrize(
    "schedule, rates",
    [
        ("constant", [1e-2, 1e-2, 1e-2, 1e-2]),
        ("step", [1e-2, 1e-2, 5e-3, 5e-3]),
        ("one-cycle", [1e-3, 1e-2, 7.5e-3, 2.5e-3]),  # a quarter up, then down along a cosine
    ],
)
def test_the_schedule_decides_the_rates_and_weights_alone_decay(folders, schedule, rates):
    seen, o = Hypers(), Options(schedule=schedule)
    assert fit(make_learner(loaders(folders[0]), model(), o), o, cbs=[seen]) == 2
    assert seen.rates == pytest.approx(rates, rel=1e-3)
    assert seen.decays == [[0.1, 0.0]] * 4


def test_no_epochs_leave_the_model_alone(folders):
    o, net = Options(epochs=0), model()
    before = net[0].weight.clone()
    assert fit(make_learner(loaders(folders[0]), net, o), o) == 0
    assert torch.equal(net[0].weight, before)


def test_weights_and_the_rest_are_two_groups():
    decayed, others = decay_split(model())
    assert [p.ndim for p in decayed] == [2, 2] and {p.ndim for p in others} == {1}


def test_a_batch_larger_than_the_training_part_is_named(folders):
    o = replace(Options(), bs=32)
    with pytest.raises(UserError, match="--bs 32: the training part has 16 images"):
        make_learner(loaders(folders[0], bs=32), model(), o)


class Noted(Callback):
    """Notes events in a list; in the second fit it is silent."""

    def __init__(self, seen):
        self.seen = seen

    def before_fit(self):
        self.run = not self.seen

    def before_train(self):
        self.seen.append("before_train")


def test_the_lean_learner_calls_what_fastais_calls(folders):
    found = []
    for create in (LeanLearner, Learner):
        seen = []
        late = Callback(after_batch=lambda self, seen=seen: seen.append("after_batch"))
        learn = make_learner(loaders(folders[0]), model(), Options(), create=create)
        noted = Noted(seen)
        learn.add_cbs([late, noted])
        with learn.no_logging():
            fit(learn, Options())
            learn("before_fit")
            assert not noted.run
            learn(["before_train", "after_fit"])
        assert noted.run and len(seen) > 4
        found.append((seen, learn.recorder.losses, learn.recorder.lrs))
        with pytest.raises(Exception, match="befor_fit"):
            learn("befor_fit")
    assert found[0] == found[1]
