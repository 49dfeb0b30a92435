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

from pokefast.crops.outline import outline_mask
from pokefast.crops.transforms import (
    CROPS,
    Crop,
    crop_transform,
    cut_out,
    find_mask,
    mask_box,
    pad_box,
    square_box,
)
from pokefast.errors import UserError
from pokefast.images import PILImageRGB, PILImageRGBA

BLACK = (0, 0, 0, 255)


def creature(width=24, height=22, seed=0):
    """RGBA icon on a transparent ground: body with an outline, a patch, two eyes."""
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
    """The picture, the icon's true box and its silhouette."""
    icon = icon or creature(seed=seed)
    picture = background(kind, seed, size)
    picture.alpha_composite(icon, at)
    mask = np.zeros((size, size), bool)
    alpha = np.asarray(icon)[..., 3] > 0
    mask[at[1] : at[1] + icon.height, at[0] : at[0] + icon.width] = alpha
    return picture, (at[0], at[1], at[0] + icon.width, at[1] + icon.height), mask


def box_of(image, how="outline"):
    mask = find_mask(image, how)
    return None if mask is None else mask_box(mask)


def iou(a, b):
    return box_iou(torch.tensor([a]).float(), torch.tensor([b]).float()).item()


@pytest.mark.parametrize("kind", ["noise", "photo", "gradient"])
@pytest.mark.parametrize("at", [(20, 17), (0, 0), (40, 42), (0, 30), (33, 42)])
@pytest.mark.parametrize("seed", [0, 1])
def test_outline_is_exact_on_lit_backgrounds_edges_included(kind, at, seed):
    picture, box, mask = scene(kind, at, seed=seed)
    assert box_of(picture) == box
    assert (outline_mask(picture) == mask).all()


@pytest.mark.parametrize("kind", ["dark", "dark photo", "black"])
def test_outline_survives_black_touching_it(kind):
    outline, threshold = [], []
    for seed in range(12):
        at = tuple(int(v) for v in np.random.default_rng(seed).integers(0, 40, 2))
        picture, box, _ = scene(kind, at, seed=seed)
        outline.append(iou(box_of(picture), box))
        threshold.append(iou(box_of(picture, "threshold"), box))
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
        assert box_of(picture) == box


def test_a_gap_in_the_outline_does_not_lose_the_creature():
    icon = creature()
    icon.putpixel((12, 0), (250, 40, 40, 255))
    picture, box, mask = scene("photo", (20, 20), icon)
    assert box_of(picture) == box
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
    assert box_of(picture) == box


def test_a_nearly_black_outline_is_found_too():
    icon = np.asarray(creature()).copy()
    icon[(icon[..., 3] > 0) & (icon[..., :3].max(-1) == 0), :3] = 12
    picture, box, _ = scene("gradient", (20, 20), Image.fromarray(icon))
    assert box_of(picture) == box


@pytest.mark.parametrize("mode", ["RGBA", "RGB", "L", "LA", "P"])
@pytest.mark.parametrize("size", [64, 100, 256])
def test_modes_and_sizes(mode, size):
    picture, box, _ = scene("gradient", (30, 20), size=size)
    assert box_of(picture.convert(mode)) == box


@pytest.mark.parametrize("size", [(64, 64), (256, 200), (5, 3), (1, 1)])
def test_no_outline_gives_none(size):
    shape = (size[1], size[0], 3)
    grey = np.random.default_rng(0).integers(30, 256, shape).astype(np.uint8)
    for pixels in (np.zeros(shape, np.uint8), np.full(shape, 255, np.uint8), grey):
        picture = Image.fromarray(pixels)
        assert outline_mask(picture) is None and box_of(picture) is None
    assert box_of(Image.new("RGBA", size)) is None  # transparent black is not black


def test_threshold_box_is_the_box_of_dark_pixels():
    pixels = np.full((20, 30), 10, np.uint8)
    assert box_of(Image.fromarray(pixels), "threshold") is None
    pixels[4, 7] = pixels[11, 9] = 9
    assert box_of(Image.fromarray(pixels), "threshold") == (7, 4, 10, 12)


def test_pad_is_a_fraction_of_the_box_and_stays_in_the_image():
    assert pad_box((20, 10, 40, 50), 0.05, (64, 64)) == (19, 8, 41, 52)
    assert pad_box((1, 0, 41, 64), 0.1, (64, 64)) == (0, 0, 45, 64)
    assert pad_box((3.5, 4.1, 5.5, 6), 0, (64, 64)) == (3, 4, 6, 6)


