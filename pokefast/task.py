"""The driver: what a task is, and how one is run, from a folder to a score and a submission.

Each step writes what it has at once, weights and submission first; pictures and pages are made from
the run's folder at the end.
"""

import argparse
import inspect
import shlex
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import pandas as pd

from pokefast.data.competition import Competition, read_competition
from pokefast.data.splits import AllSplitter, FoldSplitter
from pokefast.errors import UserError
from pokefast.files import DATA, RUNS, SUBMISSIONS, write_json
from pokefast.options import add_options, changes, flag, parse, plain, to_exit_status
from pokefast.prediction.model_file import describe_model, save_model
from pokefast.report.examples import write_examples
from pokefast.report.page import write_index, write_report
from pokefast.report.plots import draw_figures
from pokefast.report.wandb_log import WandbLog, check_wandb
from pokefast.runs import new_folder, probability_columns, probability_table, write_run, write_table
from pokefast.scoring.interval import f1_interval
from pokefast.scoring.metrics import scores
from pokefast.scoring.submission import check_sample, make_submission, write_submission
from pokefast.training.learner import fit, predict

__all__ = ["Result", "Task", "main", "open_competition", "read_line", "run_task"]

HISTORY = ["epoch", "train_loss", "valid_loss", "accuracy", "f1_score"]
TEST_PART = 2  # number of the local test part among the loaders: training, validation, test


@dataclass(frozen=True)
class Task:
    """A competition and what is trained for it.

    `recipes` are functions of no argument that return the task's options, named as on the command
    line, the default first. `get_dls(data, options, splitter)` gives loaders of training,
    validation and test part, `get_learner(dls, options)` a Learner on them. `published` holds
    figures that a run's page shows beside its own, where the classes are `classes`.
    `phase_one(learn, options, validate)` fits something before the epochs and returns its row of
    the history, empty where there is none.
    """

    name: str
    title: str
    recipes: tuple
    get_dls: Callable
    get_learner: Callable
    published: dict | None = None
    classes: tuple = ()
    phase_one: Callable | None = None

    def recipe(self, name=None, **given):
        """The options of the recipe `name` (the first by default), those in `given` replaced."""
        found = {function.__name__: function for function in self.recipes}
        name = name or self.recipes[0].__name__
        if name not in found:
            raise UserError(f"--recipe {name}: choose {' or '.join(found)}")
        return replace(found[name](), **given)


@dataclass(frozen=True)
class Result:
    """What a run left: its folder, what metrics.json holds, and the submission's file."""

    folder: Path
    scores: dict
    submission: Path


@dataclass(frozen=True)
class Fitted:
    """A trained Learner, its history (a row an epoch) and the epochs that were run; `fold` counts
    from 1 where there are folds.
    """

    learn: object
    history: pd.DataFrame
    epochs: int
    fold: int | str = ""


@dataclass
class Clock:
    """Seconds by what was done, summed up; `total` since it was made."""

    start: float = field(default_factory=time.perf_counter)
    seconds: dict = field(default_factory=dict)

    @contextmanager
    def __call__(self, name):
        start = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

    def metrics(self):
        """What metrics.json says of it."""
        total = {"total": time.perf_counter() - self.start}
        return {f"{k}_seconds": v for k, v in {**self.seconds, **total}.items()}


def open_competition(data, task, skip_bad=False):
    """The competition in folder `data`, or the embedded one of `task` ("task1") where that is None,
    made if need be.

    A `Competition` is handed back as it is. Raises UserError where the folder has problems.
    """
    if isinstance(data, Competition):
        return data
    if data is None:
        print(f"{task}: the embedded data in data/, drawn first where it is not there", flush=True)
        from pokefast.datasets.drawn import embedded  # not needed for a folder of one's own

        data = embedded(task)
    competition = read_competition(data, skip_bad=skip_bad)
    if competition.sample is not None:
        check_sample(competition)
    return competition


