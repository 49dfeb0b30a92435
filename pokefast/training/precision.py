"""Mixed precision that works on CPUs too."""

import torch
from fastai.callback.fp16 import MixedPrecision
from torch.amp import GradScaler

from pokefast.errors import UserError

__all__ = ["PrecisionCallback", "choose_dtype", "cpu_has_bf16"]

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def cpu_has_bf16():
    """Whether this CPU multiplies bf16 in hardware; without it bf16 is several times slower than
    fp32.

    torch says so from version 2.12 on by `torch.cpu.get_capabilities`, before that by two private
    functions. `_is_mkldnn_bf16_supported` would not do: it is true of CPUs that emulate it.
    """
    if hasattr(torch.cpu, "get_capabilities"):
        found = torch.cpu.get_capabilities()
        return bool(found.get("avx512_bf16") or found.get("amx_bf16") or found.get("bf16"))
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, bool)() for name in checks)


def choose_dtype(precision, device):
    """The dtype for `--precision auto|fp32|bf16|fp16` on `device`; "auto" is the fastest that is
    safe there. Raises UserError for another name, and for fp16 without CUDA.
    """
    kind = torch.device(device).type
    if precision == "auto":
        if kind == "cuda":
            # bf16 needs no loss scaling; fp16 where the GPU would only emulate bf16
            native = torch.cuda.is_bf16_supported(including_emulation=False)
            return torch.bfloat16 if native else torch.float16
        return torch.bfloat16 if kind == "cpu" and cpu_has_bf16() else torch.float32
    if precision not in DTYPES:
        raise UserError(f"--precision {precision}: choose auto, {', '.join(DTYPES)}")
    if precision == "fp16" and kind != "cuda":
        raise UserError(
            f"--precision fp16 needs a CUDA device; this run is on {kind}: use auto or bf16"
        )
    return DTYPES[precision]


class PrecisionCallback(MixedPrecision):
    """fastai's `MixedPrecision` on any device: that one is fixed to CUDA and leaves a CPU in fp32
    without a word.

    The forward pass runs under autocast to `dtype`; weights and the loss stay in fp32. fp16
    scales the loss.
    """

    def __init__(self, dtype):
        super().__init__()
        self.dtype, self.autocast = dtype, None

    def before_fit(self):
        """Set up autocast and loss scaling for the learner's device."""
        kind = self.dls.device.type
        scaling = self.dtype == torch.float16
        self.autocast = torch.autocast(kind, self.dtype, enabled=self.dtype != torch.float32)
        # the scaler's state is made for CUDA; elsewhere it is disabled and does nothing
        self.learn.scaler = GradScaler(kind if scaling else "cpu", enabled=scaling)
        self.scales = []

    def after_pred(self):
        """End autocast here: unlabelled batches never reach after_loss, where fastai's ends."""
        super().after_pred()
        self.autocast.__exit__(None, None, None)

    def after_loss(self):
        """Do nothing: autocast has ended."""

    def before_backward(self):
        """Scale the loss of fp16."""
        if self.learn.scaler.is_enabled():
            super().before_backward()

    def before_step(self):
        """Leave out the step whose gradients overflowed in fp16."""
        if self.learn.scaler.is_enabled():
            super().before_step()

    def after_step(self):
        """Change fp16's scale."""
        if self.learn.scaler.is_enabled():
            super().after_step()

    def after_fit(self):
        """Drop the scaler; validation after the fit needs autocast, which fastai drops too."""
        self.learn.scaler = None
