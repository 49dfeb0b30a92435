"""What the results say: means, what chance makes, and whether a claim held."""

import numpy as np
import pandas as pd

from experiments.ablations.results import folder_of
from experiments.ablations.rows import BY_NAME

__all__ = ["difference", "main_data", "scatter", "shows", "summary", "verdict"]

FLATTERS = 0.1  # macro-F1: a local score that lies further above the hidden one is remarked on
MIN_SD = 0.01  # macro-F1 between seeds: two that happen to agree do not show that all do


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


def scatter(table, task, column="hidden"):
    """Standard deviation of `column` between the seeds of a row, pooled over those rows of `task`
    that ran more than once; at least `MIN_SD`.
    """
    rows = table[[BY_NAME[n].task == task for n in table.index]]
    rows = rows[rows["runs"] > 1]
    if rows.empty:
        return MIN_SD
    freedom = rows["runs"] - 1
    pooled = np.sqrt((freedom * rows[f"{column}_sd"] ** 2).sum() / freedom.sum())
    return max(MIN_SD, float(pooled))


def difference(table, name, other, column="hidden"):
    """(mean of `name` - mean of `other`, twice its standard error by what the seeds scatter)."""
    a, b = table.loc[name], table.loc[other]
    sd = scatter(table, BY_NAME[name].task, column)
    return a[column] - b[column], 2 * sd * np.sqrt(1 / a["runs"] + 1 / b["runs"])


def verdict(claim, table):
    """("held" | "did not hold" | "undecided", the figures as text), or None where a row is missing.

    Undecided is an order with a step that chance could have made: see `difference`.
    """
    column = "local" if claim.column == "local" else "hidden"
    if any(n not in table.index or pd.isna(table.loc[n, column]) for n in claim.rows):
        return None
    names = list(claim.rows)
    if claim.column == "gap":
        row = table.loc[names[0]]
        text = f"{names[0]} {row['local']:.3f} locally, {row['hidden']:.3f} on the hidden test"
        return ("held" if row["local"] - row["hidden"] > FLATTERS else "did not hold"), text
    values = ", ".join(f"{n} {table.loc[n, column]:.3f}" for n in names)
    few, many = table.loc[names, "runs"].agg(["min", "max"])
    count = f"{few:.0f} to {many:.0f} runs each" if few < many else f"{few:.0f} runs each"
    count = "one run each" if many == 1 else count
    text = f"{values} {'locally' if column == 'local' else 'on the hidden test'}, {count}"
    steps = [difference(table, b, a, column) for a, b in zip(names, names[1:], strict=False)]
    if any(delta < -limit for delta, limit in steps):
        return "did not hold", text
    rises = all(delta > limit for delta, limit in steps)
    return ("held" if rises or claim.no_worse else "undecided"), text


def shows(table, name, reference):
    """One sentence: how far the row is from the reference, whether that is more than chance, and
    whether its local score misleads.
    """
    parts, row = [], table.loc[name]
    delta = np.nan
    if name != reference and reference in table.index:
        delta, limit = difference(table, name, reference)
    if not pd.isna(delta):
        if abs(delta) <= limit:
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
