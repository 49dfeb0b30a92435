"""Splitters: from a data frame to lists of row numbers for training, validation and test.

A frame has the column label, the class of each image, and for splits that keep near-duplicates
together the column group. Every part gets every class: where proportions would leave one out,
images of it are dealt out all the same, and that is said.
"""

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold, train_test_split

from pokefast.errors import UserError

__all__ = [
    "AllSplitter",
    "AroundValidSplitter",
    "FoldSplitter",
    "GroupSplitter",
    "LeaveOneOutSplitter",
    "StratifiedSplitter",
    "group_numbers",
    "left_out_parts",
    "most_folds",
]

PARTS = 30  # of which each is left out in turn: 20 to 50 give the same score (docs/results.md)


def StratifiedSplitter(valid=0.15, test=0.15, seed=0):
    """Fractions `valid` and `test` of the rows, each class in proportion (scikit-learn's stratified
    split) and at least once.

    fastai's `TrainTestSplitter` is the same for two parts. The split depends on the seed and the
    rows' order alone. Raises UserError where a class is too small to be in every part.
    """
    _check_fractions(valid, test)

    def _inner(items):
        rows = np.arange(len(items))
        _check_units(items["label"], rows, 3)
        parts = None
        if _in_proportion(items["label"], rows, valid, test):
            rest, test_rows = _stratified(items, rows, round(test * len(rows)), seed)
            parts = (*_stratified(items, rest, round(valid * len(rows)), seed), test_rows)
        return _complete(parts, items["label"], rows, valid, test, seed)

    return _inner


def GroupSplitter(valid=0.1, test=0.1, seed=0):
    """As `StratifiedSplitter`, but the rows of a near-duplicate group stay in one part.

    scikit-learn's `StratifiedGroupKFold` with as many folds as the fraction asks for, the first one
    taken. Without the column `group` it is the `StratifiedSplitter`. Raises UserError where a class
    has too few groups for three parts.
    """
    alone = StratifiedSplitter(valid, test, seed)

    def _inner(items):
        if "group" not in items:
            return alone(items)
        _check_units(items["label"], items["group"], 3)
        parts = None
        if _in_proportion(items["label"], items["group"], valid, test):
            rest, test_rows = _first_fold(items, np.arange(len(items)), test, seed)
            parts = (*_first_fold(items, rest, valid / (1 - test), seed), test_rows)
        return _complete(parts, items["label"], items["group"], valid, test, seed)

    return _inner


def FoldSplitter(fold, folds=5, seed=0):
    """Fold number `fold` (from 0) of `folds` for validation and for the test alike, the rest for
    training: for recipes that choose nothing by the validation part.

    The rows of a near-duplicate group stay together; without the column every image is a group.
    Raises UserError where a class has fewer groups than there are folds.
    """

    def _inner(items):
        labels, groups = items["label"], group_numbers(items)
        _check_units(labels, groups, folds, folds=True)
        kind = StratifiedGroupKFold if "group" in items else StratifiedKFold
        split = kind(folds, shuffle=True, random_state=seed)
        parts = [test for _, test in split.split(np.zeros(len(items)), labels, items.get("group"))]
        if _lacking(parts, labels):
            parts = _dealt(labels, groups, [1 / folds] * folds, seed)
            _check_complete(parts, labels)
        rest = np.sort(np.concatenate([part for i, part in enumerate(parts) if i != fold]))
        test = np.sort(parts[fold]).tolist()
        return rest.tolist(), test, test

    return _inner


def AroundValidSplitter(splitter):
    """As `splitter`, but for rows whose column is_valid is true, where there is one: these are the
    validation part, and what `splitter` would take for it of the others is trained on.
    """

    def _inner(items):
        if "is_valid" not in items:
            return splitter(items)
        valid = np.flatnonzero(items["is_valid"])
        rest = np.flatnonzero(~items["is_valid"])
        *train, test = splitter(items.iloc[rest])
        return np.sort(rest[sum(train, [])]).tolist(), valid.tolist(), rest[test].tolist()

    return _inner


def most_folds(items):
    """(n, class): the number of folds above which `FoldSplitter` refuses the data frame `items`,
    and the class that sets it, whose near-duplicate groups, or images, are n.
    """
    counts = _unit_counts(items["label"], group_numbers(items))
    return int(counts.min()), counts.idxmin()


def AllSplitter():
    """Every row is for training; the validation part is one row, since fastai wants one, and is not
    used.
    """

    def _inner(items):
        return list(range(len(items))), [0]

    return _inner


def LeaveOneOutSplitter():
    """Every row is in all three parts: for a head that says what it would predict of each group
    without it (`RidgeHead.solve`). Raises UserError where a class has a single group.
    """

    def _inner(items):
        _check_units(items["label"], group_numbers(items), 2)
        rows = list(range(len(items)))
        return rows, rows, rows

    return _inner


