"""The model sees the dtype that was asked for, with hardware for it and without."""

from functools import partial

import pytest
import torch
from fastai.data.core import DataLoaders
from fastai.data.load import DataLoader
from fastai.learner import Learner
from fastai.optimizer import OptimWrapper
from torch import nn

from pokefast.errors import UserError
from pokefast.training import precision
from pokefast.training.precision import PrecisionCallback, choose_dtype


class Spy(nn.Module):
    """A linear layer that remembers the dtype it computes in."""

    def __init__(self):
        super().__init__()
        self.layer, self.seen = nn.Linear(4, 3), set()

    def forward(self, x):
        y = self.layer(x)
        self.seen.add((self.training, y.dtype))
        return y


def learner(dtype):
    rows = [(torch.randn(4), torch.tensor(i % 3)) for i in range(8)]
    dls = DataLoaders(DataLoader(rows, bs=4), DataLoader(rows, bs=4), device=torch.device("cpu"))
    opt_func = partial(OptimWrapper, opt=torch.optim.SGD)
    loss = nn.CrossEntropyLoss()
    return Learner(dls, Spy(), loss_func=loss, opt_func=opt_func, cbs=PrecisionCallback(dtype))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_training_validation_and_prediction_run_in_the_dtype(dtype):
    learn = learner(dtype)
    learn.fit(1, 0.1)
    assert learn.model.seen == {(True, dtype), (False, dtype)}
    assert all(p.dtype == torch.float32 for p in learn.model.parameters())
    learn.model.seen.clear()
    predictions, _ = learn.get_preds()
    assert learn.model.seen == {(False, dtype)}
    assert predictions.dtype == torch.float32
    assert not torch.is_autocast_enabled("cpu")


def test_autocast_ends_after_unlabelled_batches():
    learn = learner(torch.bfloat16)
    learn.fit(1, 0.1)
    learn.get_preds(dl=DataLoader([(torch.randn(4),) for _ in range(8)], bs=4, device="cpu"))
    assert not torch.is_autocast_enabled("cpu")


@pytest.mark.parametrize("has, dtype", [(True, torch.bfloat16), (False, torch.float32)])
def test_auto_takes_bf16_on_a_cpu_that_has_it_alone(has, dtype, monkeypatch):
    monkeypatch.setattr(precision, "cpu_has_bf16", lambda: has)
    assert choose_dtype("auto", "cpu") == dtype


@pytest.mark.parametrize(
    "found, has",
    [
        ({"avx512_bf16": True}, True),
        ({"amx_bf16": True}, True),
        ({"bf16": True}, True),
        ({"avx2": True, "avx512_f": True, "avx512_bf16": False}, False),
    ],
)
def test_torch_is_asked(found, has, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found, raising=False)
    assert precision.cpu_has_bf16() is has


@pytest.mark.parametrize("has", [True, False])
def test_older_torch_is_asked_by_its_private_functions(has, monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: has, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False, raising=False)
    assert precision.cpu_has_bf16() is has


@pytest.mark.parametrize("native, dtype", [(True, torch.bfloat16), (False, torch.float16)])
def test_auto_on_cuda(native, dtype, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: native)
    assert choose_dtype("auto", "cuda") == dtype


def test_what_cannot_be_is_refused():
    with pytest.raises(UserError, match="--precision fp16 needs a CUDA device"):
        choose_dtype("fp16", "cpu")
    with pytest.raises(UserError, match="--precision half"):
        choose_dtype("half", "cpu")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_cuda(dtype):
    learn = learner(dtype)
    learn.dls.to(torch.device("cuda"))
    learn.model.cuda()
    learn.fit(2, 0.1)
    assert learn.model.seen == {(True, dtype), (False, dtype)}
    assert all(torch.isfinite(p).all() for p in learn.model.parameters())
