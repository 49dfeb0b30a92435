"""Images as fastai opens them: three or four channels of 8 bits, whatever the file holds."""

import ctypes
import io
import logging
import re
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from pathlib import Path

import numpy as np
from fastai.vision.core import PILBase, PILImage, PILImageBW
from fasttransform import Transform
from PIL import ExifTags, Image, UnidentifiedImageError
from torch import Tensor

from pokefast.cores import cores
from pokefast.errors import UserError
from pokefast.progress import progress

__all__ = [
    "FORMATS",
    "IMAGE_SUFFIXES",
    "MATTE",
    "MAX_PIXELS",
    "PILImageRGB",
    "PILImageRGBA",
    "ToGrey",
    "image_error",
    "image_errors",
    "image_facts",
    "open_image",
    "without_metadata",
]

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif")
IMAGE_SUFFIXES += (".jfif", ".jpe", ".mpo", ".apng", ".avifs", ".dib", ".ico", ".tga", ".pcx")
IMAGE_SUFFIXES += (".jp2", ".j2k", ".jpc", ".jpf", ".jpx", ".j2c", ".pbm", ".pgm", ".ppm", ".pnm")
IMAGE_SUFFIXES += (".pfm", ".qoi", ".sgi", ".dds")
# by content, whatever the suffix; no other decoder of Pillow sees a file: EPS starts a program
FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "GIF", "BMP", "TIFF", "JPEG2000", "PPM", "DIB", "ICO")
FORMATS += ("PCX", "QOI", "SGI", "DDS")
BY_SUFFIX = {".tga": "TGA"}  # whose files begin with nothing that tells
DRAFT = 1024  # pixels: a JPEG with more than twice as many on either side is decoded smaller
MAX_PIXELS = 1 << 26  # phones take 50 million; while one is read, a pixel takes 9 bytes at most
MATTE = (128, 128, 128)  # shows through transparent pixels: mid grey is 0 after mean-0.5 scaling
SILENT = logging.NullHandler()  # instead of the terminal; handlers that somebody set up stay
TURNS = {  # what undoes each orientation of EXIF
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# where an AVIF says that an item is EXIF or XMP; how it is turned, boxes of their own say
AVIF_METADATA = re.compile(rb"(infe\x02.{7})(Exif|mime)", re.DOTALL)
# PNG's values of few bits, which Pillow scales to 8 without their transparent one: bits, factor
FEW_BITS = {"1": (1, 255), "L;2": (2, 85), "L;4": (4, 17), "L": (8, 1)}


def open_image(file, mode="RGB"):
    """Read an image, a path, a file's bytes or a PIL image, as `mode` "RGB" or "RGBA", 8 bits a
    channel.

    16-bit grey is scaled (Pillow's own convert clips it at 255), a transparent colour or palette
    entry is kept, alpha is composited on `MATTE` for "RGB" (Pillow's convert drops it), a camera's
    orientation is applied; other metadata is ignored, broken or not. A large photograph is decoded
    at a fraction of its size, see `DRAFT`. Raises UserError that names the file for what is none of
    `FORMATS`, damaged or larger than `MAX_PIXELS`.
    """
    try:
        return _read(file, partial(_convert, mode=mode))
    except Exception as e:  # Pillow's decoders raise whatever damaged bytes lead them to
        name = file if isinstance(file, (str, Path)) else getattr(file, "filename", "") or "picture"
        raise UserError(f"{name}: {_reason(e, file)}") from e


def image_error(file):
    """Why `open_image` refuses `file`, in a few words, or None where it does not."""
    try:
        _read(file, partial(_convert, mode="RGBA"))
    except Exception as e:  # as above
        return _reason(e, file)
    return None


def image_errors(files):
    """A dict of those of `files` that cannot be read, with the reasons; threads read them."""
    files = list(files)
    with ThreadPoolExecutor(cores()) as pool:  # Pillow decodes outside the interpreter's lock
        found = progress(pool.map(image_error, files), len(files), "images checked")
        return {f: e for f, e in zip(files, found, strict=True) if e}


def image_facts(file):
    """(format, Pillow's mode, width, height) of an image file that `open_image` reads, by its
    header: as it is stored, before it is turned.
    """
    return _read(file, lambda image: (image.format, image.mode, *image.size))


def _read(file, use):
    """What the function `use` makes of the image in `file`, opened and not yet decoded."""
    # what Pillow says of a file is an error here or of no account; a second call adds nothing
    warnings.filterwarnings("ignore", module=r"PIL\.")
    logging.getLogger("PIL").addHandler(SILENT)
    if isinstance(file, Image.Image):
        return use(file)
    with io.BytesIO(file) if isinstance(file, bytes) else open(file, "rb") as stream:
        try:
            more = None if isinstance(file, bytes) else BY_SUFFIX.get(Path(file).suffix.lower())
            return use(Image.open(stream, formats=(more, *FORMATS) if more else FORMATS))
        except Image.DecompressionBombError:
            raise
        except Exception:  # perhaps of broken metadata, which no viewer minds
            stream.seek(0)
            bare = without_metadata(stream)
            if bare is None:
                raise
    return use(Image.open(io.BytesIO(bare), formats=FORMATS))


def without_metadata(stream):
    """The bytes of a PNG, JPEG or AVIF file without what says nothing of its pixels; None for
    others.
    """
    start = stream.read(8)
    if start == b"\x89PNG\r\n\x1a\n":
        return start + b"".join(_png_chunks(stream.read()))
    if start.startswith(b"\xff\xd8\xff"):
        return start[:2] + b"".join(_jpeg_segments(start[2:] + stream.read()))
    if start[4:] == b"ftyp":
        return AVIF_METADATA.sub(rb"\1none", start + stream.read())
    return None


def _png_chunks(data):
    """The chunks that a PNG cannot do without, and whole ones of transparency and EXIF."""
    at, fitting = 0, ()  # lengths that tRNS may have
    while at < len(data):
        size, kind = int.from_bytes(data[at : at + 4]), data[at + 4 : at + 8]
        chunk = data[at : at + 12 + size]
        whole = zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:])
        if kind == b"IHDR":
            fitting = {0: (2,), 2: (6,)}.get(chunk[17], ())
        elif kind == b"PLTE" and not fitting:
            fitting = range(size // 3 + 1)
        fits = (kind == b"tRNS" and size in fitting) or (kind == b"eXIf" and size)
        if kind[:1].isupper() or (whole and fits):
            yield chunk
        at += 12 + size


def _jpeg_segments(data):
    """The segments of a JPEG but comments and those of applications; EXIF, JFIF and Adobe's are
    kept where they are whole.
    """
    at, kept = 0, {b"\xff\xe0JFIF": 16, b"\xff\xe1Exif": 16, b"\xff\xeeAdob": 14}
    while (marker := data[at : at + 2])[:1] == b"\xff" and marker != b"\xff\xda":  # pixels
        size = int.from_bytes(data[at + 2 : at + 4])
        segment = data[at : at + 2 + size]
        metadata = b"\xff\xe0" <= marker <= b"\xff\xef" or marker == b"\xff\xfe"
        if not metadata or size >= kept.get(marker + segment[4:8], size + 1):
            yield segment
        at += 2 + size
    yield data[at:]


def _convert(image, mode):
    """`image`, which may not have been decoded yet, in `mode`; see `open_image`."""
    if image.width * image.height > MAX_PIXELS:
        raise Image.DecompressionBombError
    raw = image.tile[0].args if image.format == "PNG" and image.tile else None
    turn = None
    if image.format == "TIFF":
        _silence_libtiff()
        turn = _turn(image)  # taken away, as Pillow would apply it
    if image.format in ("JPEG", "MPO"):
        image.draft(None, (DRAFT, DRAFT))  # a half, a quarter or an eighth, no side below this
    image.load()
    if image.format not in (None, "TIFF"):
        turn = _turn(image)
    if turn is not None:
        image = image.transpose(turn)
    if "transparency" in image.info:
        image = _with_alpha(image, raw)
    elif image.has_transparency_data:  # some of these modes can only be made RGBA by way of LA
        image = image.convert("LA" if image.mode == "La" else "RGBA")
    if image.mode.startswith("I"):
        # modes I;16, I;16B and, for TIFF and PPM, I: 0..65535
        image = Image.fromarray(_high_byte(np.asarray(image)))
    elif image.mode == "F":  # by convention 0..1, or what 8 bits hold
        values = np.nan_to_num(np.asarray(image))
        scale = 255 if values.max() <= 1 else 1
        image = Image.fromarray((values * scale).round().clip(0, 255).astype(np.uint8))
    if mode == "RGB" and image.mode in ("RGBA", "LA"):
        rgba = image if image.mode == "RGBA" else image.convert("RGBA")
        image = Image.new("RGB", rgba.size, MATTE)
        image.paste(rgba, mask=rgba.getchannel("A"))  # takes less memory than alpha_composite
        return image
    return image.convert(mode)


@cache
def _silence_libtiff():
    """libtiff writes to the terminal what it then returns as an error, which Pillow raises."""
    set_handler = getattr(ctypes.CDLL(Image.core.__file__), "TIFFSetErrorHandler", None)
    if set_handler is not None:  # a Pillow that was built with libtiff
        set_handler.argtypes, set_handler.restype = [ctypes.c_void_p], ctypes.c_void_p
        set_handler(None)


def _turn(image):
    """How to turn `image` as its camera was held, or None; its EXIF block has it no longer.

    Pillow's `exif_transpose` does the same but writes the EXIF block anew, which a broken tag of
    any other meaning makes impossible.
    """
    try:
        return TURNS.get(image.getexif().pop(ExifTags.Base.Orientation, 1))
    except Exception:  # an EXIF block that cannot be parsed says nothing, as in every viewer
        return None


def _with_alpha(image, raw):
    """`image`, which has a transparent colour, as RGBA or LA; `raw` is how a PNG keeps its pixels.

    PNG gives the transparent colour in the file's own bits, with which Pillow compares 8-bit ones.
    """
    colour = image.info["transparency"]
    if image.mode == "I;16" and isinstance(colour, int):
        values = np.asarray(image)
        alpha = np.where(values == colour, 0, 255).astype(np.uint8)
        return Image.merge("LA", [Image.fromarray(v) for v in (_high_byte(values), alpha)])
    image = image.convert("L") if image.mode == "1" else image.copy()
    if raw in FEW_BITS and isinstance(colour, int):
        bits, factor = FEW_BITS[raw]
        image.info["transparency"] = colour % (1 << bits) * factor
    elif raw == "RGB;16B":
        image.info["transparency"] = tuple(v >> 8 for v in colour)
    elif image.mode == "RGB" and isinstance(colour, tuple):
        image.info["transparency"] = tuple(v % 256 for v in colour)
    return image.convert("RGBA")


def _high_byte(values):
    return (values.astype(np.int64).clip(0, 65535) >> 8).astype(np.uint8)


def _reason(e, file):
    """A few words on one line for an exception of `_read`."""
    if isinstance(e, Image.DecompressionBombError):
        return f"more than {MAX_PIXELS:,} pixels: make it smaller"
    if isinstance(e, UnidentifiedImageError):
        if (len(file) if isinstance(file, bytes) else Path(file).stat().st_size) == 0:
            return "an empty file: copy it anew"
        return "not a picture, damaged at its start or of another format: save it as PNG"
    if isinstance(e, OSError) and e.filename:  # it cannot be opened; damaged bytes name no file
        return e.strerror
    words = " ".join(str(e).split())[:200] or type(e).__name__
    return f"damaged ({words}): copy it anew, or save it as PNG"


class PILImageRGB(PILImage):
    """Three channels; transparency composited on mid grey, where PILImage drops it unasked."""

    _open_args = {"mode": "RGB"}

    @classmethod
    def create(cls, fn: Path | str | Tensor | np.ndarray | bytes | Image.Image):
        """Open a path or bytes, or take a PIL image, array or tensor, in this class's mode.

        What may be given to `learn.predict`, fastai reads from the annotation.
        """
        if isinstance(fn, (str, Path, bytes, Image.Image)):
            return cls(open_image(fn, cls._open_args["mode"]))
        return cls(open_image(super().create(fn, mode=None), cls._open_args["mode"]))


class PILImageRGBA(PILImageRGB):
    """Four channels, alpha last; opaque where the file has none."""

    _open_args = {"mode": "RGBA"}


class ToGrey(Transform):
    """Item transform to one channel, luma of Rec. 601; after a crop, which looks at colours."""

    order = 0.5  # crops have 0, Squish 1

    def encodes(self, x: PILBase):
        """fastai's entry: one channel, mode L."""
        return PILImageBW(x.convert("L"))


class Squish(Transform):
    """Item transform to a square of `size` pixels, whatever the shape was: fastai's `Resize(size,
    ResizeMethod.Squish)`, whose module imports torchvision and with it torch's compiler.
    """

    order = 1

    def __init__(self, size):
        super().__init__()
        self.size = size

    def encodes(self, x: PILBase):
        """fastai's entry: one image, resampled bilinearly."""
        return x.resize((self.size, self.size), Image.Resampling.BILINEAR)