def left_out_parts(labels, groups, parts=PARTS):
    """Numbers [n] of as many `parts`, each of whole `groups` [n] and an equal share of every class
    of the `labels` [n]; `groups` themselves where no class has so many.

    Each image is to be scored by a model without its part. Without its group alone, its class would
    weigh less there than the others, and the score would be too low ("Distributional bias
    compromises leave-one-out cross-validation").
    """
    if _unit_counts(labels, groups).max() < parts:
        return groups
    found = np.empty(len(labels), int)
    for i, rows in enumerate(_dealt(labels, groups, [1 / parts] * parts, 0)):
        found[rows] = i
    return found


def group_numbers(items):
    """Numbers [n] of the near-duplicate groups of a data frame; without its column `group`, every
    row is its own.
    """
    return pd.factorize(items["group"])[0] if "group" in items else np.arange(len(items))


def _check_fractions(valid, test):
    if not (0 < valid < 1 and 0 < test < 1 and valid + test < 1):
        raise UserError(
            f"--valid {valid} --test {test}: both must be above 0 and their sum below 1"
        )


def _unit_counts(labels, units):
    """How many different `units` (groups, or rows) there are of each class."""
    pairs = pd.DataFrame({"label": np.asarray(labels), "unit": np.asarray(units)})
    return pairs.drop_duplicates()["label"].value_counts().sort_index()


def _check_units(labels, units, parts, folds=False):
    """Raise UserError where a class has fewer units than there are parts."""
    counts = _unit_counts(labels, units)
    small = [f"{name} ({n})" for name, n in counts.items() if n < parts]
    if not small:
        return
    alone = pd.Series(np.asarray(units)).is_unique
    remedies = ["Add images", "remove these classes"]
    if folds and counts.min() > 1:
        remedies.append(f"take --folds {counts.min()}")
    if not alone:
        remedies.append("take --split image, which flatters the score")
    raise UserError(
        f"the labels: {len(small)} classes have fewer than {parts} "
        f"{'images' if alone else 'near-duplicate groups'}, too few for "
        f"{f'--folds {parts}' if folds else 'training, validation and test'}: "
        f"{', '.join(small[:5])}. {', '.join(remedies[:-1])} or {remedies[-1]}."
    )


def _complete(parts, labels, units, valid, test, seed):
    """Sorted rows of the three `parts`; dealt out anew where they are None or one lacks a class."""
    if parts is None or _lacking(parts, labels):
        counts = _unit_counts(labels, units)
        what = "images" if len(units) == counts.sum() else "groups"
        print(
            f"NOTE: --valid {valid} --test {test}: dealt out by class, one of each in every part, "
            f"as {counts.idxmin()} has only {counts.min()} {what}",
            flush=True,
        )
        parts = _dealt(labels, units, (1 - valid - test, valid, test), seed)
        _check_complete(parts, labels)
    return tuple(np.sort(part).tolist() for part in parts)


def _dealt(labels, units, shares, seed):
    """Rows of as many parts as there are `shares`, which sum to 1: each class's units, the rarest
    class's first, go where most are lacking, and first of all where there is none.
    """
    rng, shares, part_of = np.random.default_rng(seed), np.asarray(shares), {}
    frame = pd.DataFrame({"label": np.asarray(labels), "unit": np.asarray(units)})
    for label in _unit_counts(labels, units).sort_values(kind="stable").index:
        mine = np.asarray(frame["unit"][frame["label"] == label].unique())
        given = [part_of[unit] for unit in mine if unit in part_of]  # a group of several classes
        counts = np.bincount(given, minlength=len(shares))
        for unit in rng.permutation(mine):
            if unit not in part_of:
                lacking = shares * len(mine) - counts + len(mine) * (counts == 0)
                part_of[unit] = int(lacking.argmax())
                counts[part_of[unit]] += 1
    parts = frame["unit"].map(part_of)
    return [np.flatnonzero(parts == i) for i in range(len(shares))]


def _lacking(parts, labels):
    """The classes that one of `parts`, lists of rows, lacks."""
    labels = np.asarray(labels)
    every = set(labels)
    return sorted(set().union(*(every - set(labels[part]) for part in parts)))


def _check_complete(parts, labels):
    """Raise UserError where a part lacks a class, as may be if groups hold several classes."""
    if lacking := _lacking(parts, labels):
        raise UserError(
            f"the labels: near-duplicate groups that hold several classes leave a part "
            f"without {', '.join(lacking[:5])}. Mend the groups or take --split image."
        )


def _in_proportion(labels, units, valid, test):
    """Whether the smallest class's share of each part is one unit or more."""
    return min(valid, test, 1 - valid - test) * _unit_counts(labels, units).min() >= 1


def _stratified(items, rows, n, seed):
    """`rows` without `n` of them, and those."""
    labels = items["label"].iloc[rows]
    return train_test_split(rows, test_size=n, stratify=labels, random_state=seed)


def _first_fold(items, rows, fraction, seed):
    """`rows` without the first of 1 / `fraction` folds, and that fold."""
    part = items.iloc[rows]
    split = StratifiedGroupKFold(max(2, round(1 / fraction)), shuffle=True, random_state=seed)
    kept, taken = next(split.split(np.zeros(len(part)), part["label"], part["group"]))
    return rows[kept], rows[taken]
