"""results/ablations.md and its figures."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from experiments.ablations.readme import DOCUMENTS, README_DATA, cell, with_results
from experiments.ablations.results import folder_of
from experiments.ablations.rows import BY_NAME, CLAIMS, CLASS_F1, REPORT_CLASS_F1, ROWS, TABLES
from experiments.ablations.stats import main_data, shows, summary, verdict
from pokefast.files import ROOT, atomic_path
from pokefast.report.plots import ACCENT, GREY, SECOND, save

__all__ = ["ablations_page", "figure", "write_tables"]

HEAD = """\
# Ablations

Each row is a run of a task's script with the options that stand beside it; `make ablations` runs
those that are missing and writes this page from [ablations.csv](ablations.csv). Figures are
macro-F1, the mean of the runs with the lowest and highest: *hidden* on the test part whose labels
training never sees, *local* on the run's own test part. Beside them is what the report had, on
Kaggle and for other pictures of the same kind. A difference counts where it is more than chance
makes: twice its standard error, by what the seeds of that task's rows scatter (0.01 at least).
Seconds are a guide: two runs at a time shared two cores with other work.
"""


def ablations_page(results, left_out=()):
    """The page as Markdown; `left_out` are runs (row, seed) that a budget had no room for."""
    main = main_data(results)
    part = results[folder_of(results) == main]
    table = summary(part)
    commits = ", ".join(sorted(set(filter(None, part["commit"]))))
    lines = [
        HEAD,
        f"{len(results)} runs took {results['seconds'].sum() / 60:.0f} minutes of training and "
        f"scoring; those below are on {main}, {len(part)} runs of the commits {commits}.",
        "",
    ]
    for key, meta in TABLES.items():
        lines += _section(key, meta, table, part)
    claims = [(c, verdict(c, table)) for c in CLAIMS]
    claims = [(c, v) for c, v in claims if v]
    if claims:
        lines += ["## What the report found, here", ""]
        lines += [
            f"- **{v[0]}**{' (a statement of ours)' if c.ours else ''}: {c.text} Here: {v[1]}."
            for c, v in claims
        ]
        lines.append("")
    lines += _others(results[folder_of(results) != main])
    missing = [r.name for r in ROWS if r.name not in set(results["row"])]
    if missing:
        lines += ["## Not run", "", ", ".join(missing) + ".", ""]
    if left_out:
        names = ", ".join(f"{row.name} (seed {seed})" for row, seed in left_out)
        lines += [f"The budget of the last call left out: {names}.", ""]
    return "\n".join(lines)


def _others(results):
    """One table of what ran on other data."""
    if results.empty:
        return []
    lines = ["## Other data", "", "| data | row | options | hidden | local | runs |"]
    lines.append("|---|---|---|---|---|---|")
    for data, part in results.groupby(folder_of(results)):
        table = summary(part)
        for name, row in table.iterrows():
            options = f"`{BY_NAME[name].options}`" if BY_NAME[name].options else ""
            cells = [data, name, options, cell(table, name), cell(table, name, "local")]
            lines.append("| " + " | ".join([*cells, f"{row['runs']:.0f}"]) + " |")
    return [*lines, ""]


def figure(table, names, meta):
    """A dot a row: hidden macro-F1 with the range of its runs, local (hollow), the report's."""
    names = names[::-1]
    fig = Figure(figsize=(6.5, 0.9 + 0.34 * len(names)))
    ax = fig.subplots()
    rows, y = table.loc[names], np.arange(len(names))
    spread = np.abs(rows[["hidden_low", "hidden_high"]].to_numpy().T - rows["hidden"].to_numpy())
    ax.errorbar(rows["hidden"], y, xerr=spread, fmt="o", color=ACCENT, label="hidden, its range")
    ax.plot(rows["local"], y, "o", mfc="none", color=GREY, label="local")
    report = [(BY_NAME[n].report, i) for i, n in enumerate(names) if BY_NAME[n].report]
    if report:
        ax.plot(*zip(*report, strict=True), "D", ms=5, color=SECOND, label="report, on Kaggle")
    ax.set_yticks(y, names, fontsize=8)
    ax.set_xlim(left=0)
    ax.margins(y=0.15)
    ax.grid(axis="x", alpha=0.3)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    ax.set_title(f"{meta.title}: macro-F1", loc="left", fontsize=10)
    ax.legend(
        fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.35 / len(names) - 0.1), ncol=3
    )
    return fig


def write_tables(results, folder, left_out=()):
    """Write ablations.md and the figures to `folder` and, for this repository's own results, the
    README's table.
    """
    folder = Path(folder)
    table = summary(results[folder_of(results) == main_data(results)])
    for key, meta in TABLES.items():
        names = _names(key, meta, table)
        if _has_figure(table, names):
            save(figure(table, names, meta), folder / f"{key}.png")
    with atomic_path(folder / "ablations.md") as temp:
        temp.write_text(ablations_page(results, left_out), encoding="utf-8")
    ours = folder.resolve() == (ROOT / "results").resolve()
    if ours and (folder_of(results) == README_DATA).any():
        for name in DOCUMENTS:
            text = with_results(name, (ROOT / name).read_text(encoding="utf-8"), results)
            with atomic_path(ROOT / name) as temp:
                temp.write_text(text, encoding="utf-8")


def _has_figure(table, names):
    return bool(names) and table.loc[names, "hidden"].notna().all()


def _names(key, meta, table):
    """The table's rows that have run, its reference first."""
    names = [n for n in table.index if BY_NAME[n].table == key]
    if not names or meta.reference not in table.index:
        return names
    return [meta.reference, *(n for n in names if n != meta.reference)]


def _section(key, meta, table, part):
    names = _names(key, meta, table)
    if not names:
        return []
    lines = [f"## {meta.title}", "", meta.about, ""]
    lines += ["| row | options | report | hidden | local | runs | epochs | seconds | it shows |"]
    lines += ["|---|---|---|---|---|---|---|---|---|"]
    for name in names:
        row, values = BY_NAME[name], table.loc[name]
        report = [f"{row.report:.3f}"] if row.report else []
        report += [f"{row.report_local:.3f} locally"] if row.report_local else []
        cells = [name, f"`{row.options}`" if row.options else "", ", ".join(report)]
        cells += [cell(table, name), cell(table, name, "local"), f"{values['runs']:.0f}"]
        cells += [f"{values['epochs']:.0f}", f"{values['seconds']:.0f}"]
        lines.append("| " + " | ".join([*cells, shows(table, name, meta.reference)]) + " |")
    lines.append("")
    if key in CLASS_F1:
        lines += _class_table(names, part)
    if _has_figure(table, names):
        lines += [f"![{meta.title}]({key}.png)", ""]
    return lines


def _class_table(names, part):
    """F1 by class, hidden and local, beside the report's own local ones."""
    columns = {}
    for name in names:
        rows = part[(part["row"] == name) & (part["options"] == BY_NAME[name].options)]
        for column in ("hidden", "local"):
            scores = pd.DataFrame([json.loads(t) for t in rows[f"{column}_f1"]]).mean()
            columns[f"{name}, {column}"] = scores
    columns |= {f"report, {k}": pd.Series(v) for k, v in REPORT_CLASS_F1.items()}
    table = pd.DataFrame(columns)
    lines = ["F1 by class:", "", "| class | " + " | ".join(table.columns) + " |"]
    lines.append("|---" * (len(table.columns) + 1) + "|")
    for label, row in table.iterrows():
        cells = ["" if pd.isna(v) else f"{v:.2f}" for v in row]
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return [*lines, ""]
