"""Losses against class imbalance, with their class weights as buffers, so that
`.to(device)` moves them.
"""

import torch
import torch.nn.functional as F
from torch import nn

from pokefast.training.loss import PlainCrossEntropyLoss

__all__ = ["FocalLoss", "inverse_frequency", "imbalance_loss"]


class FocalLoss(nn.Module):
    """Mean over the batch of -w_t (1 - p_t)^gamma log p_t; `weight` [classes] is w, 1 without it.

    "Focal loss for dense object detection", ICCV 2017. fastai's takes p_t from the
    weighted cross-entropy, which is another value wherever w_t is not 1.
    """

    def __init__(self, gamma=2.0, weight=None, reduction="mean"):
        super().__init__()
        self.gamma, self.reduction = gamma, reduction
        self.register_buffer("weight", weight)

    def forward(self, logits, targets):
        """Logits [n, classes], targets [n] of class numbers; the loss, [n] for reduction "none"."""
        log_p = F.log_softmax(logits, 1).gather(1, targets[:, None])[:, 0]
        loss = -((1 - log_p.exp()) ** self.gamma) * log_p
        if self.weight is not None:
            loss = loss * self.weight[targets]
        return loss.mean() if self.reduction == "mean" else loss

    def activation(self, logits):
        """Probabilities, for fastai's `get_preds`."""
        return logits.softmax(-1)

    def decodes(self, logits):
        """Class numbers, for fastai's interpretation."""
        return logits.argmax(-1)


def inverse_frequency(targets, n_classes):
    """Weights [n_classes] in proportion to 1 / count, with a mean of 1 over the classes."""
    counts = torch.bincount(torch.as_tensor(targets), minlength=n_classes).clamp_min(1)
    weights = 1 / counts.float()
    return weights / weights.mean()


def imbalance_loss(imbalance, targets, n_classes, label_smoothing=0.0, gamma=2.0):
    """The loss for `--imbalance sampler|weighted-ce|focal|none`; the sampler leaves it plain."""
    if imbalance == "focal":
        return FocalLoss(gamma, inverse_frequency(targets, n_classes))
    weight = inverse_frequency(targets, n_classes) if imbalance == "weighted-ce" else None
    return PlainCrossEntropyLoss(weight=weight, label_smoothing=label_smoothing)
