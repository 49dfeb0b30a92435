"""Callbacks of our own: sampling, schedules, early stopping, weight averaging, plain output."""

import copy
import sys

import numpy as np
import torch
from fastai.callback.core import Callback, CancelFitException, CancelValidException
from fastai.callback.tracker import TrackerCallback

from pokefast.errors import UserError

__all__ = [
    "WeightedSamplingCallback",
    "StepLRCallback",
    "PlateauStopCallback",
    "AverageWeightsCallback",
    "FlipTTACallback",
    "PlainTensorCallback",
    "NoValidationCallback",
    "LineLoggerCallback",
    "is_terminal",
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


class PlateauStopCallback(TrackerCallback):
    """The report's early stop: (max - min) / max of the last `window` values of `monitor` is below
    `tolerance`.

    Says in one line why it stopped, and puts back the weights of the best epoch, whether it
    stopped or not.
    """

    order = TrackerCallback.order + 3

    def __init__(self, monitor="f1_score", window=5, tolerance=0.02):
        super().__init__(monitor=monitor, comp=np.greater)
        self.window, self.tolerance = window, tolerance

    def before_fit(self):
        """Forget the last fit."""
        if self.monitor not in self.recorder.metric_names:
            names = ", ".join(self.recorder.metric_names[1:])
            raise UserError(f"early stopping watches {self.monitor}, which is not among {names}")
        super().before_fit()
        self.values, self.best_state, self.best_epoch = [], None, None

    def after_epoch(self):
        """Keep the best weights; stop on a plateau."""
        super().after_epoch()
        value = self.recorder.values[-1][self.idx]
        self.values.append(value)
        if self.new_best:
            self.best_epoch = self.epoch
            self.best_state = copy.deepcopy(self.model.state_dict())
        last = self.values[-self.window :]
        spread = (max(last) - min(last)) / max(max(last), 1e-12)
        if len(last) == self.window and spread < self.tolerance:
            print(
                f"stopped after epoch {self.epoch + 1}: {self.monitor} changed by {spread:.2%} "
                f"over the last {self.window} epochs, less than {self.tolerance:.0%}; "
                f"best epoch {self.best_epoch + 1}"
            )
            raise CancelFitException()

    def after_fit(self):
        """Put the best epoch's weights back."""
        if self.run and self.best_state is not None:
            self.model.load_state_dict(self.best_state)
        super().after_fit()


class AverageWeightsCallback(Callback):
    """Exponential moving average of weights and BatchNorm statistics; validation and the final
    model use it.

    Averages every `every` batches with `decay` for each of these steps, from step `start_share`
    of the fit on. torch's `AveragedModel` wraps the model, which would change its parameter
    names.
    """

    order = 40

    def __init__(self, decay=0.98, every=5, start_share=0.5):
        self.decay, self.every, self.start_share = decay, every, start_share

    def before_fit(self):
        """Start without an average."""
        self.run = not hasattr(self, "lr_finder") and not hasattr(self, "gather_preds")
        self.average, self.saved = None, None

    def after_batch(self):
        """Take the average of training batches only."""
        if not self.training or self.train_iter % self.every or self.pct_train < self.start_share:
            return
        state = self.model.state_dict()
        if self.average is None:
            self.average = {k: v.detach().clone() for k, v in state.items()}
            return
        floats = [k for k, v in state.items() if v.is_floating_point()]
        torch._foreach_lerp_(
            [self.average[k] for k in floats], [state[k] for k in floats], 1 - self.decay
        )

    def before_validate(self):
        """Validate the averaged weights."""
        if self.average is not None:
            self.saved = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
            self.model.load_state_dict(self.average)

    def after_validate(self):
        """Go on training with the plain ones."""
        if self.saved is not None:
            self.model.load_state_dict(self.saved)
        self.saved = None

    def after_fit(self):
        """Leave the average as the model's weights."""
        if self.run and self.average is not None:
            self.model.load_state_dict(self.average)


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


class PlainTensorCallback(Callback):
    """Hand plain tensors to the model: fastai's tensor subclasses cost a Python call for every
    operation.
    """

    order = -20

    def before_batch(self):
        """Views, not copies."""
        self.learn.xb = tuple(x.as_subclass(torch.Tensor) for x in self.xb)
        self.learn.yb = tuple(y.as_subclass(torch.Tensor) for y in self.yb)


class NoValidationCallback(Callback):
    """Train without validation, where everything is training data."""

    def before_validate(self):
        """Skip it."""
        raise CancelValidException()


class LineLoggerCallback(Callback):
    """One plain line an epoch, for logs: fastai's progress bar writes about 25 carriage returns an
    epoch there.
    """

    order = 65

    def before_fit(self):
        """Keep fastai's own table quiet."""
        self.run = not hasattr(self, "lr_finder") and not hasattr(self, "gather_preds")
        self.old_logger, self.learn.logger = self.learn.logger, _quiet

    def after_epoch(self):
        """Print epoch, losses, metrics, seconds."""
        names, values = self.recorder.metric_names, self.recorder.log
        cells = [
            f"{name} {value:.4f}" if isinstance(value, float) else f"{name} {value}"
            for name, value in zip(names[1:], values[1:], strict=False)
            if value is not None
        ]
        print(f"epoch {self.epoch + 1}/{self.n_epoch}  " + "  ".join(cells), flush=True)

    def after_fit(self):
        """Put fastai's logger back."""
        self.learn.logger = self.old_logger


def _quiet(_):
    pass


def is_terminal():
    """Whether output goes to a person's terminal, where a progress bar can be drawn."""
    return sys.stdout.isatty()
