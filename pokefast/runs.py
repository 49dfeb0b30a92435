"""A run's folder: which files it holds, in which format, and how they are written and read.

    run.json             written first: format, task, title, recipe, options, given (those that are
                         not the recipe's), command, data, published, vocab, n_train_by_class,
                         images (a hash of their ids, labels and sizes) and versions
    model.safetensors,   the network, and what is done to an image before it; with folds in fold1/,
    model.json           fold2/, ...
    probabilities.csv    Id, part, fold, group, truth, predicted, and p_<class> for each class, in
                         the order of vocab
    history.csv          fold, epoch, train_loss, valid_loss, accuracy, f1_score, and another metric
                         where one was asked for
    metrics.json         scores and seconds; a run without it has not finished
    unfinished/          what the run needs to go on after a kill; gone when it has ended well
    compared.json        how it does beside the runs that finished before it
    kaggle.json          the public score of its submission, where make kaggle-submit sent it
    suspects.json        labels that are probably wrong, where cleanlab is installed
    examples.json, *.png, report.html    what people look at

In probabilities.csv `part` is "local" for the images that the score is of, each predicted by a
model that has seen neither it nor its near duplicates (`fold` says which), and "test" for those of
the submission, predicted by the mean of all models. Probabilities are calibrated. A cell that a
spreadsheet would take for a formula has an apostrophe before it: `files.read_own_csv` gives back
what was meant.
"""

import json
import os
import platform
import shutil
import signal
import time
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from filelock import FileLock, Timeout

from pokefast.errors import UserError
from pokefast.files import HALF, RUNS, command, write_json

__all__ = [
    "FORMAT",
    "NEWEST",
    "Terminated",
    "is_unfinished",
    "new_folder",
    "newest_run",
    "newest_unfinished",
    "probability_columns",
    "probability_table",
    "read_json",
    "read_run",
    "stoppable",
    "unfinished",
    "versions",
    "work_folder",
    "write_run",
]

FORMAT = 2  # of the files above: raised with every change that an older reader would misread
NEWEST = "newest"  # in the place of a run: of unfinished ones, for --resume, or of finished ones
PACKAGES = ("pokefast", "fastai", "torch", "torchvision", "timm", "numpy", "pillow", "scikit-learn")
# Columns of probabilities.csv before the probabilities.
ABOUT = ["Id", "part", "fold", "group", "alike", "truth", "predicted"]


def new_folder(runs, task):
    """Make and return a folder runs/<task>-<time> that no other run has.

    Raises UserError where it may not be made.
    """
    stamp = time.strftime("%Y%m%d-%H%M%S")
    for suffix in ("", *(f"-{i}" for i in range(2, 1000))):  # two may start in the same second
        folder = Path(runs) / f"{task}-{stamp}{suffix}"
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            folder.mkdir()
        except OSError as e:
            if folder.is_dir():
                continue
            raise UserError(f"{runs}: no folder can be made there ({e.strerror})") from None
        return folder
    raise UserError(f"{runs}: a thousand runs have started within this second")


def work_folder(folder):
    """The part of a run's folder that is gone when the run has ended well."""
    return Path(folder) / "unfinished"


def is_unfinished(folder):
    """Whether a run did not end well, or is under way."""
    return work_folder(folder).is_dir() or not (Path(folder) / "metrics.json").is_file()


@contextmanager
def unfinished(folder):
    """The run in `folder` is under way, in this process alone; its work folder goes at the end,
    unless an error ends it. Raises UserError where another process has it.
    """
    work_folder(folder).mkdir(exist_ok=True)
    with _lock(folder) as lock:
        if not lock.is_locked:
            raise UserError(f"{folder}: another process is at work on this run")
        yield
    for file in Path(folder).rglob(f"{HALF}*"):  # an earlier call was killed in the writing of it
        file.unlink()
    shutil.rmtree(work_folder(folder))


