"""A trained model as one ONNX file, which runs without torch: pictures in, probabilities out.

The graph takes pictures as Pillow gives them, uint8 [n, height, width, channels] of any n, already
cropped and resized; scaling, normalisation, mirror images, the mean over folds and the temperature
are in it. The file's metadata, JSON under `KEY`, says the rest: `vocab`, `mode` (of Pillow), `size`
(width, height), `crop` (null where the whole picture is resized), `mean`, `std`, `folds`,
`temperature`, `pipeline`.
"""

import json
from importlib import import_module
from pathlib import Path

import numpy as np
import torch
from torch import nn

from pokefast.errors import UserError
from pokefast.files import atomic_path, command
from pokefast.prediction.pipeline import picture_batches
from pokefast.prediction.predictor import Ensemble, load_predictor

__all__ = ["INPUT", "KEY", "OnnxPredictor", "check_export", "export_onnx", "open_predictor"]

KEY, INPUT, OUTPUT = "pokefast", "pictures", "probabilities"
FORMAT = 1  # of the metadata
OPSET = 20
MODES = {1: "L", 3: "RGB", 4: "RGBA"}
CLOSE, TIE = 1e-3, 2e-3  # how far probabilities may be off; a smaller lead is no class
LEAST = 1e-30  # of a probability whose logarithm is taken, in float32


class PicturesToProbabilities(nn.Module):
    """The graph: uint8 pictures [n, h, w, c] to probabilities [n, classes], the mean of `models`
    and, with `tta`, of mirror images, at this `temperature`.

    A first part that all models share, as a frozen backbone under the heads of folds, is run once.
    """

    def __init__(self, models, pipeline, tta, temperature):
        super().__init__()
        self.tta, self.temperature = tta, temperature
        self.register_buffer("mean", torch.zeros(1))
        self.register_buffer("std", torch.ones(1))
        self.div = 1.0
        for tfm in pipeline["batch_tfms"]:
            if tfm["name"] == "IntToFloatTensor":
                self.div = float(tfm["div"])
            elif tfm["name"] in ("Normalize", "NormalizeInPlace"):
                self.mean, self.std = (torch.tensor(tfm[k]).view(-1, 1, 1) for k in ("mean", "std"))
            else:
                raise UserError(f"the transform {tfm['name']} has no place in an ONNX file")
        shared = len(models) > 1 and all(_same(model[0], models[0][0]) for model in models)
        self.first = models[0][0] if shared else nn.Identity()
        self.models = nn.ModuleList([model[1:] if shared else model for model in models])

    def forward(self, pictures):
        """Calibrated probabilities."""
        x = (pictures.permute(0, 3, 1, 2).float() / self.div - self.mean) / self.std
        mirrored = [x, x.flip(-1)] if self.tta else [x]
        firsts = map(self.first, mirrored)
        rows = [model(first).softmax(1) for first in firsts for model in self.models]
        logs = (sum(rows) / len(rows)).clamp_min(LEAST).log()
        return (logs / self.temperature).softmax(1)


def export_onnx(predictor, file, pictures):
    """Write the `Predictor` as an ONNX file, after its probabilities for `pictures`, files or PIL
    images, were found to be the `Predictor`'s; returns (largest difference, near ties).

    Raises UserError where they differ, and without the extra `export`.
    """
    _needed("onnx"), _needed("onnxscript"), _needed("onnxruntime")
    description = predictor.description
    models = [model.to("cpu", torch.float32) for model in predictor.models]
    how = description["tta"], description.get("temperature", 1.0)
    graph = PicturesToProbabilities(models, predictor.pipeline, *how).eval()
    some = picture_batches(predictor.pipeline, pictures[:2])
    example = np.concatenate(list(some))
    batch = torch.export.Dim("n", min=1)
    exported = torch.onnx.export(
        graph,
        (torch.from_numpy(np.repeat(example, 2, 0)),),
        dynamo=True,
        input_names=[INPUT],
        output_names=[OUTPUT],
        dynamic_shapes={"pictures": {0: batch}},
        opset_version=OPSET,
        verbose=False,
    )
    exported.model.metadata_props[KEY] = json.dumps(_metadata(predictor, example.shape[1:]))
    with atomic_path(file) as temp:
        exported.save(temp)
        return check_export(OnnxPredictor(temp), predictor, pictures)


