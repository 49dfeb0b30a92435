"""The trilinear histogram is the plain loop's, in both colour spaces."""

from itertools import product

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from pokefast.crops.histogram import colour_histograms, lab


def plain_histogram(colours, weights, bins):
    """Square roots of the histogram of (pixels, 3) colours, by the definition."""
    counts = np.zeros((bins, bins, bins))
    for colour, weight in zip(colours, weights, strict=True):
        place = colour.astype(float) * (bins - 1)
        low = np.minimum(place.astype(int), bins - 2)
        for corner in product((0, 1), repeat=3):
            share = np.where(corner, place - low, 1 - (place - low)).prod()
            counts[tuple(low + corner)] += weight * share
    return np.sqrt(counts.ravel() / counts.sum())


@pytest.mark.parametrize("bins", [24, 12])
def test_the_histogram_is_the_plain_loops(bins):
    rng = np.random.default_rng(0)
    rgb = torch.from_numpy(rng.integers(0, 256, (3, 3, 9, 7))) / 255
    rgb[0, :, 0] = torch.tensor([0.0, 1.0, 1.0])[:, None]  # the ends of the scale
    mask = torch.from_numpy(rng.random((3, 1, 9, 7)).astype(np.float32)) * (rgb[:, :1] > 0.3)
    for colours in (rgb, lab(rgb)):
        found = colour_histograms(colours, mask, bins).numpy()
        for row, image, weights in zip(found, colours, mask, strict=True):
            pixels = image.flatten(1).T.numpy()
            expected = plain_histogram(pixels, weights.flatten().numpy(), bins)
            assert np.abs(row - expected).max() < 1e-5
    assert found.shape == (3, bins**3) and np.allclose((found**2).sum(1), 1, atol=1e-5)


def test_an_empty_mask_gives_zeros():
    assert (colour_histograms(torch.rand(2, 3, 4, 4), torch.zeros(2, 1, 4, 4), 6) == 0).all()


def test_lab_is_littlecms_lab():
    rng = np.random.default_rng(0)
    rgb = Image.fromarray(rng.integers(0, 256, (20, 20, 3), dtype=np.uint8))
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB", 6500)
    expected = ImageCms.applyTransform(
        rgb, ImageCms.buildTransform(*profiles, "RGB", "LAB", ImageCms.Intent.ABSOLUTE_COLORIMETRIC)
    )
    expected = np.asarray(expected).astype(int)
    expected[..., 1:] = (expected[..., 1:] + 128) % 256  # stored as signed bytes
    x = torch.from_numpy(np.asarray(rgb).copy()).permute(2, 0, 1)[None] / 255
    found = (lab(x)[0].permute(1, 2, 0) * 255).numpy()
    assert abs(found - expected).mean() < 2


def test_white_black_and_grey_are_where_they_should_be():
    x = torch.tensor([[1.0, 1, 1], [0, 0, 0], [0.5, 0.5, 0.5]]).view(3, 3, 1)
    lightness, a, b = lab(x)[:, :, 0].T
    assert lightness.tolist() == pytest.approx([1, 0, 0.534], abs=1e-3)
    assert a.tolist() == pytest.approx([128 / 255] * 3, abs=1e-3)
    assert b.tolist() == pytest.approx([128 / 255] * 3, abs=1e-3)
