"""Two processes of torchrun: one model, one writer, metrics of all images, one error for all."""

import json
import os
import subprocess
import sys

import pytest
import torch

SCRIPT = """
import sys
from dataclasses import replace
from pathlib import Path

import torch

from pokefast.errors import UserError
from pokefast.options import to_exit_status
from pokefast.task import main, open_competition
from pokefast.training.distributed import DistributedCallback, from_main, processes
from pokefast.training.learner import fit
from tasks.task2_cnn import TASK

data, out = map(Path, sys.argv[1:])
options = f"--data {data} --out {out} --epochs 1 --bs 16 --precision fp32"

def trains():
    status = main(TASK, options.split())
    rank = torch.distributed.get_rank()
    o = replace(TASK.recipe(), epochs=2, bs=15, precision="fp32", ema=0.0)
    learn = TASK.get_learner(TASK.get_dls(open_competition(data, "task2", o), o), o)
    fit(learn, o, cbs=[DistributedCallback()])
    found = {
        "status": status,
        "weights": [p.detach() for p in learn.model.state_dict().values()],
        "together": list(learn.recorder.values[-1]),
        "losses": len(learn.recorder.losses),
        "batches": len(learn.dls.train),
        "alone": list(learn.validate()),
        "told": from_main(lambda: rank),
    }
    torch.save(found, out / f"{rank}.pt")
    torch.distributed.barrier()
    if rank:
        raise UserError("this process has no images")
    torch.distributed.barrier()


with processes():
    raise SystemExit(to_exit_status(trains))
"""


@pytest.fixture(scope="module")
def ran(small, tmp_path_factory):
    """(folder, finished process) of two processes that ran `SCRIPT`."""
    out = tmp_path_factory.mktemp("distributed")
    (out / "script.py").write_text(SCRIPT)
    words = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [sys.executable, *words, out / "script.py", small / "task2", out],
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.getcwd(),
            "PYTHONWARNINGS": "ignore",
        },
        capture_output=True,
        text=True,
        timeout=300,
    )
    return out, done


@pytest.fixture(scope="module")
def found(ran):
    out, done = ran
    files = [out / "0.pt", out / "1.pt"]
    assert all(file.exists() for file in files), done.stderr
    return [torch.load(file, weights_only=True) for file in files]


def test_one_process_writes(ran, found):
    out, done = ran
    assert [one["status"] for one in found] == [0, 0]
    [run] = (out / "runs").glob("task2-*")
    assert json.loads((run / "metrics.json").read_text())["epochs"] == 1
    assert (run / "report.html").exists() and not (run / "unfinished").exists()
    assert (out / "submissions/task2_submit.csv").exists()
    assert done.stdout.count("submission:") == 1 and done.stdout.count("epoch 1/1") == 1


def test_all_have_the_same_weights(found):
    first, second = (one["weights"] for one in found)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_metrics_are_those_of_all_images(found):
    for one in found:
        assert one["together"][1:] == pytest.approx(one["alone"], abs=1e-5)
        assert one["losses"] == 2 * one["batches"]  # as many steps as one process would make
    assert found[0]["together"] == found[1]["together"] and found[1]["told"] == 0


def test_an_error_of_one_ends_all_with_its_message(ran):
    _, done = ran
    assert done.returncode != 0
    assert "error: this process has no images" in done.stderr
    assert "process 0: ended, as another has" in done.stderr
