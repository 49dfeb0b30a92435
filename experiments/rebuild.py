"""What experiments on rebuilt competitions (task3/, solution/) share: to read one, to average."""

from pathlib import Path

import pandas as pd

from pokefast.errors import UserError
from pokefast.files import read_csv
from pokefast.steps import decoded
from pokefast.task import open_competition
from tasks import load_task

__all__ = ["averaged", "open_rebuild", "read_solution"]


def read_solution(folder, *columns):
    """The table solution/task3.csv of a rebuild's folder; UserError where it lacks a column."""
    file = Path(folder) / "solution" / "task3.csv"
    solution = read_csv(file)
    if lacking := {"Id", "label", *columns} - set(solution.columns):
        raise UserError(f"{file}: no column {', '.join(sorted(lacking))}")
    return solution


def open_rebuild(folder, o):
    """(its solution with species, by Id; competition; loaders of its labelled and of its hidden
    images) of a rebuild's folder, for options `o` of task 3.
    """
    solution = read_solution(folder, "species").set_index("Id")
    found = open_competition(Path(folder) / "task3", "task3", o, check_images=False)
    return solution, *decoded(load_task("task3"), found, o)


def averaged(probabilities, groups):
    """Probabilities [n, classes], the mean of each image's group in `groups` [n]."""
    return pd.DataFrame(probabilities).groupby(groups).transform("mean").to_numpy()
