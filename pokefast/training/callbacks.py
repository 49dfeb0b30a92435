"""Callbacks: sampling, schedules, unfreezing, weight averaging, plain output."""

import copy
from functools import partial

import numpy as np
import torch
from fastai.callback.core import Callback, CancelFitException, CancelValidException
from fastai.imports import noop
from fastai.learner import Recorder
from fastprogress.fastprogress import MasterBar, ProgressBar
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from pokefast.progress import progress

__all__ = [
    "WeightedSamplingCallback",
    "StepLRCallback",
    "GradualUnfreezeCallback",
    "AverageWeightsCallback",
    "FlipTTACallback",
    "EpochRecorder",
    "FiniteCallback",
    "PlainTensorCallback",
    "PredictionProgressCallback",
    "NoValidationCallback",
    "LineLoggerCallback",
    "is_finite",
]


class WeightedSamplingCallback(Callback):
    """Draw training images with probability 1 / count of their class, with replacement, an epoch as
    long as before.

    Sets `MemoryDL.weights`; fastai's own `weighted_dataloaders` loses its weights in `dl.new()`.
    """

    order, run_valid = -5, False

    def before_fit(self):
        """Count the classes of the training part."""
        dl = self.dls.train.prepare()
        if dl.weights is None:
            targets = np.asarray(dl.targets)
            dl.weights = (1 / np.bincount(targets, minlength=targets.max() + 1).clip(1))[targets]


class StepLRCallback(Callback):
    """Multiply all learning rates by `gamma` after every `step_size` epochs, as torch's StepLR
    stepped each epoch.
    """

    order, run_valid = 10, False

    def __init__(self, step_size=5, gamma=0.1):
        self.step_size, self.gamma = step_size, gamma

    def before_epoch(self):
        """Step at the start of epochs step_size, 2 step_size, ..."""
        if self.epoch and self.epoch % self.step_size == 0:
            self.opt.set_hypers(lr=[h["lr"] * self.gamma for h in self.opt.hypers])


class GradualUnfreezeCallback(Callback):
    """Open one more layer group, from the last frozen one down to number `lowest`, at each of these
    fractions of the fit.
    """

    order, run_valid = -10, False

    def __init__(self, at, lowest):
        self.at, self.lowest = at, lowest

    def before_epoch(self):
        """Thaw the next group where its turn has come."""
        first = self.opt.frozen_idx
        opened = sum(self.epoch >= round(fraction * self.n_epoch) for fraction in self.at)
        target = max(self.lowest, self.start - opened)
        if target < first:
            self.learn.freeze_to(target)
            print(f"epoch {self.epoch + 1}: layer group {target} is trained too")

    def before_fit(self):
        """Note where freezing starts."""
        self.start = self.opt.frozen_idx

    def state_dict(self):
        """What it remembers of earlier epochs, for a checkpoint."""
        return {"start": self.start}

    def load_state_dict(self, state):
        """Remember what `state_dict` gave."""
        self.start = state["start"]


class AverageWeightsCallback(Callback):
    """Exponential moving average of weights and BatchNorm statistics, torch's `AveragedModel`;
    validation, the rest of the epoch and the final model have it.

    Averages every `every` batches with `decay` for each of these steps, from the fraction `start`
    of the fit on.
    """

    order = 40

    def __init__(self, decay=0.98, every=5, start=0.5):
        self.decay, self.every, self.start = decay, every, start

    def before_fit(self):
        """Start without an average."""
        self.run = not hasattr(self, "lr_finder") and not hasattr(self, "gather_preds")
        self.average, self.plain = None, None

    def before_train(self):
        """Go on training with the plain weights."""
        if self.plain is not None:
            self.model.load_state_dict(self.plain)
        self.plain = None

    def after_batch(self):
        """Take the average of training batches only."""
        if not self.training or self.train_iter % self.every or self.pct_train < self.start:
            return
        if self.average is None:
            self.average = self._new_average()
        self.average.update_parameters(self.model)

    def _new_average(self):
        ema = partial(_average_floats, get_ema_multi_avg_fn(self.decay))
        return AveragedModel(self.model, multi_avg_fn=ema, use_buffers=True)

    def state_dict(self):
        """What it remembers of earlier epochs, for a checkpoint."""
        average = None if self.average is None else self.average.state_dict()
        return {"average": average, "plain": self.plain}

    def load_state_dict(self, state):
        """Remember what `state_dict` gave."""
        self.plain = state["plain"]
        if state["average"] is not None:
            self.average = self._new_average()
            self.average.load_state_dict(state["average"])

    def before_validate(self):
        """Validate the averaged weights."""
        if self.average is not None:
            self.plain = copy.deepcopy(self.model.state_dict())
            self.model.load_state_dict(self.average.module.state_dict())

    def after_fit(self):
        """Leave the average as the model's weights."""
        if self.average is not None:
            self.model.load_state_dict(self.average.module.state_dict())
        self.average, self.plain = None, None


def _average_floats(average, averages, values, n):
    """`average` without integer buffers: of 3 and 3 torch makes 2 at a decay of 0.9."""
    if averages[0].is_floating_point():
        average(averages, values, n)


