"""Open and transform every image once, on all cores, into one array, which is kept for the next run
(pokefast/cache.py) where it is known what makes it.

Worker processes do it where there are enough images to pay for their start. Transforms with a
`prepare`, which finds something for many opened images at once (a `Crop`), run in threads instead:
what was found is in this process.
"""

import hashlib
import multiprocessing
import pickle
import tempfile
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from functools import cache, partial
from importlib import metadata
from pathlib import Path

import numpy as np
import torch
from fastcore.basics import chunked
from fastcore.foundation import L

from pokefast.cache import files_key, kept_images, new_images
from pokefast.cores import cores
from pokefast.errors import UserError
from pokefast.progress import progress

__all__ = ["decode"]

IN_MEMORY_BYTES = 4 << 30  # larger arrays that are not kept go to a memory-mapped temporary file
CHUNK = 32  # images that a worker process hands over at once
BATCH = 64  # images that are prepared at once
# images below which starting worker processes takes longer than it saves; a process that is not
# forked imports everything anew
MIN_FORKED, MIN_SPAWNED = 500, 5000
MAX_WORKERS = 16
SOURCES = ("crops/*.py", "crops/*.safetensors", "data/decoding.py", "images.py")  # what decodes
PACKAGES = ("fastai", "numpy", "pillow", "scipy", "torch")
OURS = ("fastai", "fasttransform", "pokefast")  # packages of the transforms that are known


def decode(source, tfms, shape, device, paths=None):
    """(images, errors) of what `source`, a sequence that opens its n items, gives after the
    Pipeline `tfms`: a uint8 array of `shape` [n, channels, h, w], and a dict of the numbers of
    images that cannot be read, whose rows mean nothing, and why.

    Where the files' `paths` are given, and all transforms are known, both are kept.
    """
    if paths is None or (recipe := _recipe([source.tfms.fs[-1], *tfms.fs], device)) is None:
        return _filled(_unkept(shape), {}, source, tfms, device)
    key = files_key(paths, recipe)
    if (found := kept_images(key, shape)) is not None:
        images, errors = found
        return images, {int(row): reason for row, reason in errors.items()}
    with new_images(key, shape) as (images, errors):
        images = _unkept(shape) if images is None else images
        return _filled(images, errors, source, tfms, device)


def _unkept(shape):
    if np.prod(shape) > IN_MEMORY_BYTES:
        # the file has no name and goes with the array
        return np.memmap(tempfile.TemporaryFile(), np.uint8, "w+", shape=shape)
    return np.empty(shape, np.uint8)


def _filled(images, errors, source, tfms, device):
    """`images` [n, c, h, w] and the dict `errors`, filled."""
    prepared = [tfm for tfm in tfms.fs if hasattr(tfm, "prepare")]
    if prepared:
        chunks, size = _by_threads(source, tfms, prepared, device), BATCH
    else:
        chunks, size = _by_processes(source, tfms), CHUNK
    n, what = -(-len(images) // size), f"{len(images):,} images decoded"
    for i, chunk in enumerate(progress(chunks, n, what)):
        for row, image in enumerate(chunk, i * size):
            if isinstance(image, str):
                errors[row] = image
            elif image.shape != images.shape[1:]:
                raise UserError(
                    f"images have the shapes {tuple(image.shape)} and {images.shape[1:]} "
                    "after item_tfms: add a Squish"
                )
            else:
                images[row] = image
    return images, errors


def _by_processes(source, tfms):
    """Lists of `CHUNK` images, arrays or the text of a UserError, read by worker processes where
    that pays.
    """
    chunks, forks = _Chunks(source, tfms), multiprocessing.get_start_method() == "fork"
    pays = len(source) >= (MIN_FORKED if forks else MIN_SPAWNED)
    return torch.utils.data.DataLoader(
        chunks,
        batch_size=None,
        num_workers=min(cores(), MAX_WORKERS) if pays and (forks or _can_travel(chunks)) else 0,
        collate_fn=list,  # torch's makes tensors, each handed over by an open file
        # of its own: the run's random numbers are the same whether images were kept or not
        generator=torch.Generator(),
    )


def _can_travel(chunks):
    """Whether a process that is not forked can be given `chunks`: a user's lambda cannot."""
    try:
        pickle.dumps(chunks)
    except (pickle.PicklingError, AttributeError, TypeError):
        return False
    return True


class _Chunks(torch.utils.data.Dataset):
    """The images of a source, `CHUNK` at a time."""

    def __init__(self, source, tfms):
        self.source, self.tfms = source, tfms

    def __len__(self):
        return -(-len(self.source) // CHUNK)

    def __getitem__(self, i):
        rows = range(i * CHUNK, min((i + 1) * CHUNK, len(self.source)))
        return [_transformed(_opened(self.source, row), self.tfms) for row in rows]


def _by_threads(source, tfms, prepared, device):
    """As `_by_processes`, `BATCH` images at a time, after what the transforms `prepared` find in
    all of them on `device`.
    """
    with ThreadPoolExecutor(cores()) as pool:
        for rows in chunked(range(len(source)), BATCH):
            images = list(pool.map(partial(_opened, source), rows))
            good = [image for image in images if not isinstance(image, str)]
            for tfm in prepared:
                tfm.prepare(good, device)
            yield list(pool.map(partial(_transformed, tfms=tfms), images))


def _opened(source, row):
    try:
        return source[row]
    except UserError as e:
        return str(e)


def _transformed(image, tfms):
    return image if isinstance(image, str) else tfms((image,))[0].numpy()


def _recipe(tfms, device):
    """A text that changes with a transform's class or arguments, the code that decodes and crops,
    the mask's weights, the kind of `device` where it counts, and the libraries; None where a
    transform is not of `OURS` or holds what cannot be named.
    """
    try:
        described = [_described(tfm) for tfm in tfms]
    except TypeError:
        return None
    counts = device is not None and any(hasattr(tfm, "prepare") for tfm in tfms)
    return f"{_code()} {device.type if counts else 'any'} {described}"


def _described(tfm):
    """A transform's class, or function, and what it holds; TypeError where that is not known."""
    function = vars(tfm).get("encodes")  # of a Transform around a function
    functions = [m.implementation for m in function.methods] if function else []
    owners = [type(tfm), *(getattr(f, "__self__", f) for f in functions)]  # of a class's method
    for owner in owners:
        if owner.__module__.split(".")[0] not in OURS:
            raise TypeError(f"{owner} is not known")
    names = [f"{thing.__module__}.{thing.__qualname__}" for thing in (*owners, *functions)]
    held = {k: v for k, v in vars(tfm).items() if k[:2] != "__" and k not in ("encodes", "decodes")}
    return names, {k: _plain(held[k]) for k in sorted(held)}


def _plain(value):
    if isinstance(value, (list, tuple, L)):
        return [_plain(v) for v in value]
    if isinstance(value, type):  # for which a transform is meant
        return f"{value.__module__}.{value.__qualname__}"
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, (str, int, float, type(None))):
        return value
    raise TypeError(f"{type(value)} cannot be named")


@cache
def _code():
    """A digest of the code that decodes, and the versions of what it calls."""
    digest, root = hashlib.sha256(), Path(__file__).parents[1]
    for file in sorted(f for glob in SOURCES for f in root.glob(glob)):
        digest.update(file.read_bytes())
    return digest.hexdigest() + str([metadata.version(name) for name in PACKAGES])
