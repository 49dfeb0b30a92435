"""Submission files as the sample asks for them, written once they are known to be right."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from pokefast.errors import UserError
from pokefast.files import atomic_path
from pokefast.names import listed, match_names, shown

__all__ = ["Form", "check_sample", "make_submission", "write_submission"]

COLUMNS = ["Id", "Category"]
MEND = "Mend it or remove the file: Id,Category in order of Id is written without it."


@dataclass(frozen=True)
class Form:
    """What a submission looks like: its `columns` in order, the one of `id`, and in `classes` the
    class whose probability each of the others holds; empty where one column holds the class.
    """

    columns: tuple
    id: str
    classes: dict


def make_submission(competition, ids, labels, fill=None, probabilities=None):
    """A data frame with every test image once, checked: Id, Category or what the sample submission
    asks for, classes or the `probabilities` [images, classes], in the order of the vocabulary.

    The order is the sample's where the competition has one, that of Id otherwise. Test images that
    could not be read (`competition.bad_test`) get the class `fill`, or each class's share of the
    training images. Raises UserError where the ids differ from the sample's, one is missing or
    stands twice, a class is not among those of training, or what should be probabilities is not.
    """
    form, vocab = check_sample(competition), competition.vocab
    predicted = dict(zip(ids, labels, strict=True))
    if len(predicted) != len(ids):
        raise UserError("submission: an id stands more than once")
    predicted |= dict.fromkeys(competition.bad_test, fill)
    expected = set(competition.test["Id"]) | set(competition.bad_test)
    _same_ids("submission", set(predicted), expected, "the test folder")
    unknown = sorted(set(map(str, predicted.values())) - set(vocab))
    if unknown:
        raise UserError(
            f"submission: classes that training does not have: {', '.join(unknown[:5])}"
        )
    order = sorted(predicted)
    if competition.sample is not None:
        order = list(competition.sample[form.id])
    if not form.classes:
        (column,) = (c for c in form.columns if c != form.id)
        rest = {column: [predicted[i] for i in order]}
    else:
        table = _probabilities(competition, ids, probabilities).loc[order]
        rest = {column: table[name].to_numpy() for column, name in form.classes.items()}
    return pd.DataFrame({form.id: order, **rest})[list(form.columns)]


def check_sample(competition):
    """The `Form` of a competition's submission; UserError where the columns or ids of its sample do
    not fit the classes and the test folder.
    """
    sample, layout, vocab = competition.sample, competition.layout, competition.vocab
    if sample is None:
        found = COLUMNS if layout is None else (layout.id, *layout.label)
        # Kaggle calls it Category where the training table says label
        columns = COLUMNS if len(found) != 2 or found == ("Id", "label") else found
        return Form(tuple(columns), columns[0], {})
    file = competition.root / (layout.sample if layout else "sample_submission.csv")
    expected = set(competition.test["Id"]) | set(competition.bad_test)
    column = max(sample.columns, key=lambda c: len(expected & set(sample[c])))
    ids, rest = sample[column], [c for c in sample.columns if c != column]
    classes = _classes_of(sample, rest, vocab)
    if len(rest) != 1 and not classes:
        more = f", but not one for each class ({listed(vocab)})" if len(rest) > 1 else ""
        raise UserError(
            f"{file}: it has {len(sample.columns)} columns{more}; expected two, id and label, or "
            f"the id and a probability for each class. {MEND}"
        )
    if ids.duplicated().any():
        twice = listed([shown(name) for name in ids[ids.duplicated()].unique()])
        raise UserError(
            f"{file}: {ids.duplicated().sum()} ids stand more than once: {twice}. {MEND}"
        )
    _same_ids(file, set(ids), expected, "the test folder", f". {MEND}")
    return Form(tuple(sample.columns), column, classes)


def write_submission(file, submission):
    """Write the data frame to `file`, atomically. Returns the path."""
    with atomic_path(file) as temp:
        submission.to_csv(temp, index=False)
    return Path(file)


def _classes_of(sample, columns, vocab):
    """A dict of the classes whose probabilities are to stand in `columns`, empty for none: a column
    for each class, or one with numbers like 0.5 where the classes are 0 and 1.
    """
    if len(columns) == 1:
        numbers = pd.to_numeric(sample[columns[0]], errors="coerce")
        share = vocab == ["0", "1"] and numbers.notna().all() and (numbers % 1 != 0).any()
        return {columns[0]: "1"} if share else {}
    found, _ = match_names(columns, vocab)
    return found if len(found) == len(vocab) == len(columns) else {}


def _probabilities(competition, ids, probabilities):
    """Data frame of probabilities by id and class, unreadable test images included."""
    values = np.asarray(probabilities, float)
    if not (np.isfinite(values).all() and np.allclose(values.sum(1), 1, atol=1e-3)):
        raise UserError("submission: the probabilities of an image are not numbers that sum to 1")
    table = pd.DataFrame(values, index=ids, columns=competition.vocab)
    shares = competition.train["label"].value_counts(normalize=True)
    for name in competition.bad_test:
        table.loc[name] = shares[competition.vocab]
    return table


def _same_ids(name, found, expected, where, remedy=""):
    for names, what in (
        (expected - found, f"ids of {where} are missing"),
        (found - expected, f"ids are not in {where}"),
    ):
        if names:
            first = listed([shown(name) for name in sorted(names)])
            raise UserError(f"{name}: {len(names)} {what}, the first: {first}{remedy}")
