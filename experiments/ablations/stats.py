"""What the results say: means, what chance makes, and whether a claim held."""

import numpy as np
import pandas as pd

from experiments.ablations.results import folder_of
from experiments.ablations.rows import ROWS

__all__ = ["BY_NAME", "difference", "main_data", "scatter", "shows", "summary", "verdict"]

BY_NAME = {row.name: row for row in ROWS}
FLATTERS = 0.1  # macro-F1: a local score that lies further above the hidden one is remarked on
ONE_RUN = 0.02  # macro-F1: smaller differences between single runs are left undecided


def summary(results):
    """A data frame by row name from the results of one data set: runs, and mean, lowest, highest
    and standard deviation (`local`, `local_low`, `local_high`, `local_sd`, the same for `hidden`).

    Results of rows whose options have changed since are left out.
    """
    known = results["row"].map(lambda n: BY_NAME[n].options if n in BY_NAME else None)
    results = results[results["options"] == known]
    groups = results.groupby("row", sort=False)
    table = groups.agg(runs=("seed", "size"), seconds=("seconds", "mean"), epochs=("epochs", "max"))
    for column in ("local", "hidden"):
        stats = groups[column].agg(["mean", "min", "max", "std"])
        stats.columns = [column, f"{column}_low", f"{column}_high", f"{column}_sd"]
        table = table.join(stats)
    return table.loc[[n for n in BY_NAME if n in table.index]]


def scatter(table, names, column):
    """Standard deviation of `column` between the seeds of a row, pooled over rows `names`; NaN
    where each ran once.
    """
    rows = table.loc[names]
    rows = rows[rows["runs"] > 1]
    if rows.empty:
        return np.nan
    freedom = rows["runs"] - 1
    return float(np.sqrt((freedom * rows[f"{column}_sd"] ** 2).sum() / freedom.sum()))


def difference(table, name, other, sd, column="hidden"):
    """(mean of `name` - mean of `other`, twice its standard error by `sd`, NaN where that is)."""
    a, b = table.loc[name], table.loc[other]
    return a[column] - b[column], 2 * sd * np.sqrt(1 / a["runs"] + 1 / b["runs"])


def verdict(claim, table):
    """("held" | "did not hold" | "undecided", the figures as text), or None where a row is missing.

    Undecided is an order that the seeds' scatter could have made or, where each row ran once, one
    with a difference below `ONE_RUN`.
    """
    if any(n not in table.index or pd.isna(table.loc[n, claim.column]) for n in claim.rows):
        return None
    names = list(claim.rows)
    sd = scatter(table, names, claim.column)
    steps = [
        difference(table, b, a, sd, claim.column) for a, b in zip(names, names[1:], strict=False)
    ]
    values = " / ".join(f"{table.loc[n, claim.column]:.3f}" for n in names)
    runs = table.loc[names, "runs"]
    count = "one run each" if runs.max() == 1 else f"{runs.min()} to {runs.max()} runs each"
    count = f"{runs.min()} runs each" if runs.min() == runs.max() > 1 else count
    text = f"{values} {'locally' if claim.column == 'local' else 'on the hidden test'}, {count}"
    limits = [ONE_RUN if np.isnan(limit) else limit for _, limit in steps]
    deltas = [delta for delta, _ in steps]
    falls = any(delta < -limit for delta, limit in zip(deltas, limits, strict=True))
    rises = all(delta > limit for delta, limit in zip(deltas, limits, strict=True))
    if falls:
        return "did not hold", text
    return ("held" if rises or claim.no_worse else "undecided"), text


def shows(table, name, reference, sd):
    """One sentence: how far the row is from the reference, whether that is more than chance, and
    whether its local score misleads.
    """
    parts, row = [], table.loc[name]
    delta, limit = np.nan, np.nan
    if name != reference and reference in table.index:
        delta, limit = difference(table, name, reference, sd)
    if not pd.isna(delta):
        if np.isnan(limit):
            parts.append(f"{delta:+.3f} against {reference}, in one run each")
        elif abs(delta) <= limit:
            parts.append(
                f"cannot be told from {reference} ({delta:+.3f}, chance makes {limit:.3f})"
            )
        else:
            parts.append(f"{abs(delta):.3f} {'better' if delta > 0 else 'worse'} than {reference}")
    if row["local"] - row["hidden"] > FLATTERS:
        parts.append(f"its local score flatters by {row['local'] - row['hidden']:.3f}")
    return "; ".join(parts)


def main_data(results):
    """The folder with the most runs, which the figures and the findings are about."""
    return folder_of(results).value_counts(sort=True).index[0]