@pytest.mark.parametrize(
    ("box", "size", "pad", "square"),
    [
        ((10, 10, 30, 20), (100, 100), 0, (10, 5, 30, 25)),
        ((10, 10, 30, 30), (100, 100), 0.5, (0, 0, 40, 40)),
        ((80, 0, 100, 10), (100, 100), 0, (80, 0, 100, 20)),
        ((0, 0, 100, 40), (100, 50), 0.1, (0, 0, 100, 50)),
    ],
)
def test_square_box_stays_inside_the_image(box, size, pad, square):
    assert square_box(box, pad, size) == square


def test_a_box_is_in_pixels_of_the_image_that_the_mask_spans():
    mask = np.zeros((10, 20), np.float32)
    mask[2:4, 5:15] = 0.7
    assert mask_box(mask) == (5, 2, 15, 4)
    assert mask_box(mask, (40, 5)) == (10, 1, 30, 2)


@pytest.mark.parametrize("cls", [PILImageRGB, PILImageRGBA, PILImageBW])
@pytest.mark.parametrize("tfm", [Crop("outline"), Crop("outline", 0.1), Crop("threshold", 0.05)])
def test_crops_keep_class_mode_and_pixels(cls, tfm):
    image, box, _ = scene("gradient", (20, 17))
    x = cls.create(image.convert(cls._open_args["mode"]))
    before = np.asarray(x).copy()
    y = tfm(x)
    assert type(y) is cls and y.mode == x.mode
    left, top, right, bottom = pad_box(box, tfm.pad, x.size)
    assert (np.asarray(y) == before[top:bottom, left:right]).all()
    assert (np.asarray(x) == before).all()  # the input is left alone
    again = pickle.loads(pickle.dumps(tfm))
    assert type(again) is Crop and (np.asarray(again(x)) == np.asarray(y)).all()


def test_a_square_crop_has_the_size_that_is_asked_for():
    image, box, _ = scene("gradient", (20, 17), creature(30, 18))
    square = Crop("outline", square=True)(PILImageRGB.create(image))
    assert square.size == (30, 30)
    assert np.asarray(square)[6:24].tobytes() == image.convert("RGB").crop(box).tobytes()
    small = Crop("outline", square=True, size=15)(PILImageRGB.create(image))
    assert small.size == (15, 15) and type(small) is PILImageRGB


@pytest.mark.parametrize("tfm", [Crop("outline", 0.1, cutout=True), Crop("threshold")])
def test_nothing_found_keeps_the_whole_image(tfm):
    x = PILImage.create(np.full((40, 50, 3), 90, np.uint8))
    y = tfm(x)
    assert type(y) is PILImage and y.size == x.size
    assert (np.asarray(y) == np.asarray(x)).all()


def test_cutout_leaves_nothing_of_the_background():
    image, box, mask = scene("noise", (20, 17))
    crop = (slice(box[1], box[3]), slice(box[0], box[2]))
    inside, original = mask[crop], np.asarray(image)[crop]
    cut = Crop("outline", cutout=True)
    rgba = np.asarray(cut(PILImageRGBA.create(image)))
    assert (rgba[~inside] == (128, 128, 128, 0)).all() and (rgba[inside] == original[inside]).all()
    rgb = np.asarray(cut(PILImageRGB.create(image)))
    assert (rgb[~inside] == 128).all() and (rgb[inside] == original[inside][:, :3]).all()
    grey = np.asarray(cut(PILImageBW.create(image.convert("L"))))
    assert (grey[~inside] == 128).all()


def test_a_cut_outs_alpha_is_the_images_own_times_the_masks():
    image = Image.new("LA", (3, 1), (50, 100))
    cut = np.asarray(cut_out(image, Image.fromarray(np.uint8([[0, 51, 255]]))))
    assert cut.tolist() == [[[128, 0], [50, 20], [50, 100]]]
    assert cut_out(image.convert("RGB").convert("P"), Image.new("L", (3, 1))).mode == "RGB"


def test_crop_transform_by_name():
    made = {name: crop_transform(name) for name in CROPS}
    assert made.pop("none") is None
    assert {name: (c.how, c.pad, c.square) for name, c in made.items()} == {
        "outline": ("outline", 0, False),
        "threshold": ("threshold", 0.05, False),
        "foreground": ("foreground", 0.05, True),
    }
    for wrong in (crop_transform, lambda name: find_mask(Image.new("RGB", (9, 9)), name)):
        with pytest.raises(UserError, match="'outlines'.*outline, threshold, foreground"):
            wrong("outlines")
    with pytest.raises(UserError, match="-0.1"):
        Crop("threshold", pad=-0.1)


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
        item_tfms=[
            Resize(32, method="squish"),
            Crop("outline"),
        ],  # ordered by `order`, not as given
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
