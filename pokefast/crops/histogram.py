"""Colour histograms of images' foregrounds, and the colour space in which a step looks like a step.

Sources: "Color indexing", IJCV 1991; IEC 61966-2-1 and CIE 15 for `lab`, which torch has not.
"""

from itertools import product

import torch

__all__ = ["colour_histograms", "lab"]


def colour_histograms(colours, mask, bins):
    """Square roots of trilinear colour histograms, [n, bins^3], of `colours` [n, 3, h, w] in 0..1.

    A pixel counts in the eight nearest bins, by its distance to each, and as much as `mask`
    [n, 1, h, w] says. The squares of a row sum to 1, or are 0 where the mask is empty, so that two
    rows' product is their Bhattacharyya coefficient.
    """
    place = colours.flatten(2) * (bins - 1)  # [n, 3, pixels]
    low = place.floor().clamp_max(bins - 2)
    part, low, weight = place - low, low.long(), mask.flatten(1)
    counts = colours.new_zeros(colours.shape[0], bins**3)  # len() would fix it in an export
    for corner in product((0, 1), repeat=3):
        shares = [part[:, c] if up else 1 - part[:, c] for c, up in enumerate(corner)]
        first, second, third = (low[:, c] + up for c, up in enumerate(corner))
        index = (first * bins + second) * bins + third
        counts.scatter_add_(1, index, shares[0] * shares[1] * shares[2] * weight)
    return (counts / counts.sum(1, keepdim=True).clamp_min(1e-12)).sqrt()


def lab(rgb):
    """CIELAB of sRGB [n, 3, ...] in 0..1 (white D65), scaled to 0..1: L / 100, (a + 128) / 255,
    (b + 128) / 255.
    """
    linear = torch.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    to_xyz = rgb.new_tensor(  # rows divided by the white point's X, Y, Z
        [
            [0.4124564 / 0.95047, 0.3575761 / 0.95047, 0.1804375 / 0.95047],
            [0.2126729, 0.7151522, 0.0721750],
            [0.0193339 / 1.08883, 0.1191920 / 1.08883, 0.9503041 / 1.08883],
        ]
    )
    xyz = torch.einsum("ij,nj...->ni...", to_xyz, linear)
    f = torch.where(
        xyz > 216 / 24389, xyz.clamp_min(1e-9) ** (1 / 3), (24389 / 27 * xyz + 16) / 116
    )
    x, y, z = f.unbind(1)
    return torch.stack(
        [(116 * y - 16) / 100, (500 * (x - y) + 128) / 255, (200 * (y - z) + 128) / 255], 1
    ).clamp(0, 1)
