"""The steps of a run, from a Learner to what people look at; the driver (task.py) calls them in
turn. Each gets what it needs as arguments and gives back what it made.
"""

import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from pokefast.crops.groups import kept_pairs
from pokefast.data.competition import usable
from pokefast.data.splits import AllSplitter, FoldSplitter, group_numbers
from pokefast.errors import UserError
from pokefast.files import read_own_csv, write_json, write_own_csv
from pokefast.images import image_error
from pokefast.names import shown
from pokefast.prediction.model_file import (
    DESCRIPTION,
    load_model,
    save_model,
    save_temperature,
)
from pokefast.report.examples import write_examples
from pokefast.report.page import write_index, write_report
from pokefast.report.plots import draw_figures
from pokefast.report.suspects import has_cleanlab, write_suspects
from pokefast.runs import probability_columns, probability_table, work_folder
from pokefast.scoring.calibration import (
    fit_temperature,
    fold_temperatures,
    reliability,
    tempered,
)
from pokefast.scoring.interval import score_interval
from pokefast.scoring.likeness import FAR, tell_apart
from pokefast.scoring.metrics import metric_title, scores
from pokefast.scoring.submission import make_submission, write_submission
from pokefast.training.checkpoint import CheckpointCallback, ResumeCallback, read_checkpoint
from pokefast.training.distributed import DistributedCallback, is_main
from pokefast.training.learner import fit, inputs, predict

__all__ = [
    "Calibration",
    "Clock",
    "Fitted",
    "average_alike",
    "calibrate",
    "decoded",
    "items_of",
    "learner_on",
    "look_alikes_apart",
    "parts_alike",
    "predict_local",
    "predict_test",
    "score",
    "scores_text",
    "short",
    "show",
    "splitters",
    "submit",
    "test_loader",
    "train",
]

HISTORY = ["epoch", "train_loss", "valid_loss"]  # and fastai's metrics
ALWAYS = ("f1_macro", "accuracy")  # metrics that every run has
TEMPERATURE_FOLDS = 10  # of groups, for the temperatures of images predicted without theirs
LONG = 60  # seconds from which on it is said how long the other folds will take
TEST_PART = 2  # number of the local test part among the loaders: training, validation, test


@dataclass(frozen=True)
class Fitted:
    """A trained Learner, its history (a row an epoch) and the epochs that were run; `fold` counts
    from 1 where there are folds. `left_out` are the local test part's probabilities where phase one
    gave them, each from a model without the image's group, and `without` gives them for others.
    """

    learn: object
    history: pd.DataFrame
    epochs: int
    fold: int | str = ""
    left_out: np.ndarray | None = None
    without: Callable | None = None


@dataclass
class Clock:
    """Seconds by what was done, summed up; `total` since it was made."""

    start: float = field(default_factory=time.perf_counter)
    seconds: dict = field(default_factory=lambda: {"prepare": 0.0, "train": 0.0})

    @contextmanager
    def __call__(self, name):
        start = time.perf_counter()
        yield
        self.seconds[name] += time.perf_counter() - start

    def metrics(self):
        """What metrics.json says of it."""
        total = {"total": time.perf_counter() - self.start}
        return {f"{k}_seconds": v for k, v in {**self.seconds, **total}.items()}


def splitters(o):
    """A splitter a fit: None is the task's own."""
    return [FoldSplitter(i, o.folds, o.seed) for i in range(o.folds)] or [None]


