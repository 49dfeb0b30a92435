"""Images as fastai opens them: three or four channels of 8 bits, whatever the file holds."""

from pathlib import Path

import numpy as np
from fastai.vision.core import PILBase, PILImage, PILImageBW
from fasttransform import Transform
from PIL import Image, ImageOps, UnidentifiedImageError

__all__ = [
    "IMAGE_SUFFIXES",
    "MATTE",
    "PILImageRGB",
    "PILImageRGBA",
    "ToGrey",
    "UNREADABLE",
    "image_error",
    "open_image",
]

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
MATTE = (128, 128, 128)  # shows through transparent pixels: mid grey is 0 after mean-0.5 scaling
# what Pillow raises for damaged files, SyntaxError for broken PNG chunks among them
UNREADABLE = (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError)


def open_image(file, mode="RGB"):
    """Read an image as `mode` "RGB" or "RGBA", 8 bits a channel.

    16-bit grey is scaled (Pillow's own convert clips it at 255), palettes and grey with
    transparency keep it, alpha is composited on `MATTE` for "RGB" (Pillow's convert drops it), a
    JPEG's orientation is applied. Raises one of `UNREADABLE` for what cannot be read.
    """
    image = file if isinstance(file, Image.Image) else Image.open(file)
    image.load()
    if image.format == "JPEG":
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):
        # modes I;16, I;16B and, for older Pillow's 16-bit PNGs, I: 0..65535
        values = np.asarray(image).astype(np.int64)
        image = Image.fromarray((values.clip(0, 65535) >> 8).astype(np.uint8))
    if image.mode in ("LA", "La", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
    if mode == "RGB" and image.mode in ("RGBA", "RGBa"):
        rgba = image.convert("RGBA")
        image = Image.new("RGBA", rgba.size, (*MATTE, 255))
        image.alpha_composite(rgba)
    return image.convert(mode)


def image_error(file):
    """Why `file` cannot be read to its last pixel, or None where it can."""
    try:
        open_image(file, "RGBA")
    except UnidentifiedImageError:
        return "not a picture"
    except UNREADABLE as e:
        return str(e) or type(e).__name__
    return None


class PILImageRGB(PILImage):
    """Three channels; transparency composited on mid grey, where PILImage drops it unasked."""

    _open_args = {"mode": "RGB"}

    @classmethod
    def create(cls, fn):
        """Open a path, or take a PIL image, array or tensor, in this class's mode."""
        if isinstance(fn, (str, Path, Image.Image)):
            return cls(open_image(fn, cls._open_args["mode"]))
        return cls(open_image(super().create(fn, mode=None), cls._open_args["mode"]))


class PILImageRGBA(PILImageRGB):
    """Four channels, alpha last; opaque where the file has none."""

    _open_args = {"mode": "RGBA"}


class ToGrey(Transform):
    """Item transform to one channel, luma of Rec. 601; after a crop, which looks at colours."""

    order = 0.5  # crops have 0, Resize 1

    def encodes(self, x: PILBase):
        return PILImageBW(x.convert("L"))
