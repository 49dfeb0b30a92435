"""Kill real runs and let them go on: `make test-chaos` kills twenty, of all three tasks.

Most are killed (SIGKILL) at moments uniform over the time after the first checkpoint, some inside
the writing of a checkpoint or a submission, one more in its resumption. A run that went on must end
with the bytes of one that was never killed: weights, history, probabilities, submission, metrics
but for the seconds. The data are small drawn competitions.
"""

import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pokefast.datasets.drawn import small_competition
from pokefast.errors import UserError
from pokefast.files import ROOT
from pokefast.options import run_cli

__all__ = ["main"]

LITE = "--size 48 --arch tf_efficientnet_lite0"
CASES = {
    "task1": "--epochs 8 --bs 16",
    "task2": "--epochs 4 --bs 16",
    "task2, folds and refit": "--epochs 2 --bs 16 --folds 2 --refit",
    "task3": f"{LITE} --folds 3",
    "task3, fine-tuned": f"{LITE} --folds 0 --epochs 2 --bs 16",
}
WRITING = ("checkpoint.pt", "_submit.csv")  # what every fourth run is killed in the writing of
# a checkpoint after every epoch, and files that take a while to appear
START = """
import os, sys, time
from pokefast.training import checkpoint
from pokefast.task import main
from tasks import load_task
checkpoint.SHORTEST, checkpoint.COST = 0, 1e9
replace = os.replace
def slow(source, target):
    print("WRITING", target, flush=True)
    time.sleep(0.1)
    replace(source, target)
os.replace = slow
sys.exit(main(load_task(sys.argv[1]), sys.argv[2:]))
"""


def start(task, *words):
    """A task's command in a process of its own."""
    env = {**os.environ, "PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-u", "-c", START, task, *map(str, words)],
        cwd=ROOT,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def is_kept(line):
    """Whether a line of output says that something was written that a resumption starts from."""
    return line.startswith("WRITING") and line.rstrip().endswith(("checkpoint.pt", "model.json"))


def finish(process):
    """Seconds from the first checkpoint or finished fold to the end of a process."""
    first, lines = None, []
    for line in process.stdout:
        lines.append(line)
        if first is None and is_kept(line):
            first = time.monotonic()
    if process.wait():
        raise UserError(f"a run ended with status {process.returncode}: {''.join(lines[-15:])}")
    return time.monotonic() - (first or time.monotonic())


def kill(process, wait, at=None):
    """Kill `wait` seconds after the first checkpoint or finished fold, or in the writing of the
    first file whose name ends in `at`; returns the last line of output.
    """
    said = ""
    for line in process.stdout:
        said = said if line.startswith("WRITING") else line.strip()
        if at and line.startswith("WRITING") and line.rstrip().endswith(at):
            break
        if not at and is_kept(line):
            time.sleep(wait)
            break
    process.kill()
    process.wait()
    return said


def digest(out):
    """A hash of what a finished run leaves, without seconds."""
    (folder,) = (out / "runs").glob("task*")
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    metrics = {k: v for k, v in metrics.items() if not k.endswith("_seconds")}
    files = sorted(folder.glob("**/model.safetensors"))
    files += [folder / "history.csv", folder / "probabilities.csv"]
    files += (out / "submissions").glob("task*.csv")
    data = [json.dumps(metrics, sort_keys=True).encode(), *(f.read_bytes() for f in files)]
    return hashlib.sha256(b"".join(data)).hexdigest()


def main(
    kills: int = 20,  # runs that are killed
    seed: int = 0,  # of the moments
):
    """Print for each killed run whether it ended as if nothing had been; raises UserError unless
    all did.
    """
    rng, equal = random.Random(seed), 0
    with tempfile.TemporaryDirectory() as temp:
        for number in (1, 3):
            small_competition(Path(temp), number, n_per_class=18 if number == 3 else 14)
        whole = {}
        for case, options in CASES.items():
            task, out = case.split(",")[0], Path(temp) / "whole" / case
            line = ["--data", Path(temp) / task, "--out", out, *options.split()]
            whole[case] = finish(start(task, *line)), digest(out)
        for i in range(kills):
            case = list(CASES)[i % len(CASES)]
            task, out = case.split(",")[0], Path(temp) / f"kill{i}"
            line = ["--data", Path(temp) / task, "--out", out, *CASES[case].split()]
            at = WRITING[i // 4 % 2] if i % 4 == 3 else None
            wait = rng.uniform(0, whole[case][0])
            said = kill(start(task, *line), wait, at)
            if i == kills // 2:  # and once more in its resumption
                kill(start(task, "--out", out, "--resume"), rng.uniform(0, wait))
            if list(out.glob("runs/*/unfinished")):
                finish(start(task, "--out", out, "--resume"))
            same = digest(out) == whole[case][1]
            equal += same
            where = f"in the writing of {at}" if at else f"{wait:.1f} s after a checkpoint"
            print(f"{case}, killed {where} ({said}): {'equal' if same else 'OTHER'}", flush=True)
    print(f"{equal} of {kills} killed runs ended with the bytes of one that was never killed")
    if equal < kills:
        raise UserError(f"{kills - equal} runs ended with other bytes")


if __name__ == "__main__":
    raise SystemExit(run_cli(main))