def train(task, competition, o, load, learn, folder, log, clock):
    """(every `Fitted`, the learners that are submitted), their weights and history written by the
    first process.

    `load(options, splitter)` gives a Learner, `learn` is the first fit's. What an earlier call has
    finished is read from its files.
    """
    fits = []
    for i, splitter in enumerate(splitters(o)):
        learn = load(o, splitter) if i else learn
        fold = i + 1 if o.folds else ""
        place = work_folder(folder) if o.refit else folder  # of models that are not submitted
        place = place / f"fold{fold}" if o.folds else place / "model" if o.refit else place
        finished = (place / DESCRIPTION).exists()
        fits.append(_fit(task, learn, o, log, folder, place, fold, clock))
        # later folds that an earlier call has finished are in the file too
        if is_main() and not finished:
            write_own_csv(folder / "history.csv", pd.concat([one.history for one in fits]))
        if o.for_prediction() != o:
            learn.dls = task.get_dls(competition, o.for_prediction(), splitter)
        if is_main():
            save_model(place, learn, o)
    if not o.refit:
        return fits, [one.learn for one in fits]
    learn, epochs = load(o.for_refit(), AllSplitter()), max(one.epochs for one in fits)
    print(f"{task.name}: once more on all {learn.dls.train.n} labelled images", flush=True)
    o = replace(o.for_refit(), epochs=epochs)
    _fit(task, learn, o, None, folder, folder, "refit", clock)
    if is_main():
        save_model(folder, learn, o)
    return fits, [learn]


def decoded(task, competition, o):
    """(competition, loader of its labelled images, of its test images), all of them decoded or
    taken from the cache; the last is None where there are none.

    Raises UserError for images that cannot be read; `o.skip_bad` leaves them out.
    """
    # fastai looks at the first image: a good one, if there is any
    good = (i for i, path in enumerate(competition.train["path"]) if not image_error(path))
    first, rows = next(good, 0), np.arange(len(competition.train))
    rows = [first, *np.delete(rows, first)]
    some = replace(competition, train=competition.train.iloc[rows])
    plain = replace(o, split="image", average=False, groups=None, group=None)
    dls = task.get_dls(some, plain, AllSplitter())
    loaders = [dls.train]
    if len(competition.test):
        if o.for_prediction() != o:
            dls = task.get_dls(some, plain.for_prediction(), AllSplitter())
        loaders.append(dls.test_dl(competition.test))
    errors = {}
    for dl in loaders:
        paths = dl.items["path"].iloc
        errors |= {paths[i]: text for i, text in dl.unreadable().items()}
    errors = {path: text.removeprefix(f"{path}: ") for path, text in errors.items()}
    left = usable(replace(competition, problems={}).without(errors), o.skip_bad)
    return left, *[*loaders, None][:2]


def learner_on(task, competition, whole, clock, o, splitter):
    """A Learner on loaders whose images are taken from the loader `whole`."""
    with clock("prepare"):
        dls = task.get_dls(competition, o, splitter)
        for dl in dls.loaders:
            dl.share(whole)
    return task.get_learner(dls, o)


def _fit(task, learn, o, log, folder, place, fold, clock):
    """Train a learner for `o`, logged to W&B by `log`; fold "refit" has no validation.

    Where `place` holds its model already, that is loaded; a checkpoint in the run's `folder` that
    is of this fold is where training goes on.
    """
    cbs = [] if log is None else log.start(learn, o, fold)
    if isinstance(fold, int):
        print(f"fold {fold} of {o.folds}", end="  ", flush=True)
    if (place / DESCRIPTION).exists() and not o.leave_one_out:  # which takes no epochs
        print("trained before", flush=True)
        model, _ = load_model(place)
        learn.model.load_state_dict(model.state_dict())
        history = read_own_csv(folder / "history.csv")
        if not {"fold", *HISTORY} <= set(history):
            raise UserError(f"{folder / 'history.csv'}: damaged; begin the run anew")
        history = history[history["fold"] == str(fold)]
        epochs = history["epoch"].astype(int).max() if len(history) else 0
        return Fitted(learn, history, int(epochs), fold)
    file, validate = work_folder(folder) / "checkpoint.pt", fold != "refit"
    state = read_checkpoint(file) if file.exists() else {}
    first, left_out, without = [], None, None
    with clock("train"):
        if state.get("fold") == fold:
            first, cbs = state["first"], [*cbs, ResumeCallback(state)]
            print(f"goes on after epoch {state['epoch']}", flush=True)
        elif task.phase_one and (solved := task.phase_one(learn, o, validate)):
            first, left_out, without = solved.row, solved.left_out, solved.without
        if is_main():
            cbs.append(CheckpointCallback(file, {"fold": fold, "first": first}))
        if torch.distributed.is_initialized():
            cbs.append(DistributedCallback())
        start = time.monotonic()
        epochs = fit(learn, o, o.rates(), validate=validate, cbs=cbs)
        if state.get("fold") != fold:  # trained as a whole here
            _say_what_is_left(fold, o, time.monotonic() - start)
    rows = [[fold, 0, *first]] if first else []
    values = learn.recorder.values if epochs and validate else []
    rows += [[fold, i, *row] for i, row in enumerate(values, 1)]
    columns = ["fold", *HISTORY, *(metric.name for metric in learn.metrics)]
    return Fitted(learn, pd.DataFrame(rows, columns=columns), epochs, fold, left_out, without)


