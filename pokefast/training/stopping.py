"""Early stopping that says why in one line and puts the best epoch back."""

import copy

import numpy as np
from fastai.callback.core import CancelFitException
from fastai.callback.tracker import TrackerCallback

from pokefast.errors import UserError

__all__ = ["BestEpochCallback", "PlateauStopCallback", "PatienceStopCallback"]


class BestEpochCallback(TrackerCallback):
    """Keep the weights of the epoch with the best `monitor`, the lowest where `lower`, and put them
    back at the end.

    fastai's `SaveModelCallback` does it by a file of a fixed name, which two runs would share.
    Raises UserError where `monitor` is not among the metrics.
    """

    order = TrackerCallback.order + 3

    def __init__(self, monitor="f1_score", lower=False):
        super().__init__(monitor=monitor, comp=np.less if lower else np.greater)

    def before_fit(self):
        """Forget the last fit."""
        if self.monitor not in self.recorder.metric_names:
            names = ", ".join(self.recorder.metric_names[1:])
            raise UserError(f"early stopping watches {self.monitor}, not among {names}")
        super().before_fit()
        self.values, self.best_state, self.best_epoch = [], None, None

    def after_epoch(self):
        """Keep the best weights; stop where `reason` gives one, in one line."""
        super().after_epoch()
        self.values.append(self.recorder.values[-1][self.idx])
        if self.new_best:
            self.best_epoch = self.epoch
            self.best_state = copy.deepcopy(self.model.state_dict())
        reason = self.reason()
        if reason:
            best = "" if self.best_epoch is None else f"; best epoch {self.best_epoch + 1}"
            print(f"stopped after epoch {self.epoch + 1}: {self.monitor} {reason}{best}")
            raise CancelFitException()

    def reason(self):
        """Why to stop now, or None."""

    def state_dict(self):
        """What it remembers of earlier epochs, for a checkpoint."""
        return {k: getattr(self, k) for k in ("values", "best", "best_epoch", "best_state")}

    def load_state_dict(self, state):
        """Remember what `state_dict` gave."""
        vars(self).update(state)

    def after_fit(self):
        """Put the best epoch's weights back."""
        if self.run and self.best_state is not None:
            self.model.load_state_dict(self.best_state)
        super().after_fit()


class PlateauStopCallback(BestEpochCallback):
    """The report's early stop of task 2: (max - min) / max of the last `window` values of
    `monitor`, in size, is below `tolerance`.
    """

    def __init__(self, monitor="f1_score", lower=False, window=5, tolerance=0.02):
        super().__init__(monitor, lower)
        self.window, self.tolerance = window, tolerance

    def reason(self):
        """The spread over the window, where it is small."""
        last = self.values[-self.window :]
        spread = (max(last) - min(last)) / max(*map(abs, last), 1e-12)
        if len(last) == self.window and spread < self.tolerance:
            return (
                f"changed by {spread:.2%} over the last {self.window} epochs, "
                f"less than {self.tolerance:.0%}"
            )
        return None


class PatienceStopCallback(BestEpochCallback):
    """The report's early stop of task 3: no better value for `patience` epochs, counted only from
    epoch `start` on. fastai's `EarlyStoppingCallback` counts from the first.
    """

    def __init__(self, monitor="f1_score", lower=False, patience=10, start=10):
        super().__init__(monitor, lower)
        self.patience, self.start = patience, start

    def reason(self):
        """The epochs without a better value, where they are too many."""
        since = self.epoch - max(self.best_epoch or 0, self.start - 1)
        return f"no better for {since} epochs" if since >= self.patience else None
