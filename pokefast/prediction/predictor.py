"""Use a trained model: `python -m pokefast.predict runs/RUN picture.png folder/ [--json |
--csv]`.

From Python: `load_predictor("runs/RUN")("picture.png").label`. A run's model is model.safetensors
and model.json, which names the network and what is done to a picture before it; nothing is
unpickled.
"""

import csv
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
from fastai.callback.channelslast import ChannelsLast
from fastai.data.core import DataLoaders
from fastai.learner import Learner
from fastai.losses import CrossEntropyLossFlat
from fastai.torch_core import default_device
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from pokefast.errors import UserError
from pokefast.files import atomic_path, write_json
from pokefast.images import IMAGE_SUFFIXES, image_error
from pokefast.models.networks import build
from pokefast.options import run_cli
from pokefast.prediction.pipeline import check_pipeline, describe_pipeline, make_loader
from pokefast.training.callbacks import PlainTensorCallback
from pokefast.training.learner import predict
from pokefast.training.precision import PrecisionCallback, choose_dtype

__all__ = ["Prediction", "Predictor", "load_predictor", "describe_model", "save_model", "main"]

FORMAT = 1  # of model.json
WEIGHTS, DESCRIPTION = "model.safetensors", "model.json"
MANY = 5  # names in a message


@dataclass
class Prediction:
    """The likeliest label, its probability, and those of all labels, the highest first."""

    label: str
    probability: float
    probabilities: dict


class Predictor:
    """A trained model: call it with a picture or a list of them; `load_predictor` makes one.

    A picture is a path, a PIL image, or an array or tensor that fastai's `PILImage.create` takes.
    Batches, flips and precision are the run's own: on the same batches and machine it computes the
    very numbers of the training process.
    """

    def __init__(self, models, description, device=None, precision=None):
        self.models, self.description = [model.eval() for model in models], description
        self.vocab, self.pipeline = description["vocab"], description["pipeline"]
        self.device = torch.device(device or default_device())
        precision = precision or description["precision"]
        if precision == "fp16" and self.device.type != "cuda":
            precision = "auto"  # trained on a GPU, used without one
        self.dtype = choose_dtype(precision, self.device)

    def __call__(self, pictures):
        """A `Prediction`, or a list of them for a list of pictures."""
        if not isinstance(pictures, (list, tuple)):
            return self([pictures])[0]
        return [self._prediction(row) for row in self.probabilities(pictures).tolist()]

    def probabilities(self, pictures, bs=256):
        """Probabilities [n, classes] in the order of `vocab`, for a list of pictures.

        Raises UserError with the names of files that cannot be read.
        """
        if not pictures:
            return torch.empty(0, len(self.vocab))
        files = [p for p in pictures if isinstance(p, (str, Path))]
        bad = {str(p): e for p in files if (e := image_error(p))}
        if bad:
            raise UserError(unreadable(bad))
        dl = make_loader(self.pipeline, pictures, bs, self.device)
        cbs = [PlainTensorCallback(), PrecisionCallback(self.dtype)]
        if self.description["channels_last"]:
            cbs.append(ChannelsLast())
        dls = DataLoaders(dl, dl, device=self.device)
        rows = 0
        for model in self.models:
            learn = Learner(dls, model, loss_func=CrossEntropyLossFlat(), cbs=cbs)
            rows = rows + predict(learn, dl, self.description["tta"])
        return rows / len(self.models)

    def _prediction(self, row):
        ranked = sorted(zip(row, self.vocab, strict=True), key=lambda pair: -pair[0])
        return Prediction(ranked[0][1], ranked[0][0], {label: p for p, label in ranked})


def describe_model(learn, o):
    """What model.json holds: network, pictures, labels, and how to predict, from a Learner and the
    options (precision, tta) that it was trained with.

    Raises UserError for a network or transform that could not be made again.
    """
    if not hasattr(learn.model, "architecture"):
        raise UserError(
            f"{type(learn.model).__name__} cannot be saved: build it with a function marked "
            "@architecture (pokefast.models.networks)"
        )
    return {
        "format": FORMAT,
        "architecture": learn.model.architecture,
        "pipeline": describe_pipeline(learn.dls.train),
        "vocab": list(learn.dls.vocab),
        "precision": o.precision,
        "tta": bool(o.tta),
        "channels_last": any(isinstance(cb, ChannelsLast) for cb in learn.cbs),
    }


def save_model(folder, learn, o):
    """Write model.safetensors and model.json to a run's folder."""
    state = {k: v.detach().cpu().contiguous() for k, v in learn.model.state_dict().items()}
    with atomic_path(Path(folder) / WEIGHTS) as temp:
        save_file(state, temp)
    write_json(Path(folder) / DESCRIPTION, describe_model(learn, o))


