"""What is done to whole batches: augmentation of training batches alone, one draw an image and one
operation a batch, and normalization.

torchvision's v2 transforms draw once for a whole batch, and fastai's `aug_transforms` take ten
times the time of these (every one of them resamples with grid_sample): hence our own. Each is a
fastai batch transform with `split_idx = 0`, which fastai runs on training batches alone.
"""

import math

import torch
import torch.nn.functional as F
from fastai.data.transforms import Normalize
from fastai.torch_core import TensorImage
from fasttransform import Transform

__all__ = [
    "BatchFlip",
    "BatchShift",
    "BatchAffine",
    "BatchColor",
    "NormalizeInPlace",
    "augmentations",
]

# fastai's IntToFloatTensor has order 10 and Normalize 99
BEFORE_FLOAT, AFTER_FLOAT = 5, 30


class BatchTransform(Transform):
    """A training transform of a batch [n, c, h, w]: `augment` gets and gives a plain tensor.

    fastai's tensor subclasses cost a Python call for every operation.
    """

    split_idx, order = 0, AFTER_FLOAT

    def encodes(self, x: TensorImage):
        """fastai's entry: the augmented batch, a `TensorImage` again."""
        return self.augment(x.as_subclass(torch.Tensor))

    def augment(self, x):
        """The batch [n, c, h, w], each image changed by a draw of its own."""
        raise NotImplementedError


class BatchFlip(BatchTransform):
    """Mirror each image left to right with probability `p`."""

    order = BEFORE_FLOAT  # a quarter of the bytes

    def __init__(self, p=0.5):
        super().__init__()
        self.p = p

    def augment(self, x):
        """Of all images mirrored, those that are drawn: a flip of whole batches is vectorized."""
        mirrored = (torch.rand(len(x), device=x.device) < self.p).view(-1, 1, 1, 1)
        if x.dtype != torch.uint8:
            return torch.where(mirrored, x.flip(-1), x)
        # `where` takes bytes one by one: all bits that differ are turned, or none of them
        differing = x.flip(-1).bitwise_xor_(x).bitwise_and_(mirrored.to(torch.uint8) * 255)
        return differing.bitwise_xor_(x)


class BatchShift(BatchTransform):
    """Move each image by up to `pixels` in both directions, whole pixels, repeating the edge."""

    order = BEFORE_FLOAT + 1

    def __init__(self, pixels):
        super().__init__()
        self.pixels = pixels

    def augment(self, x):
        """Windows of a larger batch, in the batch's own dtype."""
        n, c, h, w = x.shape
        padded = _repeat_edges(x, self.pixels)
        dy, dx = torch.randint(2 * self.pixels + 1, (2, n, 1, 1), device=x.device)
        # a row of a window is w values in a row of memory: copied as such, not one by one
        images = torch.arange(n * c, device=x.device).view(n, c, 1) * padded.shape[2]
        rows = images + dy + torch.arange(h, device=x.device)
        starts = rows * padded.shape[3] + dx
        return padded.flatten().unfold(0, w, 1).index_select(0, starts.flatten()).view(x.shape)


class BatchAffine(BatchTransform):
    """Rotate by up to `rotate` degrees, shift by up to the fraction `shift` of the side, scale by
    1 - `scale` to 1 + `scale`.

    One bilinear resampling, edges repeated (MPS has no reflection for it).
    """

    order = AFTER_FLOAT + 1

    def __init__(self, rotate=0.0, shift=0.0, scale=0.0):
        super().__init__()
        self.rotate, self.shift, self.scale = rotate, shift, scale

    def augment(self, x):
        """A batch sampled anew from `x`, floats."""
        n = len(x)
        # uniform in -1..1
        turn, dx, dy, zoom = 2 * torch.rand(4, n, device=x.device) - 1
        angle = turn * math.radians(self.rotate)
        size = 1 / (1 + zoom * self.scale)  # the grid maps outputs to inputs, hence the inverse
        cos, sin = size * angle.cos(), size * angle.sin()
        shift = 2 * self.shift  # affine_grid's coordinates are -1..1
        theta = torch.stack(
            [torch.stack([cos, -sin, dx * shift], 1), torch.stack([sin, cos, dy * shift], 1)], 1
        )
        grid = F.affine_grid(theta, list(x.shape), align_corners=False).to(x.dtype)
        return F.grid_sample(x, grid, padding_mode="border", align_corners=False)


