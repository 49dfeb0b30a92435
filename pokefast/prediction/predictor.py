"""Use a trained model: `load_predictor("runs/RUN")("picture.png").label`."""

from dataclasses import dataclass

import torch
from fastai.callback.channelslast import ChannelsLast
from fastai.data.core import DataLoaders
from fastai.learner import Learner
from fastai.losses import CrossEntropyLossFlat
from fastai.torch_core import default_device

from pokefast.errors import UserError
from pokefast.prediction.model_file import DESCRIPTION, load_model, model_folders
from pokefast.prediction.pipeline import make_loader
from pokefast.scoring.calibration import tempered
from pokefast.training.callbacks import PlainTensorCallback
from pokefast.training.learner import predict
from pokefast.training.precision import PrecisionCallback, choose_dtype

__all__ = [
    "Ensemble",
    "Prediction",
    "Predictor",
    "load_predictor",
]


@dataclass
class Prediction:
    """The likeliest class, its probability, and those of all classes, the highest first."""

    label: str
    probability: float
    probabilities: dict


class Ensemble:
    """What every trained model has: called with an image or a list of them, it gives predictions.

    An image is a path, bytes, a PIL image, or an array or tensor that fastai's `PILImage.create`
    takes. Subclasses have `probabilities(images)`.
    """

    def __init__(self, vocab, pipeline):
        self.vocab, self.pipeline = vocab, pipeline

    def __call__(self, images):
        """A `Prediction`, or a list of them for a list of images."""
        if not isinstance(images, (list, tuple)):
            return self([images])[0]
        return [self._prediction(row) for row in self.probabilities(images).tolist()]

    def _prediction(self, row):
        ranked = sorted(zip(row, self.vocab, strict=True), key=lambda pair: -pair[0])
        return Prediction(ranked[0][1], ranked[0][0], {label: p for p, label in ranked})


class Predictor(Ensemble):
    """A trained model; `load_predictor` makes one.

    Batches, flips and precision are the run's own: on the same batches and machine it computes the
    very numbers of the training process.
    """

    def __init__(self, models, description, device=None, precision=None):
        super().__init__(description["vocab"], description["pipeline"])
        self.models, self.description = [model.eval() for model in models], description
        self.device = torch.device(device or default_device())
        precision = precision or description["precision"]
        if precision == "fp16" and self.device.type != "cuda":
            precision = "auto"  # trained on a GPU, used without one
        self.dtype = choose_dtype(precision, self.device)

    def probabilities(self, images, bs=256):
        """Calibrated probabilities [n, classes] in the order of `vocab`, for a list of images.

        Raises UserError with the names of files that cannot be read.
        """
        if not images:
            return torch.empty(0, len(self.vocab))
        dl = make_loader(self.pipeline, images, bs, self.device)
        cbs = [PlainTensorCallback(), PrecisionCallback(self.dtype)]
        if self.description["channels_last"]:
            cbs.append(ChannelsLast())
        dls = DataLoaders(dl, dl, device=self.device)
        rows = 0
        for model in self.models:
            learn = Learner(dls, model, loss_func=CrossEntropyLossFlat(), cbs=cbs)
            rows = rows + predict(learn, dl, self.description["tta"])
        mean, temperature = rows / len(self.models), self.description.get("temperature", 1.0)
        return mean if temperature == 1 else torch.from_numpy(tempered(mean, temperature))


def load_predictor(run, device=None, precision=None):
    """The `Predictor` of a run's folder; `device` is the fastest there is by default, `precision`
    ("fp32", ...) that of the training. The models of folds give the mean of their probabilities.

    Raises UserError for a folder without a model, or with a damaged one.
    """
    models, descriptions = zip(*map(load_model, model_folders(run)), strict=True)
    if any(d != descriptions[0] for d in descriptions):
        raise UserError(f"{run}: the {DESCRIPTION} of its folds differ")
    return Predictor(models, descriptions[0], device, precision)
