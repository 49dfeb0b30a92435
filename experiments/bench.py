"""Speed: pokefast beside plain fastai and beside the bare steps, same model and data: `make bench
TASK=1`.

Runs that alternate, each for the task's own epochs or `--epochs`:
  pokefast  the task's get_dls and get_learner, fit and validation
  bare      as many forward, backward and optimizer steps on one batch that is ready, and as many
            validation passes on batches that are ready: the limit
  busy      pokefast again, with a process beside it on every core that never waits
  fastai    as its documentation writes it: ImageDataLoaders.from_df on crops that are made
            beforehand, fit_one_cycle
and, in processes of their own, the CPU seconds of imports.
"""

import contextlib
import io
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch
from fastai.learner import Learner
from fastai.metrics import accuracy
from fastai.torch_core import set_seed
from fastai.vision.augment import Resize
from fastai.vision.data import ImageDataLoaders
from PIL import Image

from pokefast.cores import cores
from pokefast.files import ROOT
from pokefast.models.networks import build
from pokefast.options import choice, run_cli
from pokefast.task import open_competition
from pokefast.training.learner import fit
from tasks import TASKS, load_task

__all__ = ["main"]

MOST = 5  # packages that are named
ROWS = ("prepare", "pokefast", "bare", "busy", "plain fastai")


def time_pokefast(task, competition, o):
    """Seconds of decoding and cropping, and of fit with validation; the fitted learner."""
    set_seed(0)
    start = time.perf_counter()
    dls = task.get_dls(competition, o)
    for dl in dls.loaders:
        dl.prepare()
    prepared = time.perf_counter()
    learn = task.get_learner(dls, o)
    ready = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        fit(learn, o)
    return prepared - start, time.perf_counter() - ready, learn


def time_bare(task, learn, o):
    """Seconds of the same number of training steps on one batch and of validation passes, in the
    same precision and memory format.
    """
    dtype, device = learn.precision.dtype, learn.dls.device
    layout = torch.channels_last if hasattr(learn, "channels_last") else torch.contiguous_format
    model = task.get_learner(learn.dls, o).model.to(device, memory_format=layout)
    x, y = _plain(learn.dls.train.one_batch(), layout)
    valid = [_plain(batch, layout) for batch in learn.dls.valid]
    optimizer = torch.optim.AdamW(model.parameters(), lr=o.lr, fused=True)

    def loss_of(x, y):
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            prediction = model(x)
        return torch.nn.functional.cross_entropy(prediction.float(), y)

    start = time.perf_counter()
    for _ in range(o.epochs):
        model.train()
        for _ in range(len(learn.dls.train)):
            loss_of(x, y).backward()
            optimizer.step()
            optimizer.zero_grad()
        model.eval()
        with torch.no_grad():
            for batch in valid:
                loss_of(*batch)
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def _plain(batch, layout):
    x, y = (t.as_subclass(torch.Tensor) for t in batch)
    return x.contiguous(memory_format=layout), y


@contextlib.contextmanager
def competing():
    """A process on every core that never waits, until the block ends."""
    line = [sys.executable, "-c", "while True: pass"]
    processes = [subprocess.Popen(line) for _ in range(cores())]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def write_crops(dls, folder):
    """Save the images as the model gets them, without augmentation, for the plain run to read."""
    rows = []
    for part, dl in enumerate(dls.loaders[:2]):
        for i in range(dl.n):
            item = dl.do_item(i)
            image = Image.fromarray(item[0].permute(1, 2, 0).numpy())
            image.save(folder / f"{part}-{i}.png")
            rows.append(
                {"name": f"{part}-{i}.png", "label": dls.vocab[item[1]], "valid": part == 1}
            )
    return rows


