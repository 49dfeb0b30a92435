"""Crops for pictures of one outlined icon on a photograph, as functions and fastai item transforms.

`threshold` is the published baseline: the box of all dark pixels, which a dark background spoils.
`outline` is the creature's own outline, whatever the background (`outline.py`). Boxes are
half-open pixel boxes `(x0, y0, x1, y1)`, as `PIL.Image.crop` takes them.
"""

import numpy as np
from fastai.vision.core import PILImage
from fasttransform import Transform, retain_type
from PIL import Image

from pokefast.crops.outline import mask_box, outline_box, outline_mask
from pokefast.errors import UserError

__all__ = [
    "CROPS",
    "OutlineCrop",
    "ThresholdCrop",
    "crop_transform",
    "cut_out",
    "outline_box",
    "outline_mask",
    "pad_box",
    "threshold_box",
]

CROPS = ("outline", "threshold", "none")

GREY = {"L": 128, "LA": (128, 0), "RGB": (128,) * 3, "RGBA": (128, 128, 128, 0)}


def threshold_box(
    image: Image.Image,  # of any mode
    level: int = 10,  # luminance (0 to 255) below which a pixel is dark
):
    "Box of all pixels with luminance below `level`, the published baseline; None without any."
    dark = np.asarray(image.convert("L")) < level
    return mask_box(dark) if dark.any() else None


def pad_box(
    box,  # (x0, y0, x1, y1), half-open
    pad: float,  # share of the box's width and height added on each side
    size,  # (width, height) of the picture, which the result stays in
):
    "The box with a margin, in whole pixels."
    x0, y0, x1, y1 = box
    dx, dy = round(pad * (x1 - x0)), round(pad * (y1 - y0))
    return max(0, x0 - dx), max(0, y0 - dy), min(size[0], x1 + dx), min(size[1], y1 + dy)


def cut_out(
    image: Image.Image,  # modes other than L, LA, RGB and RGBA come back as RGB
    mask,  # bool HxW
):
    "The image with the pixels outside `mask` mid grey, and transparent where the mode has alpha."
    kept = image if image.mode in GREY else image.convert("RGB")
    return Image.composite(
        kept, Image.new(kept.mode, kept.size, GREY[kept.mode]), Image.fromarray(mask)
    )


def _checked_pad(pad):
    if not 0 <= pad < 10:
        raise UserError(
            f"the crop's pad is {pad}: give a share of the box's size, 0.05 for 5% on each side"
        )
    return pad


class ThresholdCrop(Transform):
    "Crop to all dark pixels, the published baseline. With none found, the whole picture."

    order = 0  # before Resize, which is 1

    def __init__(
        self,
        pad: float = 0.05,  # share of the box's width and height added on each side
        level: int = 10,  # luminance (0 to 255) below which a pixel is dark
    ):
        super().__init__()
        self.pad, self.level = _checked_pad(pad), level

    def encodes(self, x: PILImage):
        box = threshold_box(x, self.level)
        return x if box is None else retain_type(x.crop(pad_box(box, self.pad, x.size)), x)


class OutlineCrop(Transform):
    "Crop to the creature's own outline. With none found, the whole picture."

    order = 0  # before Resize, which is 1

    def __init__(
        self,
        pad: float = 0.0,  # share of the box's width and height added on each side
        cutout: bool = False,  # blank what is outside the outline: grey, and transparent in RGBA
    ):
        super().__init__()
        self.pad, self.cutout = _checked_pad(pad), cutout

    def encodes(self, x: PILImage):
        mask = outline_mask(x)
        if mask is None:
            return x
        box = pad_box(mask_box(mask), self.pad, x.size)
        return retain_type((cut_out(x, mask) if self.cutout else x).crop(box), x)


def crop_transform(
    name: str,  # one of CROPS
    **options,  # the transform's own: pad, level or cutout
):
    "The item transform called `name`, or None for 'none'."
    if name not in CROPS:
        raise UserError(f"unknown crop {name!r}: choose one of {', '.join(CROPS)}")
    if name == "none":
        return None
    return {"outline": OutlineCrop, "threshold": ThresholdCrop}[name](**options)
