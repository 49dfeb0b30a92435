"""What predictions are scored by: a competition's metric, and the figures that every run has."""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from fastai.metrics import AccumMetric, accuracy, skm_to_fastai
from scipy.special import softmax
from sklearn.metrics import (
    accuracy_score,
    cohen_kappa_score,
    confusion_matrix,
    f1_score,
    log_loss,
    roc_auc_score,
)

from pokefast.errors import UserError
from pokefast.options import similar

__all__ = [
    "METRICS",
    "Metric",
    "choose_metric",
    "learner_metrics",
    "macro_f1",
    "metric_title",
    "scores",
]

CELLS = 4_000_000  # numbers that resampling the AUC holds at once
DRAWS = 300  # sets that a metric of one's own is computed of, as it may be slow
PROBE = 0.8  # probability of the likeliest class where such a metric is tried out


@dataclass(frozen=True)
class Metric:
    """A score: `value(truth, probabilities)` is a number, of class numbers [n] and probabilities
    [n, classes].

    `name` is what the option takes, `title` what people read, `limits` the least and the greatest
    value; less is better where `lower`. Classes alone have no value where `of_probabilities`.
    `resampled(truth, probabilities, groups, counts)` gives the values of m sets in which the images
    of group number g, of `groups` [n], stand `counts`[:, g] times, [m] or fewer; nan where it has
    none.
    """

    name: str
    title: str
    value: Callable
    resampled: Callable
    limits: tuple = (0, 1)
    lower: bool = False
    of_probabilities: bool = False
    order: tuple = ()  # of the classes, where it counts

    @property
    def column(self):
        """Its name among fastai's metrics and in history.csv."""
        return "f1_score" if self.name == "f1_macro" else self.name


def macro_f1(truth, predicted, labels):
    """Mean of the F1 of every class in `labels`, one that neither has counting as 0.

    scikit-learn leaves classes out that neither `truth` nor `predicted` holds unless it is told
    them.
    """
    return float(f1_score(truth, predicted, average="macro", labels=labels, zero_division=0))


def scores(truth, predicted, labels):
    """Dictionary of f1_macro, accuracy, per_class_f1 (by class) and confusion (rows: truth,
    columns: prediction); `labels` are the classes.
    """
    each = f1_score(truth, predicted, average=None, labels=labels, zero_division=0)
    return {
        "f1_macro": macro_f1(truth, predicted, labels),
        "accuracy": float(accuracy_score(truth, predicted)),
        "per_class_f1": {str(n): float(f) for n, f in zip(labels, each, strict=True)},
        "confusion": confusion_matrix(truth, predicted, labels=labels).tolist(),
    }


def choose_metric(name, vocab=None):
    """The `Metric` of the option's text `name`: a key of `METRICS`, or "file.py:function" for a
    function of one's own, which is called with class numbers [n], in the order of `vocab`, and
    probabilities [n, classes]. Whether less is better shows when it is tried out.

    Raises UserError for what is neither and, where the classes `vocab` are given, for a function
    that gives no number for them.
    """
    if ":" in name:
        return _own(name, vocab)
    if name not in METRICS:
        choices = f"{', '.join(METRICS)} or file.py:function"
        raise UserError(f"--metric {name}{similar(name, METRICS)}: choose {choices}")
    metric = METRICS[name]
    if name != "kappa" or vocab is None:
        return metric
    order = _order(vocab)
    return replace(
        metric,
        value=partial(_ordered, order, metric.value),
        resampled=partial(_ordered, order, metric.resampled),
        order=tuple(vocab[i] for i in order),
    )


def metric_title(name):
    """What people read for a metric's name."""
    return METRICS[name].title if name in METRICS else name


def learner_metrics(n_classes, metric=None):
    """fastai metrics for the epochs' lines: accuracy, macro-F1 over all classes, and `metric` where
    it is neither.

    fastai's `F1Score` is the same but binary by default, and cannot be told what to do with an
    absent class.
    """
    labels = np.arange(n_classes).tolist()
    found = [accuracy, skm_to_fastai(f1_score, average="macro", labels=labels, zero_division=0)]
    if metric is not None and metric.name not in ("accuracy", "f1_macro"):
        of_logits = partial(_of_logits, metric.value)
        how = dict(to_np=True, invert_arg=True, flatten=False)
        found.append(AccumMetric(of_logits, name=metric.name, **how))
    return found


