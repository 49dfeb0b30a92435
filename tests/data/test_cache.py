"""Decoded images are kept for the next run, which takes them; what is changed or broken is not."""

import multiprocessing
import os
import time

import numpy as np
import pytest
import torch
from fastai.vision.core import PILImage
from fasttransform import Transform

from pokefast import cache
from pokefast.data import decoding
from pokefast.errors import UserError
from pokefast.files import cache_dir
from pokefast.images import PILImageRGB, PILImageRGBA
from tests.data.test_loader import make, whole


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """The folder of the kept arrays, empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return cache_dir() / "kept"


@pytest.fixture
def opened(monkeypatch):
    """Names of the files that are opened from now on."""
    names, original = [], PILImageRGB.create.__func__
    create = classmethod(lambda cls, fn: names.append(fn) or original(cls, fn))
    monkeypatch.setattr(PILImageRGB, "create", create)
    return names


def forbidden(*_):
    raise PermissionError


def files(folder):
    return sorted(folder.glob("*.npy"))


def images(folder, **kwargs):
    return whole(make(folder, cache=True, **kwargs)[0][1])[0]


def test_a_second_run_opens_no_image_but_an_example(task1, kept, opened, monkeypatch):
    expected = whole(make(task1.parent)[0][1])[0]
    assert torch.equal(images(task1.parent), expected) and len(files(kept)) == 1
    opened.clear()
    monkeypatch.setattr(cache.os, "utime", forbidden)  # a folder that may only be read
    assert torch.equal(images(task1.parent), expected)
    assert len(opened) < 6 and len(files(kept)) == 1


def test_nothing_is_kept_unless_asked(task1, kept):
    make(task1.parent)[0][1].prepare()
    assert not kept.exists()


def test_another_image_size_transform_or_code_is_decoded_anew(task1, kept, monkeypatch):
    images(task1.parent)
    images(task1.parent, size=24)
    assert len(files(kept)) == 2
    file = make(task1.parent)[0][1].items["path"].iloc[0]
    os.utime(file, (time.time(), 1))
    images(task1.parent)
    assert len(files(kept)) == 3
    monkeypatch.setattr(decoding, "_code", lambda: "other")
    images(task1.parent)
    assert len(files(kept)) == 4


class Own(Transform):
    """A user's own transform, whose code is not known."""

    order = 2

    def encodes(self, x: PILImageRGB):
        return x


def test_images_opened_as_another_class_are_others():
    openers = PILImageRGB.create, PILImageRGBA.create, PILImage.create
    assert len({decoding._recipe([Transform(create)], None) for create in openers}) == 3


def test_what_an_unknown_transform_makes_is_not_kept(task1, kept):
    from fastai.vision.augment import Resize

    images(task1.parent, item_tfms=[Own(), Resize(16)])
    assert not kept.exists()


@pytest.mark.parametrize("damage", ["cut", "empty", "other", "garbage"])
def test_a_damaged_file_is_passed_by_and_replaced(damage, task1, kept, capsys):
    expected = images(task1.parent)
    (file,) = files(kept)
    data = file.read_bytes()
    if damage == "other":
        np.save(file, np.zeros((3, 3), np.uint8))
    else:
        file.write_bytes({"cut": data[:-9], "empty": b"", "garbage": b"x" * len(data)}[damage])
    assert torch.equal(images(task1.parent), expected)
    assert "is passed by" in capsys.readouterr().err
    assert file.read_bytes() == data


def test_a_folder_that_may_not_be_written_costs_a_line(task1, kept, capsys):
    kept.parent.mkdir(parents=True)
    kept.write_text("a file")
    expected = whole(make(task1.parent)[0][1])[0]
    assert torch.equal(images(task1.parent), expected)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("NOTE: decoded images are not kept in")


def test_a_full_disk_costs_a_line(task1, kept, capsys, monkeypatch):
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda _: Full)
    images(task1.parent)
    assert "No space left" in capsys.readouterr().err and not files(kept)


class Full:
    free = 0


def test_the_oldest_go_where_there_is_no_room(task1, kept, monkeypatch):
    for size in (16, 17, 18):
        images(task1.parent, size=size)
    first, second, third = sorted(files(kept), key=lambda f: f.stat().st_size)
    for age, file in ((30, second), (20, third), (10, first)):
        os.utime(file, (time.time() - age,) * 2)
    monkeypatch.setattr(cache, "LIMIT", sum(f.stat().st_size for f in files(kept)) + 100)
    images(task1.parent, size=16)  # used again: the newest
    images(task1.parent, size=19)
    assert first.exists() and not second.exists() and len(files(kept)) <= 3
    monkeypatch.setattr(cache, "LIMIT", 100)
    images(task1.parent, size=20)  # more than the limit: not kept, and nothing goes for it
    assert first.exists()


def test_what_a_killed_run_left_is_removed(task1, kept):
    kept.mkdir(parents=True)
    old, new = kept / ".old.npy", kept / ".new.npy"
    for file in (old, new):
        file.write_bytes(b"x")
    os.utime(old, (1, 1))
    images(task1.parent)
    assert not old.exists() and new.exists()


def test_two_writers_do_no_harm(task1, kept):
    shape = (2, 3, 4, 4)
    with cache.new_images("key", shape) as (a, _), cache.new_images("key", shape) as (b, _):
        a[:], b[:] = 1, 1
    assert len(files(kept)) == 1 and (cache.kept_images("key", shape)[0] == 1).all()


def test_a_writer_that_fails_leaves_nothing(kept):
    with pytest.raises(ZeroDivisionError), cache.new_images("key", (2, 3)):
        raise ZeroDivisionError
    assert not list(kept.iterdir())


def test_a_reader_changes_nothing_in_the_file(kept):
    with cache.new_images("key", (2, 3)) as (array, _):
        array[:] = 1
    cache.kept_images("key", (2, 3))[0][:] = 2
    assert (cache.kept_images("key", (2, 3))[0] == 1).all()


def test_all_images_that_cannot_be_read_are_named_and_known_the_next_time(task1, kept, opened):
    dl = make(task1.parent, cache=True)[0][1]
    broken = list(dl.items["path"].iloc[[0, 2]])
    for file in broken:
        file.write_bytes(file.read_bytes()[:60])
    with pytest.raises(UserError) as e:
        dl.prepare()
    assert "2 images cannot be read" in str(e.value) and "--skip-bad" in str(e.value)
    assert all(file.name in str(e.value) for file in broken)
    opened.clear()
    again = make(task1.parent, cache=True, check_images=False)[0][1]
    assert again.unreadable() == dl.unreadable() and len(opened) < 8


def test_spawned_workers_read_the_same(small, monkeypatch):
    dl = make(small)[0][1]
    alone = whole(dl.new())[0]
    monkeypatch.setattr(decoding, "MIN_SPAWNED", 1)
    monkeypatch.setattr(decoding, "cores", lambda: 1)
    before = multiprocessing.get_start_method()
    multiprocessing.set_start_method("spawn", force=True)  # as where nothing can be forked
    try:
        loader = decoding._by_processes(dl.dataset.tls[0], dl.after_item)
        assert loader.num_workers == 1
        assert torch.equal(whole(dl)[0], alone)
        dl.after_item.fs.append(lambda image: image)  # which cannot be pickled
        assert decoding._by_processes(dl.dataset.tls[0], dl.after_item).num_workers == 0
    finally:
        multiprocessing.set_start_method(before, force=True)