def _say_what_is_left(fold, o, seconds):
    """Say how long the folds after `fold`, which took so long, will take, where that is long."""
    left = o.folds - fold if isinstance(fold, int) else 0
    if left * seconds > LONG:
        folds, seconds = "fold" if left == 1 else "folds", tqdm.format_interval(left * seconds)
        print(f"{left} {folds} left, about {seconds}", flush=True)


@dataclass(frozen=True)
class Calibration:
    """Calibrated probabilities of each fit's local test part, and what metrics.json says of it: the
    submission's `temperature`, reliability curves `before` and `after`.
    """

    rows: list
    about: dict


def calibrate(fits, o):
    """The `Calibration` of the fits: a single model's temperature is fitted on its validation part,
    that of each fold on the others' predictions, that of the submission on all of these. Where each
    image was predicted without its group, groups are dealt out to folds.
    """
    learns = [one.learn for one in fits]
    truth = [np.asarray(learn.dls[TEST_PART].targets) for learn in learns]
    found = [_local_probabilities(one, o) for one in fits]
    ends = np.cumsum([len(part) for part in truth])
    truth, found = np.concatenate(truth), np.concatenate(found)
    folds = None
    if o.leave_one_out:
        folds = group_numbers(learns[0].dls[TEST_PART].items) % TEMPERATURE_FOLDS
    elif o.folds:
        folds = np.searchsorted(ends, np.arange(len(truth)), side="right")
    if folds is not None:
        temperature = fit_temperature(truth, found)
        mended = tempered(found, fold_temperatures(truth, found, folds))
    else:
        valid = learns[0].dls.valid
        temperature = fit_temperature(valid.targets, predict(learns[0], valid, o.tta))
        mended = tempered(found, temperature)
    curves = {"before": reliability(truth, found), "after": reliability(truth, mended)}
    return Calibration(np.split(mended, ends[:-1]), {"temperature": temperature, **curves})


def _local_probabilities(fitted, o):
    """Of the local test part, [n, classes], by a model that has not seen an image's group."""
    if fitted.left_out is not None:
        return fitted.left_out
    return np.asarray(predict(fitted.learn, fitted.learn.dls[TEST_PART], o.tta))


def test_loader(dls, competition, o, hidden):
    """A loader of the competition's test images as `dls` would make it, which are taken from the
    loader `hidden`; None where that is. With `o.average`, they have a column `alike`.
    """
    if hidden is None:
        return None
    test = competition.test
    if o.average:
        test = test.assign(alike=kept_pairs(test["path"], o.cache).sure_groups())
    return dls.test_dl(test).share(hidden)


def predict_test(models, dl, o, temperature, folder):
    """Rows of probabilities.csv for the test images in `dl`, none where that is None: the mean of
    the models at this temperature, which is noted beside the models in the run's `folder`.
    """
    save_temperature(folder, temperature)
    if dl is None:
        return pd.DataFrame()
    mean = sum(predict(learn, dl, o.tta) for learn in models) / len(models)
    vocab = list(models[0].dls.vocab)
    return probability_table(dl.items, tempered(mean, temperature), vocab, "test")


