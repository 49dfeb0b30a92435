"""Several processes, started by torchrun, train one model: each batch is shared out among them.

fastai's own `DistributedTrainer` needs accelerate and a GPU (its loader broadcasts through CUDA),
and makes batches larger by the number of processes, for which no recipe's rates were chosen.
"""

import os
from contextlib import contextmanager, nullcontext, redirect_stdout

import torch
import torch.distributed as dist
from fastai.callback.core import Callback
from fastai.callback.fp16 import MixedPrecision
from fastai.torch_core import num_distrib
from torch.nn.modules.batchnorm import _BatchNorm

from pokefast.errors import UserError

__all__ = ["DistributedCallback", "from_main", "is_main", "main_first", "processes"]


@contextmanager
def processes():
    """Join the processes that torchrun has started, if it has: the first alone prints and writes
    files. One that ends with an error ends them all.
    """
    if num_distrib() < 2 or dist.is_initialized():
        yield
        return
    local = int(os.environ["LOCAL_RANK"])
    on_gpus = torch.cuda.device_count() >= int(os.environ["LOCAL_WORLD_SIZE"])
    if on_gpus:
        torch.cuda.set_device(local)
    dist.init_process_group("nccl" if on_gpus else "gloo")
    try:
        with nullcontext() if is_main() else _silent():
            yield
    except RuntimeError as e:
        if isinstance(e, dist.DistError) or "gloo" in str(e):  # gloo's are plain RuntimeErrors
            raise SystemExit(f"process {dist.get_rank()}: ended, as another has") from None
        raise
    finally:
        dist.destroy_process_group()


@contextmanager
def _silent():
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
        yield


def is_main():
    """Whether this process is the first, or the only one."""
    return not dist.is_initialized() or dist.get_rank() == 0


def from_main(make):
    """What `make()` returns in the first process, in all of them; it is pickled on the way."""
    if not dist.is_initialized():
        return make()
    found = [make() if is_main() else None]
    dist.broadcast_object_list(found)
    return found[0]


@contextmanager
def main_first():
    """The first process of each machine does the block alone, then the others do: they find what it
    has kept for later runs.
    """
    several = dist.is_initialized()
    first = int(os.environ.get("LOCAL_RANK", 0)) == 0
    if several and not first:
        dist.barrier()
    yield
    if several and first:
        dist.barrier()


class DistributedCallback(Callback):
    """Train with the other processes as one would alone, but for the statistics of BatchNorm, which
    are those of a share of the batch: rates and steps stay as they are.

    Each takes its share of every batch; gradients and BatchNorm's running statistics are averaged
    after the backward pass. Validation is shared out too, and predictions are gathered before the
    loss, so that every process has the metrics of all images. Raises UserError where a share would
    be a single image.
    """

    order = MixedPrecision.order + 1  # gradients are scaled alike, predictions in fp32

    def before_fit(self):
        """Share out the loaders, and start from the first process's weights."""
        self.run = not hasattr(self, "lr_finder") and not hasattr(self, "gather_preds")
        if not self.run:
            return
        self.rank, self.n = dist.get_rank(), dist.get_world_size()
        bs = self.dls.train.bs
        if bs < 2 * self.n:
            raise UserError(f"--bs {bs}: fewer than two images for each of {self.n} processes")
        self.is_seeded = False
        for dl in self.dls.loaders:
            dl.share_of = self.rank, self.n
        for tensor in self.model.state_dict().values():
            dist.broadcast(tensor, 0)

    def before_epoch(self):
        """Draw other augmentations than the other processes; a checkpoint has put theirs back."""
        if self.rank and not self.is_seeded:
            torch.manual_seed(torch.initial_seed() + self.rank)
        self.is_seeded = True

    def after_backward(self):
        """Average gradients and running statistics."""
        norms = (m for m in self.model.modules() if isinstance(m, _BatchNorm) and m.training)
        tensors = [p.grad for p in self.model.parameters() if p.grad is not None]
        tensors += [b for norm in norms for b in norm.buffers() if b.is_floating_point()]
        vector = torch.cat([t.flatten() for t in tensors])
        dist.all_reduce(vector)
        for tensor, mean in zip(
            tensors, (vector / self.n).split([t.numel() for t in tensors]), strict=True
        ):
            tensor.copy_(mean.view_as(tensor))

    def after_pred(self):
        """In validation, the predictions and labels of all processes, in the order of the batch."""
        if not self.training:
            n = min(self.dl.bs, self.dl.n - self.iter * self.dl.bs)
            self.learn.pred = self._gathered(self.pred)[:n]
            self.learn.yb = tuple(self._gathered(y)[:n] for y in self.yb)

    def after_train(self):
        """The losses that are logged are those of whole batches."""
        if self.recorder.waiting:
            losses = torch.stack(self.recorder.waiting)
            dist.all_reduce(losses)
            self.recorder.waiting = list(losses / self.n)

    def after_fit(self):
        """Give everyone the whole of each batch again."""
        for dl in self.dls.loaders:
            dl.share_of = None

    def _gathered(self, x):
        x = x.detach().contiguous()
        shares = [torch.empty_like(x) for _ in range(self.n)]
        dist.all_gather(shares, x)
        return torch.stack(shares, 1).flatten(0, 1)  # the loader deals images out in turn