def time_fastai(folder, rows, learn, o):
    """Seconds of plain fastai's fit and validation: its own loaders, optimizer, precision."""
    dls = ImageDataLoaders.from_df(
        pd.DataFrame(rows),
        folder,
        valid_col="valid",
        item_tfms=Resize(learn.dls.train.one_batch()[0].shape[-1]),
        bs=o.bs,
    )
    architecture = learn.model.architecture
    if architecture["name"] == "cnn":  # fastai opens images as RGB: three channels of four
        architecture = {**architecture, "arguments": {**architecture["arguments"], "n_in": 3}}
    plain = Learner(dls, build(**architecture), metrics=accuracy)
    start = time.perf_counter()
    with plain.no_bar(), plain.no_logging():
        plain.fit_one_cycle(o.epochs, o.lr)
    return time.perf_counter() - start


def import_seconds(module):
    """(CPU seconds of a process that imports `module`, the packages that take most of it)."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    line = [sys.executable, "-W", "ignore", "-X", "importtime", "-c", f"import {module}"]
    run = subprocess.run(line, check=True, cwd=ROOT, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    own = Counter()  # microseconds without what a module imports itself
    for us, name in re.findall(r"^import time: +(\d+) \| +\d+ \| +(\w+)", run.stderr, re.M):
        own[name] += int(us)
    most = ", ".join(f"{name} {us / own.total():.0%}" for name, us in own.most_common(MOST))
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, most


def print_imports(task, runs):
    """CPU seconds of imports, the best of `runs`, as multiples of torch's, and what takes most."""
    modules = ("torch", "fastai.vision.all", f"tasks.{TASKS[task.name]}", "pokefast.predict")
    seconds = {m: [] for m in modules}
    for _ in range(runs):
        for m in modules:
            seconds[m].append(import_seconds(m))
    for m, values in seconds.items():
        best, most = min(values)
        ratio = best / min(seconds["torch"])[0]
        print(f"  import {m:<22}{best:8.2f} s of CPU time  {ratio:6.2f} x torch  ({most})")


def main(
    task: choice("task1", "task2") = "task1",  # its name
    data: Path = None,  # competition folder; the embedded data otherwise
    epochs: int = None,  # the recipe's otherwise
    runs: int = 3,  # of each, alternating
    threads: int = None,  # torch's threads; all cores otherwise
    rows: str = ",".join([*ROWS, "imports"]),  # those of the table that are wanted
):
    """Time pokefast, plain fastai and the bare steps; prints the median, the range and the ratio to
    the bare steps.
    """
    torch.set_num_threads(threads or cores())
    task, wanted = load_task(task), rows.split(",")
    o = replace(task.recipe(), cache=False)
    o = replace(o, epochs=epochs or o.epochs)
    competition = open_competition(data, task.name)
    seconds = {name: [] for name in ROWS}
    with tempfile.TemporaryDirectory() as temp:
        crops = None
        for _ in range(runs):
            prepare, trained, learn = time_pokefast(task, competition, o)
            seconds["prepare"].append(prepare)
            seconds["pokefast"].append(trained)
            seconds["bare"].append(time_bare(task, learn, o))
            if "busy" in wanted:
                with competing():
                    seconds["busy"].append(time_pokefast(task, competition, o)[1])
            if "plain fastai" in wanted:
                crops = crops or write_crops(learn.dls, Path(temp))
                seconds["plain fastai"].append(time_fastai(Path(temp), crops, learn, o))
    print(
        f"{task.name}: {o.epochs} epochs of {learn.dls.train.n} images, batch {o.bs}, "
        f"{learn.precision.dtype}, {learn.dls.device}, {torch.get_num_threads()} threads, "
        f"{runs} runs each, load {os.getloadavg()[0]:.1f}"
    )
    bare = statistics.median(seconds["bare"])
    for name, values in seconds.items():
        if values:
            middle = statistics.median(values)
            print(
                f"  {name:<13}{middle:8.2f} s  ({min(values):.2f} to {max(values):.2f})"
                f"  {middle / bare:6.2f} x bare"
            )
    if "imports" in wanted:
        print_imports(task, runs)


if __name__ == "__main__":
    raise SystemExit(run_cli(main))