def parts_alike(learn, dl):
    """What metrics.json says of how well a frozen network's vectors tell the test images in `dl`
    from the labelled ones, if anything: said aloud where it is far from not at all.
    """
    labelled = learn.dls.train
    if dl is None or inputs(learn, dl) is dl:  # the network is trained, or has no such part
        return {}
    vectors = []
    for part in (labelled, dl):
        batches = inputs(learn, part).new(shuffle=False, drop_last=False)
        vectors.append(torch.cat([x.cpu() for x, *_ in batches]).float().numpy())
    test = dl.items["alike"] if "alike" in dl.items else np.arange(dl.n)
    groups = np.r_[group_numbers(labelled.items), labelled.n + np.asarray(test)]
    found = tell_apart(*vectors, groups)
    if found and found[1] > FAR:
        print(
            "NOTE: the test images do not look like the labelled ones: a classifier tells them "
            "apart with an area under the curve of {:.2f} ({:.2f} to {:.2f}; 0.5 is not at all), "
            "so the local score may not hold for them".format(*found)
        )
    return {"test_apart": found} if found else {}


def average_alike(table, vocab, o):
    """`table`, rows of probabilities.csv, with those of each part and number `alike` averaged where
    `o.average` says so.

    The numbers come from the images alone, so that the local score gains as the hidden one does.
    """
    if not o.average:
        return table
    columns, by = probability_columns(vocab), [table["part"], table["alike"]]
    mean = table.groupby(by)[columns].transform("mean")
    predicted = np.asarray(vocab, object)[mean.to_numpy().argmax(1)]
    return table.assign(predicted=predicted, **mean)


def submit(task, table, competition, folder):
    """Write the submission from the test images' rows; returns its file."""
    fill = competition.train["label"].mode()[0]
    ids, labels = list(table["Id"]), list(table["predicted"])
    probabilities = table[probability_columns(competition.vocab)]
    submission = make_submission(competition, ids, labels, fill, probabilities)
    file = write_submission(folder / f"{task.name}_submit.csv", submission)
    if competition.bad_test:
        print(f"{len(competition.bad_test)} unreadable test images got the label {shown(fill)}")
    print(f"submission: {short(file)} ({len(submission)} rows)", flush=True)
    return file


def predict_local(fitted, rows):
    """Rows of probabilities.csv for the local test part of a fit, from those of a `Calibration`."""
    dls = fitted.learn.dls
    return probability_table(dls[TEST_PART].items, rows, list(dls.vocab), "local", fitted.fold)


def score(fits, table, competition, metric, o):
    """What metrics.json holds, but for the seconds; `table` is that of probabilities.csv.

    The `metric` that counts is named `metric` there, its value and interval are below that name;
    there is no interval where the split by image was asked for, as a near duplicate may be on the
    other side.
    """
    learn, local = fits[0].learn, table[table["part"] == "local"]
    vocab, items = list(learn.dls.vocab), items_of(learn.dls)
    sizes = [dl.n for dl in learn.dls.loaders]
    if o.leave_one_out:
        sizes[1] = 0  # no image is for validation alone
    truth = pd.Index(vocab).get_indexer(local["truth"])
    probabilities = local[probability_columns(vocab)].to_numpy()
    metrics = dict(zip(("n_train", "n_valid", "n_test"), sizes, strict=True)) | {
        **scores(local["truth"], local["predicted"], vocab),
        "metric": metric.name,
        "n_test": len(local),
        "epochs": max(one.epochs for one in fits),
        "device": learn.dls.device.type,
        "dtype": str(learn.precision.dtype).removeprefix("torch."),
        "n_parameters": sum(p.numel() for p in learn.model.parameters()),
    }
    metrics.setdefault(metric.name, metric.value(truth, probabilities))
    if grouped := "group" in items:
        metrics["n_groups"] = items["group"].nunique()
    if said := _submitted(o, sizes[0], len(competition.train)):
        metrics["submitted"] = said
    if o.split != "image":
        groups = local["group"] if grouped else np.arange(len(local))
        n_hidden = len(competition.test) + len(competition.bad_test) or None
        ends = score_interval(metric, truth, probabilities, groups, n_hidden)
        names = f"{metric.name}_low", f"{metric.name}_high"
        metrics |= dict(zip(names, ends, strict=True)) if ends else {}
    return metrics