def _of_logits(value, truth, logits):
    return value(truth, softmax(logits.astype(float), 1))


def _f1(truth, probabilities):
    n = probabilities.shape[1]
    return macro_f1(truth, probabilities.argmax(1), range(n))


def _f1_parts(truth, probabilities):
    """[n, 3 classes]: hits, truths and predictions of each class."""
    eye = np.eye(probabilities.shape[1])
    true, predicted = eye[truth], eye[probabilities.argmax(1)]
    return np.concatenate([true * predicted, true, predicted], 1)


def _f1_of(sums):
    """Mean F1 of the classes that a set holds."""
    hits, true, predicted = np.split(sums, 3, -1)
    f1 = 2 * hits / np.maximum(true + predicted, 1)
    return f1.sum(-1) / (true > 0).sum(-1)


def _accuracy(truth, probabilities):
    return float(accuracy_score(truth, probabilities.argmax(1)))


def _log_loss(truth, probabilities):
    rows = np.asarray(probabilities, float)  # scikit-learn clips at the type's epsilon
    return float(log_loss(truth, rows / rows.sum(1, keepdims=True), labels=range(rows.shape[1])))


def _hits(truth, probabilities):
    """[n, 2]: whether an image is right, and 1."""
    right = truth == probabilities.argmax(1)
    return np.stack([right, np.ones(len(truth))], 1)


def _losses(truth, probabilities):
    """[n, 2]: the loss of an image, and 1."""
    rows = np.asarray(probabilities, float)
    p = rows[np.arange(len(rows)), truth] / rows.sum(1)
    least = np.finfo(float).eps
    return np.stack([-np.log(p.clip(least, 1 - least)), np.ones(len(truth))], 1)


def _mean_of(sums):
    return sums[..., 0] / sums[..., 1]


def _auc(truth, probabilities):
    """Mean over the classes of the area under one against the rest; of those that `truth` has."""
    mine = np.eye(probabilities.shape[1], dtype=int)[truth]
    held = mine.any(0) & ~mine.all(0)
    if not held.any():
        return float("nan")
    return float(roc_auc_score(mine[:, held], probabilities[:, held], average="macro"))


