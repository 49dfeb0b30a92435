"""The driver: what a task is, and how one is run, from a folder to a score and a submission.

Each step writes what it has at once, weights and submission first; pictures and pages are made from
the run's folder at the end.
"""

import argparse
import hashlib
import inspect
import os
import re
import shlex
import sys
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from pokefast.data.competition import Competition, read_competition
from pokefast.data.grouping import believable, given_groups
from pokefast.data.layout import Given, find_layout
from pokefast.data.splits import AllSplitter, most_folds
from pokefast.errors import UserError
from pokefast.files import DATA, ROOT, RUNS, SUBMISSIONS, write_json, write_own_csv
from pokefast.names import listed, shown
from pokefast.options import add_options, changes, flag, parse, plain, to_exit_status
from pokefast.prediction.model_file import describe_model
from pokefast.report.wandb_log import WandbLog, check_wandb
from pokefast.runs import (
    NEWEST,
    Terminated,
    is_unfinished,
    new_folder,
    newest_unfinished,
    read_run,
    stoppable,
    unfinished,
    versions,
    write_run,
)
from pokefast.scoring.metrics import choose_metric
from pokefast.scoring.submission import check_sample
from pokefast.steps import (
    Clock,
    average_alike,
    calibrate,
    decoded,
    items_of,
    learner_on,
    look_alikes_apart,
    parts_alike,
    predict_local,
    predict_test,
    score,
    scores_text,
    short,
    show,
    splitters,
    submit,
    test_loader,
    train,
)
from pokefast.training.distributed import from_main, is_main, main_first, processes

__all__ = ["Result", "Task", "main", "open_competition", "read_line", "run_task"]


@dataclass(frozen=True)
class Task:
    """A competition and what is trained for it.

    `recipes` are functions of no argument that return the task's options, named as on the command
    line, the default first. `get_dls(data, options, splitter)` gives loaders of training,
    validation and test part, `get_learner(dls, options)` a Learner on them. `published` holds
    figures that a run's page shows beside its own, where the classes are `classes`.
    `phase_one(learn, options, validate)` fits something before the epochs and returns what it
    `Solved` (models/ridge.py), or None. `data` is the folder that is trained on where no other is
    given, the embedded data where that is None.
    """

    name: str
    title: str
    recipes: tuple
    get_dls: Callable
    get_learner: Callable
    published: dict | None = None
    classes: tuple = ()
    phase_one: Callable | None = None
    data: Path | None = None

    def recipe(self, name=None, **given):
        """The options of the recipe `name` (the first by default), those in `given` replaced."""
        found = {function.__name__: function for function in self.recipes}
        name = name or self.recipes[0].__name__
        if name not in found:
            raise UserError(f"--recipe {name}: choose {' or '.join(found)}")
        return replace(found[name](), **given)

    @property
    def script(self):
        """The file that defines it."""
        return Path(inspect.getfile(self.get_dls)).resolve()

    @property
    def is_ours(self):
        """Whether its script lies in tasks/; others write to the folder that one stands in."""
        return self.script.parent == ROOT / "tasks"

    @property
    def program(self):
        """How its script is called where there is no make."""
        ours = self.is_ours or self.script.parent == Path(__file__).resolve().parent / "tasks"
        return f"python -m pokefast {self.name}" if ours else f"python {short(self.script)}"

    def line(self, arguments, data=None):
        """The command that runs this task with `arguments` on the folder `data`: of make for the
        scripts in tasks/, of Python where the project is installed and for those elsewhere.
        """
        if not self.is_ours:
            where = "" if data is None else f" --data {shlex.quote(data)}"
            return f"{self.program}{where} {arguments}"
        where = "" if data is None else f" DATA={shlex.quote(data)}"
        arguments = arguments.replace('"', '\\"').replace("$", "$$")
        return f'make {self.name}{where} ARGS="{arguments}"'


