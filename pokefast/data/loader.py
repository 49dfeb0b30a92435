"""A fastai loader that decodes every image once; its batches are indices into one array."""

import sys
import tempfile

import numpy as np
import torch
from fastai.data.core import TfmdDL
from fastai.torch_core import to_detach
from fastai.vision.augment import RandTransform, Resize
from fastcore.basics import chunked

from pokefast.cores import cores
from pokefast.errors import UserError

__all__ = ["MemoryDL"]

IN_MEMORY_BYTES = 4 << 30  # larger sets of decoded images go to a memory-mapped temporary file
CHUNK = 32  # images that a worker process hands over at once
MIN_FOR_WORKERS = 500  # images: below, starting worker processes takes longer than it saves
MAX_WORKERS = 16
ON_DEVICE_SHARE = 0.25  # of the accelerator's free memory that decoded images may take


class MemoryDL(TfmdDL):
    """A `TfmdDL` for `DataBlock.dataloaders(dl_type=MemoryDL)`, for item transforms that are not
    random.

    Items are read and transformed once, by worker processes, into a uint8 array [n, channels,
    height, width]; a batch is an index into it (12 against 280 microseconds a 64-pixel image).
    Training augmentation belongs in `batch_tfms`. `weights`, one for each item, makes a shuffled
    loader draw by them with replacement. Loaders of different parts can `share` one array. With
    `share_of = (rank, n)` batches hold every n-th image from the rank-th on; where they do not come
    out even, the first ones again.
    """

    def __init__(
        self, dataset, bs=64, num_workers=0, weights=None, arrays=None, rows=None, **kwargs
    ):
        # batches are indexed in this process: workers would only copy the array
        super().__init__(dataset, bs=bs, num_workers=0, **kwargs)
        self.weights = weights
        self._arrays = {} if arrays is None else arrays  # shared by all loaders of one dataset
        self._rows = rows  # of the arrays, [n], where they hold more than this dataset
        self.share_of = None

    def new(self, dataset=None, cls=None, **kwargs):
        """As `TfmdDL.new`, which would lose the constructor's own arguments."""
        if dataset is None or dataset is self.dataset:
            own = {"arrays": self._arrays, "rows": self._rows, "weights": self.weights}
            kwargs = own | kwargs
        return super().new(dataset, cls, **kwargs)

    def share(self, whole):
        """Take the images from the array of `whole`, a loader with the same item transforms,
        instead of decoding them again.

        Items are known by their data frame's index. Raises UserError where `whole` lacks one.
        """
        places = whole.items.index.get_indexer(self.items.index)
        if (places < 0).any():
            raise UserError(f"{(places < 0).sum()} items are not in the loader to share with")
        rows = torch.from_numpy(places)
        self._arrays = whole.prepare()._arrays
        self._rows = rows if whole._rows is None else whole._rows[rows]

    def described(self, describe, key):
        """A loader of the same items with vectors in the images' place: `describe` of batches
        [n, channels, h, w] gives [n, d], float32.

        Each image is described once for a `key` and all loaders that share the array, as in
        validation: without the transforms of training alone. Batches are those of the loader that
        decoded the array, whichever asks first: other sizes round other bits.
        """
        tfms = [tfm for tfm in self.after_batch.fs if tfm.split_idx != 0]
        for tfm in tfms:
            if isinstance(tfm, RandTransform):
                raise UserError(
                    f"{type(tfm).__name__} is random: its images cannot be described once"
                )
        kept = self.prepare()._arrays.setdefault("described", {})
        types, data = self._arrays["types"], self._arrays["data"]
        if key not in kept:
            everything = range(len(data[0]))
            whole = self.new(
                shuffle=False,
                rows=None,
                bs=self._arrays["bs"],
                get_idxs=lambda: everything,
                drop_last=False,
                after_batch=tfms,
            )
            vectors = torch.cat([describe(x).cpu() for x, *_ in whole])
            kept[key] = {"types": (torch.Tensor, *types[1:]), "data": (vectors, *data[1:])}
        return self.new(arrays=kept[key], after_batch=None)

    def prepare(self):
        """Read and transform all items now; a no-op the second time. Returns the loader."""
        if "data" not in self._arrays:
            self._arrays["types"], self._arrays["data"] = self._decode()
            self._arrays["bs"] = self.bs
        return self

    @property
    def targets(self):
        """Label numbers of all items, [n]."""
        targets = self.prepare()._arrays["data"][1]
        return targets if self._rows is None else targets[self._rows]

    def get_idxs(self):
        """Item numbers of one epoch, in order of use."""
        if not (self.shuffle and self.weights is not None):
            return super().get_idxs()
        weights = torch.as_tensor(self.weights, dtype=torch.float64)
        generator = torch.Generator().manual_seed(self.rng.randint(0, 2**62))
        return torch.multinomial(weights, self.n, replacement=True, generator=generator).tolist()

    def create_batches(self, samps):
        """Batches as tuples of (image, label) tensors, or (image,) for an unlabelled dataset."""
        self.prepare()
        types, data = self._arrays["types"], self._on_device()
        for chunk in chunked(samps, self.bs, self.drop_last):
            if self.share_of is not None:
                rank, n = self.share_of
                chunk = np.resize(chunk, -(-len(chunk) // n) * n)[rank::n]
            # index_select copies, so that a transform that works in place cannot change the data
            rows = torch.as_tensor(chunk)
            rows = (rows if self._rows is None else self._rows[rows]).to(data[0].device)
            yield tuple(t(d.index_select(0, rows)) for t, d in zip(types, data, strict=True))

    def to_detach(self, b, cpu=True, gather=False):
        """As fastai's, of this process alone: it would gather wherever torchrun started it."""
        return to_detach(b, cpu, gather=False)

    def _decode(self):
        for tfm in self.after_item.fs:
            if isinstance(tfm, RandTransform) and not isinstance(tfm, Resize):
                raise UserError(
                    f"MemoryDL decodes each image once, so {tfm.name} in item_tfms would "
                    f"be drawn once for all epochs: put it in batch_tfms"
                )
            if hasattr(tfm, "prepare"):  # a Crop that is quicker for many images, on the device
                tfm.prepare(self.dataset.tls[0], self.device)
        # as in validation, so that Resize takes the centre instead of a random place
        self.after_item.split_idx = 1
        first = self.do_item(0)
        shape = (self.n, *first[0].shape)
        if np.prod(shape) > IN_MEMORY_BYTES:
            # the file has no name and goes with the array
            image = np.memmap(tempfile.TemporaryFile(), np.uint8, "w+", shape=shape)  # noqa: SIM115
        else:
            image = np.empty(shape, np.uint8)
        targets = [torch.empty((self.n, *t.shape), dtype=t.dtype) for t in first[1:]]
        start = 0
        for images, *values in self._chunks():
            if images.shape[1:] != shape[1:]:
                raise UserError(
                    f"images have the shapes {tuple(images.shape[1:])} and {shape[1:]} "
                    "after item_tfms: add a Resize"
                )
            stop = start + len(images)
            image[start:stop] = images.numpy()
            for target, value in zip(targets, values, strict=True):
                target[start:stop] = value
            start = stop
        return tuple(type(t) for t in first), (torch.from_numpy(image), *targets)

    def _chunks(self):
        """All items in order, stacked by `CHUNK`; worker processes read them where that pays."""
        workers = cores() if sys.platform == "linux" and self.n >= MIN_FOR_WORKERS else 0
        return torch.utils.data.DataLoader(
            _Chunks(self),
            batch_size=None,
            num_workers=min(workers, MAX_WORKERS),
            # a forked worker shares the transforms; Python 3.14's default would pickle them
            multiprocessing_context="fork" if workers else None,
        )

    def _on_device(self):
        """The arrays, on the accelerator where they fit: batches then need no copy."""
        device, data = self.device, self._arrays["data"]
        if device is None or device.type != "cuda":
            return data
        if self._arrays.get("device") != device:
            free, _ = torch.cuda.mem_get_info(device)
            fits = data[0].nbytes < ON_DEVICE_SHARE * free
            self._arrays["device"] = device
            self._arrays["placed"] = tuple(d.to(device) for d in data) if fits else data
        return self._arrays["placed"]


class _Chunks(torch.utils.data.Dataset):
    """The items of a loader, `CHUNK` at a time, as stacked plain tensors."""

    def __init__(self, dl):
        self.dl = dl

    def __len__(self):
        return -(-self.dl.n // CHUNK)

    def __getitem__(self, i):
        items = [self.dl.do_item(j) for j in range(i * CHUNK, min((i + 1) * CHUNK, self.dl.n))]
        plain = [[t.as_subclass(torch.Tensor) for t in ts] for ts in zip(*items, strict=True)]
        shapes = {t.shape for t in plain[0]}
        if len(shapes) > 1:
            raise UserError(
                f"images have the shapes {sorted(map(tuple, shapes))} after item_tfms: add a Resize"
            )
        return [torch.stack(ts) for ts in plain]
