"""Augmentations change each image by its own draw, keep shape and range, and leave alpha alone."""

import pytest
import torch
from fastai.torch_core import TensorImage

from pokefast.data.augment import (
    BatchAffine,
    BatchColor,
    BatchFlip,
    BatchShift,
    _repeat_edges,
    augmentations,
)
from pokefast.options import Options


@pytest.fixture
def batch():
    torch.manual_seed(0)
    return TensorImage(torch.rand(64, 4, 12, 10))


def train(tfm, x):
    return tfm(x, split_idx=0)


@pytest.mark.parametrize(
    "tfm",
    [BatchFlip(), BatchShift(2), BatchAffine(10, 0.1, 0.1), BatchColor(0.2, 0.2, 0.2)],
    ids=lambda t: type(t).__name__,
)
def test_only_training_is_augmented_and_each_image_on_its_own(tfm, batch):
    assert torch.equal(tfm(batch.clone(), split_idx=1), batch)
    same = TensorImage(batch[:1].expand(64, -1, -1, -1).clone())
    out = train(tfm, same)
    assert isinstance(out, TensorImage) and out.shape == batch.shape
    assert out.min() >= 0 and out.max() <= 1
    different = {tuple(image.flatten().tolist()) for image in out}
    assert len(different) >= 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8])
def test_flip_mirrors_about_half(batch, dtype):
    batch = (255 * batch).to(dtype)
    out = train(BatchFlip(), batch.clone())
    mirrored = [torch.equal(o, b.flip(-1)) for o, b in zip(out, batch, strict=True)]
    kept = [torch.equal(o, b) for o, b in zip(out, batch, strict=True)]
    assert sum(mirrored) + sum(kept) == 64
    assert 16 < sum(mirrored) < 48


def test_shift_moves_by_whole_pixels_within_its_limit(batch):
    x = TensorImage((batch * 255).byte())
    out = train(BatchShift(2), x.clone())
    assert out.dtype == torch.uint8
    moves = set()
    for before, after in zip(x, out, strict=True):
        # compare the part that is inside for every shift
        fits = [
            (dy, dx)
            for dy in range(-2, 3)
            for dx in range(-2, 3)
            if torch.equal(after[:, 2:-2, 2:-2], before[:, 2 + dy : 10 + dy, 2 + dx : 8 + dx])
        ]
        assert len(fits) == 1
        moves.add(fits[0])
    assert len(moves) > 10


def test_affine_turns_by_its_angle():
    x = torch.zeros(200, 1, 65, 65)
    x[:, :, 32, 52] = 1  # 20 pixels right of the centre
    out = train(BatchAffine(rotate=15), TensorImage(x)).as_subclass(torch.Tensor)
    place = out.flatten(1).argmax(1)
    dy, dx = (place // 65 - 32).float(), (place % 65 - 32).float()
    angle = torch.atan2(dy, dx).rad2deg()
    assert angle.abs().max() < 16.5
    assert angle.min() < -12 and angle.max() > 12
    assert ((dx**2 + dy**2).sqrt() - 20).abs().max() < 1


def test_affine_shifts_and_scales_within_its_limits():
    x = torch.zeros(200, 1, 65, 65)
    x[:, :, 22:43, 22:43] = 1
    moved = train(BatchAffine(shift=0.1), TensorImage(x)).as_subclass(torch.Tensor)
    columns = (moved.sum((1, 2)) > 5).float()
    centre = (columns * torch.arange(65)).sum(1) / columns.sum(1) - 32
    assert centre.abs().max() <= 7 and centre.max() > 4 and centre.min() < -4
    scaled = train(BatchAffine(scale=0.1), TensorImage(x)).as_subclass(torch.Tensor)
    area = scaled.sum((1, 2, 3)) / 21**2
    assert area.min() > 0.78 and area.max() < 1.24
    assert area.min() < 0.9 and area.max() > 1.1


def test_color_leaves_alpha_alone(batch):
    out = train(BatchColor(0.2, 0.2, 0.2), batch.clone())
    assert torch.equal(out[:, 3], batch[:, 3])
    assert not torch.equal(out[:, :3], batch[:, :3])


def test_brightness_scales_and_saturation_keeps_luma():
    x = TensorImage(torch.rand(8, 3, 6, 6) * 0.5 + 0.2)
    ratio = train(BatchColor(brightness=0.2), x.clone()) / x
    assert ratio.flatten(1).std(1).max() < 1e-5
    assert ratio.min() >= 0.8 and ratio.max() <= 1.2
    weights = torch.tensor([0.2989, 0.587, 0.114]).view(1, 3, 1, 1)
    out = train(BatchColor(saturation=0.1), x.clone()).as_subclass(torch.Tensor)
    assert torch.allclose((out * weights).sum(1), (x * weights).sum(1), atol=1e-4)


def test_only_what_has_something_to_do_is_made():
    assert augmentations(Options()) == []
    flip, affine, color = augmentations(Options(flip=True, rotate=3, brightness=0.1))
    assert isinstance(flip, BatchFlip)
    assert (affine.rotate, affine.shift, affine.scale) == (3, 0, 0)
    assert (color.brightness, color.contrast, color.saturation) == (0.1, 0, 0)
    (shift,) = augmentations(Options(shift_pixels=4))
    assert shift.pixels == 4


@pytest.mark.parametrize("pixels", [1, 4])
def test_edges_are_repeated_as_torch_does_it(batch, pixels):
    plain = batch.as_subclass(torch.Tensor)
    expected = torch.nn.functional.pad(plain, [pixels] * 4, mode="replicate")
    assert torch.equal(_repeat_edges(plain, pixels), expected)