def _auc_resampled(truth, probabilities, groups, counts):
    """As `_auc`, by counting pairs; scikit-learn, called for each set, takes a minute."""
    found = []
    for part in np.array_split(counts, -(-counts.shape[0] * len(truth) // CELLS)):
        areas, weights = [], part[:, groups]
        for number, p in enumerate(probabilities.T):
            order = np.argsort(p, kind="stable")
            first = np.flatnonzero(np.diff(p[order], prepend=-1))  # of those that are equal
            sorted_weights, mine = weights[:, order], truth[order] == number
            true = np.add.reduceat(sorted_weights * mine, first, 1)
            false = np.add.reduceat(sorted_weights * ~mine, first, 1)
            wins = (true * (false.cumsum(1) - false / 2)).sum(1)
            pairs = true.sum(1) * false.sum(1)
            areas.append(np.where(pairs, wins / np.maximum(pairs, 1), np.nan))
        held, nothing = np.isfinite(areas), np.full(len(part), np.nan)
        total = np.where(held, areas, 0).sum(0)
        found.append(np.divide(total, held.sum(0), out=nothing, where=held.any(0)))
    return np.concatenate(found)


def _order(vocab):
    """Class numbers in the classes' order: by value where all are numbers, else by name."""
    try:
        return np.argsort([float(name) for name in vocab], kind="stable")
    except ValueError:
        return np.argsort(vocab, kind="stable")


def _ordered(order, function, truth, probabilities, *more):
    """A function of class numbers and probabilities with the classes in another order."""
    return function(np.argsort(order)[truth], probabilities[:, order], *more)


def _kappa(truth, probabilities):
    """Cohen's kappa with quadratic weights, of classes in their order."""
    labels = range(probabilities.shape[1])
    pair = truth, probabilities.argmax(1)
    return float(cohen_kappa_score(*pair, labels=labels, weights="quadratic"))


def _kappa_parts(truth, probabilities):
    """[n, 2 classes + 1]: truths and predictions of each class, and the squared distance."""
    eye, predicted = np.eye(probabilities.shape[1]), probabilities.argmax(1)
    distance = (truth - predicted) ** 2
    return np.concatenate([eye[truth], eye[predicted], distance[:, None]], 1)


def _kappa_of(sums):
    true, predicted = np.split(sums[..., :-1], 2, -1)
    ranks = np.arange(true.shape[-1])
    chance = np.einsum("mi,ij,mj->m", true, (ranks[:, None] - ranks) ** 2, predicted)
    chance = chance / true.sum(-1)
    return 1 - np.divide(sums[..., -1], chance, out=np.full(len(sums), np.nan), where=chance > 0)


def _by_sums(parts, of, truth, probabilities, groups, counts):
    """Values of sets by a metric that is a function `of` what `parts` [n, k] sum to."""
    each = parts(truth, probabilities)
    sums = np.zeros((counts.shape[1], each.shape[1]))
    np.add.at(sums, groups, each)
    return of(counts @ sums)


def _one_by_one(value, truth, probabilities, groups, counts):
    """Values of the first `DRAWS` sets by any metric; nan where one that lacks a class has none."""
    found, n_classes = [], len(np.unique(truth))
    for count in counts[:DRAWS]:
        rows = np.repeat(np.arange(len(truth)), count[groups])
        try:
            found.append(value(truth[rows], probabilities[rows]))
        except UserError:
            if len(np.unique(truth[rows])) == n_classes:
                raise
            found.append(np.nan)
    return np.asarray(found)


def _own(text, vocab):
    """The `Metric` of a function in a file."""
    file, _, name = text.rpartition(":")
    if not Path(file).is_file():
        raise UserError(f"--metric {text}: there is no file {file}; write file.py:function")
    spec = importlib.util.spec_from_file_location(f"metric_{Path(file).stem}", file)
    if spec is None:
        raise UserError(f"--metric {text}: {file} is no Python file; write file.py:function")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as e:  # whatever the user's own code raises
        raise UserError(f"--metric {text}: {file} cannot be run: {type(e).__name__}: {e}") from e
    function = getattr(module, name, None)
    if not callable(function):
        names = [k for k, v in vars(module).items() if callable(v) and k[0] != "_"]
        raise UserError(f"--metric {text}: {file} has no function {name!r}{similar(name, names)}")
    name = f"{Path(file).name}:{name}"
    value = partial(_called, text, function)
    lower = vocab is not None and _less_is_better(text, value, len(vocab))
    limits = (-np.inf, np.inf)
    return Metric(name, name, value, partial(_one_by_one, value), limits, lower)


def _called(text, function, truth, probabilities):
    """The number that a function of one's own gives."""
    try:
        return float(function(np.array(truth), np.array(probabilities)))
    except Exception as e:  # whatever the user's own code raises
        about = f"for truth {np.shape(truth)} and probabilities {np.shape(probabilities)}"
        raise UserError(f"--metric {text}: {type(e).__name__} {about}: {e}") from e


def _less_is_better(text, value, n_classes):
    """Whether wrong predictions have a higher value than right ones."""
    truth = np.tile(np.arange(n_classes), 4)
    sure = np.eye(n_classes) * PROBE + (1 - PROBE) / n_classes
    right, wrong = value(truth, sure[truth]), value(truth, sure[(truth + 1) % n_classes])
    if not np.isfinite([right, wrong]).all() or right == wrong:
        raise UserError(
            f"--metric {text}: it gives {right:g} for right and {wrong:g} for wrong predictions; "
            "these must be two different numbers"
        )
    return right < wrong


METRICS = {
    metric.name: metric
    for metric in (
        Metric("f1_macro", "macro-F1", _f1, partial(_by_sums, _f1_parts, _f1_of)),
        Metric("accuracy", "accuracy", _accuracy, partial(_by_sums, _hits, _mean_of)),
        Metric(
            "log_loss",
            "log loss",
            _log_loss,
            partial(_by_sums, _losses, _mean_of),
            limits=(0, np.inf),
            lower=True,
            of_probabilities=True,
        ),
        Metric("auc", "AUC, one against the rest", _auc, _auc_resampled, of_probabilities=True),
        Metric(
            "kappa",
            "quadratic weighted kappa",
            _kappa,
            partial(_by_sums, _kappa_parts, _kappa_of),
            limits=(-1, 1),
        ),
    )
}