def run_task(task, options=None, data=None, out=None):
    """Train, write the submission and the score; returns a `Result`.

    `options` are those of the task's first recipe by default, `data` a competition folder or the
    embedded data, `out` the folder of runs/ and submissions/, this repository by default. Raises
    UserError, before any long work, for what cannot be.
    """
    clock, o = Clock(), (options or task.recipe()).resolved()
    runs, submissions = _output(out)
    check_wandb(o.wandb)
    with clock("prepare"):
        competition = open_competition(data, task.name, o.skip_bad)
        whole = None
        if o.folds or o.refit:  # decoded once for all that train on parts of it
            whole = task.get_dls(competition, o, AllSplitter()).train.prepare()
    o = _fewer_folds(task, o, whole)
    load = partial(_load, task, competition, whole, clock)
    splitters = [FoldSplitter(i, o.folds, o.seed) for i in range(o.folds)] or [None]
    learn = load(o, splitters[0])
    describe_model(learn, o)  # raises before training what saving would raise after it
    _say_parts(task, learn.dls, clock)
    folder = new_folder(runs, task.name)
    log = WandbLog(o.wandb, task.name, folder)
    write_run(folder, _about(task, o, competition))
    fits = []
    for i, splitter in enumerate(splitters):
        learn = load(o, splitter) if i else learn
        fits.append(_fit(task, learn, o, log, i + 1 if o.folds else "", clock))
        write_table(folder / "history.csv", pd.concat([one.history for one in fits]))
        if o.for_prediction() != o:
            # other item transforms: `whole` has not what they need
            learn.dls = _load(task, competition, None, clock, o.for_prediction(), splitter).dls
        if not o.refit:
            save_model(folder / f"fold{i + 1}" if o.folds else folder, learn, o)
    models = [one.learn for one in fits]
    if o.refit:
        learn, epochs = load(o.for_refit(), AllSplitter()), max(one.epochs for one in fits)
        models = [_refit(task, learn, o, epochs, clock)]
        save_model(folder, learn, o)
    test = _predict_test(models, competition, o)
    file = _submit(task, test, competition, submissions)
    local = [_predict_local(one, o) for one in fits]
    table = pd.concat([*local, test], ignore_index=True)
    write_table(folder / "probabilities.csv", table)
    metrics = _metrics(fits, table, competition)
    write_json(folder / "metrics.json", metrics | clock.metrics())
    print(_scores_text(metrics), flush=True)
    _show(folder, fits[0].learn, local[0], table, metrics, competition, log, clock)
    metrics |= clock.metrics()
    print(
        "run: {}  prepared in {prepare_seconds:.1f} s, trained in {train_seconds:.1f} s, "
        "{total_seconds:.1f} s in all".format(_short(folder), **metrics)
    )
    return Result(folder, metrics, file)


def main(task, argv=None):
    """Run `task` with the options of a command line; returns the exit status."""
    return to_exit_status(lambda: run_task(task, *read_line(task, argv)))


