"""Tell a creature's type in closed form: its palette, and the maps of a network that stays frozen.

Relatives of one type share their colours, so that the colours inside the creature's outline say
more about a creature never seen than an ImageNet network does; both together say most. Each picture
is cut out (`CutOut`), described by the stages of a frozen network and by a Lab histogram, and
classified by ridge regression on the sum of two kernels. Sources:
"Support vector machines for histogram-based image classification", IEEE TNN 1999 (exponential
kernels of histogram distances); "In defense of one-vs-all classification", JMLR
2004 (regularised least squares as a classifier).
"""

import hashlib

import numpy as np
import timm
import torch
import torch.nn.functional as F
from fasttransform import Transform
from PIL import Image
from sklearn.kernel_ridge import KernelRidge
from sklearn.utils.class_weight import compute_sample_weight
from torch import nn

from pokefast.crops.foreground import foreground_mask
from pokefast.crops.transforms import mask_box, square_box
from pokefast.errors import UserError
from pokefast.images import PILImageRGBA
from pokefast.models.backbones import read_weights
from pokefast.models.networks import architecture

__all__ = ["CutOut", "PaletteNet", "lab", "palettes", "palette_net"]

BINS = 12  # histogram bins a Lab channel
REDUCTIONS = (8, 16, 32)  # stages of the network that are used, by how much smaller their maps are
GREY = 128 / 255  # painted around the creature
SOFT = (0.3, 0.7)  # probabilities below and above which a pixel is background and creature
STEP = 4 / 224  # of the side: every such step a pixel is counted; more change nothing


class CutOut(Transform):
    """Item transform: a square RGBA crop of `size` pixels around the creature, whose alpha says how
    much each pixel is creature. The whole picture, alpha as it is, where none was found.
    """

    order = 0  # Resize has 1

    def __init__(self, size=160, pad=0.05):
        super().__init__()
        self.size, self.pad = size, pad

    def encodes(self, x: PILImageRGBA):
        sides = (self.size, self.size)
        rgb, mask = x.convert("RGB"), foreground_mask(x)
        if mask is None:
            return PILImageRGBA(x.resize(sides, Image.Resampling.BICUBIC))
        box = square_box(mask_box(mask, x.size), self.pad, x.size)
        soft = Image.fromarray(mask)
        soft = soft.resize(x.size, Image.Resampling.BILINEAR).crop(box)
        soft = np.asarray(soft.resize(sides, Image.Resampling.BILINEAR))
        low, high = SOFT
        alpha = (np.clip((soft - low) / (high - low), 0, 1) * 255).round().astype(np.uint8)
        out = rgb.crop(box).resize(sides, Image.Resampling.BICUBIC).convert("RGBA")
        out.putalpha(Image.fromarray(alpha))
        return PILImageRGBA(out)


