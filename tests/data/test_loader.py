"""The loader decodes once, hands out copies, augments in training only, and draws by weight."""

import numpy as np
import pytest
import torch
from fastai.data.block import CategoryBlock, DataBlock
from fastai.data.core import TfmdDL
from fastai.data.transforms import ColReader
from fastai.torch_core import TensorImage, set_seed
from fastai.vision.augment import Flip, FlipItem, Resize, ResizeMethod
from fastai.vision.data import ImageBlock
from fasttransform import Transform

from pokefast.data import decoding
from pokefast.data.competition import read_competition
from pokefast.data.loader import MemoryDL
from pokefast.data.splits import StratifiedSplitter
from pokefast.errors import UserError
from pokefast.images import PILImageRGB


class Mark(Transform):
    """A training augmentation that leaves a mark."""

    split_idx, order = 0, 30  # after the conversion to float

    def encodes(self, x: TensorImage):
        return x * 0 + 77


def make(small, dl_type=MemoryDL, batch_tfms=(), size=16, **kwargs):
    check = kwargs.pop("check_images", True)
    competition = read_competition(small / "task1", check_images=check)
    block = DataBlock(
        blocks=(ImageBlock(PILImageRGB), CategoryBlock(vocab=competition.vocab)),
        get_x=ColReader("path"),
        get_y=ColReader("label"),
        splitter=kwargs.pop("splitter", StratifiedSplitter()),
        item_tfms=kwargs.pop("item_tfms", Resize(size, ResizeMethod.Squish)),
        batch_tfms=list(batch_tfms),
    )
    set_seed(0)
    kwargs = {"bs": 16, "num_workers": 0, **kwargs}
    return block.dataloaders(competition.train, dl_type=dl_type, **kwargs), competition


def whole(dl):
    batches = list(dl)
    return torch.cat([b[0] for b in batches]), torch.cat([b[1] for b in batches])


def test_it_gives_what_fastais_own_loader_gives(small):
    ours, theirs = make(small)[0], make(small, dl_type=TfmdDL)[0]
    for part in (1, 2):
        for a, b in zip(whole(ours[part]), whole(theirs[part]), strict=True):
            assert type(a) is type(b)
            assert torch.equal(a, b)


def test_worker_processes_read_the_same(small, monkeypatch):
    alone = whole(make(small)[0][1])
    monkeypatch.setattr(decoding, "MIN_FORKED", 1)
    monkeypatch.setattr(decoding, "CHUNK", 3)
    monkeypatch.setattr(decoding, "cores", lambda: 2)
    together = whole(make(small)[0][1])
    assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))


def test_training_augmentation_runs_in_training(small):
    dls, _ = make(small, batch_tfms=[Mark()])
    assert (whole(dls[0])[0] == 77).all()


def test_training_augmentation_does_not_run_elsewhere(small):
    dls, competition = make(small, batch_tfms=[Mark()])
    for dl in (dls[1], dls[2], dls.test_dl(competition.test)):
        assert not any((b[0] == 77).all() for b in dl)


def test_an_epoch_holds_every_training_picture_once_in_another_order(small):
    dls, _ = make(small, drop_last=False)
    first, second = (whole(dls[0])[0].flatten(1).tolist() for _ in range(2))
    assert first != second
    assert sorted(first) == sorted(second)
    assert len(first) == dls[0].n


def test_a_picture_is_decoded_once(small):
    seen = []

    class Look(Transform):
        order = 2

        def encodes(self, x: PILImageRGB):
            seen.append(x)
            return x

    dl = make(small, item_tfms=[Resize(16, ResizeMethod.Squish), Look()])[0][1]
    seen.clear()
    for _ in range(3):
        whole(dl)
        whole(dl.new(bs=5))
    assert len(seen) == dl.n + 1  # the first picture once more, for its shape


def test_batches_are_copies(small):
    dls, _ = make(small)
    before = whole(dls[1])[0].clone()
    for x, _ in dls[1]:
        x.zero_()
    dls[1].after_batch.fs.clear()  # not even the conversion to float in between
    for x, _ in dls[1]:
        x.zero_()
    assert torch.equal(whole(dls[1])[0].float() / 255, before)