def _submitted(o, n_train, n):
    """Words that say where the score is not one of the very model that is submitted."""
    if o.refit:
        scored = f"one of {o.folds} models" if o.folds else "a model"
        return f"scored is {scored} of {n_train:,} images, submitted is one of all {n:,}"
    if o.folds:
        return f"each image is scored by one of {o.folds} models, submitted is the mean of them all"
    return ""


def look_alikes_apart(fitted, metric, o, temperature):
    """What metrics.json says of the score where what looks alike is kept together, if that can be
    had for nothing: the other figure, beside a split that keeps copies alone together.
    """
    if fitted.without is None or o.split != "auto" or o.groups is not None or o.group is not None:
        return {}
    items = fitted.learn.dls[TEST_PART].items
    groups = kept_pairs(items["path"], o.cache).groups(items["label"])
    found = tempered(fitted.without(groups), temperature)
    value = metric.value(np.asarray(fitted.learn.dls[TEST_PART].targets), found)
    return {f"{metric.name}_apart": value, "n_apart": len(set(groups))}


def items_of(dls):
    """The data frame of all images of the loaders, each once."""
    return pd.concat([dl.items for dl in dls.loaders]).drop_duplicates("Id")


def scores_text(m):
    """The metric, macro-F1, accuracy and F1 of each class, as lines."""
    name, interval, units = m["metric"], "", "groups" if "n_groups" in m else "images"
    if f"{name}_low" in m:
        interval = (
            f"\nthe hidden test's should be between {m[f'{name}_low']:.3f} and "
            f"{m[f'{name}_high']:.3f} (95%, bootstrap over local and hidden {units})"
        )
    if f"{name}_apart" in m:
        interval += (
            f"\n{m[f'{name}_apart']:.4f} with all that looks alike kept together, in "
            f"{m['n_apart']} groups that are not sure"
        )
    interval += f"\n{m['submitted']}" if "submitted" in m else ""
    shown_first = "" if name in ALWAYS else f"{metric_title(name)} {m[name]:.4f}, "
    each = "\n".join(f"  {shown(name):<12}{value:.3f}" for name, value in m["per_class_f1"].items())
    return (
        f"local test part, {m['n_test']} images: {shown_first}macro-F1 {m['f1_macro']:.4f}, "
        f"accuracy {m['accuracy']:.4f}{interval}\n{each}"
    )


def show(folder, learn, local, table, metrics, competition, log, clock):
    """Write what people look at, each on its own: a picture that fails costs a line, not the run.

    `learn` is the first model and `local` its rows of `table`, all of probabilities.csv.
    """
    vocab = list(learn.dls.vocab)
    probabilities = local[probability_columns(vocab)].to_numpy(copy=True)
    with _guard("examples"):
        write_examples(folder, learn, learn.dls[TEST_PART], probabilities, vocab)
    if has_cleanlab():
        with _guard("list of labels that are probably wrong"):
            write_suspects(folder, table, vocab, competition.train.set_index("Id")["path"])
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
        log.finish({k: metrics[k] for k in {*ALWAYS, metrics["metric"], "epochs"}})


@contextmanager
def _guard(what):
    """Say in one line that `what` could not be made, and go on: weights and scores are written."""
    try:
        yield
    except Exception as e:  # whatever a drawing library raises for data nobody thought of
        print(f"the {what} could not be made: {type(e).__name__}: {e}", flush=True)


def short(path):
    """`path` relative to the folder one is in, where it lies below it."""
    path = Path(path).absolute()
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
