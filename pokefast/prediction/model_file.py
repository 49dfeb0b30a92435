"""A trained model's files: model.safetensors, and model.json, which names the network and what is
done to an image before it. Nothing is unpickled.
"""

import json
from functools import lru_cache
from pathlib import Path

import torch
from fastai.callback.channelslast import ChannelsLast
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save

from pokefast.errors import UserError
from pokefast.files import atomic_path, write_json
from pokefast.models.networks import build
from pokefast.prediction.pipeline import describe_pipeline, make_pipeline

__all__ = ["DESCRIPTION", "FORMAT", "WEIGHTS", "describe_model", "load_model", "model_folders"]
__all__ += ["save_model", "save_temperature"]

FORMAT = 2  # of model.json; 1 had other crops
WEIGHTS, DESCRIPTION = "model.safetensors", "model.json"
KEYS = {"architecture", "channels_last", "format", "pipeline", "precision", "tta", "vocab"}


def describe_model(learn, o):
    """What model.json holds: network, image transforms, classes, and how to predict, from a Learner
    and the options (precision, tta) that it was trained with.

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
        "temperature": 1.0,  # of the probabilities: see `save_temperature`
        "channels_last": any(isinstance(cb, ChannelsLast) for cb in learn.cbs),
    }


def save_model(folder, learn, o):
    """Write model.safetensors and model.json to a run's folder; see `describe_model`."""
    state = {k: v.detach().cpu().contiguous() for k, v in learn.model.state_dict().items()}
    with atomic_path(Path(folder) / WEIGHTS) as temp:
        temp.write_bytes(save(state))  # `save_file` says of a full disk what nobody can mend
    write_json(Path(folder) / DESCRIPTION, describe_model(learn, o))


def model_folders(run):
    """The folders of a run's models: its own, or those of its folds in their order."""
    folders = [Path(run)]
    if not (Path(run) / DESCRIPTION).exists():
        found = [file.parent for file in Path(run).glob(f"fold*/{DESCRIPTION}")]
        folders = sorted(found, key=lambda folder: (len(folder.name), folder.name)) or folders
    return folders


def save_temperature(run, temperature):
    """Note in a run's model.json files at which temperature their probabilities are calibrated."""
    for folder in model_folders(run):
        file = folder / DESCRIPTION
        description = json.loads(file.read_text(encoding="utf-8"))
        write_json(file, description | {"temperature": temperature})


def load_model(folder):
    """The network, with its weights, and the description of a folder.

    Nothing is allocated before the two files agree on every shape. Raises UserError for a folder
    without a model, with a damaged one or one of another format.
    """
    weights, file = Path(folder) / WEIGHTS, Path(folder) / DESCRIPTION
    for needed in (file, weights):
        if not needed.is_file():
            raise UserError(
                f"{needed}: there is no such file; give a finished run's folder, as runs/task1-..."
            )
    try:
        description = json.loads(file.read_text(encoding="utf-8"))
        if description["format"] != FORMAT:
            raise UserError(
                f"a model of format {description['format']}, which this version of pokefast does "
                "not read: train it again"
            )
        if missing := KEYS - set(description):
            raise KeyError(*sorted(missing))
        make_pipeline(description["pipeline"])
        architecture = description["architecture"]
        if architecture["arguments"]["n_out"] != len(description["vocab"]):
            raise ValueError("not as many classes as outputs")
        if not 0 < (temperature := description.get("temperature", 1.0)) < float("inf"):
            raise ValueError(f"a temperature of {temperature}")
        expected = _shapes(json.dumps(architecture))
    except UserError as e:
        raise UserError(f"{file}: {e}") from None
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RuntimeError) as e:
        reason = str(e).split("\n")[0]
        raise UserError(f"{file}: damaged ({type(e).__name__}: {reason})") from None
    try:
        with safe_open(weights, "pt") as f:  # its header alone
            found = {name: tuple(f.get_slice(name).get_shape()) for name in f.keys()}  # noqa: SIM118
        if found != expected:
            name = min(k for k in {*found, *expected} if found.get(k) != expected.get(k))
            raise SafetensorError(f"{name} is {found.get(name)}, not {expected.get(name)}")
        state = load_file(weights)
        if any(v.is_floating_point() and not v.isfinite().all() for v in state.values()):
            raise SafetensorError("it holds values that are no numbers")
        model = build(**architecture)
        model.load_state_dict(state)
    except (SafetensorError, RuntimeError, OSError) as e:
        reason = str(e).splitlines()[-1].strip()
        raise UserError(f"{weights}: damaged or of another model ({reason})") from None
    return model, description


@lru_cache(1)  # the models of folds are the same
def _shapes(architecture):
    """Shapes of the tensors, by name, of what `build` makes of a JSON text, in no memory."""
    with torch.device("meta"):
        model = build(**json.loads(architecture))
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
