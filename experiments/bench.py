"""Speed: pokefast beside plain fastai and beside the bare steps, same model and data: `make bench
TASK=1`.

Three runs, alternating, each for the task's own epochs or `--epochs`:
  pokefast  the task's get_dls and get_learner, fit and validation
  bare      as many forward, backward and optimizer steps on one batch that is ready: the limit
  fastai    as its documentation writes it: ImageDataLoaders.from_df on crops that are made
            beforehand, fit_one_cycle
"""

import contextlib
import io
import os
import statistics
import tempfile
import time
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
from pokefast.models.networks import build
from pokefast.options import choice, run_cli
from pokefast.task import open_competition
from pokefast.training.learner import fit
from tasks import load_task

__all__ = ["main"]


def time_pokefast(task, competition, o):
    """Seconds of decoding and cropping, and of fit with validation; the fitted learner."""
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
    """Seconds of the same number of training steps on one batch, in the same precision and memory
    format.
    """
    x, y = (t.as_subclass(torch.Tensor) for t in learn.dls.train.one_batch())
    model = task.get_learner(learn.dls, o).model
    dtype, kind = learn.precision.dtype, learn.dls.device.type
    optimizer = torch.optim.AdamW(model.parameters(), lr=o.lr, fused=True)
    if x.ndim == 4 and next(iter(learn.model.parameters())).ndim == 4:
        x, model = (v.to(memory_format=torch.channels_last) for v in (x, model))
    model.train()
    steps = len(learn.dls.train) * o.epochs
    start = time.perf_counter()
    for _ in range(steps):
        with torch.autocast(kind, dtype, enabled=dtype != torch.float32):
            prediction = model(x)
        loss = torch.nn.functional.cross_entropy(prediction.float(), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    if kind == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


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


def main(
    task: choice("task1", "task2") = "task1",  # its name
    data: Path = None,  # competition folder; the embedded data otherwise
    epochs: int = None,  # the recipe's otherwise
    runs: int = 3,  # of each, alternating
    threads: int = None,  # torch's threads; all cores otherwise
):
    """Time pokefast, plain fastai and the bare steps; prints the median, the range and the ratio to
    the bare steps.
    """
    torch.set_num_threads(threads or cores())
    task = load_task(task)
    o = task.recipe()
    o = replace(o, epochs=epochs or o.epochs)
    competition = open_competition(data, task.name)
    seconds = {name: [] for name in ("prepare", "pokefast", "bare", "plain fastai")}
    with tempfile.TemporaryDirectory() as temp:
        rows = None
        for _ in range(runs):
            set_seed(0)
            prepare, trained, learn = time_pokefast(task, competition, o)
            rows = rows or write_crops(learn.dls, Path(temp))
            seconds["prepare"].append(prepare)
            seconds["pokefast"].append(trained)
            seconds["bare"].append(time_bare(task, learn, o))
            seconds["plain fastai"].append(time_fastai(Path(temp), rows, learn, o))
    load = os.getloadavg()[0]
    print(
        f"{task.name}: {o.epochs} epochs of {learn.dls.train.n} images, batch {o.bs}, "
        f"{learn.precision.dtype}, {learn.dls.device}, {torch.get_num_threads()} threads, "
        f"{runs} runs each, load {load:.1f}"
    )
    bare = statistics.median(seconds["bare"])
    for name, values in seconds.items():
        middle = statistics.median(values)
        print(
            f"  {name:<13}{middle:8.2f} s  ({min(values):.2f} to {max(values):.2f})"
            f"  {middle / bare:6.2f} x bare"
        )


if __name__ == "__main__":
    raise SystemExit(run_cli(main))
