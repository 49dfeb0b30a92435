"""results/ablations.csv as Markdown, figures, and the table of results in the README."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from experiments.ablation_rows import CLAIMS, CLASS_F1, REPORT_CLASS_F1, ROWS, TABLES
from pokefast.errors import UserError
from pokefast.files import ROOT, atomic_path
from pokefast.plots import ACCENT, GREY, SECOND, save

__all__ = [
    "ablations_page",
    "figure",
    "with_results",
    "readme_findings",
    "readme_table",
    "summary",
    "verdict",
    "write_tables",
]

BY_NAME = {row.name: row for row in ROWS}
# task: its name, what the report had on Kaggle, the report's recipe here, ours
README_ROWS = {
    1: ("task 1, MLP", "0.896", "t1-report", "t1-fast"),
    2: ("task 2, CNN", "0.998, once 0.92", "t2-early-stop", "t2-fast"),
    3: ("task 3, transfer", "0.297 (0.49 locally)", "t3-report", "t3-fast"),
}
README_DATA = ("seed7-even", "seed21-odd")  # folders of rebuilds that the README is about
HEAD = """\
# Ablations

Each row is a run of a task's script with the options that stand beside it; `make ablations` runs
those that are missing and writes this page from [ablations.csv](ablations.csv). Figures are
macro-F1, the mean of the runs with the lowest and highest: *hidden* on the test part whose labels
training never sees, *local* on the run's own test part. Beside them is what the report had, on
Kaggle and for other pictures of the same kind. A difference counts where it is twice what the
table's seeds scatter.
"""


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

    Undecided is an order that the seeds' scatter could have made; where each row ran once, the
    order alone decides, and the text says so.
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
    limits = [0.0 if np.isnan(limit) else limit for _, limit in steps]
    deltas = [delta for delta, _ in steps]
    if claim.equal:
        if np.isnan(sd):
            return "undecided", text
        far = [difference(table, n, names[0], sd, claim.column) for n in names[1:]]
        return (
            "held" if all(abs(delta) <= limit for delta, limit in far) else "did not hold"
        ), text
    if all(delta > limit for delta, limit in zip(deltas, limits, strict=True)):
        return "held", text
    if any(delta < -limit for delta, limit in zip(deltas, limits, strict=True)):
        return "did not hold", text
    return "undecided", text


def shows(table, name, reference, sd):
    """One sentence: how far the row is from the reference, and whether that is more than chance."""
    if name == reference or reference not in table.index:
        return ""
    delta, limit = difference(table, name, reference, sd)
    if pd.isna(delta):
        return ""
    if np.isnan(limit):
        return f"{delta:+.3f} against {reference}, in one run each"
    if abs(delta) <= limit:
        return f"cannot be told from {reference} ({delta:+.3f}, chance makes {limit:.3f})"
    return f"{abs(delta):.3f} {'better' if delta > 0 else 'worse'} than {reference}"


def ablations_page(results, left_out=()):
    """The page as Markdown; `left_out` are runs (row, seed) that a budget had no room for."""
    lines = [HEAD]
    for data, part in results.groupby(_folder(results), sort=False):
        table = summary(part)
        if table.empty:
            continue
        minutes = part["seconds"].sum() / 60
        commits = ", ".join(sorted(set(filter(None, part["commit"]))))
        lines += [f"## Data: {data}", ""]
        lines += [
            f"{len(part)} runs, {minutes:.0f} minutes of training and scoring in all; "
            f"commits {commits}.",
            "",
        ]
        for key, meta in TABLES.items():
            lines += _section(key, meta, table, part, data == _main_data(results))
        claims = [(c, verdict(c, table)) for c in CLAIMS]
        claims = [(c, v) for c, v in claims if v]
        if claims:
            lines += ["### What the report found, here", ""]
            lines += [
                f"- **{v[0]}**{' (a statement of ours)' if c.ours else ''}: {c.text} Here: {v[1]}."
                for c, v in claims
            ]
            lines.append("")
    missing = [r.name for r in ROWS if r.name not in set(results["row"])]
    if missing:
        lines += ["## Not run", "", ", ".join(missing) + ".", ""]
    if left_out:
        names = ", ".join(f"{row.name} (seed {seed})" for row, seed in left_out)
        lines += [f"The budget of the last call left out: {names}.", ""]
    return "\n".join(lines)


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


def readme_table(results):
    """The README's table of results, as Markdown: a column for each of README_DATA."""
    tables = _readme_data(results)
    first = next(iter(tables))
    head = [
        "",
        "report, on Kaggle",
        f"its recipe on {first}",
        *(f"pokefast on {d}" for d in tables),
    ]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for label, report, theirs, ours in README_ROWS.values():
        cells = [label, report, _cell(tables[first], theirs, count=True)]
        cells += [_bold(_cell(table, ours, count=True)) for table in tables.values()]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def readme_findings(results):
    """The report's findings that did not hold, and those left open, as Markdown."""
    table = next(iter(_readme_data(results).values()))
    found = [(claim, verdict(claim, table)) for claim in CLAIMS if not claim.ours]
    lines = []
    for outcome, intro in (
        ("did not hold", "Findings of the report that did not hold here:"),
        ("undecided", "Differences here that chance could make:"),
    ):
        some = [f"- {c.text} Here: {v[1]}." for c, v in found if v and v[0] == outcome]
        lines += [intro, "", *some, ""] if some else []
    return "\n".join(lines)