@dataclass(frozen=True)
class Result:
    """What a run left: its folder, what metrics.json holds, and the submission's file, None where
    there are no test images.
    """

    folder: Path
    scores: dict
    submission: Path | None


def open_competition(data, task, o=None, check_images=True):
    """The competition in folder `data`, or the embedded one of `task` ("task1") where that is None,
    made if need be; what was found in it is printed first. `o` are the task's options, which say
    what is not to be found.

    A `Competition` is handed back as it is. Images that cannot be read, `o.skip_bad` leaves out
    here, unless `check_images` is false: else they are found when they are decoded. Raises
    UserError where the folder has problems.
    """
    if isinstance(data, Competition):
        return data
    if data is None:
        print(f"{task}: the embedded data in data/, drawn first where it is not there", flush=True)
        from pokefast.datasets.drawn import embedded  # not needed for a folder of one's own

        data = embedded(task)
    layout = find_layout(data, o and Given.among(vars(o)))
    print(layout, flush=True)
    skip_bad = o is not None and o.skip_bad
    competition = read_competition(layout, skip_bad, check_images=skip_bad and check_images)
    check_sample(competition)
    return competition


def run_task(task, options=None, data=None, out=None, resume=None):
    """Train, write the submission and the score; returns a `Result`.

    `options` are those of the task's first recipe by default, `data` a competition folder or the
    embedded data, `out` the folder of runs/ and submissions/, this repository by default. `resume`
    is the folder of an unfinished run, which has all of these: it goes on from its last epoch or
    fold. Raises UserError, before any long work, for what cannot be.
    """
    clock, folder = Clock(), None
    runs, submissions = _output(task, out)
    if resume is not None:
        folder, options, data = _read_unfinished(task, resume)
        submissions = folder.parent.parent / SUBMISSIONS.name
    o = (options or task.recipe()).resolved()
    with _memory_that_is_full_named(o):
        return _run(task, o, data, runs, submissions, folder, clock)


def _run(task, o, data, runs, submissions, folder, clock):
    """`run_task` for options `o`; `folder` is that of an unfinished run, or None."""
    check_wandb(o.wandb)
    choose_metric(o.metric)
    with main_first():
        competition, hidden, o, metric, load, learn = _prepare(task, o, data, folder, clock)
    if folder is None:
        folder = from_main(partial(_begin, task, o, competition, runs))
    if not is_main():
        train(task, competition, o, load, learn, folder, None, clock)
        return Result(folder, {}, None)
    with unfinished(folder), _said_how_to_go_on(task, folder):
        log = WandbLog(o.wandb, task.name, folder)
        fits, models = train(task, competition, o, load, learn, folder, log, clock)
        calibration = calibrate(fits, o)
        hidden = test_loader(models[0].dls, competition, o, hidden)
        test = predict_test(models, hidden, o, calibration.about["temperature"], folder)
        averaged = partial(average_alike, vocab=competition.vocab, o=o)
        file = submit(task, averaged(test), competition, submissions) if len(test) else None
        local = [predict_local(*one) for one in zip(fits, calibration.rows, strict=True)]
        plain = pd.concat([*local, test], ignore_index=True)
        table = averaged(plain)
        write_own_csv(folder / "probabilities.csv", table)
        if table is not plain:
            write_own_csv(folder / "plain.csv", plain)  # what the models say of an image alone
        metrics = score(fits, table, competition, metric, o) | {"calibration": calibration.about}
        metrics |= look_alikes_apart(fits[0], metric, o, calibration.about["temperature"])
        write_json(folder / "metrics.json", metrics | clock.metrics())
        print(scores_text(metrics), flush=True)
        metrics |= parts_alike(models[0], hidden)  # which `show` writes beside the scores
        shown_first = table.head(len(local[0]))  # of the first model
        show(folder, fits[0].learn, shown_first, table, metrics, competition, log, clock)
    metrics |= clock.metrics()
    print(
        "run: {}  prepared in {prepare_seconds:.1f} s, trained in {train_seconds:.1f} s, "
        "{total_seconds:.1f} s in all".format(short(folder), **metrics)
    )
    return Result(folder, metrics, file)


