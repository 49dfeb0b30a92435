"""Phase one of task 3: a linear head solved in closed form, on the maps of a frozen network and on
the image's colours.

Relatives of one class share their colours, so that the colours inside an outline say more about an
image of something never seen than an ImageNet network does; both together say most. The head is
linear, so that the same model can be fine-tuned afterwards ("Fine-Tuning can Distort Pretrained
Features and Underperform Out-of-Distribution", ICLR 2022). Sources: "Support vector machines for
histogram-based image classification", IEEE TNN 1999 (exponential kernels of histogram distances);
"Using the Nystroem method to speed up kernel machines", NIPS 2000; "In defense of one-vs-all
classification", JMLR 2004 (regularised least squares as a classifier).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from fastcore.basics import chunked
from sklearn.utils.class_weight import compute_sample_weight
from torch import nn

from pokefast.crops.histogram import colour_histograms, lab
from pokefast.data.splits import group_numbers, left_out_parts
from pokefast.errors import UserError
from pokefast.training.learner import described

__all__ = ["RidgeBody", "RidgeHead", "Solved", "solve_head"]

BINS = 16  # of the histograms, a Lab channel
STEP = 4 / 224  # of the side: every such step a pixel is counted; more change nothing
GREY = 128 / 255  # painted around the foreground
PENALTY = 1.0  # on the squared weights, when images of average class weight count 1
SHARPNESS = 4.0  # logits are so many times the regression's values, which are about -1 to 1
JITTER = 1e-6  # of the landmarks' kernel, which repeated images make singular
CHUNK = 4096  # images whose features are in memory at once, in float64


class RidgeBody(nn.Module):
    """Cut-outs [n, 4, size, size] (colour normalised by `stats`, alpha 0..1) to vectors
    [n, sum of `widths` + bins^3]: mean and maximum of each map of every one of `backbones`, and a
    colour histogram.

    `stats` are (mean, standard deviation) of each backbone's inputs, the first is the images'. The
    background is painted grey. In prediction the maps are averaged over the mirror image too. No
    gradient goes through the histogram. Frozen until `freeze_to` opens it.
    """

    def __init__(self, backbones, stats):
        super().__init__()
        self.backbones = nn.ModuleList(backbones).requires_grad_(False)
        self.widths = [2 * sum(backbone.channels) for backbone in backbones]
        self.register_buffer("mean", torch.tensor([mean for mean, _ in stats])[..., None, None])
        self.register_buffer("std", torch.tensor([std for _, std in stats])[..., None, None])

    def forward(self, x):
        """Vectors, of images or of their own vectors by `describe`, which stay as they are."""
        return x if x.ndim == 2 else self.describe(x)

    def describe(self, x):
        """Vectors of images."""
        rgb, mask = x[:, :3] * self.std[0] + self.mean[0], x[:, 3:]
        painted = torch.lerp(rgb.new_tensor(GREY), rgb, mask)
        if self.training:  # augmentation mirrors
            deep = self._pooled(painted)
        else:  # the image last: Grad-CAM looks at the last pass
            deep = (self._pooled(painted.flip(-1)) + self._pooled(painted)) / 2
        with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
            step = max(1, round(x.shape[-1] * STEP))
            some = rgb[..., ::step, ::step].float().clamp(0, 1)
            colours = colour_histograms(lab(some), mask[..., ::step, ::step].float(), BINS)
        return torch.cat([deep, colours], 1)

    def _pooled(self, x):
        x, maps = x.contiguous(memory_format=torch.channels_last), []
        for backbone, mean, std in zip(self.backbones, self.mean, self.std, strict=True):
            maps += [h.float() for h in backbone.maps((x - mean) / std)]
        return torch.cat([v for h in maps for v in (h.mean((2, 3)), h.amax((2, 3)))], 1)


class RidgeHead(nn.Module):
    """Vectors of a `RidgeBody` to logits [n, n_out]: a linear layer on their `features`.

    `solve` fits it: ridge regression of one-against-all targets (-1, 1), every class weighing the
    same, the constant penalised like every feature. Where every image is one of the `landmarks`,
    this is kernel ridge regression with k = `deep_weight` times the cosine of the standardised deep
    features, the mean of the networks', which have `widths` of them, + `colour_weight`
    exp(-`gamma` (1 - b)) + 1, with the histograms' Bhattacharyya coefficient b.
    """

    def __init__(self, widths, n_out, landmarks, deep_weight, colour_weight, gamma):
        super().__init__()
        self.deep_weight, self.colour_weight, self.gamma = deep_weight, colour_weight, gamma
        self.widths, n_deep = widths, sum(widths)
        self.register_buffer("centre", torch.zeros(n_deep))
        self.register_buffer("scale", torch.ones(n_deep))
        self.register_buffer("landmarks", torch.zeros(landmarks, BINS**3))
        self.register_buffer("whiten", torch.zeros(landmarks, landmarks))
        self.linear = nn.Linear(n_deep + landmarks, n_out)

    def forward(self, vectors):
        """Logits."""
        with torch.autocast(vectors.device.type, enabled=False):
            return self.linear(self.features(vectors))

    def features(self, vectors):
        """The linear layer's inputs [n, n_deep + landmarks]: their products are the kernel without
        its constant, which is the layer's bias.
        """
        deep, colours = vectors.split([len(self.centre), BINS**3], 1)
        deep = ((deep - self.centre) / self.scale).split(self.widths, 1)
        deep = [(self.deep_weight / len(deep)) ** 0.5 * F.normalize(part) for part in deep]
        return torch.cat([*deep, self.colour_weight**0.5 * self._alike(colours) @ self.whiten], 1)

    @torch.no_grad()
    def solve(self, vectors, targets, groups=None, seed=0):
        """Fit to `vectors` of n images and their class numbers [n], in float64; landmarks and
        scaling come from these alone.

        With `groups`, a group number for every image, returns the logits [n, n_out] that each gets
        from a head fitted without its group: exactly those of as many fits as there are groups,
        with the class weights, landmarks and scaling of all (`_left_out`).

        The normal equations are summed up by chunks, in memory that does not grow with n, and
        solved by Cholesky; scikit-learn's `Ridge` would hold all features twice (3 GB at 50,000).
        """
        dtype = self.linear.weight.dtype
        n, m = len(vectors), len(self.landmarks)
        if n < m:
            raise UserError(f"{n} images for a head of {m} landmarks")
        deep, colours = vectors.split([len(self.centre), BINS**3], 1)
        self.centre.copy_(deep.mean(0))
        self.scale.copy_(deep.std(0, unbiased=False).clamp_min(1e-8))
        self.landmarks.copy_(colours[_stratified(targets, m, seed)])
        self.double()
        eye = torch.eye(m, dtype=torch.float64)
        root = torch.linalg.cholesky(self._alike(self.landmarks) + JITTER * eye)
        self.whiten.copy_(torch.linalg.solve_triangular(root, eye, upper=False).T)
        weights = torch.from_numpy(compute_sample_weight("balanced", targets.numpy()))
        signs = 2 * F.one_hot(targets, self.linear.out_features).double() - 1
        d = self.linear.in_features + 1
        gram, moments = torch.zeros(d, d).double(), torch.zeros(d, signs.shape[1]).double()
        for rows in torch.arange(n).split(CHUNK):
            phi = F.pad(self.features(vectors[rows].double()), (0, 1), value=1.0)
            weighted = (phi * weights[rows, None]).T
            gram += weighted @ phi
            moments += weighted @ signs[rows]
        gram.diagonal().add_(PENALTY)
        factor = torch.linalg.cholesky(gram)
        solution = torch.cholesky_solve(moments, factor)
        self.linear.weight.copy_(SHARPNESS * solution[:-1].T)
        self.linear.bias.copy_(SHARPNESS * solution[-1])
        out = None
        if groups is not None:
            out = self._left_out(vectors, signs, weights, np.asarray(groups), solution, factor)
        self.to(dtype)
        return out

    def _left_out(self, vectors, signs, weights, groups, solution, factor):
        """Logits [n, n_out] of every image from the ridge regression without its group.

        For a group with features P, weights W, targets Y and values F of the regression on all,
        the values without it are Y - (1 - P A^-1 P' W)^-1 (Y - F), with the Gram matrix A. Source,
        for single images: "The relationship between variable selection and data augmentation and a
        method for prediction", Technometrics 1974.
        """
        out, order = torch.empty_like(signs), np.argsort(groups, kind="stable")
        parts = np.split(order, np.flatnonzero(np.diff(groups[order])) + 1)
        for some in chunked(parts, max(1, CHUNK // max(map(len, parts)))):
            rows = np.concatenate(some)
            phi = F.pad(self.features(vectors[rows].double()), (0, 1), value=1.0)
            half = torch.linalg.solve_triangular(factor, phi.T, upper=False).T
            error = signs[rows] - phi @ solution
            sizes = list(map(len, some))
            for part, h, e in zip(some, half.split(sizes), error.split(sizes), strict=True):
                left = torch.eye(len(part)).double() - h @ h.T * weights[part]
                out[part] = signs[part] - torch.linalg.solve(left, e)
        return SHARPNESS * out

    def _alike(self, colours):
        return torch.exp(-self.gamma * (1 - colours @ self.landmarks.T))


@dataclass(frozen=True)
class Solved:
    """What phase one leaves beside the head: its row of the history (no training loss, validation
    loss, metrics), empty without validation, and, where it was asked for, the probabilities
    [n, classes] of the training images, each from a head without its group, and a function that
    gives them for other groups [n].
    """

    row: list
    left_out: np.ndarray | None = None
    without: Callable | None = None


def solve_head(learn, o, validate=True):
    """Phase one: solve the `RidgeHead` of `learn` on the training part, with the network as it is.

    Prints a line and returns what was `Solved`, None for another head. With `o.leave_one_out`, of
    resolved options, validation is on the training images, each without its group (column `group`;
    itself where there is none) and as large a share of the other classes: `left_out_parts`.
    `validate` is False where there is nothing to validate on. Each image is described once for all
    learners that share it.
    """
    if not isinstance(learn.model[1], RidgeHead):
        return None
    groups = group_numbers(learn.dls.train.items) if o.leave_one_out else None
    logits, targets = _solved(learn, groups)
    left_out = None
    if o.leave_one_out:
        values = _metrics(learn, logits, targets)
        loss, left_out = F.cross_entropy(logits, targets).item(), logits.softmax(1).numpy()
    elif validate:
        with learn.no_bar():
            loss, *values = learn.validate(dl=described(learn, learn.dls.valid))
    else:
        return Solved([])
    text = f"valid_loss {loss:.4f}  {learn.metrics[-1].name} {values[-1]:.4f}"
    print(f"head solved  {text}{'  without each group' if o.leave_one_out else ''}", flush=True)
    without = partial(_without, learn) if o.leave_one_out else None
    return Solved([float("nan"), loss, *values], left_out, without)


def _without(learn, groups):
    """Probabilities [n, classes] of the training images, in the order of their items, each from the
    solved head without those of its group in `groups` [n] and its part of the others.
    """
    return _solved(learn, groups)[0].softmax(1).numpy()


def _solved(learn, groups):
    """(logits of the training images without their parts of `groups` [n], None where that is; their
    class numbers), by the head of `learn`, which is solved.
    """
    vectors, targets = _training_vectors(learn)
    parts = None if groups is None else left_out_parts(targets.numpy(), np.asarray(groups))
    logits = learn.model[1].cpu().solve(vectors, targets, parts)
    learn.model[1].to(learn.dls.device)
    return logits, targets


def _training_vectors(learn):
    """Vectors [n, d] and class numbers [n] of the training images, on the CPU."""
    dl = described(learn, learn.dls.train).new(shuffle=False, drop_last=False)
    parts = zip(*dl, strict=True)
    return (torch.cat(part).as_subclass(torch.Tensor).cpu() for part in parts)


def _metrics(learn, logits, targets):
    """Values of the metrics of `learn`, as fastai's Recorder takes them, of one batch of all."""
    learn.xb, learn.yb, learn.pred = (), (targets,), logits
    for metric in learn.metrics:
        metric.reset()
        metric.accumulate(learn)
    return [metric.value for metric in learn.metrics]


def _stratified(targets, k, seed):
    """Row numbers of `k` of the targets, of each class the same fraction, at random."""
    shuffled = np.random.default_rng(seed).permutation(len(targets))
    classes = pd.Series(targets.numpy()[shuffled])
    rank = classes.groupby(classes).cumcount() / classes.map(classes.value_counts())
    return np.sort(shuffled[rank.argsort(kind="stable")[:k]])