def test_large_sets_are_memory_mapped(small, monkeypatch):
    expected = whole(make(small)[0][1])[0]
    monkeypatch.setattr(decoding, "IN_MEMORY_BYTES", 100)
    mapped = []
    original = np.memmap
    monkeypatch.setattr(
        decoding.np, "memmap", lambda *a, **k: mapped.append(1) or original(*a, **k)
    )
    assert torch.equal(whole(make(small)[0][1])[0], expected)
    assert mapped


def test_weights_decide_what_is_drawn_and_survive_new(small):
    dls, _ = make(small)
    dl = dls[0].prepare()
    dl.weights = (np.asarray(dl.targets) == 3).astype(float)
    for d in (dl, dl.new()):
        assert (whole(d)[1] == 3).all()
    # validation is never weighted
    assert len(set(whole(dls[1])[1].tolist())) > 1


def test_random_item_transforms_are_refused(small):
    dls, _ = make(small, item_tfms=[FlipItem(), Resize(16, ResizeMethod.Squish)])
    with pytest.raises(UserError, match="batch_tfms"):
        dls[1].prepare()


def test_pictures_of_different_sizes_are_refused(small):
    class Grow(Transform):
        order = 2

        def __init__(self):
            self.size = 10

        def encodes(self, x: PILImageRGB):
            self.size += 1
            return x.resize((self.size, self.size))

    with pytest.raises(UserError, match="add a Squish"):
        make(small, item_tfms=[Grow()])[0][1].prepare()


def test_unlabelled_pictures_come_in_the_order_given(small):
    dls, competition = make(small)
    shuffled = competition.test.sample(frac=1, random_state=1)
    x = torch.cat([b[0] for b in dls.test_dl(shuffled)])
    y = torch.cat([b[0] for b in dls.test_dl(competition.test)])
    assert torch.equal(x, y[list(shuffled.index)])


def parts(small):
    """A loader of the training part, and two of a fold, whose order is another."""
    dls, competition = make(small, drop_last=False)
    whole = dls[0].new(shuffle=False)
    index = whole.items.index[[5, 2, 40, 11]]
    rows = competition.train.index.get_indexer(index).tolist()
    block = lambda items: (rows, rows)  # noqa: E731
    return whole, *(make(small, splitter=block, drop_last=False)[0][1] for _ in range(2))


def test_parts_share_the_pictures_of_a_whole(small):
    full, view, alone = parts(small)
    view.share(full)
    view._decode = lambda: pytest.fail("a picture was decoded again")
    assert all(torch.equal(a, b) for a, b in zip(whole(view), whole(alone), strict=True))
    assert torch.equal(view.targets, alone.targets)
    assert torch.equal(whole(view.new(bs=3))[0], whole(alone)[0])
    again = parts(small)[2]
    again.share(view)  # of a part of the array
    assert torch.equal(whole(again)[0], whole(alone)[0])
    with pytest.raises(UserError, match="items are not in"):
        full.share(view)


def test_a_picture_is_described_once_for_all_that_share_it(small):
    full, view, alone = parts(small)
    view.share(full)
    seen = []

    def describe(x):
        seen.append(len(x))
        return x.mean((2, 3))

    first = full.described(describe, "means").one_batch()[0]
    x, y = whole(view.described(describe, "means"))
    assert sum(seen) == full.n and first.shape == (16, 3)
    assert torch.equal(x, whole(alone)[0].mean((2, 3))) and torch.equal(y, whole(alone)[1])
    assert not torch.equal(x, whole(view.described(lambda x: -x.mean((2, 3)), "other"))[0])
    by_full = [*seen]
    view.new(bs=3).described(describe, "asked by another")
    assert seen == 2 * by_full


def test_pictures_are_described_without_what_is_for_training_alone(small):
    dls, _ = make(small, batch_tfms=[Mark()], drop_last=False)
    assert (whole(dls[0])[0] == 77).all()
    plain, _ = make(small, drop_last=False)
    found = whole(dls[0].described(lambda x: x.flatten(1), "key").new(shuffle=False))[0]
    assert torch.equal(found, torch.Tensor(whole(plain[0].new(shuffle=False))[0].flatten(1)))


def test_random_pictures_are_not_described(small):
    dls, _ = make(small, batch_tfms=[Flip()])
    with pytest.raises(UserError, match="Flip is random"):
        dls[1].described(lambda x: x, "key")