def load_predictor(run, device=None, precision=None):
    """The `Predictor` of a run's folder; `device` is the fastest there is by default, `precision`
    ("fp32", ...) that of the training. The models of folds give the mean of their probabilities.

    Raises UserError for a folder without a model, or with a damaged one.
    """
    folders = [Path(run)]
    if not (Path(run) / DESCRIPTION).exists():
        found = [file.parent for file in Path(run).glob(f"fold*/{DESCRIPTION}")]
        folders = sorted(found, key=lambda folder: (len(folder.name), folder.name)) or folders
    models, descriptions = zip(*map(_load, folders), strict=True)
    if any(d != descriptions[0] for d in descriptions):
        raise UserError(f"{run}: the {DESCRIPTION} of its folds differ")
    return Predictor(models, descriptions[0], device, precision)


def _load(folder):
    """Model and description of a folder."""
    for file in (folder / DESCRIPTION, folder / WEIGHTS):
        if not file.is_file():
            raise UserError(
                f"{file}: there is no such file; give a finished run's folder, as runs/task1-..."
            )
    try:
        description = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        if description["format"] != FORMAT:
            raise UserError(
                f"{folder / DESCRIPTION}: format {description['format']}; this version reads "
                f"{FORMAT}"
            )
        missing = {"vocab", "precision", "tta", "channels_last"} - set(description)
        if missing:
            raise KeyError(*sorted(missing))
        check_pipeline(description["pipeline"])
        model = build(**description["architecture"])
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise UserError(f"{folder / DESCRIPTION}: damaged ({type(e).__name__}: {e})") from None
    try:
        model.load_state_dict(load_file(folder / WEIGHTS))
    except (SafetensorError, RuntimeError, OSError) as e:
        reason = str(e).splitlines()[-1].strip()
        raise UserError(f"{folder / WEIGHTS}: damaged or of another model ({reason})") from None
    return model, description


def find_pictures(paths):
    """The picture files that `paths` name: files as they are, folders with all their pictures,
    subfolders included, in order of name.

    Raises UserError for a path that is not there and for a folder without pictures.
    """
    found = []
    for path in map(Path, paths):
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if _is_picture(p))
            if not inside:
                kinds = ", ".join(IMAGE_SUFFIXES)
                raise UserError(f"{path}: there are no pictures in this folder ({kinds})")
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            raise UserError(f"{path}: there is no such file or folder")
    return found


def unreadable(bad):
    """A message about files that cannot be read, from a dict of name and reason."""
    some = "; ".join(f"{name}: {reason}" for name, reason in list(bad.items())[:MANY])
    more = f"; and {len(bad) - MANY} more" if len(bad) > MANY else ""
    one = "1 picture" if len(bad) == 1 else f"{len(bad)} pictures"
    return f"{one} could not be read: {some}{more}"


def main(
    run: Path,  # a finished run's folder
    pictures: Annotated[str, {"nargs": "+"}],  # picture files, and folders of them
    json: bool = False,  # a JSON list instead of a table
    csv: bool = False,  # CSV instead of a table
):
    """Print the type and the probabilities of every picture.

    Pictures that cannot be read are named at the end, after the predictions of the others; the exit
    status is then 2.
    """
    if json and csv:
        raise UserError("--json --csv: choose one of them")
    files = find_pictures(pictures)
    predictor = load_predictor(run)
    bad = {str(p): e for p in files if (e := image_error(p))}
    files = [str(p) for p in files if str(p) not in bad]
    rows = predictor.probabilities(files).tolist()
    print_as = print_json if json else print_csv if csv else print_table
    print_as(files, rows, predictor.vocab)
    if bad:
        sys.stdout.flush()
        raise UserError(unreadable(bad))


def print_table(files, rows, vocab):
    """Pictures, types and probabilities in columns."""
    names = [*files, "picture"]
    width, kind = max(map(len, names)), max(map(len, [*vocab, "type"]))
    cells = [max(len(label), 5) for label in vocab]
    head = "  ".join(label.rjust(w) for label, w in zip(vocab, cells, strict=True))
    print(f"{'picture':<{width}}  {'type':<{kind}}  {head}")
    for file, row in zip(files, rows, strict=True):
        values = "  ".join(f"{p:.3f}".rjust(w) for p, w in zip(row, cells, strict=True))
        print(f"{file:<{width}}  {_best(row, vocab):<{kind}}  {values}")


def print_csv(files, rows, vocab):
    """Columns picture, type and one a label."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["picture", "type", *vocab])
    writer.writerows([file, _best(row, vocab), *row] for file, row in zip(files, rows, strict=True))


def print_json(files, rows, vocab):
    """A list of objects: picture, type, probability, probabilities."""
    table = [
        {
            "picture": file,
            "type": _best(row, vocab),
            "probability": max(row),
            "probabilities": dict(zip(vocab, row, strict=True)),
        }
        for file, row in zip(files, rows, strict=True)
    ]
    print(json.dumps(table, indent=1))


def _best(row, vocab):
    return vocab[max(range(len(row)), key=row.__getitem__)]


def _is_picture(path):
    return path.suffix.lower() in IMAGE_SUFFIXES and path.is_file() and path.name[0] != "."


if __name__ == "__main__":
    raise SystemExit(run_cli(main))