def check_export(there, predictor, pictures):
    """(largest difference of a probability, number of near ties) between two predictors.

    Raises UserError for a difference above `CLOSE`, and for another class where the two likeliest
    are more than `TIE` apart.
    """
    here, found = (p.probabilities(pictures) for p in (predictor, there))
    apart = (here - found).abs().max().item()
    first, second = here.topk(2, 1).values.T
    tied = first - second <= TIE
    wrong = ((here.argmax(1) != found.argmax(1)) & ~tied).sum().item()
    if apart > CLOSE or wrong or not np.isfinite(apart):
        raise UserError(
            f"the ONNX file is not written: it gives {wrong} of {len(pictures)} pictures another "
            f"class, its probabilities are up to {apart:.1g} off"
        )
    return apart, int(tied.sum())


class OnnxPredictor(Ensemble):
    """The model in an ONNX file of `export_onnx`: called with images as a `Predictor` is.

    Raises UserError for another or a damaged file, and without the extra `export`.
    """

    def __init__(self, file):
        runtime = _needed("onnxruntime")
        options = runtime.SessionOptions()
        options.log_severity_level = 3  # errors
        try:
            self.session = runtime.InferenceSession(
                str(file), options, providers=runtime.get_available_providers()
            )
            self.about = json.loads(self.session.get_modelmeta().custom_metadata_map[KEY])
        except KeyError:
            raise UserError(
                f"{file}: no model of pokefast; {command('export')} writes one"
            ) from None
        except Exception as e:  # onnxruntime's own classes, of what damaged bytes lead it to
            reason = " ".join(str(e).split())[:200]
            raise UserError(f"{file}: it cannot be read as an ONNX file ({reason})") from None
        if self.about.get("format") != FORMAT:
            raise UserError(
                f"{file}: format {self.about.get('format')}; this version reads {FORMAT}"
            )
        super().__init__(self.about["vocab"], self.about["pipeline"])

    def pictures(self, images):
        """What the graph takes of a list of images, cropped and resized: uint8 [n, h, w, c]."""
        return np.concatenate(list(picture_batches(self.pipeline, images)))

    def probabilities(self, images):
        """Probabilities [n, classes] in the order of `vocab`, for a list of images."""
        batches = picture_batches(self.pipeline, images)
        rows = [self.session.run(None, {INPUT: batch})[0] for batch in batches]
        return torch.from_numpy(np.concatenate(rows)) if rows else torch.empty(0, len(self.vocab))


def open_predictor(model):
    """The predictor of `model`, a run's folder or an ONNX file."""
    return OnnxPredictor(model) if Path(model).suffix == ".onnx" else load_predictor(model)


def _metadata(predictor, shape):
    """What the file says of itself; `shape` is that of a picture, [height, width, channels]."""
    tfms = {tfm["name"]: tfm for k in ("item_tfms", "batch_tfms") for tfm in predictor.pipeline[k]}
    norm = tfms.get("NormalizeInPlace") or tfms.get("Normalize") or {"mean": [0.0], "std": [1.0]}
    return {
        "format": FORMAT,
        "vocab": predictor.vocab,
        "mode": MODES[shape[2]],
        "size": [shape[1], shape[0]],
        "crop": tfms.get("Crop"),
        "mean": norm["mean"],
        "std": norm["std"],
        "tta": predictor.description["tta"],
        "folds": len(predictor.models),
        "temperature": predictor.description.get("temperature", 1.0),
        "pipeline": predictor.pipeline,
    }


def _same(a, b):
    """Whether two modules have the same weights and buffers."""
    a, b = a.state_dict(), b.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def _needed(package):
    try:
        return import_module(package)
    except ImportError:
        raise UserError(
            f"{package} is not installed: pip install 'pokefast[export]', or, in a checkout, "
            "pip install -e '.[export]'"
        ) from None
