"""One crop to what an image shows, as a function and as a fastai item transform.

`find_mask` finds it in one of three ways: by its "outline" (outline.py), as "foreground"
(foreground.py), or by a "threshold", the published baseline, which takes all dark pixels and which
a dark background spoils. Boxes are half-open, (x0, y0, x1, y1), as `PIL.Image.crop` takes them.
"""

import numpy as np
from fastai.vision.core import PILBase
from fasttransform import Transform, retain_type
from PIL import Image, ImageChops

from pokefast.crops.foreground import foreground_batches, foreground_mask, opacity
from pokefast.crops.outline import outline_mask
from pokefast.errors import UserError

__all__ = ["CROPS", "Crop", "crop_transform", "cut_out", "find_mask", "mask_box"]

CROPS = ("outline", "threshold", "foreground", "none")
DARK = 10  # luminance of 255 below which the baseline takes a pixel for an outline's
GREY = {"L": 128, "LA": (128, 0), "RGB": (128,) * 3, "RGBA": (128, 128, 128, 0)}  # of a cut-out


def find_mask(image, how):
    """Where the thing is that `image` (PIL, any mode) shows; None where nothing was found.

    The mask says how likely each pixel belongs to it, and is 0 around it: bool [h, w] of the
    image's size for `how` "outline" and "threshold"; for "foreground" float32 [160, 160], of the
    image squeezed to a square.
    """
    if how == "outline":
        return outline_mask(image)
    if how == "foreground":
        return foreground_mask(image)
    if how != "threshold":
        raise UserError(f"unknown crop {how!r}: choose one of {', '.join(CROPS)}")
    dark = np.asarray(image.convert("L")) < DARK
    return dark if dark.any() else None


def mask_box(mask, size=None):
    """The box around the pixels above 0 of `mask` [h, w], which has some, in pixels of an image of
    `size` (width, height) that the mask spans; by default its own.
    """
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    box = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
    scale = np.divide(size or mask.shape[::-1], mask.shape[::-1])
    return tuple((box * np.tile(scale, 2)).tolist())


def pad_box(box, pad, size):
    """`box` in whole pixels with the fraction `pad` of its width and height added on each side, in
    an image of `size` (width, height).
    """
    x0, y0, x1, y1 = *np.floor(box[:2]).astype(int), *np.ceil(box[2:]).astype(int)
    dx, dy = round(pad * (x1 - x0)), round(pad * (y1 - y0))
    return max(0, x0 - dx), max(0, y0 - dy), min(size[0], x1 + dx), min(size[1], y1 + dy)


def square_box(box, pad, size):
    """The square around `box` with the fraction `pad` of its longer side added on each side, moved
    into an image of `size` (width, height), and cut where that is smaller.
    """
    side = round(max(box[2] - box[0], box[3] - box[1]) * (1 + 2 * pad))
    sides = []
    for low, high, n in ((box[0], box[2], size[0]), (box[1], box[3], size[1])):
        s = min(side, n)
        start = min(max(0, round((low + high - s) / 2)), n - s)
        sides.append((start, start + s))
    (x0, x1), (y0, y1) = sides
    return x0, y0, x1, y1


def cut_out(image, alpha):
    """`image` with what `alpha` ("L", 255 where all is kept) leaves out mid grey, and transparent
    where the mode has alpha. Modes other than L, LA, RGB and RGBA come back as RGB.
    """
    image = image if image.mode in GREY else image.convert("RGB")
    grey = Image.new(image.mode, image.size, GREY[image.mode])
    if image.mode[-1] != "A":
        return Image.composite(image, grey, alpha)
    # half transparent pixels keep their colour: alpha says it already
    out = Image.composite(image, grey, alpha.point(lambda a: 255 * (a > 0)))
    out.putalpha(ImageChops.multiply(alpha, image.getchannel("A")))
    return out


class Crop(Transform):
    """Item transform: crop to what `find_mask` finds `how`; the whole image where it finds nothing.

    `pad` is a margin on each side, a fraction of the box's side. `square` takes the square around
    the box; `cutout` blanks what is around the thing, see `cut_out`; `size` resizes to a square of
    so many pixels, colour bicubic and cut-out bilinear. Class and mode of the image stay.
    """

    order = 0  # before Squish, which is 1

    def __init__(self, how, pad=0.0, square=False, cutout=False, size=None):
        super().__init__()
        if how not in CROPS[:-1]:
            raise UserError(f"unknown crop {how!r}: choose one of {', '.join(CROPS[:-1])}")
        if not 0 <= pad < 10:
            raise UserError(f"the crop's pad is {pad}: give a fraction of the box, 0.05 for 5%")
        self.how, self.pad, self.square, self.cutout, self.size = how, pad, square, cutout, size

    def prepare(self, images, device):
        """Find in batches on `device` what `encodes` would find for one image after the other.

        `images` is a sequence that opens its items; what was found is kept (foreground.py).
        """
        if self.how == "foreground":
            for _ in foreground_batches(images, device):
                pass

    def encodes(self, x: PILBase):
        """fastai's entry: the crop of one image."""
        mask = find_mask(x, self.how)
        box = (0, 0, *x.size)
        if mask is not None:
            around = square_box if self.square else pad_box
            box = around(mask_box(mask, x.size), self.pad, x.size)
        out = self._resized(x.crop(box), Image.Resampling.BICUBIC)
        if self.cutout and mask is not None:
            soft = Image.fromarray(mask.astype(np.float32))
            soft = soft.resize(x.size, Image.Resampling.BILINEAR).crop(box)
            soft = opacity(np.asarray(self._resized(soft, Image.Resampling.BILINEAR)))
            out = cut_out(out, Image.fromarray((soft * 255).round().astype(np.uint8)))
        return retain_type(out, x)

    def _resized(self, image, method):
        return image if self.size is None else image.resize((self.size, self.size), method)


def crop_transform(name, size=None):
    """The `Crop` called `name`, one of `CROPS` or "cutout", which is the foreground on nothing,
    `size` pixels wide and high; None for "none".
    """
    if name == "none":
        return None
    foreground = dict(pad=0.05, square=True)
    if name == "cutout":
        return Crop("foreground", **foreground, cutout=True, size=size)
    options = {"threshold": dict(pad=0.05), "foreground": foreground}
    return Crop(name, **options.get(name, {}))
