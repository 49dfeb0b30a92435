"""What is done to an image before the model sees it, read from the loaders that trained the model
and made again from JSON.

Only transforms in `TRANSFORMS` can be described; nothing else is imported or called for a file.
"""

from enum import Enum
from importlib import import_module

import numpy as np
import torch
from fastai.data.core import Datasets
from fastai.data.transforms import Normalize

from pokefast.data.loader import MemoryDL
from pokefast.errors import UserError
from pokefast.images import Squish

__all__ = ["UnreadableError", "describe_pipeline", "make_loader", "make_pipeline"]
__all__ += ["picture_batches"]

# module, and the arguments, which each one keeps as attributes of the same names
TRANSFORMS = {
    "Crop": ("pokefast.crops.transforms", ("how", "pad", "square", "cutout", "size")),
    "ToGrey": ("pokefast.images", ()),
    "Resize": ("fastai.vision.augment", ("size", "method", "pad_mode", "resamples")),
    "ToTensor": ("fastai.data.transforms", ()),
    "IntToFloatTensor": ("fastai.data.transforms", ("div", "div_mask")),
    "Normalize": ("fastai.data.transforms", ("mean", "std")),
    "NormalizeInPlace": ("pokefast.data.augment", ("mean", "std")),
}
# a `Squish` under the name of fastai's equal, by which models of before it are known
SQUISH = {"name": "Resize", "method": "squish", "pad_mode": "reflection", "resamples": [2, 0]}
MANY = 5  # names in a message
MAX_SIDE = 4096  # pixels, of what a transform may make of an image
KEPT = 500  # images from which on they are kept decoded for the next call, where they are files
OPENERS = {
    "PILImage": "fastai.vision.core",
    "PILImageBW": "fastai.vision.core",
    "PILImageRGB": "pokefast.images",
    "PILImageRGBA": "pokefast.images",
}


class UnreadableError(UserError):
    """Some of the images cannot be read; `bad` is a dict of their names and why."""

    def __init__(self, bad):
        some = "; ".join(f"{name}: {reason}" for name, reason in list(bad.items())[:MANY])
        more = f"; and {len(bad) - MANY} more" if len(bad) > MANY else ""
        one = "1 picture" if len(bad) == 1 else f"{len(bad)} pictures"
        super().__init__(f"{one} could not be read: {some}{more}")
        self.bad = bad


def describe_pipeline(dl):
    """The class that opens images and the transforms of validation, as a dict that JSON can hold.

    `dl` is a `MemoryDL`; its transforms for training alone are left out. Raises UserError for a
    transform or class that is not known here.
    """
    opener = type(dl.dataset[0][0]).__name__
    if opener not in OPENERS:
        raise UserError(f"images opened as {opener}: models know {', '.join(OPENERS)}")
    return {
        "opener": opener,
        "item_tfms": [_describe(t) for t in dl.after_item.fs if t.split_idx in (None, 1)],
        "batch_tfms": [_describe(t) for t in dl.after_batch.fs if t.split_idx in (None, 1)],
    }


def make_pipeline(pipeline):
    """The opener, item transforms and batch transforms of `describe_pipeline`.

    Raises UserError for a description that cannot have come from there.
    """
    name = pipeline["opener"]
    if name not in OPENERS:
        raise UserError(f"unknown class of images {name!r}")
    opener = getattr(import_module(OPENERS[name]), name)
    return opener, *([_make(d) for d in pipeline[k]] for k in ("item_tfms", "batch_tfms"))


def make_loader(pipeline, items, bs=256, device=None):
    """A `MemoryDL` without labels over `items`, paths or PIL images, decoded, with these
    transforms. Raises UnreadableError for those that cannot be read.
    """
    opener, after_item, after_batch = make_pipeline(pipeline)
    dataset = Datasets(items, tfms=[[opener.create]], do_setup=False)  # which opens the first
    cache = len(items) >= KEPT
    dl = MemoryDL(
        dataset,
        bs=bs,
        after_item=after_item,
        after_batch=after_batch,
        device=device,
        cache=cache,
    )
    if errors := dl.unreadable():
        bad = {str(items[i]): text.removeprefix(f"{items[i]}: ") for i, text in errors.items()}
        raise UnreadableError(bad)
    return dl


def picture_batches(pipeline, images, bs=64):
    """What the model gets of `images`, before scaling, as arrays uint8 [n, h, w, c]."""
    if images:
        for (batch,) in make_loader(pipeline | {"batch_tfms": []}, images, bs, "cpu"):
            yield np.ascontiguousarray(batch.permute(0, 2, 3, 1).numpy())


def _describe(tfm):
    if isinstance(tfm, Squish):
        return SQUISH | {"size": [tfm.size] * 2}
    name = type(tfm).__name__
    if name not in TRANSFORMS:
        raise UserError(
            f"the transform {name} cannot be saved: models know {', '.join(TRANSFORMS)}"
        )
    values = {k: getattr(tfm, k) for k in TRANSFORMS[name][1]}
    return {"name": name, **{k: _plain(v) for k, v in values.items()}}


def _make(description):
    values = dict(description)
    name = values.pop("name", None)
    if name not in TRANSFORMS:
        raise UserError(f"unknown transform {name!r}")
    size = values.get("size")
    sides = size if isinstance(size, list) else [size or 1]
    for side in sides:
        if not (isinstance(side, int) and 1 <= side <= MAX_SIDE):
            raise UserError(f"transform {name} makes images of {side} pixels: 1 to {MAX_SIDE}")
    if description == SQUISH | {"size": sides[:1] * 2}:
        return Squish(sides[0])
    cls = getattr(import_module(TRANSFORMS[name][0]), name)
    try:
        if issubclass(cls, Normalize):
            return cls.from_stats(**values)
        return cls(**values)
    except (TypeError, ValueError, AttributeError) as e:
        raise UserError(f"transform {name} cannot be made with {values}: {e}") from None


def _plain(value):
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, torch.Tensor):
        return value.flatten().tolist()
    return [_plain(v) for v in value] if isinstance(value, (list, tuple)) else value
