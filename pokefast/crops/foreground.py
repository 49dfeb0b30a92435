"""Find the drawn creature in a picture: a mask, a box, and a fastai transform that crops to it.

A U-Net of 0.1 million parameters sees the picture at 160 px and says for each pixel whether it
belongs to a drawn figure. It was trained on drawn composites alone, in stages of what
`experiments.train_foreground` does at once, so it knows no competition's creatures, and works
the same for outlines that are black, dark, tinted or missing. Source: "U-Net", MICCAI 2015;
inverted residuals, "MobileNetV2", CVPR 2018.
"""

from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from scipy import ndimage
from scipy.special import expit
from torch import nn

from pokefast.errors import UserError

__all__ = [
    "ForegroundNet",
    "foreground_mask",
    "foreground_probability",
    "load_foreground_net",
    "opacity",
    "probability_mask",
]

WEIGHTS = Path(__file__).with_name("foreground.safetensors")
INPUT = 160  # side the net sees, in pixels; pictures of other shapes are squeezed to it
LEVEL = 0.5  # probability above which a pixel belongs to the creature
LOOSE = 0.5  # pieces smaller than this share of the largest one are not the creature's
BINS = 16  # a colour channel, in the picture's own colour model
ROUNDS, TRUST, COLOUR = (
    3,
    0.7,
    1.5,
)  # refinement rounds; weights of the net's and of the colours' log odds
SOFT = (0.3, 0.7)  # probabilities below which a cut-out shows nothing of a pixel, above which all
SMALLEST = 0.005  # a creature that covers less of the picture than this was not found


def _conv(i, o, stride=1, k=3, groups=1, norm=True):
    conv = nn.Conv2d(i, o, k, stride, k // 2, groups=groups, bias=not norm)
    return nn.Sequential(conv, nn.BatchNorm2d(o)) if norm else nn.Sequential(conv)


class _Block(nn.Module):
    "Inverted residual of expansion 2."

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
    "Pictures (n, 3, h, w), (x / 255 - 0.5) / 0.25, h and w multiples of 32, to logits (n, h, w)."

    def __init__(
        self,
        widths=(16, 24, 28, 36, 40),  # channels at strides 2, 4, 8, 16, 32
        norm=True,  # False: BatchNorm folded into the convolutions, for use
    ):
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
        def up(x):
            return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)

        s2 = self.e1(F.pixel_unshuffle(x, 2))
        s4 = self.e2(s2)
        s8 = self.e3(s4)
        s16 = self.e4(s8)
        x = self.d4(s16 + up(self.u4(self.e5(s16))))
        x = self.d3(s8 + up(self.u3(x)))
        x = self.d2(s4 + up(self.u2(x)))
        return F.pixel_shuffle(self.d1(s2 + up(self.u1(x))), 2)[:, 0]


@lru_cache(maxsize=2)
def load_foreground_net(file: str = str(WEIGHTS)) -> ForegroundNet:
    "The trained net (BatchNorm folded, evaluation mode, CPU); `UserError` without its file."
    from safetensors.torch import load_file

    if not Path(file).is_file():
        raise UserError(
            f"{file} is missing: reinstall pokefast, or run: python -m experiments.train_foreground"
        )
    net = ForegroundNet(norm=False)
    net.load_state_dict({k: v.float() for k, v in load_file(file).items()})
    return net.eval().requires_grad_(False).to(memory_format=torch.channels_last)


def _refine(picture, probability):
    """The net's map (h, w) corrected by the picture's own colours (h, w, 3), uint8.

    Two colour histograms, of creature and of background so far, tell which each pixel resembles.
    A drawn creature has few flat colours, so this fills what was missed and drops what it took.
    After "GrabCut", SIGGRAPH 2004, without the graph cut.
    """
    odds = TRUST * np.log((probability + 1e-3) / (1 - probability + 1e-3))
    index = np.ravel_multi_index((picture.reshape(-1, 3) // (256 // BINS)).T, (BINS,) * 3)
    for _ in range(ROUNDS):
        share = []
        for weights in (probability, 1 - probability):
            count = np.bincount(index, weights.ravel(), BINS**3).reshape((BINS,) * 3)
            share.append(ndimage.gaussian_filter(count, 0.7) / max(count.sum(), 1e-6) + 2e-4)
        colour = np.log(share[0] / share[1]).ravel()[index].reshape(probability.shape).clip(-3, 3)
        probability = expit(odds + COLOUR * ndimage.gaussian_filter(colour, 1.0))
    return probability.astype(np.float32)


def foreground_probability(
    images,  # PIL images of any size and mode
    bs: int = 32,  # pictures at once
    net: ForegroundNet | None = None,  # default: the shipped one
    refine: bool = True,  # correct the net's map by the picture's own colours
) -> np.ndarray:  # float32 (n, 160, 160), each picture squeezed to a square
    "How likely each pixel belongs to the creature, 0-1."
    net, maps = net or load_foreground_net(), []
    images = list(images)
    for i in range(0, len(images), bs):
        small = [
            np.asarray(im.convert("RGB").resize((INPUT, INPUT), Image.Resampling.BOX))
            for im in images[i : i + bs]
        ]
        x = (torch.from_numpy(np.stack(small)).permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.25
        with torch.inference_mode():
            x = net(x.contiguous(memory_format=torch.channels_last)).sigmoid().numpy()
        maps.append(
            np.stack([_refine(*pair) for pair in zip(small, x, strict=True)]) if refine else x
        )
    return np.concatenate(maps) if maps else np.zeros((0, INPUT, INPUT), np.float32)


def probability_mask(probability):
    "Bool mask (h, w) of the pixels above `LEVEL` without small loose pieces, or None."
    labels, n = ndimage.label(probability > LEVEL, np.ones((3, 3)))
    if n == 0:
        return None
    area = np.bincount(labels.ravel())
    area[0] = 0
    mask = (area >= LOOSE * area.max())[labels] & (labels > 0)
    return mask if mask.mean() >= SMALLEST else None


def opacity(probability):
    """How much of a cut-out's pixel is kept, 0..1, from how likely it belongs to the thing."""
    low, high = SOFT
    return np.clip((probability - low) / (high - low), 0, 1)


def foreground_mask(image):
    """How likely each pixel of `image` (PIL) belongs to the foreground, and 0 around it: float32
    [160, 160] of the image squeezed to a square. None where none was found.
    """
    probability = foreground_probability([image])[0]
    mask = probability_mask(probability)
    return None if mask is None else np.where(mask, probability, 0).astype(np.float32)