def _prepare(task, o, data, folder, clock):
    """(competition, loader of its test images, options that fit it, metric, function that gives a
    Learner for options and a splitter, the first Learner).
    """
    with clock("prepare"):
        competition = open_competition(data or task.data, task.name, o, check_images=False)
        given_groups(competition, o)  # what is wrong with them is said before images are read
        competition, whole, hidden = decoded(task, competition, o)
        _check_same_images(folder, competition)
        o, items = _with_groups_enough(task, o, competition)
    metric = choose_metric(o.metric, competition.vocab)
    _say_metric(task, metric)
    o = _adapted(task, o, competition, items)
    load = partial(learner_on, task, competition, whole, clock)
    learn = load(o, splitters(o)[0])
    describe_model(learn, o)  # raises before training what saving would raise after it
    _say_parts(task, o, learn.dls, clock)
    return competition, hidden, o, metric, load, learn


def _begin(task, o, competition, runs):
    """The folder of a new run."""
    folder = new_folder(runs, task.name)
    write_run(folder, _about(task, o, competition))
    return folder


def main(task, argv=None):
    """Run `task` with the options of a command line; returns the exit status.

    Started by torchrun, several processes train one model.
    """
    with stoppable(), processes():
        return to_exit_status(lambda: run_task(task, *read_line(task, argv)))


