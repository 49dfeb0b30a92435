"""Training by a CUDA graph is training without one.

Where there is no device, torch's capture is played: it does to the model what the real one does.
"""

import copy

import pytest
import torch
from fastai.callback.core import Callback
from fastai.data.core import DataLoaders
from fastai.data.load import DataLoader
from torch import nn

from pokefast.errors import UserError
from pokefast.options import Options
from pokefast.training import cuda_graph
from pokefast.training.cuda_graph import CudaGraphCallback
from pokefast.training.learner import fit, make_learner

HAS_CUDA = torch.cuda.is_available()


class Watch(Callback):
    """Keep the rates that were applied, whether each batch was replayed, and how large it was."""

    order = 200

    def before_fit(self):
        self.lrs, self.replayed, self.sizes = [], [], []

    def before_step(self):
        self.lrs.append([h["lr"] for h in self.opt.hypers])

    def after_pred(self):
        self.replayed.append((self.training, "forward" in vars(self.model)))
        self.sizes.append(len(self.xb[0]))


class Played:
    """What `make_graphed_callables` does, without a graph: it warms up, which moves running
    statistics and random numbers, refuses autocast with a cache, and replays in training alone.
    """

    def __init__(self):
        self.shapes = []

    def __call__(self, model, args):
        assert not (torch.is_autocast_enabled() and torch.is_autocast_cache_enabled())
        plain, training = model.forward, model.training
        with torch.enable_grad():
            for _ in range(3):
                plain(*args)
        (shape,) = [x.shape for x in args]
        self.shapes.append(shape)

        def forward(x):
            assert x.shape == shape or not model.training, "another shape than was captured"
            return plain(x)

        assert training
        model.forward = forward
        return model


@pytest.fixture
def played(monkeypatch):
    """A device of type cuda is what the loaders have, though it is none."""
    play = Played()
    monkeypatch.setattr(cuda_graph.torch.cuda, "make_graphed_callables", play)
    monkeypatch.setattr(cuda_graph.torch.cuda, "get_rng_state", lambda d: torch.get_rng_state())
    monkeypatch.setattr(cuda_graph.torch.cuda, "set_rng_state", lambda s, d: torch.set_rng_state(s))
    monkeypatch.setattr(CudaGraphCallback, "before_fit", _begin)
    return play


def _begin(self):
    self.run = not hasattr(self, "lr_finder") and not hasattr(self, "gather_preds")
    self.after_fit()


def net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3)
    )


def loaders(device, drop_last=True):
    torch.manual_seed(0)
    rows = [(torch.randn(6), torch.tensor(i % 3)) for i in range(20)]
    train = DataLoader(rows, bs=8, drop_last=drop_last)
    dls = DataLoaders(train, DataLoader(rows, bs=8), device=torch.device(device))
    dls.vocab = ["a", "b", "c"]
    return dls


def options(**given):
    fixed = dict(epochs=3, lr=0.1, wd=0.1, schedule="one-cycle", precision="fp32")
    return Options(**{**fixed, **given})


def trained(device, o, model=None, drop_last=True):
    """(learner, what it saw) of a fit."""
    learn = make_learner(loaders(device, drop_last), model or net(), o, cbs=[Watch()])
    torch.manual_seed(1)
    fit(learn, o)
    return learn, learn.watch


def assert_same(one, other, **tolerance):
    states = (learn.model.state_dict().values() for learn in (one, other))
    for a, b in zip(*states, strict=True):
        torch.testing.assert_close(a.cpu(), b.cpu(), **tolerance)


def test_weights_rates_and_random_numbers_are_those_of_a_fit_without_it(played):
    plain, seen = trained("cpu", options())
    graphed, watched = trained("cpu", options(cuda_graph=True))
    assert_same(plain, graphed, rtol=0, atol=0)
    assert watched.lrs == seen.lrs and len({lr for lrs in seen.lrs for lr in lrs}) > 3
    assert played.shapes == [(8, 6)], "captured once"
    assert {replayed for training, replayed in watched.replayed if training} == {True}
    assert "forward" not in vars(graphed.model), "the graph stays after the fit"


def test_a_smaller_batch_and_validation_run_as_they_are(played):
    plain, _ = trained("cpu", options(), drop_last=False)
    graphed, watched = trained("cpu", options(cuda_graph=True), drop_last=False)
    assert_same(plain, graphed, rtol=0, atol=0)
    small = [r for (t, r), n in zip(watched.replayed, watched.sizes, strict=True) if t and n < 8]
    assert small == [False] * 3 and played.shapes == [(8, 6)]


def test_it_is_captured_anew_where_more_is_trained(played):
    class Thaw(Callback):
        order = -10

        def before_epoch(self):
            self.model[0].requires_grad_(self.epoch > 0)

    o = options(cuda_graph=True)
    learn = make_learner(loaders("cpu"), net(), o, cbs=[Thaw()])
    fit(learn, o)
    assert len(played.shapes) == 2


def test_a_fit_after_one_that_ended_in_an_error_begins_anew(played):
    class Fails(Callback):
        order, failed = 300, False

        def after_pred(self):
            if not self.failed:
                self.failed = True
                raise RuntimeError("no")

    o = options(cuda_graph=True)
    learn = make_learner(loaders("cpu"), net(), o, cbs=[Fails()])
    with pytest.raises(RuntimeError, match="no"):
        fit(learn, o)
    learn.get_preds()
    fit(learn, o)
    assert len(played.shapes) == 2 and "forward" not in vars(learn.model)


def test_without_a_device_it_is_refused():
    o = options(cuda_graph=True)
    with pytest.raises(UserError, match="--cuda-graph needs a CUDA device; this run is on cpu"):
        fit(make_learner(loaders("cpu"), net(), o), o)
    plain = make_learner(loaders("cpu"), net(), options())
    assert not plain.cbs.map(type).filter(lambda kind: kind is CudaGraphCallback)


@pytest.mark.skipif(not HAS_CUDA, reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_on_a_device(precision):
    model = net().train()
    model[3].p = 0.0  # masks are drawn from another place in the graph
    o = options(precision=precision)
    plain, seen = trained("cuda", o, copy.deepcopy(model).cuda())
    o = options(precision=precision, cuda_graph=True)
    graphed, watched = trained("cuda", o, copy.deepcopy(model).cuda())
    assert_same(plain, graphed, rtol=1e-3, atol=1e-4)
    assert watched.lrs == seen.lrs
    assert {replayed for training, replayed in watched.replayed if training} == {True}
