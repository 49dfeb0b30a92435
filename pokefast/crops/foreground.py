"""Find what is drawn in front of a photograph: how likely each pixel belongs to it.

A U-Net of 0.1 million parameters sees the image at 160 pixels and says for each of them whether it
belongs to a drawn figure; the image's own colours correct that. It was trained on drawn composites
alone, in stages of what `experiments.train_foreground` does at once, so it knows no competition's
figures, and works the same for outlines that are black, dark, tinted or missing. Sources: "U-Net",
MICCAI 2015; inverted residuals, "MobileNetV2", CVPR 2018; colours after "GrabCut", SIGGRAPH 2004.
"""

from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from hashlib import blake2b
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from fastai.torch_core import default_device
from fastcore.basics import chunked
from PIL import Image
from safetensors.torch import load_file
from scipy import ndimage
from torch import nn

from pokefast.cores import cores
from pokefast.errors import UserError
from pokefast.images import open_image

__all__ = ["ForegroundNet", "foreground_batches", "foreground_mask", "main_part", "opacity"]

WEIGHTS = Path(__file__).with_name("foreground.safetensors")
INPUT = 160  # side the net sees, in pixels; images of other shapes are squeezed to it
BINS = 16  # of a colour channel, for the image's own colours
ROUNDS = 3  # of correction by them
TRUST, COLOUR = 0.7, 1.5  # weights of the net's log odds and of the colours'
LOOSE = 0.5  # pieces smaller than this fraction of the largest one are not the foreground's
SMALLEST = 0.005  # fraction of the image below which nothing was found
SOFT = (0.3, 0.7)  # probability at which a cut-out begins to show a pixel, and shows all of it
KEPT = 40_000  # maps in memory at most: 1 GB

_MAPS = {}  # found so far, by a hash of what the net sees; worker processes that fork inherit it


