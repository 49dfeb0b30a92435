"""FusedAdam takes the steps of torch's fused optimizers, and goes on from its state."""

from functools import partial

import pytest
import torch
from torch import nn

from pokefast.errors import UserError
from pokefast.training.optimizer import FusedAdam


def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


def groups(net):
    params = list(net.parameters())
    return [p for p in params if p.ndim > 1], [p for p in params if p.ndim <= 1]


def steps(net, optimizer, set_rates, first=0, n=6):
    """`n` steps of `net`, of which the third leaves a layer without gradients."""
    for i in range(first, first + n):
        torch.manual_seed(i)
        set_rates(optimizer, 1e-2 / (i + 1), 0.95 - i / 100)
        net(torch.randn(16, 6)).square().mean().backward()
        if i == 2:
            net[0].weight.grad = None
        optimizer.step()
        optimizer.zero_grad()
    return torch.cat([p.detach().flatten() for p in net.parameters()])


def set_ours(optimizer, lr, mom):
    optimizer.set_hypers(lr=lr, mom=mom)


def set_torchs(optimizer, lr, mom):
    for group in optimizer.param_groups:
        group["lr"], group["betas"] = lr, (mom, 0.999)


@pytest.mark.parametrize("kind", [torch.optim.AdamW, torch.optim.Adam])
def test_steps_are_torchs_to_the_bit(kind):
    net, theirs = model(), model()
    ours = FusedAdam(groups(net), lr=1.0, decoupled=kind is torch.optim.AdamW)
    ours.set_hypers(wd=[0.1, 0.0])
    weights, rest = groups(theirs)
    parts = [
        {"params": weights, "weight_decay": 0.1},
        {"params": rest, "weight_decay": 0.0},
    ]
    reference = kind(parts, lr=1.0, fused=True)
    assert torch.equal(steps(net, ours, set_ours), steps(theirs, reference, set_torchs))


def test_a_state_goes_on_and_another_optimizers_is_refused(tmp_path):
    make = partial(FusedAdam, lr=1e-2, wd=0.1)
    net = model()
    optimizer = make(groups(net))
    steps(net, optimizer, set_ours, n=3)
    torch.save({"model": net.state_dict(), "opt": optimizer.state_dict()}, tmp_path / "state")
    want = steps(net, optimizer, set_ours, first=3)
    state = torch.load(tmp_path / "state", weights_only=True)
    net = model()
    net.load_state_dict(state["model"])
    optimizer = make(groups(net))
    optimizer.load_state_dict(state["opt"])
    assert torch.equal(steps(net, optimizer, set_ours, first=3), want)
    with pytest.raises(UserError, match="another one's"):
        optimizer.load_state_dict(torch.optim.AdamW(net.parameters()).state_dict())
