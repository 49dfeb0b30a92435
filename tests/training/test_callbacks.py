"""Callbacks, each in a real short fit with a second callback that looks on."""

from functools import partial

import pytest
import torch
from fastai.callback.core import Callback, CancelFitException
from fastai.data.core import DataLoaders
from fastai.data.load import DataLoader
from fastai.learner import Learner, Recorder
from fastai.losses import CrossEntropyLossFlat
from fastai.optimizer import OptimWrapper
from torch import nn

from pokefast.errors import UserError
from pokefast.scoring.metrics import learner_metrics
from pokefast.training.callbacks import (
    AverageWeightsCallback,
    EpochRecorder,
    FlipTTACallback,
    GradualUnfreezeCallback,
    LineLoggerCallback,
    NoValidationCallback,
    PlainTensorCallback,
    StepLRCallback,
)
from pokefast.training.stopping import PatienceStopCallback, PlateauStopCallback


def learner(cbs=(), model=None, n=32):
    torch.manual_seed(0)
    x, y = torch.randn(n, 6), torch.arange(n) % 3
    rows = list(zip(x, y, strict=True))
    dls = DataLoaders(DataLoader(rows, bs=8, shuffle=True), DataLoader(rows, bs=8), device="cpu")
    dls.device = torch.device("cpu")
    model = model or nn.Sequential(
        nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3)
    )
    learn = Learner(
        dls,
        model,
        loss_func=CrossEntropyLossFlat(),
        opt_func=partial(OptimWrapper, opt=torch.optim.AdamW),
        metrics=learner_metrics(3),
        cbs=list(cbs),
    )
    learn.remove_cb(learn.progress)
    return learn


class Watch(Callback):
    """Keep the learning rate of every epoch."""

    def before_fit(self):
        self.lrs = []

    def after_train(self):
        self.lrs.append(self.opt.hypers[-1]["lr"])


def test_step_lr_is_torchs():
    watch = Watch()
    learner([watch, StepLRCallback(2, 0.1)]).fit(5, 1e-2)
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1e-2)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.1)
    expected = []
    for _ in range(5):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert watch.lrs == pytest.approx(expected)


class Script(Callback):
    """Replace the recorded macro-F1 by given values, and mark the model with the epoch."""

    order = 51  # after the recorder

    def __init__(self, values):
        self.values = values

    def after_epoch(self):
        column = list(self.recorder.metric_names[1:]).index("f1_score")
        self.recorder.values[-1][column] = self.values[self.epoch]
        self.model[3].bias.data.fill_(self.epoch)


@pytest.mark.parametrize(
    "values, epochs, best",
    [
        # (max - min) / max over five epochs: 0.04 / 0.94 first, then 0.018 / 0.94
        ([0.5, 0.7, 0.9, 0.94, 0.93, 0.925, 0.93, 0.922, 0.9], 8, 3),
        # five equal values stop at once
        ([0.8, 0.8, 0.8, 0.8, 0.8, 0.9, 0.9, 0.9, 0.9], 5, 0),
        # never flat: all epochs run, the best is put back all the same
        ([0.1, 0.2, 0.9, 0.1, 0.2, 0.1, 0.2, 0.1, 0.2], 9, 2),
    ],
)
def test_plateau_stop_is_the_reports_rule_and_restores_the_best_epoch(values, epochs, best, capsys):
    learn = learner([Script(values), PlateauStopCallback()])
    learn.fit(9, 1e-3)
    assert learn.epoch + 1 == epochs
    assert (learn.model[3].bias == best).all()
    stopped = [line for line in capsys.readouterr().out.splitlines() if "stopped" in line]
    assert len(stopped) == (epochs < 9)
    if stopped:
        assert f"after epoch {epochs}" in stopped[0] and f"best epoch {best + 1}" in stopped[0]


def test_plateau_stop_names_a_metric_that_is_not_there():
    with pytest.raises(UserError, match="nonsense"):
        learner([PlateauStopCallback(monitor="nonsense")]).fit(1)


class KeepStates(Callback):
    """Keep the weights of every training step, and those that validation saw."""

    order = 45  # after the averaging

    def before_fit(self):
        self.steps, self.validated = [], []

    def after_batch(self):
        state = {k: v.clone() for k, v in self.model.state_dict().items()}
        (self.steps if self.training else self.validated).append(state)


def test_averaged_weights_are_validated_and_kept():
    keep = KeepStates()
    learn = learner([AverageWeightsCallback(decay=0.5, every=1, start=0), keep])
    learn.fit(2, 1e-2)
    average = keep.steps[0]["0.weight"]
    for state in keep.steps[1:]:
        average = average.lerp(state["0.weight"], 0.5)
    assert torch.allclose(learn.model[0].weight, average, atol=1e-6)
    assert torch.allclose(keep.validated[-1]["0.weight"], average, atol=1e-6)
    # training went on with plain weights after the first validation
    per_epoch = len(keep.steps) // 2
    assert not torch.equal(keep.validated[0]["0.weight"], keep.steps[per_epoch - 1]["0.weight"])
    step = (keep.steps[per_epoch]["0.weight"] - keep.steps[per_epoch - 1]["0.weight"]).abs().max()
    assert step < 0.03  # one step at 1e-2