def _conv(i, o, stride=1, k=3, groups=1, norm=True):
    conv = nn.Conv2d(i, o, k, stride, k // 2, groups=groups, bias=not norm)
    return nn.Sequential(conv, nn.BatchNorm2d(o)) if norm else nn.Sequential(conv)


class _Block(nn.Module):
    """Inverted residual of expansion 2."""

    def __init__(self, i, o, stride=1, norm=True):
        super().__init__()
        h, k = 2 * i, 3 if stride == 2 else 5
        self.layers = nn.Sequential(
            *(_conv(i, h, 1, 1, norm=norm), nn.ReLU()),
            *(_conv(h, h, stride, k, h, norm=norm), nn.ReLU()),
            _conv(h, o, 1, 1, norm=norm),
        )
        self.residual = stride == 1 and i == o

    def forward(self, x):
        return x + self.layers(x) if self.residual else self.layers(x)


class ForegroundNet(nn.Module):
    """Images [n, 3, h, w], (x / 255 - 0.5) / 0.25, h and w multiples of 32, to logits [n, h, w].

    `widths` are the channels at strides 2, 4, 8, 16 and 32; without `norm` BatchNorm is folded into
    the convolutions, for use.
    """

    def __init__(self, widths=(16, 24, 28, 36, 40), norm=True):
        super().__init__()
        a, b, c, d, e = widths
        conv, block = partial(_conv, norm=norm), partial(_Block, norm=norm)
        self.e1 = nn.Sequential(conv(12, a), nn.ReLU())
        self.e2 = nn.Sequential(conv(a, b, 2), nn.ReLU(), conv(b, b), nn.ReLU())
        self.e3 = nn.Sequential(block(b, c, 2), block(c, c), block(c, c))
        self.e4 = nn.Sequential(block(c, d, 2), block(d, d), block(d, d))
        self.e5 = nn.Sequential(block(d, e, 2), block(e, e), block(e, e), block(e, e))
        self.u4, self.d4 = conv(e, d, 1, 1), block(d, d)
        self.u3, self.d3 = conv(d, c, 1, 1), block(c, c)
        self.u2, self.d2 = conv(c, b, 1, 1), nn.Sequential(nn.ReLU(), conv(b, b), nn.ReLU())
        self.u1 = conv(b, a, 1, 1)
        self.d1 = nn.Sequential(nn.ReLU(), conv(a, a), nn.ReLU(), nn.Conv2d(a, 4, 3, 1, 1))

    def forward(self, x):
        """Logits [n, h, w] of images [n, 3, h, w]."""
        up = partial(F.interpolate, scale_factor=2, mode="bilinear", align_corners=False)
        s2 = self.e1(F.pixel_unshuffle(x, 2))
        s4 = self.e2(s2)
        s8 = self.e3(s4)
        s16 = self.e4(s8)
        x = self.d4(s16 + up(self.u4(self.e5(s16))))
        x = self.d3(s8 + up(self.u3(x)))
        x = self.d2(s4 + up(self.u2(x)))
        return F.pixel_shuffle(self.d1(s2 + up(self.u1(x))), 2)[:, 0]


@lru_cache(maxsize=4)
def load_foreground_net(device="cpu", file=WEIGHTS):
    """The trained `ForegroundNet` on `device`, for use; UserError without its file."""
    if not Path(file).is_file():
        raise UserError(
            f"{file} is missing: reinstall pokefast, or run: python -m experiments.train_foreground"
        )
    net = ForegroundNet(norm=False)
    net.load_state_dict({k: v.float() for k, v in load_file(file).items()})
    return net.eval().requires_grad_(False).to(device, memory_format=torch.channels_last)


def _squeezed(image):
    """What the net sees of a path or PIL image: uint8 [160, 160, 3], transparency on mid grey.

    Raises UserError for a file that cannot be read.
    """
    rgb = open_image(image, "RGB")
    return np.asarray(rgb.resize((INPUT, INPUT), Image.Resampling.BOX))


def _maps(small, device="cpu"):
    """How likely each pixel belongs to the foreground, 0 to 255: uint8 [n, 160, 160].

    `small` is uint8 [n, 160, 160, 3], of `_squeezed`. What was computed once in this process is
    looked up, the rest is one batch on `device`.
    """
    keys = [blake2b(image.tobytes(), digest_size=16).digest() for image in small]
    rows = {k: i for i, k in enumerate(keys) if k not in _MAPS}
    found = {k: _MAPS[k] for k in keys if k in _MAPS}
    if rows:
        maps = _probabilities(torch.from_numpy(small[list(rows.values())]).to(device))
        found.update(zip(rows, (maps * 255).round().byte().cpu().numpy(), strict=True))
    if len(_MAPS) + len(rows) > KEPT:
        _MAPS.clear()
    _MAPS.update((k, found[k]) for k in rows)
    return np.stack([found[k] for k in keys])


def foreground_batches(images, device=None, bs=64):
    """Yield `bs` images at a time as (squeezed, maps): uint8 [bs, 160, 160, 3], and [bs, 160,
    160], how likely each pixel belongs to the foreground, 0 to 255.

    `images` is a sequence of paths or PIL images, which threads open and squeeze; `device` the
    fastest there is by default.
    """
    device = device or default_device()
    with ThreadPoolExecutor(cores()) as pool:
        for rows in chunked(range(len(images)), bs):
            small = np.stack(list(pool.map(lambda i: _squeezed(images[i]), rows)))
            yield small, _maps(small, device)


@torch.inference_mode()
def _probabilities(small):
    """0..1, [n, 160, 160], from uint8 [n, 160, 160, 3]."""
    x = small.permute(0, 3, 1, 2)
    net = load_foreground_net(str(x.device))
    # somebody's reduced precision would give other maps, and bfloat16, which numpy has not
    with torch.autocast(x.device.type, enabled=False):
        inputs = ((x.float() / 255 - 0.5) / 0.25).contiguous(memory_format=torch.channels_last)
        return _corrected(x, net(inputs).sigmoid())


def _corrected(x, probability):
    """The net's maps [n, h, w] corrected by the colours of the images `x`, uint8 [n, 3, h, w].

    Two colour histograms, of foreground and of background so far, tell which each pixel resembles.
    A drawn figure has few flat colours, so this fills what was missed and drops what it took.
    """
    n, h, w = probability.shape
    blur, rows, columns = (_gaussian(*v, x.device) for v in ((BINS, 0.7), (h, 1.0), (w, 1.0)))
    odds = TRUST * ((probability + 1e-3) / (1 - probability + 1e-3)).log()
    red, green, blue = (x.long() // (256 // BINS)).flatten(2).unbind(1)
    index = (red * BINS + green) * BINS + blue
    for _ in range(ROUNDS):
        weights = torch.stack([probability, 1 - probability]).flatten(2)
        counts = weights.new_zeros(2, n, BINS**3).scatter_add_(2, index.expand(2, -1, -1), weights)
        smooth = counts.view(2, n, BINS, BINS, BINS)
        for _ in range(3):  # the last axis, which then is the first of the three
            smooth = (smooth @ blur.T).permute(0, 1, 4, 2, 3)
        share = smooth.flatten(2) / counts.sum(2, keepdim=True).clamp_min(1e-6) + 2e-4
        colour = (share[0] / share[1]).log().gather(1, index).view(n, h, w).clamp(-3, 3)
        probability = (odds + COLOUR * (rows @ colour @ columns.T)).sigmoid()
    return probability


def _gaussian(n, sigma, device):
    """The matrix [n, n] that smooths a vector of `n` as scipy's `gaussian_filter1d` does."""
    return torch.from_numpy(ndimage.gaussian_filter1d(np.eye(n), sigma, axis=0)).float().to(device)


def main_part(foreground_map):
    """A map of `foreground_batches` as probabilities, float32 [160, 160], 0 around the foreground:
    below one half and in small loose pieces. None where no foreground was found.
    """
    labels, _ = ndimage.label(foreground_map > 127, np.ones((3, 3)))
    area = np.bincount(labels.ravel())[1:]  # 0 is what lies around them
    mask = np.append(False, area >= LOOSE * area.max(initial=0))[labels]
    return (foreground_map * mask).astype(np.float32) / 255 if mask.mean() >= SMALLEST else None


def foreground_mask(image):
    """`main_part` of a path or PIL image: float32 [160, 160], the image squeezed to a square."""
    return main_part(_maps(_squeezed(image)[None])[0])


def opacity(probability):
    """How much of a cut-out's pixel is kept, 0..1, by how likely it belongs to the foreground."""
    low, high = SOFT
    return np.clip((probability - low) / (high - low), 0, 1)
