"""Splitters: from a data frame to lists of row numbers for training, validation and test.

A frame has the column label, the class of each image, and for splits that keep near-duplicates
together the column group.
"""

from itertools import islice

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold, train_test_split

from pokefast.errors import UserError

__all__ = ["StratifiedSplitter", "GroupSplitter", "FoldSplitter", "AllSplitter"]


def StratifiedSplitter(valid=0.15, test=0.15, seed=0):
    """Fractions `valid` and `test` of the rows, each class in proportion (scikit-learn's stratified
    split).

    fastai's `TrainTestSplitter` is the same for two parts. The split depends on the seed and the
    rows' order alone. Raises UserError where a class is too small to be in every part.
    """
    _check_fractions(valid, test)

    def _inner(items):
        labels = np.asarray(items["label"])
        rows = np.arange(len(labels))
        _check_sizes(labels, valid, test)
        n_valid, n_test = round(valid * len(rows)), round(test * len(rows))
        rest, test_rows = train_test_split(
            rows, test_size=n_test, stratify=labels, random_state=seed
        )
        train_rows, valid_rows = train_test_split(
            rest, test_size=n_valid, stratify=labels[rest], random_state=seed
        )
        return tuple(np.sort(part).tolist() for part in (train_rows, valid_rows, test_rows))

    return _inner


def GroupSplitter(valid=0.1, test=0.1, seed=0):
    """As `StratifiedSplitter`, but the rows of a near-duplicate group stay in one part.

    scikit-learn's `StratifiedGroupKFold` with as many folds as the fraction asks for, the first one
    taken. Raises UserError where a class has too few groups for three parts.
    """
    _check_fractions(valid, test)

    def _inner(items):
        _check_groups(items["label"], items["group"], 3)
        rest, test_rows = _first_fold(items, np.arange(len(items)), test, seed)
        train_rows, valid_rows = _first_fold(items, rest, valid / (1 - test), seed)
        return tuple(np.sort(part).tolist() for part in (train_rows, valid_rows, test_rows))

    return _inner


def FoldSplitter(fold, folds=5, seed=0):
    """Fold number `fold` (from 0) of `folds` for validation and for the test alike, the rest for
    training: for recipes that choose nothing by the validation part.

    The rows of a near-duplicate group stay together; without the column every image is a group.
    Raises UserError where a class has fewer groups than there are folds.
    """

    def _inner(items):
        groups = items.get("group")
        _check_groups(items["label"], np.arange(len(items)) if groups is None else groups, folds)
        kind = StratifiedKFold if groups is None else StratifiedGroupKFold
        split = kind(folds, shuffle=True, random_state=seed)
        parts = split.split(np.zeros(len(items)), items["label"], groups)
        train_rows, test_rows = next(islice(parts, fold, None))
        return train_rows.tolist(), test_rows.tolist(), test_rows.tolist()

    return _inner


def AllSplitter():
    """Every row is for training; the validation part is one row, since fastai wants one, and is not
    used.
    """

    def _inner(items):
        return list(range(len(items))), [0]

    return _inner


def _check_fractions(valid, test):
    if not (0 < valid < 1 and 0 < test < 1 and valid + test < 1):
        raise UserError(
            f"--valid {valid} --test {test}: both must be above 0 and their sum below 1"
        )


def _check_sizes(labels, valid, test):
    classes, counts = np.unique(labels, return_counts=True)
    small = [f"{n} ({c})" for n, c in zip(classes, counts, strict=True) if c < 3]
    if small:
        raise UserError(
            f"train_labels.csv: {len(small)} classes have fewer than 3 images, too few for "
            f"training, validation and test: {', '.join(small[:5])}. "
            "Add images or remove these classes."
        )
    if min(valid, test) * len(labels) < len(classes):
        raise UserError(
            f"--valid {valid} --test {test}: a part would have fewer images than classes "
            f"({len(classes)}, of {len(labels)} images). Take larger fractions or add images."
        )


def _first_fold(items, rows, fraction, seed):
    """`rows` without the first of 1 / `fraction` folds, and that fold."""
    part = items.iloc[rows]
    split = StratifiedGroupKFold(max(2, round(1 / fraction)), shuffle=True, random_state=seed)
    kept, taken = next(split.split(np.zeros(len(part)), part["label"], part["group"]))
    return rows[kept], rows[taken]


def _check_groups(labels, groups, need):
    pairs = pd.DataFrame({"label": np.asarray(labels), "group": np.asarray(groups)})
    counts = pairs.drop_duplicates()["label"].value_counts().sort_index()
    small = [f"{name} ({n})" for name, n in counts[counts < need].items()]
    if small:
        raise UserError(
            f"train_labels.csv: {len(small)} classes have fewer than {need} near-duplicate groups: "
            f"{', '.join(small[:5])}. Add images, take fewer --folds, or --split image."
        )
