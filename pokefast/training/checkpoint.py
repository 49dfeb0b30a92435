"""A fit that goes on after a kill as if nothing had been: all it needs, kept in one file.

fastai's own `fit(start_epoch=...)` skips epochs, but starts the optimizer, the random numbers and
the callbacks' memory anew, and its trackers fail on the skipped ones.
"""

import random
import time
from pathlib import Path

import numpy as np
import torch
from fastai.callback.core import Callback, CancelEpochException
from fastai.callback.schedule import ParamScheduler
from fastai.callback.tracker import ReduceLROnPlateau
from fastcore.foundation import L

from pokefast.errors import UserError
from pokefast.files import atomic_path

__all__ = ["CheckpointCallback", "ResumeCallback", "read_checkpoint"]

SHORTEST = 1.0  # seconds between two checkpoints, at least
COST = 0.02  # of the time between two checkpoints, at most, that writing one may take
# what fastai's own callbacks remember of earlier epochs; ours have state_dict and load_state_dict
REMEMBERED = {ReduceLROnPlateau: ("best", "wait"), ParamScheduler: ("hps",)}


class CheckpointCallback(Callback):
    """Write `file` after an epoch, in place of the one before it; `about` goes with it.

    Every epoch, but for epochs so short that it would cost more than `COST` of them. Where it
    cannot be written, training goes on without, and that is said.
    """

    order = 1000  # what others remember of the epoch is known

    def __init__(self, file, about=None):
        self.file, self.about = Path(file), about or {}

    def before_fit(self):
        """Training is kept, lr_find is not."""
        self.run = not hasattr(self, "lr_finder") and not hasattr(self, "gather_preds")
        self.last, self.cost = time.perf_counter(), 0.0

    def after_epoch(self):
        """Write it where enough time has passed; the last epoch is followed by the weights."""
        now = time.perf_counter()
        if now - self.last < max(SHORTEST, self.cost / COST) or self.epoch + 1 == self.n_epoch:
            return
        state = _plain({**self.about, **_fit_state(self.learn)})
        try:
            with atomic_path(self.file) as temp:
                torch.save(state, temp)
        except (OSError, RuntimeError) as e:  # torch's own for a full disk is a RuntimeError
            print(f"no checkpoint in {self.file.parent}: it cannot be written ({e})", flush=True)
            self.run = False
        self.last = time.perf_counter()
        self.cost = self.last - now


class ResumeCallback(Callback):
    """Start a fit where the checkpoint `state` was written: its epochs are not trained again."""

    order = -1000  # nobody else sees the epochs that are left out

    def __init__(self, state):
        self.state, self.silent = state, []

    def before_epoch(self):
        """Leave the epoch out, or put everything back before the first one that is trained."""
        if self.epoch < self.state["epoch"]:
            for cb in self.learn.cbs:
                if cb is not self and cb.run:
                    cb.run = False
                    self.silent.append(cb)
            raise CancelEpochException
        for cb in self.silent:
            cb.run = True
        if self.epoch == self.state["epoch"]:
            _restore_fit(self.learn, self.state)
        self.silent = []


def read_checkpoint(file):
    """The state in a checkpoint's file, which can hold no code; UserError where it is damaged."""
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as e:  # pickle's, zipfile's and torch's own errors
        reason = str(e).splitlines()[0] if str(e) else type(e).__name__
        raise UserError(f"{file}: damaged ({reason}); remove it to train that part anew") from None


def _fit_state(learn):
    recorder = learn.recorder
    return {
        "epoch": learn.epoch + 1,
        "train_iter": learn.train_iter,
        "model": learn.model.state_dict(),
        "frozen": learn.opt.frozen_idx,
        "opt": learn.opt.state_dict(),
        "scaler": learn.scaler.state_dict() if getattr(learn, "scaler", None) else None,
        "values": list(recorder.values),
        "lrs": [float(lr) for lr in recorder.lrs],
        "losses": [float(loss) for loss in recorder.losses],
        "iters": list(recorder.iters),
        "smooth": (recorder.smooth_loss.count, recorder.smooth_loss.val),
        "callbacks": [
            {k: getattr(cb, k) for k in names} if names else cb.state_dict()
            for cb, names in _with_memory(learn)
        ],
        "random": random.getstate(),
        "numpy": [v.tolist() if isinstance(v, np.ndarray) else v for v in np.random.get_state()],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "loaders": [dl.rng.getstate() for dl in learn.dls.loaders],
    }


def _restore_fit(learn, state):
    recorder = learn.recorder
    if learn.opt.frozen_idx != state["frozen"]:
        learn.freeze_to(state["frozen"])
    learn.model.load_state_dict(state["model"])
    learn.opt.load_state_dict(state["opt"])
    if state["scaler"]:
        learn.scaler.load_state_dict(state["scaler"])
    learn.train_iter = state["train_iter"]
    for name in ("values", "lrs", "losses", "iters"):
        setattr(recorder, name, [*state[name]])
    recorder.smooth_loss.count, recorder.smooth_loss.val = state["smooth"]
    for (cb, names), kept in zip(_with_memory(learn), state["callbacks"], strict=True):
        if names:
            vars(cb).update(kept)
        else:
            cb.load_state_dict(kept)
    random.setstate(state["random"])
    np.random.set_state(tuple(state["numpy"]))
    torch.set_rng_state(state["torch"])
    if state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])
    for dl, kept in zip(learn.dls.loaders, state["loaders"], strict=True):
        dl.rng.setstate(kept)


def _with_memory(learn):
    """(callback, names of what it remembers or None) of those that remember earlier epochs."""
    for cb in learn.cbs.sorted("order"):
        names = next((v for kind, v in REMEMBERED.items() if isinstance(cb, kind)), None)
        # of the class: a callback hands what it lacks on to its learner
        if names or hasattr(type(cb), "load_state_dict"):
            yield cb, names


def _plain(value):
    """What `torch.load(weights_only=True)` gives back: none of NumPy's or fastai's own types."""
    if isinstance(value, torch.Tensor):
        return value.detach().as_subclass(torch.Tensor)
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, tuple):
        return tuple(_plain(v) for v in value)
    if isinstance(value, (list, L)):
        return [_plain(v) for v in value]
    return value.item() if isinstance(value, np.generic) else value
