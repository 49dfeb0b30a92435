"""A drawn figure is found whatever its outline, in batches or alone, once, by every loader."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from fastai.data.block import CategoryBlock, DataBlock
from fastai.data.transforms import ColReader, IndexSplitter
from fastai.vision.augment import Resize, ResizeMethod
from fastai.vision.core import PILImage
from fastai.vision.data import ImageBlock
from PIL import Image, ImageDraw

from pokefast.crops import foreground
from pokefast.crops.foreground import foreground_batches, load_foreground_net, main_part
from pokefast.crops.transforms import Crop, find_mask, mask_box
from pokefast.data.loader import MemoryDL
from pokefast.errors import UserError
from pokefast.images import PILImageRGB, PILImageRGBA


def picture(outline, seed=0, size=320, place=(60, 90), flat=True):
    """A figure of 150 x 150 px on smooth noise: image and true box."""
    rng = np.random.default_rng(seed)
    noise = rng.integers(70, 180, (16, 16, 3)).astype(np.uint8)
    im = Image.fromarray(noise).resize((size, size), Image.Resampling.BICUBIC)
    x, y = place
    draw = ImageDraw.Draw(im)
    width = 0 if outline is None else 3
    draw.polygon([(x + 20, y + 30), (x + 5, y), (x + 50, y + 20)], fill="orange", outline=outline)
    draw.ellipse((x, y + 10, x + 90, y + 100), fill="orange", outline=outline, width=width)
    draw.ellipse((x + 30, y + 60, x + 149, y + 149), fill="crimson", outline=outline, width=width)
    for ex in (25, 55):
        draw.ellipse((x + ex, y + 40, x + ex + 14, y + 56), fill="white", outline=outline)
        draw.ellipse((x + ex + 4, y + 44, x + ex + 10, y + 52), fill="black")
    return im, (x, y, x + 150, y + 150)


def iou(a, b):
    w, h = (min(a[i + 2], b[i + 2]) - max(a[i], b[i]) for i in (0, 1))
    both = max(0, w) * max(0, h)
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def found_box(im):
    return mask_box(find_mask(im, "foreground"), im.size)


@pytest.mark.parametrize("outline", ["black", (45, 40, 60), (110, 30, 10), None])
def test_the_box_is_found_whatever_the_outline(outline):
    scores = [iou(found_box(im), box) for im, box in (picture(outline, s) for s in range(4))]
    assert np.mean(scores) > 0.8


def test_the_mask_spans_the_image_and_is_0_around_the_figure():
    im, box = picture("black")
    mask = find_mask(im, "foreground")
    assert mask.shape == (160, 160) and mask.dtype == np.float32 and mask.max() <= 1
    x0, y0, x1, y1 = (v // 2 for v in box)
    assert (mask[y0:y1, x0:x1] > 0.5).mean() > 0.4
    around = np.ones(mask.shape, bool)
    around[y0 - 3 : y1 + 3, x0 - 3 : x1 + 3] = False
    assert (mask[around] == 0).mean() > 0.99


def test_nothing_is_found_on_an_empty_image_and_the_crop_leaves_it():
    flat = PILImage(Image.new("RGB", (100, 80), "grey"))
    assert find_mask(flat, "foreground") is None
    assert Crop("foreground")(flat).tobytes() == flat.tobytes()
    small = Crop("foreground", cutout=True, size=32)(PILImageRGBA.create(flat))
    assert np.asarray(small).tolist() == np.full((32, 32, 4), (128, 128, 128, 255)).tolist()


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_the_crop_is_a_square_around_the_figure(mode):
    im, box = picture("black")
    im = PILImage(im.convert(mode))
    out = Crop("foreground", pad=0.05, square=True)(im)
    assert type(out) is PILImage and out.mode == mode
    assert out.width == out.height and abs(out.width - 1.1 * 150) < 25


def test_a_cut_out_keeps_the_figure_and_its_alpha_is_soft():
    im, _ = picture("black")
    im = PILImageRGBA.create(im)
    plain, cut = (
        np.asarray(Crop("foreground", 0.1, square=True, cutout=c, size=96)(im))
        for c in (False, True)
    )
    alpha = cut[..., 3]
    assert alpha[0, 0] == alpha[-1, 0] == 0 and (cut[alpha == 0] == (128, 128, 128, 0)).all()
    assert (cut[alpha == 255] == plain[alpha == 255]).all()
    assert 0.3 < (alpha > 127).mean() < 0.9 and ((alpha > 0) & (alpha < 255)).any()


def test_missing_weights_are_named(tmp_path):
    with pytest.raises(UserError, match="none.safetensors"):
        load_foreground_net(file=tmp_path / "none.safetensors")


@pytest.fixture
def nets(monkeypatch):
    """The size of every batch that the net computes from here on."""
    sizes, compute = [], foreground._probabilities
    monkeypatch.setattr(foreground, "_MAPS", {})
    monkeypatch.setattr(foreground, "_probabilities", lambda x: sizes.append(len(x)) or compute(x))
    return sizes


def test_batches_are_computed_once_and_equal_single_images(nets, monkeypatch):
    images = [picture("black", seed)[0] for seed in range(4)]
    batches = list(foreground_batches([*images, images[0]], "cpu", bs=3))
    assert [len(small) for small, _ in batches] == [3, 2] and nets == [3, 1]
    maps = np.concatenate([m for _, m in batches])
    assert maps.dtype == np.uint8 and np.array_equal(maps[0], maps[4])
    assert np.array_equal(find_mask(images[1], "foreground"), main_part(maps[1])) and nets == [3, 1]
    monkeypatch.setattr(foreground, "_MAPS", {})
    for image, batched in zip(images, maps, strict=False):
        alone = find_mask(image, "foreground")
        assert np.abs(alone - main_part(batched)).max() <= 1.01 / 255


def test_no_more_maps_are_kept_than_allowed(nets, monkeypatch):
    monkeypatch.setattr(foreground, "KEPT", 3)
    images = [picture("black", seed)[0] for seed in range(4)]
    for _ in range(2):
        assert len(list(foreground_batches(images, "cpu", bs=2))) == 2
        assert len(foreground._MAPS) == 2


def test_somebodys_autocast_changes_nothing(nets, monkeypatch):
    im = PILImage(picture("black")[0])
    crop = Crop("foreground", 0.05, square=True, cutout=True, size=64)
    plain = crop(im)
    monkeypatch.setattr(foreground, "_MAPS", {})
    with torch.autocast("cpu", torch.bfloat16):
        assert crop(im).tobytes() == plain.tobytes()
    assert nets == [1, 1]


@pytest.fixture
def files(tmp_path):
    """A table of seven images, the last one transparent around the figure."""
    paths = [tmp_path / f"{i}.png" for i in range(7)]
    for i, path in enumerate(paths):
        image = picture("black", i)[0]
        if i == 6:
            image.putalpha(Image.new("L", image.size, 200))
        image.save(path)
    return pd.DataFrame({"path": paths, "label": list("abababa")})


def loaders(files, **options):
    block = DataBlock(
        (ImageBlock(PILImageRGB), CategoryBlock),
        get_x=ColReader("path"),
        get_y=ColReader("label"),
        splitter=IndexSplitter([5, 6]),
        item_tfms=[Crop("foreground", 0.05, square=True), Resize(32, ResizeMethod.Squish)],
    )
    return block.dataloaders(files, bs=2, device=torch.device("cpu"), **options)


def test_the_loader_finds_all_images_in_batches(files, nets):
    dls = loaders(files, dl_type=MemoryDL)
    train = dls.train.prepare()
    assert nets == [1, 4]  # fastai looks at the first item when it makes a loader
    test = dls.test_dl(files)
    found = torch.cat([x for (x,) in test])
    assert nets == [1, 4, 2]  # the threads know what was found
    expected = dls.train.new(shuffle=False).one_batch()[0]
    assert torch.equal(expected, found[list(train.items.index[:2])])


@pytest.mark.parametrize("workers", [0, 2])
def test_fastais_own_loader_crops_the_same(files, workers):
    expected = torch.cat([x for (x,) in loaders(files, dl_type=MemoryDL).test_dl(files)])
    test = loaders(files).test_dl(files, num_workers=workers)
    assert (torch.cat([x for (x,) in test]) - expected).abs().max() < 0.02


def test_a_process_without_the_kept_maps_crops_the_same(files, monkeypatch):
    crop, image = Crop("foreground", 0.05, square=True), PILImageRGB.create(files["path"][6])
    expected = crop(image).tobytes()
    monkeypatch.setattr(foreground, "_MAPS", {})  # as in a process that was spawned
    assert pickle.loads(pickle.dumps(crop))(image).tobytes() == expected
