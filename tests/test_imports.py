"""What takes seconds to import and is not needed is not imported."""

import os
import subprocess
import sys

from pokefast.files import ROOT

# torch's compiler and what brings it, which fastai.vision.augment, fastai.vision.learner and all of
# torch.optim's classes import
HEAVY = {"sympy", "timm", "torch._dynamo", "torch._inductor", "torchvision", "wandb"}
FIT = """
import sys
from pathlib import Path
from tasks import load_task
for name in ("task1", "task2"):
    task = load_task(name)
    o = task.recipe(bs=16, epochs=1, precision="fp32")
    learn = task.get_learner(task.get_dls(Path(sys.argv[1]), o), o)
    learn.fit_one_cycle(1)
print(*sorted(sys.modules))
"""


def test_tasks_1_and_2_are_imported_and_trained_without_torchs_compiler(small):
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FIT, small / "task1"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = {*run.stdout.splitlines()[-1].split()}
    assert "fastai.learner" in loaded and not HEAVY & loaded
