"""How seconds and memory grow with the number of images: `make scaling`, results/scaling.md.

Each row is a process of its own. Icons are links to those of a competition (task 2), so that the
same work is done at every size; art is drawn, three images a creature; the vectors that heads are
solved on and the histograms that are compared are random.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.sparse import csr_array

from pokefast.cores import cores
from pokefast.crops.groups import BINS as FINE
from pokefast.crops.groups import find_pairs, nearest
from pokefast.data.competition import read_competition
from pokefast.data.splits import left_out_parts
from pokefast.datasets.compose import TYPES
from pokefast.datasets.drawn import make_task3
from pokefast.files import ROOT, atomic_path
from pokefast.models.ridge import BINS, RidgeHead
from pokefast.options import run_cli
from pokefast.steps import Clock, decoded, learner_on
from pokefast.task import open_competition
from tasks import load_task

__all__ = ["main"]

COLOURS = 300  # different ones of a foreground, about what art has
LABELLED = 0.8  # of drawn creatures, the rest are hidden
LANDMARKS, DEEP, CLASSES = 2000, 1920, 9  # of the head that is solved
SIZES = {
    "icons, first run": (3_600, 36_000, 108_000),
    "icons, second run": (3_600, 36_000, 108_000),
    "near duplicates of drawn art": (1_080, 4_320),  # creatures have no more names
    "nearest by colours": (1_104, 11_040, 50_000),
    "head solved, each group left out": (1_104, 11_040, 50_000),
}


def load_icons(competition):
    """What `make task2` does until it trains."""
    task = load_task("task2")
    o = task.recipe(split="image")
    found = open_competition(competition, "task2", o, check_images=False)
    found, whole, _ = decoded(task, found, o)
    learner_on(task, found, whole, Clock(), o, None)


def find_duplicates(competition):
    """Near-duplicate groups of the training images."""
    train = read_competition(competition).train
    find_pairs(list(train["path"])).groups(train["label"])


def compare_colours(n):
    """The nearest by colours of `n` random histograms."""
    rng = np.random.default_rng(0)
    columns = rng.integers(FINE**3, size=n * COLOURS)
    values = rng.random(n * COLOURS, np.float32) / COLOURS
    nearest(csr_array((values, columns, np.arange(n + 1) * COLOURS), shape=(n, FINE**3)))


def solve_head(n):
    """A head on `n` random vectors, and each image's logits without its group of three."""
    torch.manual_seed(0)
    vectors = torch.rand(n, DEEP + BINS**3)
    colours = vectors[:, DEEP:]
    colours *= colours > 0.95
    colours /= colours.norm(dim=1, keepdim=True)
    head = RidgeHead([DEEP], CLASSES, min(n, LANDMARKS), 1.0, 1.0, 6.0)
    groups = np.arange(n) // 3
    targets = groups % CLASSES
    head.solve(vectors, torch.from_numpy(targets), left_out_parts(targets, groups))


HEAD = f"""# Growth

Written by `make scaling`: {{}} cores, load {{}} before it began, each row once, in a process
of its own, imports not counted. A first run checks and decodes images, a second takes them from the
cache. Icons are links to a few; art is drawn, three images a creature; histograms and the vectors
of heads ({LANDMARKS:,} landmarks, {DEEP:,} deep features) are random.

| what | images | seconds | CPU seconds | CPU ms an image | peak memory, MB |
|---|---|---|---|---|---|
"""
WORK = {
    "icons, first run": load_icons,
    "icons, second run": load_icons,
    "near duplicates of drawn art": find_duplicates,
    "nearest by colours": compare_colours,
    "head solved, each group left out": solve_head,
}


def link_images(competition, n, folder):
    """A competition of `n` labelled images in `folder`, links to those of `competition`."""
    train = read_competition(competition, check_images=False).train
    rows = []
    (folder / "Train").mkdir(parents=True)
    for i in range(n):
        image = train.iloc[i % len(train)]
        (folder / "Train" / f"{i}.png").hardlink_to(image["path"])
        rows.append((i, image["label"]))
    pd.DataFrame(rows, columns=["Id", "label"]).to_csv(folder / "train_labels.csv", index=False)


def draw_art(n, folder, **given):
    """A competition of about `n` labelled images of drawn art, three of each creature."""
    species = dict.fromkeys(TYPES, round(n / 3 / len(TYPES) / LABELLED))
    make_task3(folder, species=species, **given)
    return folder / "task3"


def measure(row, argument, cache):
    """(wall seconds, CPU seconds, peak MB) of a row's work in a process of its own, less what its
    imports take.
    """
    line = [sys.executable, "-W", "ignore", "-m", "experiments.scaling", "--row", row]
    env = {**os.environ, "XDG_CACHE_HOME": str(cache)}
    done = subprocess.run(
        [*line, "--argument", str(argument)], cwd=ROOT, env=env, capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def timed(row, argument):
    """Do a row's work here and print its figures as JSON."""
    argument = int(argument) if argument.isdigit() else Path(argument)
    before, start = _cpu(), time.perf_counter()
    WORK[row](argument)
    wall, cpu = time.perf_counter() - start, _cpu() - before
    print(json.dumps([wall, cpu, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))


def _cpu():
    own, others = (
        resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return own.ru_utime + own.ru_stime + others.ru_utime + others.ru_stime


def main(
    data: Path = ROOT / "data",  # folder of task2/: `make data`, or a rebuild
    most: int = 10**9,  # images of the largest size that is measured
    out: Path = ROOT / "results" / "scaling.md",
    row: str = None,  # one row's work, in this process
    argument: str = None,  # its competition's folder, or number of images
):
    """Measure every row at every size up to `most`, and write the table."""
    if row is not None:
        timed(row, argument)
        return
    lines, load = [], f"{os.getloadavg()[0]:.1f}"
    with tempfile.TemporaryDirectory(dir=data) as work:
        rows = [
            (name, n, _where(name, n, data, Path(work)))  # all links first: they touch the files
            for name, sizes in SIZES.items()
            for n in sizes
            if n <= most
        ]
        for name, n, where in rows:
            wall, cpu, peak = measure(name, where, Path(work) / "cache")
            each = f"{1000 * cpu / n:.2f}"
            lines.append(f"| {name} | {n:,} | {wall:.1f} | {cpu:.1f} | {each} | {peak:,.0f} |")
            print(lines[-1], flush=True)
            with atomic_path(out) as temp:  # after each: the largest take many minutes
                temp.write_text(HEAD.format(cores(), load) + "\n".join(lines) + "\n", "utf-8")


def _where(name, n, data, work):
    """The folder of a competition of `n` images, made below `work`, or `n` where a row has none."""
    if WORK[name] is find_duplicates:
        return draw_art(n, work / f"task3-{n}")
    if WORK[name] is not load_icons:
        return n
    folder = work / f"task2-{n}"
    if not folder.exists():
        link_images(data / "task2", n, folder)
    return folder


if __name__ == "__main__":
    raise SystemExit(run_cli(main))
