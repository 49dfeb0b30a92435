"""The drawn creature is found whatever its outline; the transform keeps type and falls back."""

import pickle

import numpy as np
import pytest
from fastai.vision.core import PILImage
from PIL import Image, ImageDraw

from pokefast.crops.foreground import (
    CreatureCrop,
    creature_box,
    creature_mask,
    load_foreground_net,
    square_box,
)
from pokefast.errors import UserError


def picture(outline, seed=0, size=320, place=(60, 90), flat=True):
    "A figure of 150 x 150 px on smooth noise: picture and true box."
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


@pytest.mark.parametrize("outline", ["black", (45, 40, 60), (110, 30, 10), None])
def test_box_is_found_whatever_the_outline(outline):
    scores = [iou(creature_box(im), box) for im, box in (picture(outline, s) for s in range(4))]
    assert np.mean(scores) > 0.8


def test_mask_has_the_pictures_size_and_lies_in_the_box():
    im, box = picture("black")
    mask = creature_mask(im)
    assert mask.shape == (320, 320) and mask.dtype == bool
    assert mask[box[1] : box[3], box[0] : box[2]].sum() > 0.95 * mask.sum() > 5000


def test_nothing_is_found_on_an_empty_picture_and_the_crop_leaves_it():
    flat = PILImage(Image.new("RGB", (100, 80), "grey"))
    assert creature_mask(flat) is None and creature_box(flat) is None
    assert CreatureCrop()(flat) is flat


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_crop_keeps_type_and_mode_and_is_a_square_around_the_creature(mode):
    im, box = picture("black")
    im = PILImage(im.convert(mode))
    out = CreatureCrop(pad=0.05)(im)
    assert type(out) is PILImage and out.mode == mode
    assert out.width == out.height and abs(out.width - 1.1 * 150) < 25


def test_crop_is_repeatable_and_survives_pickling():
    im, _ = picture("black")
    crop = CreatureCrop(pad=0.2, cutout=True)
    first = crop(im)
    again = pickle.loads(pickle.dumps(crop))(im)
    assert first.tobytes() == crop(im).tobytes() == again.tobytes()


def test_cutout_paints_the_background_and_keeps_the_creature():
    im, _ = picture("black")
    plain, cut = (np.asarray(CreatureCrop(0.1, cutout=c, fill=128)(im)) for c in (False, True))
    assert (cut[0, 0] == 128).all() and (cut[-1, 0] == 128).all()
    middle = len(cut) // 2
    assert (cut[middle, middle] == plain[middle, middle]).all()
    assert (cut != plain).any(-1).mean() > 0.1


@pytest.mark.parametrize(
    ("box", "size", "pad", "square"),
    [
        ((10, 10, 30, 20), (100, 100), 0, (10, 5, 30, 25)),
        ((10, 10, 30, 30), (100, 100), 0.5, (0, 0, 40, 40)),
        ((80, 0, 100, 10), (100, 100), 0, (80, 0, 100, 20)),
        ((0, 0, 100, 40), (100, 50), 0.1, (0, 0, 100, 50)),
    ],
)
def test_square_box_stays_inside_the_picture(box, size, pad, square):
    assert square_box(box, size, pad) == square


def test_bad_options_and_missing_weights_are_named(tmp_path):
    with pytest.raises(UserError, match="pad=-1"):
        CreatureCrop(pad=-1)
    with pytest.raises(UserError, match="none.safetensors"):
        load_foreground_net(str(tmp_path / "none.safetensors"))