def write_tables(results, folder, left_out=(), readme=ROOT / "README.md"):
    """Write ablations.md and the figures to `folder` and, for this repository's own results, the
    README's table.
    """
    folder = Path(folder)
    table = summary(results[_folder(results) == _main_data(results)])
    for key, meta in TABLES.items():
        names = _names(key, meta, table)
        if names and table.loc[names, "hidden"].notna().all():
            save(figure(table, names, meta), folder / f"{key}.png")
    with atomic_path(folder / "ablations.md") as temp:
        temp.write_text(ablations_page(results, left_out), encoding="utf-8")
    ours = folder.resolve() == (ROOT / "results").resolve()
    if ours and _readme_data(results):
        text = readme.read_text(encoding="utf-8")
        with atomic_path(readme) as temp:
            temp.write_text(with_results(text, results), encoding="utf-8")


def with_results(text, results):
    """The README's `text` with what is generated replaced, between the marks of each part."""
    for name, make in (("results", readme_table), ("findings", readme_findings)):
        start, end = (
            f"<!-- {edge} of {name}, by make ablations -->\n" for edge in ("start", "end")
        )
        if start not in text or end not in text:
            raise UserError(f"README.md: the lines {start.strip()} and {end.strip()} are missing")
        before, rest = text.split(start)
        text = f"{before}{start}\n{make(results)}\n{end}{rest.split(end)[1]}"
    return text


def _readme_data(results):
    """Summaries by data set, of README_DATA alone and in its order."""
    names = _folder(results)
    found = [d for d in README_DATA if (names == d).any()]
    return {d: summary(results[names == d]) for d in found}


def _folder(results):
    """The name of each result's data: its folder, without the digest of its labels."""
    return results["data"].str.split(":").str[0]


def _main_data(results):
    """The folder with the most runs, which the figures and the findings are about."""
    return _folder(results).value_counts(sort=True).index[0]


def _names(key, meta, table):
    """The table's rows that have run, its reference first."""
    names = [n for n in table.index if BY_NAME[n].table == key]
    if not names or meta.reference not in table.index:
        return names
    return [meta.reference, *(n for n in names if n != meta.reference)]


def _section(key, meta, table, part, with_figure):
    names = _names(key, meta, table)
    if not names:
        return []
    sd = scatter(table, names, "hidden")
    lines = [f"### {meta.title}", "", meta.about, ""]
    lines += ["| row | options | report | hidden | local | runs | epochs | seconds | it shows |"]
    lines += ["|---|---|---|---|---|---|---|---|---|"]
    for name in names:
        row, values = BY_NAME[name], table.loc[name]
        report = [f"{row.report:.3f}"] if row.report else []
        report += [f"{row.report_local:.3f} locally"] if row.report_local else []
        cells = [name, f"`{row.options}`" if row.options else "", ", ".join(report)]
        cells += [_cell(table, name), _cell(table, name, "local"), f"{values['runs']:.0f}"]
        cells += [f"{values['epochs']:.0f}", f"{values['seconds']:.0f}"]
        lines.append("| " + " | ".join([*cells, shows(table, name, meta.reference, sd)]) + " |")
    lines.append("")
    if key in CLASS_F1:
        lines += _class_table(names, part)
    if with_figure:
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


def _cell(table, name, column="hidden", count=False):
    """Mean with range, "0.789 (0.783 to 0.794)", or nothing where it did not run."""
    if name not in table.index or pd.isna(table.loc[name, column]):
        return ""
    row = table.loc[name]
    if row["runs"] == 1:
        return f"{row[column]:.3f}" + (" (1 run)" if count else "")
    more = f", {row['runs']:.0f} runs" if count else ""
    return f"{row[column]:.3f} ({row[f'{column}_low']:.3f} to {row[f'{column}_high']:.3f}{more})"


def _bold(text):
    value, _, rest = text.partition(" ")
    return f"**{value}** {rest}".rstrip() if text else ""