class FlipTTACallback(Callback):
    """Average the predicted probabilities of each image and its mirror image, in prediction and
    validation.

    fastai's `Learner.tta` draws random training augmentations instead.
    """

    order = 9  # before PrecisionCallback ends autocast
    run_train = False

    def after_pred(self):
        """Replace the logits by the log of the mean probability, whose softmax is that mean."""
        mirrored = self.model(*(x.flip(-1) for x in self.xb))
        mean = (self.pred.float().softmax(1) + mirrored.float().softmax(1)) / 2
        self.learn.pred = mean.clamp_min(1e-12).log()


class PredictionProgressCallback(Callback):
    """Say how far a prediction is, where it takes long: `progress`."""

    run_train = False

    def before_validate(self):
        """Begin to count."""
        self.steps = progress(range(len(self.dl)), len(self.dl), "batches predicted")
        next(self.steps, None)

    def after_batch(self):
        """Count a batch."""
        next(self.steps, None)


class PlainTensorCallback(Callback):
    """Hand plain tensors to the model: fastai's tensor subclasses cost a Python call for every
    operation.
    """

    order = -20

    def before_batch(self):
        """Make views, not copies."""
        self.learn.xb = tuple(x.as_subclass(torch.Tensor) for x in self.xb)
        self.learn.yb = tuple(y.as_subclass(torch.Tensor) for y in self.yb)


class EpochRecorder(Recorder):
    """fastai's Recorder, which keeps the losses of an epoch on their device and smooths them at its
    end: fastai waits for the device after every batch. lr_find stops by the loss, so it does wait.
    """

    name = "recorder"

    def before_fit(self):
        """Start without losses."""
        super().before_fit()
        self.waiting = []

    def after_batch(self):
        """Keep the loss and the learning rate."""
        if not self.training or self.train_metrics or hasattr(self, "lr_finder"):
            return super().after_batch()
        self.lrs.append(self.opt.hypers[-1]["lr"])
        self.waiting.append(self.learn.loss.detach().mean())

    def after_train(self):
        """Smooth what is waiting before it is logged."""
        self._smooth()
        super().after_train()

    def after_fit(self):
        """Smooth what a stopped epoch has left."""
        self._smooth()

    def _smooth(self):
        smooth = self.smooth_loss
        for loss in torch.stack(self.waiting).float().tolist() if self.waiting else ():
            smooth.count += 1
            smooth.val = loss + smooth.beta * (float(smooth.val) - loss)
            self.losses.append(smooth.value)
        self.waiting = []


class FiniteCallback(Callback):
    """End a fit that has diverged, weights that are no numbers, before a checkpoint of it.

    fastai's `TerminateOnNaNCallback` looks at the loss of each batch, and waits for it.
    """

    order = 900

    def before_fit(self):
        """Training is looked at, lr_find is not."""
        self.run = not hasattr(self, "lr_finder") and not hasattr(self, "gather_preds")

    def after_epoch(self):
        """Look at all weights."""
        if not is_finite(self.model):
            print(f"stopped after epoch {self.epoch + 1}: the weights are no numbers", flush=True)
            raise CancelFitException


def is_finite(model):
    """Whether the weights of `model` are numbers, none of them infinite."""
    floats = [v for v in model.state_dict().values() if v.is_floating_point() and v.numel()]
    # one pass over each, without a copy; one wait for the device
    ends = torch.stack([end.float() for v in floats for end in v.aminmax()])
    return bool(ends.isfinite().all())


class NoValidationCallback(Callback):
    """Train without validation, where everything is training data."""

    def before_validate(self):
        """Skip it."""
        raise CancelValidException()


class LineLoggerCallback(Callback):
    """One plain line an epoch, for logs: fastai's progress bar writes about 25 carriage returns an
    epoch there.

    Stands in the place of fastai's `ProgressCallback`: `learn.no_logging()` silences it,
    `CSVLogger` writes what it prints, `ShowGraphCallback` finds a bar, which draws nothing, as in a
    terminal.
    """

    order = 60

    def before_fit(self):
        """Take the place of fastai's table."""
        self.old_logger = self.learn.logger
        if self.old_logger != noop:
            self.learn.logger = self._print_line
        self.learn.progress, self.mbar = self, MasterBar(range(self.n_epoch), ProgressBar)

    def _print_line(self, log):
        """Print epoch, losses, metrics, seconds."""
        # without validation fastai leaves out what stands between the first loss and the time
        names = [*self.recorder.metric_names[1 : len(log) - 1], self.recorder.metric_names[-1]]
        cells = [
            f"{name} {value:.4f}" if isinstance(value, float) else f"{name} {value}"
            for name, value in zip(names, log[1:], strict=True)
            if value is not None
        ]
        print(f"epoch {self.epoch + 1}/{self.n_epoch}  " + "  ".join(cells), flush=True)

    def after_fit(self):
        """Put fastai's logger back."""
        self.learn.logger = self.old_logger
        del self.learn.progress, self.mbar
