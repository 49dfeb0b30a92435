"""A fastai loader that decodes every image once; its batches are indices into one array."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from fastai.data.core import TfmdDL
from fastai.data.transforms import ColReader
from fastai.torch_core import to_detach
from fastcore.basics import chunked

from pokefast.data.competition import FIX
from pokefast.data.decoding import decode
from pokefast.errors import UserError
from pokefast.names import listed
from pokefast.progress import progress

__all__ = ["MemoryDL"]

ON_DEVICE_SHARE = 0.25  # of the accelerator's free memory that decoded images may take


class MemoryDL(TfmdDL):
    """A `TfmdDL` for `DataBlock.dataloaders(dl_type=MemoryDL)`, for item transforms that are not
    random.

    Items are read and transformed once, on all cores, into a uint8 array [n, channels, height,
    width]; a batch is an index into it (12 against 280 microseconds a 64-pixel image). With `cache`
    the array is kept for the next run (pokefast/cache.py). Training augmentation belongs in
    `batch_tfms`. `weights`, one for each item, makes a shuffled loader draw by them with
    replacement. Loaders of different parts can `share` one array. With `share_of = (rank, n)`
    batches hold every n-th image from the rank-th on; where they do not come out even, the first
    ones again.
    """

    def __init__(
        self,
        dataset,
        bs=64,
        num_workers=0,
        weights=None,
        arrays=None,
        rows=None,
        cache=False,
        **kwargs,
    ):
        # batches are indexed in this process: workers would only copy the array
        super().__init__(dataset, bs=bs, num_workers=0, **kwargs)
        self.weights, self.cache = weights, cache
        self._arrays = {} if arrays is None else arrays  # shared by all loaders of one dataset
        self._rows = rows  # of the arrays, [n], where they hold more than this dataset
        self.share_of = None

    def new(self, dataset=None, cls=None, **kwargs):
        """As `TfmdDL.new`, which would lose the constructor's own arguments."""
        if dataset is None or dataset is self.dataset:
            own = {"arrays": self._arrays, "rows": self._rows, "weights": self.weights}
            kwargs = own | kwargs
        kwargs = {"cache": self.cache} | kwargs
        return super().new(dataset, cls, **kwargs)

    def share(self, whole):
        """Take the images from the array of `whole`, a loader with the same item transforms,
        instead of decoding them again.

        Items are known by their data frame's index. Raises UserError where `whole` lacks one, and
        for those that cannot be read.
        """
        places = whole.items.index.get_indexer(self.items.index)
        if (places < 0).any():
            raise UserError(f"{(places < 0).sum()} items are not in the loader to share with")
        rows = torch.from_numpy(places)
        whole.unreadable()
        self._arrays = whole._arrays
        self._rows = rows if whole._rows is None else whole._rows[rows]
        return self.prepare()

    def described(self, describe, key):
        """A loader of the same items with vectors in the images' place: `describe` of batches
        [n, channels, h, w] gives [n, d], float32.

        Each image is described once for a `key` and all loaders that share the array, as in
        validation: without the transforms of training alone. Batches are those of the loader that
        decoded the array, whichever asks first: other sizes round other bits.
        """
        tfms = [tfm for tfm in self.after_batch.fs if tfm.split_idx != 0]
        for tfm in tfms:
            if _is_random(tfm):
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
            n = -(-len(data[0]) // self._arrays["bs"])
            batches = progress(whole, n, "images described")
            vectors = torch.cat([describe(x).cpu() for x, *_ in batches])
            kept[key] = {
                "types": (torch.Tensor, *types[1:]),
                "data": (vectors, *data[1:]),
                "errors": self._arrays["errors"],
            }
        return self.new(arrays=kept[key], after_batch=None)

    def prepare(self):
        """Read and transform all items now; a no-op the second time. Returns the loader.

        Raises UserError for images that cannot be read.
        """
        if errors := self.unreadable():
            raise _unreadable(errors.values())
        return self

    def unreadable(self):
        """A dict of the numbers of items that cannot be read and why; all items are read now."""
        if "data" not in self._arrays:
            self._decode()
        errors = self._arrays["errors"]
        if not errors or self._rows is None:
            return errors
        return {i: errors[row] for i, row in enumerate(self._rows.tolist()) if row in errors}

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

    def _pre_show_batch(self, b, max_n=9):
        # how images are shown beside predictions; not with the imports above, as it imports timm
        import fastai.vision.learner  # noqa: F401

        return super()._pre_show_batch(b, max_n)

    def create_item(self, s):
        """As fastai's; for None, by which it asks for an example, the first that can be read."""
        errors = []
        for i in range(self.n) if s is None else ():
            try:
                return super().create_item(i)
            except UserError as e:
                errors.append(str(e))
        if errors:
            raise _unreadable(errors)
        return super().create_item(s)

    def _decode(self):
        for tfm in self.after_item.fs:
            if _is_random(tfm) and type(tfm).__name__ != "Resize":
                raise UserError(
                    f"MemoryDL decodes each image once, so {tfm.name} in item_tfms would "
                    f"be drawn once for all epochs: put it in batch_tfms"
                )
        # as in validation, so that Resize takes the centre instead of a random place
        self.after_item.split_idx = 1
        first = self.do_item(None)
        source, *labels = self.dataset.tls
        shape = (self.n, *first[0].shape)
        images, errors = decode(source, self.after_item, shape, self.device, self._paths())
        self._arrays |= {
            "types": tuple(type(t) for t in first),
            "data": (torch.from_numpy(images), *map(_targets, labels)),
            "errors": errors,
            "bs": self.bs,
        }

    def _paths(self):
        """The images' files, where the decoded images may be kept and nothing else opens them."""
        source = self.dataset.tls[0]
        readers, items = source.tfms.fs[:-1], source.items
        if isinstance(items, pd.DataFrame):
            own = all(isinstance(f, ColReader) and list(f.cols) == ["path"] for f in readers)
            items = items["path"] if own and "path" in items else []
        paths = self.cache and [p for p in items if isinstance(p, (str, Path))]
        return paths if paths and len(paths) == self.n else None

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


def _is_random(tfm):
    """Whether `tfm` is one of fastai's that may draw at every call.

    Their module, which imports torchvision and with it torch's compiler, is not imported to ask:
    where nobody has, there is none of them.
    """
    module = sys.modules.get("fastai.vision.augment")
    return module is not None and isinstance(tfm, module.RandTransform)


def _unreadable(errors):
    """The UserError for images that cannot be read, a list of texts."""
    return UserError(f"{len(errors)} images cannot be read: {listed(list(errors))}. {FIX}")


def _targets(labels):
    """The tensor [n, ...] of a TfmdLists; where it reads one column, each of its values is made a
    tensor once.
    """
    reader, n = labels.tfms.fs[0], len(labels)
    rows = numbers = range(n)
    if isinstance(reader, ColReader) and len(reader.cols) == 1:
        numbers, values = pd.factorize(labels.items[reader.cols[0]])
        rows = np.unique(numbers, return_index=True)[1]
    return torch.stack([labels[int(i)].as_subclass(torch.Tensor) for i in rows])[list(numbers)]
