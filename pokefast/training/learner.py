"""From a model and loaders to a fitted Learner."""

import hashlib
import sys
from functools import partial
from operator import attrgetter

import fastai.callback.hook
import fastai.callback.schedule  # noqa: F401  and the methods of Learner that both add
import torch
from fastai.callback.core import event
from fastai.callback.progress import ProgressCallback
from fastai.callback.tracker import ReduceLROnPlateau
from fastai.learner import Learner, Recorder
from fastcore.imports import IN_NOTEBOOK

from pokefast.errors import UserError
from pokefast.progress import is_terminal
from pokefast.scoring.metrics import choose_metric, learner_metrics
from pokefast.training.callbacks import (
    EpochRecorder,
    FiniteCallback,
    FlipTTACallback,
    LineLoggerCallback,
    NoValidationCallback,
    PlainTensorCallback,
    PredictionProgressCallback,
    StepLRCallback,
    is_finite,
)
from pokefast.training.cuda_graph import CudaGraphCallback
from pokefast.training.loss import PlainCrossEntropyLoss
from pokefast.training.optimizer import FusedAdam
from pokefast.training.precision import PrecisionCallback, choose_dtype

__all__ = ["LeanLearner", "make_learner", "decay_split", "fit", "described", "inputs", "predict"]

# halves the rate in the 6th epoch without a lower loss: torch's patience 5 lets five pass
PLATEAU = dict(monitor="valid_loss", factor=2, patience=6)
OPTIMIZERS = ("adam", "adamw")


class LeanLearner(Learner):
    """fastai's Learner, which calls at each event the callbacks that have a method for it.

    fastai's calls all of them, and each looks for the method in itself, the learner and the model:
    half of what the loop costs a batch.
    """

    def __call__(self, event_name):
        """Call the callbacks for an event, or for several one after the other."""
        for name in [event_name] if isinstance(event_name, str) else event_name:
            self._call_one(name)

    def _call_one(self, event_name):
        if not hasattr(event, event_name):
            raise ValueError(f"no event is named {event_name}")
        for cb in sorted(self.cbs, key=attrgetter("order")):
            # after_fit ends what a callback has switched off, whether it has a method or not
            if event_name == "after_fit" or event_name in vars(cb) or hasattr(type(cb), event_name):
                cb(event_name)


def make_learner(
    dls, model, o, create=LeanLearner, splitter=None, loss_func=None, cbs=(), path="."
):
    """A Learner with the precision, optimizer, metrics and output that options `o` ask for.

    `o` has optimizer, lr, wd, precision, cuda_graph, metric and, for the default cross-entropy,
    label_smoothing. `create` is a Learner or another function of its arguments, as fastai's
    `vision_learner`. What `save`, `export` and fastai's callbacks write goes to the folder `path`:
    by fastai's own default it would go to the competition's. Raises UserError where a batch is
    larger than the training part.
    """
    if len(dls.train) == 0:
        raise UserError(
            f"--bs {o.bs}: the training part has {dls.train.n} images, fewer than one batch"
        )
    learn = create(
        dls,
        model,
        loss_func=loss_func or PlainCrossEntropyLoss(label_smoothing=o.label_smoothing),
        # fastai's own Adam takes 7 times as long
        opt_func=partial(FusedAdam, decoupled=o.optimizer == "adamw"),
        splitter=splitter or decay_split,
        lr=o.lr,
        wd=o.wd if splitter else [o.wd, 0.0],
        metrics=learner_metrics(len(dls.vocab), choose_metric(o.metric, list(dls.vocab))),
        path=path,
        model_dir=".",  # lr_find would leave an empty folder "models" behind
        cbs=[
            PlainTensorCallback(),
            PrecisionCallback(choose_dtype(o.precision, dls.device)),
            FiniteCallback(),
            *([CudaGraphCallback()] if o.cuda_graph else []),
            *cbs,
        ],
    )
    learn.remove_cb(Recorder)
    learn.add_cb(EpochRecorder())
    if not (is_terminal(sys.stdout) or IN_NOTEBOOK):
        learn.remove_cb(ProgressCallback)
        learn.add_cb(LineLoggerCallback())
    return learn


def decay_split(model):
    """The parameters of `model` in two groups: weights of rank 2 and more, which decay, and biases
    and norms, which do not: a group has one rate of decay.
    """
    params = [p for p in model.parameters() if p.requires_grad]
    return [p for p in params if p.ndim > 1], [p for p in params if p.ndim <= 1]


def fit(learn, o, lr=None, validate=True, cbs=()):
    """Train by `o.schedule` (one-cycle, step, plateau, or a constant rate) for `o.epochs`;
    returns the epochs run. Raises UserError where training diverged.

    `lr` is a slice or one rate a layer group, where `o.lr` alone does not say it. one-cycle also
    takes `o.div` and `o.pct_start`, step `o.step_size` (epochs) and `o.gamma`.
    """
    lr = o.lr if lr is None else lr
    cbs = list(cbs) if validate else [*cbs, NoValidationCallback()]
    if o.epochs == 0:
        return 0
    if o.schedule == "one-cycle":
        learn.fit_one_cycle(o.epochs, lr, div=o.div, pct_start=o.pct_start, cbs=cbs)
    elif o.schedule == "plateau" and validate:
        learn.fit(o.epochs, lr, cbs=[ReduceLROnPlateau(**PLATEAU), *cbs])
    elif o.schedule == "step":
        learn.fit(o.epochs, lr, cbs=[StepLRCallback(o.step_size, o.gamma), *cbs])
    else:
        learn.fit(o.epochs, lr, cbs=cbs)
    if not is_finite(learn.model):  # an early stop has put those of its best epoch back
        raise UserError(f"training diverged: make --lr smaller, which is {o.lr}")
    return learn.epoch + 1


def inputs(learn, dl):
    """What the model of `learn` is fed in prediction: the images of `dl` or, where a frozen part of
    it has `describe`, a loader of their vectors.
    """
    part = _describer(learn.model)
    if part is None or any(p.requires_grad for p in part.parameters()):
        return dl
    return described(learn, dl)


def described(learn, dl):
    """A loader of vectors in the place of the images of `dl`, by the part of the model of `learn`
    that has `describe` and passes its own vectors on.

    Models in which that part is the same, as those of folds, describe an image once for them all.
    """
    part, device, dtype = _describer(learn.model), dl.device, learn.precision.dtype
    learn.model.to(device).eval()
    digest = hashlib.blake2b()
    for tensor in part.state_dict().values():
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())

    @torch.no_grad()
    def describe(x):
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            return part.describe(x.as_subclass(torch.Tensor))

    return dl.described(describe, key=(digest.digest(), device, dtype))


def _describer(model):
    return next((m for m in model.modules() if hasattr(m, "describe")), None)


def predict(learn, dl, flip=False):
    """Probabilities [n, classes] for the images of `dl`, in its order; with `flip`, averaged over
    mirror images.
    """
    dl = dl if flip else inputs(learn, dl)
    cbs = [PredictionProgressCallback(), *([FlipTTACallback()] if flip else [])]
    with learn.no_bar():
        return learn.get_preds(dl=dl, cbs=cbs)[0]
