"""Adam and AdamW for fastai, each layer group in one call of torch's fused kernel.

torch.optim's classes call the same kernel and import torch's compiler before they do, seconds of
every start; fastai's `Adam` goes through the tensors in Python.
"""

from collections import defaultdict

import torch
from fastai.optimizer import Optimizer

from pokefast.errors import UserError

__all__ = ["FusedAdam"]

AVERAGES = ("exp_avg", "exp_avg_sq", "step")  # of a parameter, as torch.optim names them


class FusedAdam(Optimizer):
    """The steps of torch.optim.AdamW(fused=True) to the bit, or those of Adam without `decoupled`:
    decay is then added to the gradient.

    `params` are tensors or, a list a layer group, lists of them. `mom` and `sqr_mom` are fastai's
    names of torch's betas, `wd` of its weight_decay.
    """

    def __init__(self, params, lr, mom=0.9, sqr_mom=0.999, eps=1e-8, wd=0.0, decoupled=True):
        super().__init__(params, [], lr=lr, mom=mom, sqr_mom=sqr_mom, eps=eps, wd=wd)
        self.kernel = torch._fused_adamw_ if decoupled else torch._fused_adam_

    @torch.no_grad()
    def step(self, closure=None):
        """Change the parameters that have gradients; fastai gives no `closure`."""
        for group, hyper in zip(self.param_lists, self.hypers, strict=True):
            params = [p for p in group if p.grad is not None]
            if not params:
                continue
            states = [self._state_of(p) for p in params]
            means, squares, steps = ([state[k] for state in states] for k in AVERAGES)
            torch._foreach_add_(steps, 1)
            self.kernel(
                params,
                [p.grad for p in params],
                means,
                squares,
                [],  # AMSGrad's
                steps,
                lr=hyper["lr"],
                beta1=hyper["mom"],
                beta2=hyper["sqr_mom"],
                weight_decay=hyper["wd"],
                eps=hyper["eps"],
                amsgrad=False,
                maximize=False,
            )

    def _state_of(self, p):
        state = self.state[p]
        if "step" not in state:
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(p), torch.zeros_like(p)
            state["step"] = torch.zeros((), dtype=torch.float32, device=p.device)
        return state

    def zero_grad(self):
        """Drop the gradients: the next ones are written, not added to zeros."""
        for group in self.param_lists:
            for p in group:
                p.grad = None

    def state_dict(self):
        """Averages and rates, as `torch.load(weights_only=True)` can read them."""
        states = [dict(self.state[p]) for group in self.param_lists for p in group]
        return {"state": states, "hypers": [dict(hyper) for hyper in self.hypers]}

    def load_state_dict(self, sd):
        """Go on with what `state_dict` gave; UserError for the state of another optimizer."""
        params = [p for group in self.param_lists for p in group]
        states, hypers = sd.get("state"), sd.get("hypers", ())
        if len(hypers) != len(self.hypers) or len(states) != len(params):
            raise UserError("the optimizer's state is another one's: begin anew")
        for hyper, kept in zip(self.hypers, hypers, strict=True):
            hyper.update(kept)
        self.state = defaultdict(dict)
        for p, kept in zip(params, states, strict=True):
            self.state[p] = {k: _copied(v, p.device) for k, v in kept.items()}


def _copied(value, device):
    return value.detach().to(device, copy=True) if isinstance(value, torch.Tensor) else value