def test_averaging_leaves_predictions_after_the_fit_alone():
    learn = learner([AverageWeightsCallback(decay=0.5, every=1, start=0)])
    learn.fit(1, 1e-2)
    before = learn.model[0].weight.clone()
    learn.get_preds()
    assert torch.equal(learn.model[0].weight, before)


def test_the_best_epoch_is_the_averaged_model_that_was_validated():
    keep = KeepStates()
    average = AverageWeightsCallback(decay=0.5, every=1, start=0)
    learn = learner([average, keep, Script([0.1, 0.9, 0.2]), PatienceStopCallback()])
    learn.fit(3, 1e-2)
    best = keep.validated[len(keep.validated) // 3]
    assert torch.equal(learn.model[0].weight, best["0.weight"])
    assert not torch.equal(learn.model[0].weight, keep.steps[-1]["0.weight"])


def test_averaging_leaves_whole_numbers_as_they_are():
    class Table(nn.Linear):
        def __init__(self):
            super().__init__(6, 3)
            self.register_buffer("index", torch.arange(50))

    learn = learner([AverageWeightsCallback(decay=0.9, every=1, start=0)], Table())
    learn.fit(2, 1e-2)
    assert torch.equal(learn.model.index, torch.arange(50))


def test_losses_are_those_of_fastais_recorder():
    theirs, ours = learner(), learner()
    ours.remove_cb(Recorder)
    ours.add_cb(EpochRecorder())
    for learn in (theirs, ours):
        torch.manual_seed(1)
        learn.dls.train.rng.seed(1)
        learn.fit(2, 1e-2)
    for name in ("lrs", "losses", "iters"):
        a, b = (list(map(float, getattr(learn.recorder, name))) for learn in (theirs, ours))
        assert a == pytest.approx(b, rel=1e-5)
    assert ours.recorder.values[-1][0] == pytest.approx(theirs.recorder.values[-1][0], rel=1e-5)


def test_a_stopped_epoch_keeps_its_losses():
    class Stop(Callback):
        order = 51  # after the recorder

        def after_batch(self):
            if self.train_iter == 3:
                raise CancelFitException

    learn = learner([Stop()])
    learn.remove_cb(Recorder)
    learn.add_cb(EpochRecorder())
    learn.fit(1)
    assert len(learn.recorder.losses) == len(learn.recorder.lrs) == 3


class Lopsided(nn.Module):
    """Logits from the left column of an image, so that its mirror image gives others."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))

    def forward(self, x):
        return x[:, :3, 0, 0] * self.scale


def test_flip_tta_averages_probabilities():
    x = torch.randn(8, 3, 4, 4)
    learn = learner(model=Lopsided())
    dl = DataLoader([(i, torch.tensor(0)) for i in x], bs=4, device=torch.device("cpu"))
    found = learn.get_preds(dl=dl, cbs=[FlipTTACallback()])[0]
    expected = (x[:, :, 0, 0].softmax(1) + x[:, :, 0, -1].softmax(1)) / 2
    assert torch.allclose(found, expected, atol=1e-6)


def test_plain_tensors_reach_the_model():
    seen = []

    class Spy(nn.Linear):
        def forward(self, x):
            seen.append(type(x))
            return super().forward(x)

    learner([PlainTensorCallback()], nn.Sequential(Spy(6, 3))).fit(1)
    assert set(seen) == {torch.Tensor}


def test_one_line_an_epoch_and_nothing_else(capsys):
    learner([LineLoggerCallback()]).fit(2)
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert len(lines) == 2 and "\r" not in out
    assert lines[0].startswith("epoch 1/2  train_loss ") and "f1_score" in lines[0]


def test_no_validation_means_none():
    seen = []

    class Spy(Callback):
        def before_batch(self):
            seen.append(self.training)

    learner([NoValidationCallback(), Spy(), LineLoggerCallback()]).fit(1)
    assert seen and all(seen)


@pytest.mark.parametrize(
    "values, epochs, best",
    [
        # best in epoch 1: counted from epoch 3 on, so three more
        ([0.9, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1], 6, 0),
        # a better value starts the count again
        ([0.9, 0.1, 0.1, 0.1, 0.95, 0.1, 0.1, 0.1], 8, 4),
        ([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8], 8, 7),
    ],
)
def test_patience_counts_only_from_the_start_epoch(values, epochs, best, capsys):
    learn = learner([Script(values), PatienceStopCallback(patience=3, start=3)])
    learn.fit(8, 1e-3)
    assert learn.epoch + 1 == epochs
    assert (learn.model[3].bias == best).all()


def test_gradual_unfreezing_opens_one_group_after_the_other():
    model = nn.Sequential(nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 3))
    seen = []

    class Spy(Callback):
        def after_train(self):
            seen.append([p.requires_grad for p in self.model.parameters()][::2])

    learn = learner([GradualUnfreezeCallback((1 / 3, 2 / 3), lowest=1), Spy()], model)
    learn.splitter = lambda m: [list(layer.parameters()) for layer in m]
    learn.freeze_to(3)
    learn.fit(6, 1e-3)
    opened = [4 - sum(flags) for flags in seen]
    assert opened == [3, 3, 2, 2, 1, 1]
