"""What the runs left: results/ablations.csv, a line a row, seed and data."""

import hashlib
import json
from pathlib import Path

import pandas as pd
from filelock import FileLock

from experiments.ablations.rows import BY_NAME
from pokefast.errors import UserError
from pokefast.files import atomic_path, read_csv
from pokefast.scoring.metrics import scores
from pokefast.scoring.score import match_submission

__all__ = ["COLUMNS", "add_result", "data_name", "folder_of", "read_results", "record"]

COLUMNS = ["row", "seed", "local", "low", "high", "hidden", "epochs", "seconds"]
COLUMNS += ["options", "data", "commit", "local_f1", "hidden_f1"]  # the last two by class, as JSON
KEY = ["row", "seed", "data"]


def data_name(folder, task):
    """What stands for the data in the results: the folder's name and a digest of its labels."""
    file = Path(folder) / task / "train_labels.csv"
    if not file.is_file():
        raise UserError(f"{file}: there is no such file; --data needs {task}/ as make data has")
    return f"{Path(folder).name}:{hashlib.sha256(file.read_bytes()).hexdigest()[:8]}"


def folder_of(results):
    """The name of each result's data: its folder, without the digest of its labels."""
    return results["data"].str.split(":").str[0]


def read_results(file):
    """The results so far as a data frame with `COLUMNS`; empty where there is no file."""
    if not Path(file).exists():
        return pd.DataFrame(columns=COLUMNS).astype({"seed": int})
    table = read_csv(file, COLUMNS)
    numbers = ["local", "low", "high", "hidden", "seconds"]
    table[numbers] = table[numbers].apply(pd.to_numeric)
    return table.astype({"seed": int, "epochs": int})


def record(row, seed, out, solution, data, commit):
    """The line of results of a finished run below `out`; `solution` is a data frame or None."""
    (file,) = Path(out).glob("runs/*/metrics.json")
    metrics = json.loads(file.read_text(encoding="utf-8"))
    hidden, by_class = None, {}
    if solution is not None:
        file = Path(out) / "submissions" / f"{row.task}_submit.csv"
        matched = match_submission(read_csv(file), solution)
        if matched is None:
            raise UserError(f"{out}: its submission does not fit the solution of {data}")
        found = scores(*matched)
        hidden, by_class = found["f1_macro"], found["per_class_f1"]
    return {
        "row": row.name,
        "seed": seed,
        "local": round(metrics["f1_macro"], 4),
        "low": _rounded(metrics.get("f1_macro_low")),
        "high": _rounded(metrics.get("f1_macro_high")),
        "hidden": _rounded(hidden),
        "epochs": metrics["epochs"],
        "seconds": round(metrics["total_seconds"], 1),
        "options": row.options,
        "data": data,
        "commit": commit,
        "local_f1": _scores(metrics["per_class_f1"]),
        "hidden_f1": _scores(by_class),
    }


def add_result(file, line):
    """Put a line into the results, in place of an older one of the same row, seed and data.

    Lines of a folder whose labels have changed since, by the digest in `data`, go. Processes that
    write at the same time wait for each other.
    """
    order = {name: i for i, name in enumerate(BY_NAME)}
    tasks = {name: row.task for name, row in BY_NAME.items()}
    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(file.parent / ".lock"):
        table = read_results(file)
        same = (table[KEY] == [line[k] for k in KEY]).all(axis=1)
        folder = line["data"].split(":")[0]
        remade = (folder_of(table) == folder) & (table["data"] != line["data"])
        remade &= table["row"].map(tasks) == tasks.get(line["row"])
        new = pd.DataFrame([line], columns=COLUMNS)
        kept = [t for t in (table[~same & ~remade], new) if len(t)]
        table = pd.concat(kept).assign(order=lambda t: t["row"].map(order))
        table = table.sort_values(["order", "data", "seed"]).drop(columns="order")
        with atomic_path(file) as temp:
            table.to_csv(temp, index=False)


def _rounded(value):
    return None if value is None else round(value, 4)


def _scores(by_class):
    return json.dumps({k: round(float(v), 3) for k, v in by_class.items()})
