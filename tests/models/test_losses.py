"""The focal loss is the paper's, and class weights move with the loss."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from pokefast.models.losses import FocalLoss, imbalance_loss, inverse_frequency

TARGETS = torch.tensor([0, 0, 0, 1, 2, 2])


@pytest.fixture
def logits():
    torch.manual_seed(0)
    return torch.randn(6, 3, dtype=torch.float64)


def test_gamma_zero_is_cross_entropy(logits):
    assert FocalLoss(0)(logits, TARGETS) == pytest.approx(F.cross_entropy(logits, TARGETS).item())


def test_it_is_the_papers_formula_with_p_unweighted(logits):
    weight = torch.tensor([0.5, 2.0, 1.0], dtype=torch.float64)
    p = np.exp(logits.numpy()) / np.exp(logits.numpy()).sum(1, keepdims=True)
    p_t = p[np.arange(6), TARGETS.numpy()]
    expected = -weight.numpy()[TARGETS.numpy()] * (1 - p_t) ** 2 * np.log(p_t)
    found = FocalLoss(2, weight, reduction="none")(logits, TARGETS)
    assert found.numpy() == pytest.approx(expected)
    assert FocalLoss(2, weight)(logits, TARGETS).item() == pytest.approx(expected.mean())


def test_certain_predictions_weigh_little():
    sure, unsure = torch.tensor([[6.0, 0.0]]), torch.tensor([[0.2, 0.0]])
    target = torch.tensor([0])
    focal = FocalLoss(2)(sure, target) / FocalLoss(2)(unsure, target)
    assert focal < F.cross_entropy(sure, target) / F.cross_entropy(unsure, target) / 1000


def test_the_gradient_is_finite_for_certain_predictions():
    logits = torch.tensor([[200.0, -200.0]], requires_grad=True)
    for target in (0, 1):
        FocalLoss(2)(logits, torch.tensor([target])).backward()
        assert torch.isfinite(logits.grad).all()


def test_weights_are_inverse_counts_with_mean_one():
    weights = inverse_frequency(TARGETS, 3)
    assert weights.mean() == pytest.approx(1)
    assert (weights * torch.tensor([3, 1, 2])).std() < 1e-6


def test_weights_move_with_the_loss():
    loss = FocalLoss(2, torch.ones(3))
    assert loss.to(torch.float16).weight.dtype == torch.float16
    assert "weight" in loss.state_dict()


@pytest.mark.parametrize("imbalance", ["sampler", "weighted-ce", "focal", "none"])
def test_every_choice_gives_a_loss_with_an_activation(imbalance, logits):
    loss = imbalance_loss(imbalance, TARGETS, 3)
    assert loss(logits.float(), TARGETS).item() > 0
    assert loss.activation(logits).sum(1).numpy() == pytest.approx(1)
    plain = F.cross_entropy(logits.float(), TARGETS).item()
    assert (loss(logits.float(), TARGETS).item() == pytest.approx(plain)) == (
        imbalance in ("sampler", "none")
    )
