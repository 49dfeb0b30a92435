"""Crops of drawn pictures: an outlined creature of a few flat colours on several backgrounds."""

import pickle
import warnings

import numpy as np
import pytest
import torch
from fastai.data.block import CategoryBlock, DataBlock
from fastai.data.transforms import ColReader, RandomSplitter
from fastai.vision.augment import Resize
from fastai.vision.core import PILImage, PILImageBW
from fastai.vision.data import ImageBlock
from pandas import DataFrame
from PIL import Image, ImageDraw
from sklearn.datasets import load_sample_image
from torchvision.ops import box_iou

from pokefast.crops.transforms import (
    CROPS,
    OutlineCrop,
    ThresholdCrop,
    crop_transform,
    cut_out,
    outline_box,
    outline_mask,
    pad_box,
    threshold_box,
)
from pokefast.errors import UserError

BLACK = (0, 0, 0, 255)


class PILImageRGBA(PILImage):
    _open_args = {"mode": "RGBA"}


def creature(width=24, height=22, seed=0):
    "RGBA icon on a transparent ground: body with an outline, a patch, two eyes."
    rng = np.random.default_rng(seed)
    body, patch = (tuple(int(v) for v in rng.integers(60, 256, 3)) + (255,) for _ in range(2))
    icon = Image.new("RGBA", (width, height))
    draw = ImageDraw.Draw(icon)
    draw.ellipse((0, 0, width - 1, height - 1), fill=body, outline=BLACK)
    draw.rectangle((width // 3, height // 2, 2 * width // 3, height - 5), fill=patch)
    for x in (width // 3, 2 * width // 3):
        draw.rectangle((x, height // 4, x + 1, height // 4 + 1), fill=BLACK)
    return icon


def background(kind, seed=0, size=64):
    rng = np.random.default_rng(seed)
    if kind == "noise":
        pixels = rng.integers(0, 256, (size, size, 3))
    elif kind == "dark":  # four pixels in ten pure black
        pixels = (rng.normal(1, 4, (size, size, 1)) + rng.normal(0, 0.5, (size, size, 3))).clip(0)
    elif kind == "black":
        pixels = np.zeros((size, size, 3))
    elif kind == "gradient":
        pixels = (
            np.linspace(40, 200, size)[:, None, None] + np.arange(3) * 10 + np.zeros((1, size, 1))
        )
    else:
        photo = Image.fromarray(load_sample_image("china.jpg"))
        x, y = rng.integers(0, 300), rng.integers(0, 200)
        pixels = np.asarray(photo.crop((x, y, x + 220, y + 220)).resize((size, size)))
        if kind == "dark photo":
            pixels = (pixels * 0.4 - 20.0).clip(0)
    return Image.fromarray(pixels.astype(np.uint8)).convert("RGBA")


def scene(kind, at, icon=None, seed=0, size=64):
    "The picture, the icon's true box and its silhouette."
    icon = icon or creature(seed=seed)
    picture = background(kind, seed, size)
    picture.alpha_composite(icon, at)
    mask = np.zeros((size, size), bool)
    alpha = np.asarray(icon)[..., 3] > 0
    mask[at[1] : at[1] + icon.height, at[0] : at[0] + icon.width] = alpha
    return picture, (at[0], at[1], at[0] + icon.width, at[1] + icon.height), mask


def iou(a, b):
    return box_iou(torch.tensor([a]).float(), torch.tensor([b]).float()).item()


@pytest.mark.parametrize("kind", ["noise", "photo", "gradient"])
@pytest.mark.parametrize("at", [(20, 17), (0, 0), (40, 42), (0, 30), (33, 42)])
@pytest.mark.parametrize("seed", [0, 1])
def test_outline_is_exact_on_lit_backgrounds_edges_included(kind, at, seed):
    picture, box, mask = scene(kind, at, seed=seed)
    assert outline_box(picture) == box
    assert (outline_mask(picture) == mask).all()


@pytest.mark.parametrize("kind", ["dark", "dark photo", "black"])
def test_outline_survives_black_touching_it(kind):
    outline, threshold = [], []
    for seed in range(12):
        at = tuple(int(v) for v in np.random.default_rng(seed).integers(0, 40, 2))
        picture, box, _ = scene(kind, at, seed=seed)
        outline.append(iou(outline_box(picture), box))
        threshold.append(iou(threshold_box(picture), box))
    assert np.mean(outline) > 0.9
    assert np.mean(threshold) < 0.5  # what the baseline makes of it


def test_coloured_parts_outside_the_outline_belong_to_the_creature():
    icon = Image.new("RGBA", (34, 22))
    icon.alpha_composite(creature(), (5, 0))
    draw = ImageDraw.Draw(icon)
    for x in (0, 29):
        draw.rectangle((x, 8, x + 4, 14), fill=(240, 230, 120, 255))
    for kind in ("photo", "noise", "gradient"):
        picture, box, _ = scene(kind, (12, 20), icon)
        assert outline_box(picture) == box


def test_a_gap_in_the_outline_does_not_lose_the_creature():
    icon = creature()
    icon.putpixel((12, 0), (250, 40, 40, 255))
    picture, box, mask = scene("photo", (20, 20), icon)
    assert outline_box(picture) == box
    found = outline_mask(picture)
    assert (found & mask).sum() / (found | mask).sum() > 0.95


def test_a_shaded_creature_is_found_by_its_closed_outline():
    icon = creature()
    pixels = np.asarray(icon).astype(int)
    inside = pixels[..., :3].max(-1) > 0
    pixels[inside, :3] += np.random.default_rng(0).integers(-30, 31, (inside.sum(), 3))
    icon = Image.fromarray(pixels.clip(1, 255).astype(np.uint8) * (pixels[..., 3:] > 0))
    black = np.asarray(creature())
    icon = Image.fromarray(
        np.where((black[..., :3].max(-1) == 0)[..., None], black, np.asarray(icon))
    )
    picture, box, _ = scene("photo", (20, 20), icon)
    assert outline_box(picture) == box


def test_a_nearly_black_outline_is_found_too():
    icon = np.asarray(creature()).copy()
    icon[(icon[..., 3] > 0) & (icon[..., :3].max(-1) == 0), :3] = 12
    picture, box, _ = scene("gradient", (20, 20), Image.fromarray(icon))
    assert outline_box(picture) == box


@pytest.mark.parametrize("mode", ["RGBA", "RGB", "L", "LA", "P"])
@pytest.mark.parametrize("size", [64, 100, 256])
def test_modes_and_sizes(mode, size):
    picture, box, _ = scene("gradient", (30, 20), size=size)
    assert outline_box(picture.convert(mode)) == box


@pytest.mark.parametrize("size", [(64, 64), (256, 200), (5, 3), (1, 1)])
def test_no_outline_gives_none(size):
    shape = (size[1], size[0], 3)
    grey = np.random.default_rng(0).integers(30, 256, shape).astype(np.uint8)
    for pixels in (np.zeros(shape, np.uint8), np.full(shape, 255, np.uint8), grey):
        picture = Image.fromarray(pixels)
        assert outline_mask(picture) is None and outline_box(picture) is None
    assert outline_box(Image.new("RGBA", size)) is None  # transparent black is not black


def test_threshold_box_is_the_box_of_dark_pixels():
    pixels = np.full((20, 30), 10, np.uint8)
    assert threshold_box(Image.fromarray(pixels)) is None
    pixels[4, 7] = pixels[11, 9] = 9
    assert threshold_box(Image.fromarray(pixels)) == (7, 4, 10, 12)
    assert threshold_box(Image.fromarray(pixels), level=11) == (0, 0, 30, 20)


def test_pad_is_a_share_of_the_box_and_stays_in_the_picture():
    assert pad_box((20, 10, 40, 50), 0.05, (64, 64)) == (19, 8, 41, 52)
    assert pad_box((1, 0, 41, 64), 0.1, (64, 64)) == (0, 0, 45, 64)
    assert pad_box((3, 4, 5, 6), 0, (64, 64)) == (3, 4, 5, 6)


@pytest.mark.parametrize("cls", [PILImage, PILImageRGBA, PILImageBW])
@pytest.mark.parametrize("tfm", [OutlineCrop(), OutlineCrop(0.1, cutout=True), ThresholdCrop()])
def test_crops_keep_type_and_mode(cls, tfm):
    picture, box, _ = scene("gradient", (20, 17))
    x = cls.create(picture.convert(cls._open_args.get("mode", "RGB")))
    before = np.asarray(x).copy()
    y = tfm(x)
    assert type(y) is cls and y.mode == x.mode
    left, top, right, bottom = pad_box(box, tfm.pad, x.size)
    assert y.size == (right - left, bottom - top)
    if not getattr(tfm, "cutout", False):
        assert (np.asarray(y) == before[top:bottom, left:right]).all()
    assert (np.asarray(x) == before).all()  # the input is left alone
    again = pickle.loads(pickle.dumps(tfm))
    assert type(again) is type(tfm) and (np.asarray(again(x)) == np.asarray(y)).all()


@pytest.mark.parametrize("tfm", [OutlineCrop(0.1, cutout=True), ThresholdCrop()])
def test_nothing_found_keeps_the_whole_picture(tfm):
    x = PILImage.create(np.full((40, 50, 3), 90, np.uint8))
    y = tfm(x)
    assert type(y) is PILImage and y.size == x.size
    assert (np.asarray(y) == np.asarray(x)).all()


def test_cutout_leaves_nothing_of_the_background():
    picture, box, mask = scene("noise", (20, 17))
    crop = (slice(box[1], box[3]), slice(box[0], box[2]))
    inside, original = mask[crop], np.asarray(picture)[crop]
    rgba = np.asarray(OutlineCrop(cutout=True)(PILImageRGBA.create(picture)))
    assert (rgba[~inside] == (128, 128, 128, 0)).all() and (rgba[inside] == original[inside]).all()
    rgb = np.asarray(OutlineCrop(cutout=True)(PILImage.create(picture.convert("RGB"))))
    assert (rgb[~inside] == 128).all() and (rgb[inside] == original[inside][:, :3]).all()
    assert cut_out(picture.convert("P"), mask).mode == "RGB"


def test_crop_transform_by_name():
    assert isinstance(crop_transform("outline", pad=0.1, cutout=True), OutlineCrop)
    assert crop_transform("threshold").pad == 0.05
    assert crop_transform("none") is None
    with pytest.raises(UserError, match="'outlines'.*" + ", ".join(CROPS)):
        crop_transform("outlines")
    with pytest.raises(UserError, match="-0.1"):
        crop_transform("threshold", pad=-0.1)


def test_the_crop_is_part_of_the_datablock_and_its_test_dl(tmp_path):
    rows = []
    for i in range(8):
        at = tuple(int(v) for v in np.random.default_rng(i).integers(0, 40, 2))
        picture, box, _ = scene("photo", at, seed=i)
        picture.save(tmp_path / f"{i}.png")
        rows.append((tmp_path / f"{i}.png", "ab"[i % 2], box))
    df = DataFrame(rows, columns=["path", "label", "box"])
    block = DataBlock(
        (ImageBlock(PILImageRGBA), CategoryBlock),
        get_x=ColReader("path"),
        get_y=ColReader("label"),
        splitter=RandomSplitter(0.5, seed=0),
        item_tfms=[Resize(32, method="squish"), OutlineCrop()],  # ordered by `order`, not as given
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dls = block.dataloaders(df, bs=4)
        test = torch.cat([x for (x,) in dls.test_dl(df, bs=4)])
        valid = dls.valid.one_batch()[0]
    assert test.shape == (8, 4, 32, 32)
    for i, row in df.iterrows():
        image = PILImageRGBA.create(row.path)
        want = Resize(32, method="squish")(PILImageRGBA.create(image.crop(row.box)))
        want = torch.tensor(np.asarray(want)).permute(2, 0, 1) / 255
        assert torch.allclose(test[i].cpu().as_subclass(torch.Tensor), want, atol=1e-3)
    index = dls.valid.items.index
    assert torch.equal(valid.as_subclass(torch.Tensor), test[list(index)].as_subclass(torch.Tensor))
