"""Splitters: from a data frame to lists of row numbers for training, validation and test."""

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold, train_test_split

from pokefast.errors import UserError

__all__ = ["StratifiedSplitter", "GroupSplitter", "FoldSplitter", "AllSplitter", "check_fractions"]


def StratifiedSplitter(valid=0.15, test=0.15, seed=0, column="label"):
    """Shares `valid` and `test` of the rows, each class in proportion (scikit-learn's stratified
    split).

    fastai's `TrainTestSplitter` is the same for two parts. The split depends on the seed and the
    rows' order alone. Raises UserError where a class is too small to be in every part.
    """
    check_fractions(valid, test)

    def _inner(items):
        labels = np.asarray(items[column])
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


def GroupSplitter(valid=0.1, test=0.1, seed=0, column="label", groups="group"):
    """As `StratifiedSplitter`, but rows of one group (column `groups`) stay in one part.

    scikit-learn's `StratifiedGroupKFold` with as many folds as the share asks for, the first one
    taken. Raises UserError where a class has too few groups for three parts.
    """
    check_fractions(valid, test)

    def _inner(items):
        _check_groups(items, column, groups, 3)
        rest, test_rows = _first_fold(items, np.arange(len(items)), test, seed, column, groups)
        share = valid / (1 - test)
        train_rows, valid_rows = _first_fold(items, rest, share, seed, column, groups)
        return tuple(np.sort(part).tolist() for part in (train_rows, valid_rows, test_rows))

    return _inner


def FoldSplitter(fold, folds=5, seed=0, column="label", groups="group"):
    """Fold number `fold` of `folds` for validation and for the test alike, the rest for training.

    For recipes that choose nothing by the validation part. Rows of one group stay together.
    """

    def _inner(items):
        _check_groups(items, column, groups, folds)
        split = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
        parts = split.split(np.zeros(len(items)), items[column], items[groups])
        train_rows, test_rows = list(parts)[fold]
        return train_rows.tolist(), test_rows.tolist(), test_rows.tolist()

    return _inner


def AllSplitter():
    """Every row is for training; the validation part is one row, since fastai wants one, and is not
    used.
    """

    def _inner(items):
        return list(range(len(items))), [0]

    return _inner


def check_fractions(valid, test):
    """Raise UserError unless both fractions are positive and leave something to train on."""
    if not (0 < valid < 1 and 0 < test < 1 and valid + test < 1):
        raise UserError(
            f"--valid {valid} --test {test}: both must be above 0 and their sum below 1"
        )


def _check_sizes(labels, valid, test):
    names, counts = np.unique(labels, return_counts=True)
    need = 3
    small = [f"{n} ({c})" for n, c in zip(names, counts, strict=True) if c < need]
    if small:
        raise UserError(
            f"train_labels.csv: {len(small)} labels have fewer than {need} pictures, too few for "
            f"training, validation and test: {', '.join(small[:5])}. "
            "Add pictures or remove these labels."
        )
    if min(valid, test) * len(labels) < len(names):
        raise UserError(
            f"--valid {valid} --test {test}: a part would have fewer pictures than labels "
            f"({len(names)}, of {len(labels)} pictures). Take larger shares or add pictures."
        )


def _first_fold(items, rows, share, seed, column, groups):
    """`rows` without the first of 1 / `share` folds, and that fold."""
    part = items.iloc[rows]
    split = StratifiedGroupKFold(max(2, round(1 / share)), shuffle=True, random_state=seed)
    kept, taken = next(split.split(np.zeros(len(part)), part[column], part[groups]))
    return rows[kept], rows[taken]


def _check_groups(items, column, groups, need):
    counts = items.groupby(column)[groups].nunique()
    small = [f"{name} ({n})" for name, n in counts[counts < need].items()]
    if small:
        raise UserError(
            f"train_labels.csv: {len(small)} labels have fewer than {need} creatures: "
            f"{', '.join(small[:5])}. Add pictures, take fewer --folds, or --split image."
        )