def read_line(task, argv=None):
    """(options, data, out, resume) of a task's command line, the process's own by default.

    An option that is given beats the recipe's. Ends the program with a message where it is none.
    """
    recipes = {function.__name__: function() for function in task.recipes}
    parser = argparse.ArgumentParser(
        prog=task.program,
        usage="%(prog)s [options], which --help lists",  # all of them would hide an error's line
        description=inspect.getdoc(sys.modules[task.get_dls.__module__]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    first = next(iter(recipes))
    parser.add_argument("--data", type=Path, help="folder of images; the embedded data otherwise")
    parser.add_argument("--out", type=Path, help="where runs/ and submissions/ are; here otherwise")
    parser.add_argument("--recipe", choices=recipes, help=f"whose options ({first})")
    text = "go on with an unfinished run, the newest or the folder RUN"
    parser.add_argument("--resume", nargs="?", const=NEWEST, metavar="RUN", help=text)
    add_options(parser, type(recipes[first]), recipes)
    line = _with_folders(sys.argv[1:] if argv is None else argv)
    given = {k: v for k, v in vars(parse(parser, line)).items() if v is not None}
    out, resume = given.pop("out", None), given.pop("resume", None)
    if resume is not None:
        if given:
            flags = ", ".join(flag(name, value) for name, value in given.items())
            raise UserError(f"--resume: its options are those of the run; leave out {flags}")
        newest = partial(newest_unfinished, _output(task, out)[0], task.name, resume)
        return None, None, out, from_main(newest)
    data, recipe = given.pop("data", None), given.pop("recipe", None)
    return task.recipe(recipe, **given), data, out, None


def _with_folders(line):
    """A command line in which --valid and --test of a folder are --valid-folder and --test-folder;
    of a number they are fractions.
    """
    words = []
    for word, following in zip(line, [*line, ""][1:], strict=True):
        name, _, value = word.partition("=")
        if name in ("--valid", "--test") and not re.fullmatch(
            r"[-+]?[\d.]+(e-?\d+)?", value or following
        ):
            word = word.replace(name, f"{name}-folder")
        words.append(word)
    return words


def _output(task, out):
    """The folders of runs and submissions; UserError where nothing can be written to them."""
    if out is None and task.is_ours:
        found = RUNS, SUBMISSIONS
    else:
        out = Path("." if out is None else out)
        if out.exists() and not out.is_dir():
            raise UserError(f"--out {out}: it is a file; give a folder")
        found = out / "runs", out / "submissions"
    for folder in found:
        there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
        if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
            raise UserError(
                f"{folder}: nothing can be written there; --out DIR names another place"
            )
    if (file := found[1] / f"{task.name}_submit.csv").is_dir():
        raise UserError(f"{file}: a folder has the submission's name; move it away")
    return found


def _read_unfinished(task, folder):
    """(folder, options, data) of an unfinished run of `task`; UserError where it is none."""
    about = read_run(folder)
    if not {"task", "options", "data"} <= set(about):
        raise UserError(f"{folder}/run.json: damaged; begin the run anew")
    if about["task"] != task.name:
        raise UserError(f"--resume {folder}: it is a run of {about['task']}, not of {task.name}")
    if not is_unfinished(folder):
        raise UserError(f"--resume {folder}: it has finished")
    if about["versions"] != versions():
        print("NOTE: other versions or another machine than at the start: results may differ")
    kinds = {f.name: f.type for f in fields(task.recipe())}
    if other := sorted(set(about["options"]) - set(kinds)):
        raise UserError(
            f"{folder}/run.json: options that {task.name} does not have: {listed(other)}"
        )
    values = {
        k: Path(v) if v and "Path" in str(kinds[k]) else v for k, v in about["options"].items()
    }
    return Path(folder), type(task.recipe())(**values), about["data"]


def _check_same_images(folder, competition):
    """Raise UserError where the run in `folder`, if any, was begun on other images."""
    if folder is not None and read_run(folder).get("images") != _digest(competition):
        raise UserError(
            f"--resume {folder}: images or labels are not what they were when it began; put them "
            "back, or begin anew"
        )


@contextmanager
def _said_how_to_go_on(task, folder):
    """Where the run is stopped from outside, a line says what is kept."""
    try:
        yield
    except (KeyboardInterrupt, Terminated):
        print(
            f"\nstopped: what was finished is kept in {short(folder)}; "
            f"go on with: {task.line(f'--resume {short(folder)}')}",
            flush=True,
        )
        raise


@contextmanager
def _memory_that_is_full_named(o):
    """Memory that is full is an error that says what to make smaller."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as e:
        on_gpu, had = isinstance(e, torch.OutOfMemoryError), ""
        if not on_gpu and "can't allocate memory" not in str(e) and not isinstance(e, MemoryError):
            raise  # torch has no class of its own for the CPU's
        if on_gpu and torch.cuda.is_available():
            free, total = torch.cuda.mem_get_info()
            free += torch.cuda.memory_reserved()  # this run's own
            had = f" ({free / 2**30:.1f} of {total / 2**30:.1f} GiB were free for this run)"
        size = f", or --size, which is {o.size}" if hasattr(o, "size") else ""
        raise UserError(
            f"the {'GPU' if on_gpu else 'machine'}'s memory is full{had}: make --bs smaller, which "
            f"is {o.bs}{size}"
        ) from None


def _with_groups_enough(task, o, competition):
    """(options, data frame of the labelled images with their groups): another split where near
    duplicates are too unsure, or by default where a class has too few groups of them; says so.
    """
    o = believable(competition, o)
    by_image = o.by_image()
    items = task.get_dls(competition, o, AllSplitter()).train.items
    most, name = most_folds(items)
    if by_image != o and most < (2 if o.folds or o.leave_one_out else 3):
        print(
            f"NOTE: --split image, as {shown(name)} has too few near-duplicate groups ({most}) for "
            "a split that keeps them together",
            flush=True,
        )
        o, items = by_image, task.get_dls(competition, by_image, AllSplitter()).train.items
    return o, items


def _adapted(task, o, competition, items):
    """The options, with the recipe's folds and batch size made smaller where the data are too few
    for them; what was asked for stays, and is refused where it cannot be.
    """
    recipe = task.recipe(o.recipe)
    if o.folds and o.folds == recipe.folds:
        most, name = most_folds(items)
        folds = max(2, min(o.folds, most))
        if folds < o.folds:
            print(f"{task.name}: {folds} folds, as {shown(name)} has only {most} groups")
        o = replace(o, folds=folds)
    kept = 1 - 1 / o.folds if o.folds else 1 - o.valid - o.test
    kept = 1 if o.leave_one_out else kept
    n = round(len(competition.train) * kept)
    if o.bs > n and o.bs == recipe.bs:
        o = replace(o, bs=max(2, n // 4))
        print(f"{task.name}: batches of {o.bs}, as about {n} images are for training")
    return o


def _say_parts(task, o, dls, clock):
    sizes = "{} training, {} validation, {} test images".format(*(dl.n for dl in dls.loaders))
    if o.leave_one_out:
        sizes = f"{dls.train.n} training images, each scored without its group"
    elif o.folds:  # validation and test are the same images
        sizes = f"{o.folds} folds of {dls.loaders[2].n} images, each scored by a model trained on "
        sizes += f"the other {dls.train.n}"
    print(f"{task.name}: {sizes}, prepared in {clock.seconds['prepare']:.1f} s", flush=True)
    items = items_of(dls)
    each = items["group"].value_counts() if "group" in items else np.ones(1)
    if o.split == "image":
        said = "split by image: near duplicates may stand on both sides of the split, and the "
        said += "local score may flatter"
    elif o.groups is None and o.group is None and o.split == "auto":
        copies = (each > 1).sum()
        but = f"but {copies} groups of copies stay together" if copies else "as no two are copies"
        said = f"split by image, {but}. If the hidden test shows other things than training, other "
        said += "animals or people, the local score flatters; --groups FILE or --group COLUMN says "
        said += "which images are of one thing"
    else:
        what = "near duplicates" if o.groups is None and o.group is None else "those given"
        said = f"{len(each)} groups of {what} in {len(items)} images, {each.median():.0f} images "
        said += f"each (at most {each.max()})"
    print(f"{task.name}: {said}", flush=True)


def _say_metric(task, metric):
    if metric.name == task.recipe().metric:
        return
    order = f", of the classes in the order {', '.join(map(shown, metric.order))}"
    print(
        f"{task.name}: scored by {metric.title}, {'less' if metric.lower else 'more'} is better"
        f"{order if metric.order else ''}",
        flush=True,
    )


def _about(task, o, competition):
    """What run.json says."""
    given = changes(o, task.recipe(o.recipe))
    words = [f"{flag(k, v)}" if isinstance(v, bool) else f"{flag(k)} {shlex.quote(str(v))}"
             for k, v in {**given, "seed": o.seed}.items()]  # fmt: skip
    if o.recipe != task.recipe().recipe:
        words.insert(0, f"--recipe {o.recipe}")
    root = str(competition.root)
    where = None if Path(root) in (DATA / task.name, task.data) else root
    return {
        "task": task.name,
        "title": task.title,
        "recipe": o.recipe,
        "options": plain(o),
        "given": {k: str(v) if isinstance(v, Path) else v for k, v in given.items()},
        "command": task.line(" ".join(words), where),
        "data": root,
        "layout": str(competition.layout).splitlines(),
        "published": task.published if set(competition.vocab) == set(task.classes) else None,
        "vocab": competition.vocab,
        "n_train_by_class": competition.train["label"].value_counts().sort_index().to_dict(),
        "images": _digest(competition),
    }


def _digest(competition):
    """A hash of all images' ids, labels and sizes in bytes."""
    tables = [competition.train, competition.test]
    rows = [
        f"{row.Id} {getattr(row, 'label', '')} {row.path.stat().st_size}"
        for table in tables
        for row in table.itertuples()
    ]
    return hashlib.blake2b("\n".join(rows).encode(errors="surrogateescape")).hexdigest()[:32]