def lab(rgb):
    """CIELAB of sRGB [n, 3, ...] in 0..1 (white D65), scaled to 0..1: L / 100, (a + 128) / 255,
    (b + 128) / 255. torch has none; IEC 61966-2-1 and CIE 15.
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


def palettes(rgb, mask, bins=BINS):
    """Square roots of Lab histograms, [n, bins^3], of pictures [n, 3, h, w] in 0..1.

    The squares of a row sum to 1. A colour counts in the eight nearest bins, and as much as `mask`
    [n, 1, h, w] says.
    """
    step = max(1, round(rgb.shape[-1] * STEP))
    place = lab(rgb[..., ::step, ::step]).flatten(2) * (bins - 1)  # [n, 3, pixels]
    weight = mask[..., ::step, ::step].flatten(1)
    low = place.floor().clamp_max(bins - 2)
    part, low = place - low, low.long()
    counts = rgb.new_zeros(len(rgb), bins**3)
    for corner in np.ndindex(2, 2, 2):
        at = torch.tensor(corner, device=rgb.device).view(1, 3, 1)
        share = torch.where(at.bool(), part, 1 - part).prod(1) * weight
        lightness, a, b = (low + at).unbind(1)
        counts.scatter_add_(1, (lightness * bins + a) * bins + b, share)
    return (counts / counts.sum(1, keepdim=True).clamp_min(1e-12)).sqrt()


class PaletteNet(nn.Module):
    """Cut-outs [n, 4, size, size] (colour normalised, alpha 0..1) to logits [n, n_out].

    `solve` fits it, in closed form: ridge regression of one-against-all targets (-1, 1), every
    class weighing the same, on the kernel k = `deep_weight` times the cosine of the standardised
    deep features + `colour_weight` exp(-`gamma` (1 - b)) + 1, with the palettes' Bhattacharyya
    coefficient b.
    """

    def __init__(
        self,
        net,
        n_deep,
        n_out,
        n_support,
        mean,
        std,
        colour_weight,
        gamma,
        alpha,
        sharpness,
        deep_weight=1.0,
    ):
        super().__init__()
        self.net = net.eval().requires_grad_(False)
        self.deep_weight, self.colour_weight, self.gamma = deep_weight, colour_weight, gamma
        self.alpha, self.sharpness = alpha, sharpness
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1))
        self.register_buffer("centre", torch.zeros(n_deep))
        self.register_buffer("scale", torch.ones(n_deep))
        self.register_buffer("support_deep", torch.zeros(n_support, n_deep))
        self.register_buffer("support_colour", torch.zeros(n_support, BINS**3))
        self.register_buffer("dual", torch.zeros(n_support, n_out))

    def train(self, mode=True):
        """The network stays as it is in evaluation: nothing in it is trained."""
        super().train(mode)
        self.net.eval()
        return self

    def describe(self, x):
        """Vectors [n, n_deep + bins^3]: deep features, averaged over the mirror image, and palette.

        They depend on the frozen network alone, not on what `solve` was given.
        """
        rgb, mask = x[:, :3] * self.std + self.mean, x[:, 3:]
        painted = (torch.lerp(rgb.new_tensor(GREY), rgb, mask) - self.mean) / self.std
        deep = (self._pooled(painted) + self._pooled(painted.flip(-1))) / 2
        with torch.autocast(x.device.type, enabled=False):
            return torch.cat([deep, palettes(rgb.float().clamp(0, 1), mask.float())], 1)

    def frozen_digest(self):
        """A hash of all that `describe` depends on: where two models' are equal, so are vectors."""
        digest = hashlib.blake2b()
        for tensor in (self.mean, self.std, *self.net.state_dict().values()):
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def forward(self, x):
        """Logits of cut-outs or of their vectors by `describe`: `sharpness` times the regression's
        values, which are about -1 to 1.
        """
        deep, colour = self._parts(x)
        with torch.autocast(x.device.type, enabled=False):
            return self.sharpness * self._kernel(self._standard(deep), colour) @ self.dual

    @torch.inference_mode()
    def solve(self, batches):
        """Fit to `batches` of (x, class numbers), all of them at once; x is as for `forward`."""
        rows = [(*self._parts(x), y) for x, y in batches]
        deep, colour, targets = (torch.cat(part) for part in zip(*rows, strict=True))
        if len(deep) != len(self.support_deep):
            raise UserError(f"{len(deep)} pictures for a model of {len(self.support_deep)}")
        self.centre.copy_(deep.mean(0))
        self.scale.copy_(deep.std(0, unbiased=False).clamp_min(1e-8))
        self.support_deep.copy_(self._standard(deep))
        self.support_colour.copy_(colour)
        kernel = self._kernel(self.support_deep, self.support_colour).double().cpu().numpy()
        y = targets.cpu().numpy()
        ridge = KernelRidge(alpha=self.alpha, kernel="precomputed")
        ridge.fit(
            kernel, 2 * np.eye(self.dual.shape[1])[y] - 1, compute_sample_weight("balanced", y)
        )
        self.dual.copy_(torch.from_numpy(ridge.dual_coef_))

    def _parts(self, x):
        vectors = x if x.ndim == 2 else self.describe(x)
        return vectors.split([len(self.centre), BINS**3], 1)

    def _pooled(self, x):
        maps = [h.float() for h in self.net(x.contiguous(memory_format=torch.channels_last))]
        return torch.cat([v for h in maps for v in (h.mean((2, 3)), h.amax((2, 3)))], 1)

    def _standard(self, deep):
        return F.normalize((deep.float() - self.centre) / self.scale)

    def _kernel(self, deep, colour):
        alike = torch.exp(-self.gamma * (1 - colour @ self.support_colour.T))
        return self.deep_weight * deep @ self.support_deep.T + self.colour_weight * alike + 1


@architecture
def palette_net(
    arch,
    n_out,
    n_support,
    mean,
    std,
    colour_weight=0.7,
    gamma=4.0,
    alpha=1.0,
    sharpness=4.0,
    deep_weight=1.0,
):
    """A `PaletteNet` on timm's `arch` with random weights; see `load_stage_weights`."""
    try:
        net = timm.create_model(arch, pretrained=False, features_only=True)
        found = net.feature_info.reduction()
        indices = [found.index(r) for r in REDUCTIONS]
    except (RuntimeError, ValueError, AttributeError) as e:
        raise UserError(
            f"--arch {arch}: no maps of {REDUCTIONS} times smaller sides ({e}); take a "
            "convolutional network of timm's, or --classifier network"
        ) from None
    net = timm.create_model(arch, pretrained=False, features_only=True, out_indices=indices)
    n_deep = 2 * sum(net.feature_info.channels())
    return PaletteNet(
        net,
        n_deep,
        n_out,
        n_support,
        mean,
        std,
        colour_weight,
        gamma,
        alpha,
        sharpness,
        deep_weight,
    )


def load_stage_weights(model, arch, weights="pretrained"):
    """Load the weights of `arch` into a `PaletteNet`'s network; `weights` as `read_weights`'s."""
    own, state = model.net.state_dict(), read_weights(arch, weights)
    # timm calls the blocks of a network of maps blocks_0 or blocks.0, by its wrapper
    state = {k: v for k, v in state.items() if k in own and v.shape == own[k].shape}
    missing = [k for k in own if k not in state]
    if missing:
        raise UserError(
            f"--arch {arch} --weights {weights}: no weights for {', '.join(missing[:3])}"
        )
    model.net.load_state_dict(state)