def read_line(task, argv=None):
    """(options, data, out) of a task's command line, the process's own by default.

    An option that is given beats the recipe's. Ends the program with a message where it is none.
    """
    recipes = {function.__name__: function() for function in task.recipes}
    parser = argparse.ArgumentParser(
        prog=f"python -m tasks.{Path(inspect.getfile(task.get_dls)).stem}",
        description=inspect.getdoc(sys.modules[task.get_dls.__module__]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    first = next(iter(recipes))
    parser.add_argument("--data", type=Path, help="competition folder; the embedded data otherwise")
    parser.add_argument("--out", type=Path, help="where runs/ and submissions/ are; here otherwise")
    parser.add_argument("--recipe", choices=recipes, default=first, help=f"whose options ({first})")
    add_options(parser, type(recipes[first]), recipes)
    given = vars(parse(parser, argv))
    data, out, recipe = (given.pop(name) for name in ("data", "out", "recipe"))
    return task.recipe(recipe, **given), data, out


def _output(out):
    """The folders of runs and submissions; UserError where they cannot be made."""
    if out is None:
        return RUNS, SUBMISSIONS
    if Path(out).exists() and not Path(out).is_dir():
        raise UserError(f"--out {out}: it is a file; give a folder")
    return Path(out) / "runs", Path(out) / "submissions"


def _fewer_folds(task, options, whole):
    """The options, with fewer folds where a class has not as many groups as the recipe's folds."""
    if not options.folds or options.folds != task.recipe(options.recipe).folds:
        return options  # asked for: FoldSplitter says what does not go
    items = whole.items
    groups = items["group" if "group" in items else "Id"].groupby(items["label"]).nunique()
    folds = int(max(2, min(options.folds, groups.min())))
    if folds < options.folds:
        print(f"{task.name}: {folds} folds, as {groups.idxmin()} has only {groups.min()} groups")
    return replace(options, folds=folds)


def _load(task, competition, whole, clock, o, splitter):
    """A Learner on loaders whose images are decoded, or taken from the loader `whole`."""
    with clock("prepare"):
        dls = task.get_dls(competition, o, splitter)
        if whole is not None:
            for dl in dls.loaders:
                dl.share(whole)
    learn = task.get_learner(dls, o)
    with clock("prepare"):
        for dl in dls.loaders:
            dl.prepare()
    return learn


def _say_parts(task, dls, clock):
    sizes = "{} training, {} validation, {} test images".format(*(dl.n for dl in dls.loaders))
    print(f"{task.name}: {sizes}, prepared in {clock.seconds['prepare']:.1f} s", flush=True)
    items = _items(dls)
    if "group" not in items:
        return
    each = items["group"].value_counts()
    print(
        f"{task.name}: split by image: near duplicates may stand on both sides of the split, and "
        "the local score may flatter"
        if each.max() == 1
        else f"{task.name}: {len(each)} groups of near duplicates in {len(items)} images, "
        f"{each.median():.0f} images each (at most {each.max()})",
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
    where = "" if Path(root) == DATA / task.name else f" DATA={shlex.quote(root)}"
    arguments = " ".join(words).replace('"', '\\"').replace("$", "$$")
    return {
        "task": task.name,
        "title": task.title,
        "recipe": o.recipe,
        "options": plain(o),
        "given": {k: str(v) if isinstance(v, Path) else v for k, v in given.items()},
        "command": f'make {task.name}{where} ARGS="{arguments}"',
        "data": root,
        "published": task.published if set(competition.vocab) == set(task.classes) else None,
        "vocab": competition.vocab,
        "n_train_by_class": competition.train["label"].value_counts().sort_index().to_dict(),
    }


def _fit(task, learn, o, log, fold, clock):
    """Train a learner for `o`, logged to W&B where asked for."""
    if fold:
        print(f"fold {fold} of {o.folds}", end="  ", flush=True)
    cbs = log.start(learn, o)
    with clock("train"):
        first = task.phase_one(learn, o, validate=True) if task.phase_one else []
        epochs = fit(learn, o, o.rates(), cbs=cbs)
    rows = [[fold, 0, *first]] if first else []
    rows += [[fold, i, *row] for i, row in enumerate(learn.recorder.values if epochs else [], 1)]
    return Fitted(learn, pd.DataFrame(rows, columns=["fold", *HISTORY]), epochs, fold)


def _refit(task, learn, o, epochs, clock):
    """`learn`, which has everything for training, fitted for as many epochs without validation."""
    print(f"{task.name}: once more on all {learn.dls.train.n} labelled images", flush=True)
    with clock("train"):
        if task.phase_one:
            task.phase_one(learn, o, validate=False)
        fit(learn, replace(o, epochs=epochs), o.rates(), validate=False)
    return learn


def _predict_test(models, competition, o):
    """Rows of probabilities.csv for the competition's test images: the mean of the models."""
    dl = models[0].dls.test_dl(competition.test).prepare()
    mean = sum(predict(learn, dl, o.tta) for learn in models) / len(models)
    vocab = list(models[0].dls.vocab)
    return probability_table(competition.test, mean, vocab, "test")


def _submit(task, table, competition, folder):
    """Write the submission from the test images' rows; returns its file."""
    fill = competition.train["label"].mode()[0]
    ids, labels = list(table["Id"]), list(table["predicted"])
    submission = make_submission(competition, ids, labels, fill)
    file = write_submission(folder / f"{task.name}_submit.csv", submission)
    if competition.bad_test:
        print(f"{len(competition.bad_test)} unreadable test images got the label {fill}")
    print(f"submission: {_short(file)} ({len(submission)} rows)", flush=True)
    return file


def _predict_local(fitted, o):
    """Rows of probabilities.csv for the local test part of a fit."""
    dl, vocab = fitted.learn.dls[TEST_PART], list(fitted.learn.dls.vocab)
    probabilities = predict(fitted.learn, dl, o.tta)
    return probability_table(dl.items, probabilities, vocab, "local", fitted.fold)


def _metrics(fits, table, competition):
    """What metrics.json holds, but for the seconds; `table` is that of probabilities.csv."""
    learn, local = fits[0].learn, table[table["part"] == "local"]
    vocab, items = list(learn.dls.vocab), _items(learn.dls)
    parts = zip(("n_train", "n_valid", "n_test"), learn.dls.loaders, strict=True)
    metrics = {name: dl.n for name, dl in parts} | {
        **scores(local["truth"], local["predicted"], vocab),
        "n_test": len(local),
        "epochs": max(one.epochs for one in fits),
        "device": learn.dls.device.type,
        "dtype": str(learn.precision.dtype).removeprefix("torch."),
        "n_parameters": sum(p.numel() for p in learn.model.parameters()),
    }
    if "group" in items:
        metrics["n_groups"] = items["group"].nunique()
        if not items["group"].is_unique:  # otherwise a near duplicate may be on the other side
            n_hidden = len(competition.test) + len(competition.bad_test)
            ends = f1_interval(local["truth"], local["predicted"], local["group"], vocab, n_hidden)
            metrics |= dict(zip(("f1_macro_low", "f1_macro_high"), ends, strict=True))
    return metrics


def _items(dls):
    """The data frame of all images of the loaders, each once."""
    return pd.concat([dl.items for dl in dls.loaders]).drop_duplicates("Id")


def _scores_text(m):
    """Macro-F1, accuracy and F1 of each class, as lines."""
    interval = ""
    if "f1_macro_low" in m:
        interval = (
            f"\nthe hidden test's should be between {m['f1_macro_low']:.3f} and "
            f"{m['f1_macro_high']:.3f} (95%, bootstrap over local and hidden groups)"
        )
    each = "\n".join(f"  {name:<12}{value:.3f}" for name, value in m["per_class_f1"].items())
    return (
        f"local test part, {m['n_test']} images: macro-F1 {m['f1_macro']:.4f}, "
        f"accuracy {m['accuracy']:.4f}{interval}\n{each}"
    )


def _show(folder, learn, local, table, metrics, competition, log, clock):
    """Write what people look at, each on its own: a picture that fails costs a line, not the run.

    `learn` is the first model and `local` its rows of `table`, all of probabilities.csv.
    """
    vocab = list(learn.dls.vocab)
    probabilities = local[probability_columns(vocab)].to_numpy()
    with _guard("examples"):
        write_examples(folder, learn, learn.dls[TEST_PART], probabilities, vocab)
    with _guard("pictures"):
        draw_figures(folder)
    write_json(folder / "metrics.json", metrics | clock.metrics())
    with _guard("page"):
        write_report(folder)
    with _guard("table of runs"):
        write_index(folder.parent)
    with _guard("W&B log"):
        paths = competition.train.set_index("Id")["path"]
        log.results(table, paths, metrics)
        log.finish({k: metrics[k] for k in ("f1_macro", "accuracy", "epochs")})


@contextmanager
def _guard(what):
    """Say in one line that `what` could not be made, and go on: weights and scores are written."""
    try:
        yield
    except Exception as e:  # whatever a drawing library raises for data nobody thought of
        print(f"the {what} could not be made: {type(e).__name__}: {e}", flush=True)


def _short(path):
    """`path` relative to the folder one is in, where it lies below it."""
    path = Path(path).absolute()
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
