"""Submission files, written once they are known to be right."""

from pathlib import Path

import pandas as pd

from pokefast.errors import UserError
from pokefast.files import atomic_path
from pokefast.names import listed, shown

__all__ = ["check_sample", "make_submission", "write_submission"]

COLUMNS = ["Id", "Category"]
MEND = "Mend it or remove the file: Id,Category in order of Id is written without it."


def make_submission(competition, ids, labels, fill=None):
    """A data frame Id, Category with every test image once, checked.

    The order is that of sample_submission.csv where the competition has one, of Id otherwise. Test
    images that could not be read (`competition.bad_test`) get the class `fill`. Raises UserError
    where the ids differ from the sample's, one is missing or stands twice, or a class is not among
    those of training.
    """
    predicted = dict(zip(ids, labels, strict=True))
    if len(predicted) != len(ids):
        raise UserError("submission: an id stands more than once")
    predicted |= dict.fromkeys(competition.bad_test, fill)
    expected = set(competition.test["Id"]) | set(competition.bad_test)
    _same_ids("submission", set(predicted), expected, "the test folder")
    unknown = sorted(set(map(str, predicted.values())) - set(competition.vocab))
    if unknown:
        raise UserError(
            f"submission: classes that training does not have: {', '.join(unknown[:5])}"
        )
    columns, order = COLUMNS, sorted(predicted)
    if competition.sample is not None:
        columns, order = check_sample(competition), list(competition.sample.iloc[:, 0])
    return pd.DataFrame({columns[0]: order, columns[1]: [predicted[i] for i in order]})


def check_sample(competition):
    """The two column names of sample_submission.csv; UserError where its columns or ids do not fit
    the test folder.
    """
    sample, file = competition.sample, competition.root / "sample_submission.csv"
    if len(sample.columns) != 2:
        raise UserError(
            f"{file}: it has {len(sample.columns)} columns; expected two, id and label. {MEND}"
        )
    ids = sample.iloc[:, 0]
    if ids.duplicated().any():
        twice = listed([shown(name) for name in ids[ids.duplicated()].unique()])
        raise UserError(
            f"{file}: {ids.duplicated().sum()} ids stand more than once: {twice}. {MEND}"
        )
    expected = set(competition.test["Id"]) | set(competition.bad_test)
    _same_ids(file, set(ids), expected, "the test folder", f". {MEND}")
    return list(sample.columns)


def write_submission(file, submission):
    """Write the data frame to `file`, atomically. Returns the path."""
    with atomic_path(file) as temp:
        submission.to_csv(temp, index=False)
    return Path(file)


def _same_ids(name, found, expected, where, remedy=""):
    for names, what in (
        (expected - found, f"ids of {where} are missing"),
        (found - expected, f"ids are not in {where}"),
    ):
        if names:
            first = listed([shown(name) for name in sorted(names)])
            raise UserError(f"{name}: {len(names)} {what}, the first: {first}{remedy}")
