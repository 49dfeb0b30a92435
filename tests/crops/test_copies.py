"""Copies are found however they were saved, and nothing that is not one."""

import shutil

import numpy as np
import pytest
from PIL import Image, ImageOps

from pokefast.crops import copies
from pokefast.crops.copies import copy_groups, kept_copies


@pytest.fixture(scope="module")
def pictures(small):
    return sorted((small / "task1" / "Train").glob("*.png"))[:40]


CHANGES = {
    "bytes": lambda image: (image, "png"),
    "jpeg": lambda image: (image.convert("RGB"), "jpg"),
    "webp": lambda image: (image, "webp"),
    "size": lambda image: (image.resize((48, 48), Image.Resampling.LANCZOS), "png"),
    "mirror": lambda image: (ImageOps.mirror(image), "png"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_copy_is_found(change, pictures, tmp_path):
    image, suffix = CHANGES[change](Image.open(pictures[0]))
    image.save(tmp_path / f"copy.{suffix}")
    groups = copy_groups([*pictures, tmp_path / f"copy.{suffix}"])
    assert groups[-1] == groups[0] and len(set(groups)) == len(pictures)


def test_what_is_alike_is_no_copy(pictures, tmp_path):
    image = Image.open(pictures[0]).convert("RGB")
    ImageOps.flip(image).save(tmp_path / "upside-down.png")
    image.crop((8, 8, 64, 64)).save(tmp_path / "part.png")
    image.point(lambda v: min(255, round(1.3 * v) + 10)).save(tmp_path / "brighter.png")
    assert len(set(copy_groups([*pictures, *tmp_path.glob("*.png")]))) == len(pictures) + 3
    assert list(copy_groups(pictures[:1])) == [0]


def test_transparent_pixels_have_no_colour(tmp_path):
    for i, colour in enumerate(("red", "blue")):
        image = Image.new("RGBA", (20, 20), colour)
        image.putalpha(0)
        image.paste((0, 200, 0, 255), (5, 5, 9, 15))
        image.save(tmp_path / f"{i}.png")
    assert len(set(copy_groups(sorted(tmp_path.glob("*.png"))))) == 1


def test_groups_are_kept_for_the_next_run(pictures, tmp_path, monkeypatch):
    paths = [*pictures, shutil.copy(pictures[3], tmp_path / "again.png")]
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    found = kept_copies(paths)
    assert found[-1] == 3 and len(set(found)) == len(pictures)
    monkeypatch.setattr(copies, "copy_groups", lambda paths: np.zeros(len(paths), int))
    assert list(kept_copies(paths)) == list(found)
    for file in tmp_path.rglob("copies-*.npz"):
        file.write_bytes(b"damaged")
    assert set(kept_copies(paths)) == {0}
