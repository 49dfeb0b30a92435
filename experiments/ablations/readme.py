"""The parts of README.md and docs/results.md that the results write."""

import pandas as pd

from experiments.ablations.results import folder_of
from experiments.ablations.rows import BY_NAME, CLAIMS
from experiments.ablations.stats import summary, verdict
from pokefast.errors import UserError

__all__ = [
    "DOCUMENTS",
    "README_DATA",
    "UNTOUCHED_DATA",
    "cell",
    "readme_estimates",
    "readme_findings",
    "readme_table",
    "with_results",
]

# its name, what the report had on Kaggle, the rows of the report's recipe and of the fast one
README_ROWS = (
    ("task 1, MLP", "0.896", "t1-report", "t1-fast"),
    ("task 2, CNN", "0.998, once 0.92", "t2-early-stop", "t2-fast"),
    ("task 3, transfer", "0.297 (0.49 locally)", "t3-report", "t3-fast"),
)
README_DATA = "seed7-even"  # folder of the rebuild that the report's recipe and its claims ran on
UNTOUCHED_DATA = tuple(  # folders of rebuilds on which nothing was chosen
    f"seed{n}-{'odd' if n % 2 == 0 else 'even'}" for n in range(201, 207)
)


# documents, below the repository, and the parts of each that are written
DOCUMENTS = {"README.md": ("results",), "docs/results.md": ("findings", "estimates")}


def readme_table(results):
    """The README's table of results, as Markdown: the report's recipe on README_DATA, ours on
    UNTOUCHED_DATA.
    """
    theirs_on, ours_on = _on(results, [README_DATA]), _on(results, UNTOUCHED_DATA)
    head = ["", "report, on Kaggle", f"its recipe on {README_DATA}", "pokefast on new rebuilds"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for label, report, theirs, ours in README_ROWS:
        cells = [label, report, cell(theirs_on, theirs, count=True)]
        cells += [_bold(cell(ours_on, ours, count=True))]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def readme_findings(results):
    """The report's findings that did not hold, and those left open, as Markdown."""
    table = _on(results, [README_DATA])
    found = [(claim, verdict(claim, table)) for claim in CLAIMS if not claim.ours]
    lines = []
    for outcome, intro in (
        ("did not hold", f"Findings of the report that did not hold here ({README_DATA}):"),
        ("undecided", "Findings that are left open, as chance could make one of the steps:"),
    ):
        some = [f"- {c.text} Here: {v[1]}." for c, v in found if v and v[0] == outcome]
        lines += [intro, "", *some, ""] if some else []
    return "\n".join(lines)


def readme_estimates(results):
    """Task 3's local estimate, its interval and the hidden score on every rebuild, as Markdown."""
    rows = results[(results["row"] == "t3-fast") & (results["seed"] == 0)]
    rows = rows[rows["options"] == BY_NAME["t3-fast"].options].dropna(subset=["low", "hidden"])
    lines = ["| rebuild | local | interval | hidden |", "|---|---|---|---|"]
    inside = rows["hidden"].between(rows["low"], rows["high"])
    for name, row, ok in zip(folder_of(rows), rows.itertuples(), inside, strict=True):
        interval = f"{row.low:.3f} to {row.high:.3f}"
        hidden = f"{row.hidden:.3f}{'' if ok else ', outside'}"
        lines.append(f"| {name} | {row.local:.3f} | {interval} | {hidden} |")
    bias = (rows["local"] - rows["hidden"]).mean()
    count = f"{inside.sum()} of {len(rows)}"
    end = f"Hidden inside the interval: {count}; mean of local - hidden: {bias:+.3f}."
    return "\n".join([*lines, "", end]) + "\n"


def with_results(document, text, results):
    """The `text` of a document with what is generated replaced, between the marks of each part.

    Raises UserError where marks are missing.
    """
    parts = dict(results=readme_table, findings=readme_findings, estimates=readme_estimates)
    for name in DOCUMENTS[document]:
        start, end = (
            f"<!-- {edge} of {name}, by make ablations -->\n" for edge in ("start", "end")
        )
        if start not in text or end not in text:
            lines = f"{start.strip()} and {end.strip()}"
            raise UserError(f"{document}: the lines {lines} are missing")
        before, rest = text.split(start)
        text = f"{before}{start}\n{parts[name](results)}\n{end}{rest.split(end)[1]}"
    return text


def cell(table, name, column="hidden", count=False):
    """Mean with range, "0.789 (0.783 to 0.794)", or nothing where it did not run."""
    if name not in table.index or pd.isna(table.loc[name, column]):
        return ""
    row = table.loc[name]
    if row["runs"] == 1:
        return f"{row[column]:.3f}" + (" (1 run)" if count else "")
    more = f", {row['runs']:.0f} runs" if count else ""
    return f"{row[column]:.3f} ({row[f'{column}_low']:.3f} to {row[f'{column}_high']:.3f}{more})"


def _on(results, folders):
    return summary(results[folder_of(results).isin(folders)])


def _bold(text):
    value, _, rest = text.partition(" ")
    return f"**{value}** {rest}".rstrip() if text else ""