def newest_unfinished(runs, task, run=NEWEST):
    """The folder of the unfinished run of `task` that was started last, among those that no process
    is at work on; of the one named `run`, a folder, where that is given.

    Raises UserError where there is none.
    """
    if run != NEWEST:
        return Path(run)
    for folder in sorted(Path(runs).glob(f"{task}-*"), key=lambda f: f.name, reverse=True):
        if (folder / "run.json").is_file() and is_unfinished(folder):
            work_folder(folder).mkdir(exist_ok=True)
            with _lock(folder) as lock:
                if lock.is_locked:
                    return folder
    raise UserError(
        f"--resume: there is no unfinished run of {task} in {runs}; without --resume one begins"
    )


def newest_run(runs=None):
    """The folder of the run that finished last in the folder `runs`: by default where scripts of
    one's own write theirs, runs/ in the folder that one stands in, and `RUNS` where it has none.

    Raises UserError where there is none.
    """
    for place in (Path(RUNS.name), RUNS) if runs is None else (Path(runs),):
        found = [f for f in place.glob("*/metrics.json") if f.with_name("run.json").is_file()]
        if found:
            return max(found, key=lambda f: f.stat().st_mtime).parent
    raise UserError(f"{place}: there is no finished run in it; {command('task1')} makes one")


class Terminated(BaseException):
    """The process was asked to end (SIGTERM)."""


@contextmanager
def stoppable():
    """Ctrl-C and SIGTERM end the block, and the program with status 130 and 143, without a
    traceback; a second Ctrl-C ends it at once.
    """

    def stop(number, _):
        signal.signal(signal.SIGINT, lambda *_: os._exit(130))
        raise KeyboardInterrupt if number == signal.SIGINT else Terminated

    old = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except (KeyboardInterrupt, Terminated) as e:
        raise SystemExit(130 if isinstance(e, KeyboardInterrupt) else 143) from None
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


@contextmanager
def _lock(folder):
    """The lock of a run's folder, taken where it is free."""
    lock = FileLock(work_folder(folder) / ".lock", timeout=0)
    with suppress(Timeout):
        lock.acquire()
    try:
        yield lock
    finally:
        lock.release()


def probability_table(items, probabilities, vocab, part, fold=""):
    """Rows of probabilities.csv as a data frame for the data frame `items` (Id and, where known,
    label and group), whose `probabilities` are [n, classes] in the order of `vocab`.
    """
    probabilities = np.asarray(probabilities)
    table = pd.DataFrame({"Id": items["Id"].to_numpy(), "part": part, "fold": fold})
    table["group"] = items["group"].to_numpy() if "group" in items else ""
    table["alike"] = items["alike"].to_numpy() if "alike" in items else ""
    table["truth"] = items["label"].to_numpy() if "label" in items else ""
    table["predicted"] = np.asarray(vocab, object)[probabilities.argmax(1)]
    return table.join(pd.DataFrame(probabilities, columns=probability_columns(vocab)))


def probability_columns(vocab):
    """The names of the probabilities' columns, which no class can make the same as another's."""
    return [f"p_{name}" for name in vocab]


def write_run(folder, about):
    """Write run.json: the dict `about` with the format and the versions of what runs it."""
    write_json(Path(folder) / "run.json", {"format": FORMAT, **about, "versions": versions()})


def read_run(folder):
    """The dict of a run's run.json; UserError where it is missing, damaged or of another format."""
    about = read_json(Path(folder) / "run.json")
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        found = about.get("format") if isinstance(about, dict) else None
        raise UserError(f"{folder}/run.json: format {found}; this version reads {FORMAT}")
    return about


def read_json(file):
    """What a JSON file holds; UserError where it is missing or damaged."""
    try:
        return json.loads(Path(file).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{file}: there is no such file; give the folder of a run") from None
    except (OSError, ValueError) as e:
        raise UserError(f"{file}: damaged ({e})") from None


def versions():
    """Versions of Python, the packages used, and the machine, as a dict of strings."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # run from a checkout that is not installed
            continue
    machine = f"{platform.system()} {platform.machine()}, {torch.get_num_threads()} threads"
    if torch.cuda.is_available():
        machine += f", {torch.cuda.get_device_name(0)}"
    return {**found, "machine": machine}
