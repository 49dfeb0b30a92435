"""Hidden-test score of every submission whose ids are known: `python -m pokefast score
[--solution FILE] [--metric NAME]`.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from pokefast.errors import UserError
from pokefast.files import DATA, SUBMISSIONS, command, read_csv
from pokefast.names import listed, match_names, shown, visible
from pokefast.options import run_cli
from pokefast.scoring.metrics import choose_metric, macro_f1, metric_title

__all__ = ["main", "match_submission", "misfit", "score_submission"]

DEFAULT = "f1_macro"


def misfit(submission, solution):
    """Why a submission has no score by `solution`, in a few words; None where it has one.

    Both are data frames as for `match_submission`.
    """
    columns, labels = list(submission.columns[1:]), _classes(solution)
    if len(columns) == 0 or len(columns) > 1 and sorted(map(visible, columns)) != labels:
        return (
            f"it has {len(columns) + 1} columns; a submission has two, id and class, or id and the "
            f"classes' probabilities ({_some(labels)})"
        )
    if submission.empty:
        return "it has no rows"
    ids, truth = submission.iloc[:, 0], _hidden(submission, solution)
    if ids.duplicated().any():
        return f"{ids.duplicated().sum()} ids stand more than once: {_some(ids[ids.duplicated()])}"
    if "split" in solution and truth.empty:
        return "the hidden labels have no row of split Test"
    if truth["Id"].duplicated().any():
        twice = truth["Id"][truth["Id"].duplicated()]
        return f"{len(twice)} ids of the hidden labels stand more than once: {_some(twice)}"
    found, _ = match_names(ids, truth["Id"])
    extra, missing = ids[~ids.isin(found)], truth["Id"][~truth["Id"].isin(found.values())]
    if len(extra):
        return f"{len(extra)} of its {len(ids)} ids have no hidden label: {_some(extra)}"
    if len(missing):
        return f"{len(missing)} ids of the hidden test are missing in it: {_some(missing)}"
    if len(columns) > 1 and submission[columns].apply(_numbers).isna().any(axis=None):
        return "some of its probabilities are no numbers"
    return None


def match_submission(submission, solution):
    """(true classes, predicted classes, all classes) of the hidden test, for `metrics`.

    `submission` is a data frame of two columns, id and class, or of the id and each class's
    probability, of which the highest decides; `solution` has Id, label and, where
    it has more than the hidden test in it, split: its rows of split "Test" count. Without that
    column those count that the submission has. Ids and classes are compared as they are seen. None
    where the ids differ; `misfit` says how.
    """
    if misfit(submission, solution):
        return None
    truth = _hidden(submission, solution).set_index("Id")["label"].map(visible)
    rows = submission.set_index(submission.columns[0])
    if rows.shape[1] == 1:
        predicted = rows.iloc[:, 0].map(visible)
    else:
        predicted = rows.apply(_numbers).idxmax(axis=1).map(visible)
    found, _ = match_names(predicted.index, truth.index)
    predicted.index = predicted.index.map(found)
    # the classes of the whole solution: one that the test part lacks counts all the same
    return truth, predicted[truth.index], _classes(solution)


def score_submission(submission, solution, metric=DEFAULT):
    """A submission's value by the metric of this name, both as for `match_submission`; None where
    the ids differ.

    Raises UserError for classes alone where the metric is one of probabilities.
    """
    matched = match_submission(submission, solution)
    if matched is None or metric == DEFAULT:
        return None if matched is None else macro_f1(*matched)
    truth, predicted, labels = matched
    labels = labels + sorted(set(predicted) - set(labels))  # unknown ones are wrong
    chosen = choose_metric(metric, labels)
    if submission.shape[1] == 2 and chosen.of_probabilities:
        raise UserError(f"it has classes alone; {chosen.title} is one of probabilities")
    if submission.shape[1] == 2:
        probabilities = np.eye(len(labels))[pd.Index(labels).get_indexer(predicted)]
    else:
        rows = submission.set_index(submission.columns[0]).apply(_numbers)
        found, _ = match_names(rows.index, truth.index)
        rows.index = rows.index.map(found)
        probabilities = rows.rename(columns=visible).loc[truth.index, labels].to_numpy()
    return chosen.value(pd.Index(labels).get_indexer(truth), probabilities)


def main(
    solution: Path = None,  # hidden labels (id, class); all of data/**/solution/ otherwise
    submissions: Path = SUBMISSIONS,  # folder of submission files
    metric: str = DEFAULT,  # or accuracy, log_loss, auc, kappa, file.py:function of your own
):
    """Print the hidden-test score of every file in submissions/ whose ids a solution holds."""
    choose_metric(metric)
    # not what a killed run left half written
    found = sorted(f for f in Path(submissions).glob("*.csv") if f.name[0] != ".")
    if not found:
        raise UserError(f"{submissions}: no submission in it; {command('task1')} writes one")
    files = [Path(solution)] if solution else sorted(DATA.glob("**/solution/*.csv"))
    if not files:
        raise UserError(
            f"{DATA}: no solution/*.csv below it; {command('data')} draws the embedded data with "
            "hidden labels, SOLUTION=file (--solution) names others"
        )
    solutions = {file: _read_solution(file) for file in files}
    print(f"{metric_title(metric):>8}  submission  (hidden labels)")
    for file in found:
        value, remark = _score(file, solutions, metric)
        print(f"{'-' if value is None else f'{value:.4f}':>8}  {shown(file.name)}  ({remark})")


def _read_solution(file):
    """Hidden labels: a table with the columns Id, label and perhaps split, or with two of any name
    besides split, of which the first is taken for the ids, as in a submission.
    """
    table = read_csv(file)
    names = [name for name in table if name != "split"]
    if len(names) == 2 and not {"Id", "label"} & set(names):
        print(f"{file}: id column {shown(names[0])}, label column {shown(names[1])}")
        table = table.rename(columns=dict(zip(names, ("Id", "label"), strict=True)))
    if missing := {"Id", "label"} - set(table.columns):
        raise UserError(
            f"{file}: no column {', '.join(sorted(missing))}; hidden labels have the columns Id, "
            "label and, where rows of other images are among them, split (Test), or an id and a "
            "class alone, of any names"
        )
    if table.empty:
        raise UserError(f"{file}: it has no rows")
    return table


def _score(file, solutions, metric):
    """(score, file of hidden labels) of a submission's file, or (None, why there is none)."""
    try:
        table = read_csv(file)
        # task 1 and 2 share hidden labels: the first that fit are enough
        for name, truth in solutions.items():
            if (value := score_submission(table, truth, metric)) is not None:
                return value, f"{name}{_unknown(table, truth)}"
    except UserError as e:  # the other submissions have scores all the same
        return None, str(e)
    if len(solutions) == 1:
        return None, f"{misfit(table, truth)}; {name}"
    # the one that has most of its ids says most
    ids = set(table.iloc[:, 0])
    name = max(solutions, key=lambda name: len(ids & set(solutions[name]["Id"])))
    return None, f"no hidden labels fit; {name}: {misfit(table, solutions[name])}"


def _unknown(submission, solution):
    """What to say of classes that the hidden labels do not have; they count as wrong."""
    if submission.shape[1] > 2:
        return ""
    predicted = submission.iloc[:, 1].map(visible)
    unknown = predicted[~predicted.isin(solution["label"].map(visible))]
    if unknown.empty:
        return ""
    return f"; {len(unknown)} rows have a class that is not in it: {_some(unknown.unique())}"


def _classes(solution):
    return sorted(solution["label"].map(visible).unique())


def _numbers(column):
    return pd.to_numeric(column, errors="coerce")


def _hidden(submission, solution):
    """The rows of `solution` that count, Id and label."""
    if "split" in solution:
        return solution[solution["split"].str.strip().str.lower() == "test"]
    found, _ = match_names(submission.iloc[:, 0], solution["Id"])
    return solution[solution["Id"].isin(found.values())]


def _some(names):
    return listed([shown(name) for name in names])


if __name__ == "__main__":
    raise SystemExit(run_cli(main))