class BatchColor(BatchTransform):
    """Brightness, contrast and saturation of each image by factors 1 - v to 1 + v, in this order,
    clipped to 0..1.

    The operations of torchvision's ColorJitter, without its hue and its random order. Alpha
    stays as it is.
    """

    order = AFTER_FLOAT + 2

    def __init__(self, brightness=0.0, contrast=0.0, saturation=0.0):
        super().__init__()
        self.brightness, self.contrast, self.saturation = brightness, contrast, saturation

    def augment(self, x):
        """`x`, floats in 0..1, with other colours."""
        color, alpha = x[:, :3], x[:, 3:]
        for strength, anchor in (
            (self.brightness, torch.zeros_like),
            (self.contrast, _mean_grey),
            (self.saturation, _grey),
        ):
            if strength:
                factor = 1 + strength * (2 * torch.rand(len(x), 1, 1, 1, device=x.device) - 1)
                color = torch.lerp(anchor(color), color, factor.to(x.dtype)).clamp_(0, 1)
        return color if alpha.shape[1] == 0 else torch.cat([color, alpha], 1)


class NormalizeInPlace(Normalize):
    """fastai's `Normalize` without its two copies of the batch; `IntToFloatTensor` has just made
    one.
    """

    def encodes(self, x: TensorImage):
        """`x` minus mean, divided by deviation, in place."""
        return x.as_subclass(torch.Tensor).sub_(self.mean).div_(self.std)


def augmentations(o):
    """The transforms that options `o` ask for, for a DataBlock's `batch_tfms`; nothing is done for
    a 0.

    `o.flip` mirrors half the images, `o.shift_pixels` is in whole pixels, `o.rotate` in degrees,
    `o.shift` and `o.scale` are fractions of the side, `o.brightness`, `o.contrast` and
    `o.saturation` strengths as in `BatchColor`.
    """
    tfms = []
    if o.flip:
        tfms.append(BatchFlip())
    if o.shift_pixels:
        tfms.append(BatchShift(o.shift_pixels))
    if o.rotate or o.shift or o.scale:
        tfms.append(BatchAffine(o.rotate, o.shift, o.scale))
    if o.brightness or o.contrast or o.saturation:
        tfms.append(BatchColor(o.brightness, o.contrast, o.saturation))
    return tfms


def _repeat_edges(x, p):
    """[n, c, h, w] with `p` pixels more on each side; F.pad does not take bytes everywhere."""
    n, c, h, w = x.shape
    out = x.new_empty(n, c, h + 2 * p, w + 2 * p)
    out[:, :, p : p + h, p : p + w] = x
    out[:, :, :p, p : p + w] = x[:, :, :1]
    out[:, :, p + h :, p : p + w] = x[:, :, -1:]
    out[:, :, :, :p] = out[:, :, :, p : p + 1]
    out[:, :, :, p + w :] = out[:, :, :, p + w - 1 : p + w]
    return out


def _grey(x):
    """Luma of Rec. 601, as torchvision's rgb_to_grayscale, for any batch; grey stays as it is."""
    if x.shape[1] == 1:
        return x
    weights = x.new_tensor([0.2989, 0.587, 0.114]).view(1, 3, 1, 1)
    return (x * weights).sum(1, keepdim=True).expand_as(x)


def _mean_grey(x):
    return _grey(x).mean((1, 2, 3), keepdim=True).expand_as(x)
