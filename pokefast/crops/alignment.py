"""Tell the same art from a relative's: lay two cut-outs over each other and compare them.

The same art in two images differs by scale, flip and background only. So each foreground is brought
to one size and place by its mask's area and centroid, the rest is sought over flips and a few
scales and shifts, and the best fit is scored by normalised cross-correlation of the colours where
both are, times the root of the masks' intersection over union. A relative of the same colours has
other parts at each place and scores low. Source: Lewis, "Fast normalized cross-correlation",
Vision Interface 1995; the masks as weights are this module's.
"""

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F

from pokefast.crops.foreground import opacity
from pokefast.progress import progress

__all__ = ["centred_cutout", "fit_of_pairs"]

SIDE = 64  # a cut-out's side, in pixels
WINDOW = 1.5  # its half side, in roots of the mask's area
GRID, SEEN = 24, 1.3  # side of what is compared, in pixels; its half side, as `WINDOW`
SCALES = (0.87, 0.93, 1, 1.07, 1.15)  # masks' areas differ by errors, so sizes do
FLAT = 1e-3  # variance of colours of 0 to 1 below which they are one colour
SHIFT = 2  # grid pixels in each direction
CHUNK = 1024  # cut-outs brought to the grid at once


def centred_cutout(image, probability):
    """The foreground at its mask's centroid, its size divided by the root of the mask's area: uint8
    [4, SIDE, SIDE], RGB and alpha, which is 0 outside the image.

    `image` is uint8 [h, w, 3]; `probability` of the foreground float [h, w], 0 around it and above
    at one pixel at least.
    """
    h, w = probability.shape
    inside = np.nonzero(probability)
    y, x = (v.mean() + 0.5 for v in inside)
    half = WINDOW * np.sqrt(len(inside[0]))  # pixels
    alpha = torch.from_numpy(opacity(probability)).float()[None]
    rgb = torch.from_numpy(image).permute(2, 0, 1).float() / 255
    theta = torch.tensor([[2 * half / w, 0, 2 * x / w - 1], [0, 2 * half / h, 2 * y / h - 1]])
    out = _sample(torch.cat([rgb * alpha, alpha])[None], theta.float()[None], SIDE)[0]
    out[:3] /= out[3:].clamp_min(1e-3)
    return (out.clamp(0, 1) * 255).round().byte().numpy()


def _sample(x, theta, side):
    """The images [n, 4, h, w] under affine maps [n, 2, 3], averaged from twice the `side`."""
    grid = F.affine_grid(theta, (*x.shape[:2], 2 * side, 2 * side), align_corners=False)
    return F.avg_pool2d(F.grid_sample(x, grid, align_corners=False), 2)


def _posed(x, scales):
    """Premultiplied cut-outs [n, 4, SIDE, SIDE] on the comparison's grid, `scales` [n] times
    smaller.
    """
    half = SEEN / WINDOW * torch.tensor(scales)
    theta = torch.zeros(len(x), 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = half
    y = _sample(x, theta, GRID)
    alpha = y[:, 3:] * (y[:, 3:] > 0.02)  # of less, the colour is rounding
    return torch.cat([y[:, :3] / alpha.clamp_min(1e-3) * (alpha > 0), alpha], 1)


def _terms(y):
    """Alpha [n, p], alpha times colour [n, 3, p] and alpha times squared colour [n, p]."""
    rgb, alpha = y[:, :3].flatten(2), y[:, 3].flatten(1)
    return alpha, rgb * alpha[:, None], (rgb**2).sum(1) * alpha


def _fit(a, b):
    """How well each of the terms `a` (n) fits each of `b` (m) where it lies: [n, m], 0..1."""
    common = a[0] @ b[0].T
    weight = common.clamp_min(1)
    mean_a = torch.einsum("ncp,mp->cnm", a[1], b[0]) / weight
    mean_b = torch.einsum("np,mcp->cnm", a[0], b[1]) / weight
    var_a = a[2] @ b[0].T / weight - (mean_a**2).sum(0)
    var_b = a[0] @ b[2].T / weight - (mean_b**2).sum(0)
    cov = a[1].flatten(1) @ b[1].flatten(1).T / weight - (mean_a * mean_b).sum(0)
    union = (a[0].sum(1)[:, None] + b[0].sum(1) - common).clamp_min(1)
    correlation = cov / (var_a * var_b).clamp_min(FLAT**2).sqrt()
    correlation[(var_a < FLAT) & (var_b < FLAT)] = 1  # one colour each, which others compare
    return correlation.clamp(0, 1) * (common / union).clamp(0, 1).sqrt()


@torch.inference_mode()
def fit_of_pairs(cutouts, rows):
    """How well the cut-outs of each pair fit at their best flip, scale and shift: float32 [m], 0 to
    1. `cutouts` is uint8 [n, 4, SIDE, SIDE], of `centred_cutout`; `rows` are [m, 2].
    """
    x = torch.from_numpy(np.ascontiguousarray(cutouts)).float() / 255
    x[:, :3] *= x[:, 3:]
    fixed = [torch.cat(terms) for terms in zip(*map(_fixed, x.split(CHUNK)), strict=True)]
    out = np.zeros(len(rows), np.float32)
    # either of the two is moved
    both = pd.DataFrame(np.concatenate([rows, rows[:, ::-1]]), columns=["other", "moved"])
    jobs = both.groupby("moved").indices.items()
    for moved, places in progress(jobs, len(jobs), f"{len(rows):,} pairs compared"):
        others = both["other"].to_numpy()[places]
        fit = _fit([term[others] for term in fixed], _moved(x[moved : moved + 1])).amax(1)
        np.maximum.at(out, places % len(rows), fit.numpy())
    return out


def _fixed(x):
    """Terms of cut-outs as they are."""
    return _terms(_posed(x, [1.0] * len(x)))


def _moved(x):
    """Terms of the one cut-out [1, 4, SIDE, SIDE] at every flip, scale and shift."""
    poses = _posed(x.expand(len(SCALES), -1, -1, -1), SCALES)
    poses = torch.cat([poses, poses.flip(-1)])
    y = F.pad(poses, (SHIFT,) * 4).unfold(2, GRID, 1).unfold(3, GRID, 1)
    return _terms(y.permute(0, 2, 3, 1, 4, 5).flatten(0, 2))
