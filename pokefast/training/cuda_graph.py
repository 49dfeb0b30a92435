"""The network's forward and backward pass as one CUDA graph: for small networks, whose hundreds of
kernels a GPU finishes sooner than Python starts them.
"""

import torch
from fastai.callback.core import Callback

from pokefast.errors import UserError

__all__ = ["CudaGraphCallback"]


class CudaGraphCallback(Callback):
    """Capture the model's training pass at the first batch by `torch.cuda.make_graphed_callables`,
    and replay it for all batches of that size; others, and validation, run as they are.

    Loss, optimizer and augmentation stay outside: fastai changes the rates every batch. What
    capturing does to running statistics and random numbers is undone. It is captured anew where
    other parameters are trained, and dropped after the fit. Raises UserError without a CUDA device.
    """

    order = 100  # the batch is what the model gets: mixed, plain, under autocast

    def before_fit(self):
        """Begin without a graph; lr_find and prediction have none."""
        self.run = not hasattr(self, "lr_finder") and not hasattr(self, "gather_preds")
        self.after_fit()  # what a fit that ended in an error has left
        if self.run and self.dls.device.type != "cuda":
            raise UserError(
                f"--cuda-graph needs a CUDA device; this run is on {self.dls.device.type}"
            )

    def before_batch(self):
        """Put the graph in the place of the forward pass, or the forward pass back."""
        if not self.training:  # the graph gives way to the forward pass by itself
            return
        trained = [p.requires_grad for p in self.model.parameters()]
        if self.captured is None or self.captured[1] != trained:
            self._capture()
            self.captured = self.xb[0].shape, trained
        if self.xb[0].shape == self.captured[0]:
            self.model.forward = self.graphed
        else:
            self._restore()

    def _capture(self):
        self._restore()
        device, dtype = self.xb[0].device, self.learn.precision.dtype
        before = {k: v.clone() for k, v in self.model.state_dict().items()}
        random = torch.cuda.get_rng_state(device)
        # the graph's copies of weights in half precision must be made at every replay
        with torch.autocast("cuda", dtype, dtype != torch.float32, cache_enabled=False):
            torch.cuda.make_graphed_callables(self.model, (self.xb[0].clone(),))
        torch.cuda.set_rng_state(random, device)
        self.model.load_state_dict(before)  # in place, where the graph looks
        self.graphed = self.model.forward

    def _restore(self):
        vars(self.model).pop("forward", None)

    def after_fit(self):
        """Drop the graph, whose memory is large."""
        self._restore()
        self.captured, self.graphed = None, None
