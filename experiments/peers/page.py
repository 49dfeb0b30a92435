"""results/bench.md."""

import ast
from pathlib import Path

from experiments.peers.plan import GOAL, PEERS, epochs_for, seconds_to_goal

__all__ = ["bench_page", "user_lines"]

SCRIPTS = Path(__file__).parent / "scripts"
OURS = "pokefast"
LATE = 1.25  # times the seconds that were given
MEASURED = "watch"  # a line that names it is not the user's

HEAD = """\
# Beside what users would pick instead

`make bench PEERS=1` trains pokefast's task 2 and other systems for the same times on the same
data and cores, each in an environment of its own, and writes this page from
[bench.csv](bench.csv). Figures are medians and, where there is more than one run, the lowest and
highest. *Hidden* is on the test part, whose labels training never sees. The clock of training runs
from the end of the imports to the last step: reading, augmenting and the system's own validation
are in it, predicting the hidden test part is not. A system whose schedule is for a number of
epochs gets as many as fit, at least one, by the pace of a shorter run; it is run anew for each
time. Where a single epoch takes far longer than was given, its seconds are said and it is not
ranked. Plain PyTorch has a constant rate: one run, which predicts on its way. Of the labelled
images plain PyTorch, fastai and Lightning train on 80%, pokefast on 70%: it keeps a part for its
local score as well.
"""
TO_GOAL = f"""\
Seconds to {GOAL}: of plain PyTorch the earliest of its checkpoints that has it; of the others the
shortest whole run among those tried that has it, beside the most epochs below that had not.
Images a second are those trained on by all seconds of training, in the longest time. Memory is the
peak of all processes of such a run, shared pages counted once. Lines are those of the script that
a user writes, as ruff formats them, without blank ones, comments and what measures
([scripts](../experiments/peers/scripts)).
"""


def user_lines(script):
    """How many lines of the file `script` a user writes."""
    text = (SCRIPTS / f"{script}.py").read_text(encoding="utf-8")
    first = ast.parse(text).body[0]  # the docstring
    lines = [line.strip() for line in text.splitlines()[first.end_lineno :]]
    return sum(bool(s) and not s.startswith("#") and MEASURED not in s for s in lines)


def bench_page(results, budgets):
    """The page as Markdown, of the results on one data set and machine; `budgets` in seconds."""
    peers = [name for name in PEERS if name in set(results["peer"])]
    columns = _columns(peers, results, sorted(budgets))
    lines = [HEAD, _where(results), ""]
    lines += ["| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for name in peers:
        cells = [shown(name) for _, _, shown, _ in columns.values()]
        lines.append("| " + " | ".join([PEERS[name].title, *cells]) + " |")
    lines += ["", TO_GOAL, "## Where pokefast is first, and where it is not", ""]
    lines += [line for title, column in columns.items() for line in _verdict(title, peers, *column)]
    return "\n".join(lines + _runs(peers, results, sorted(budgets)) + _systems(peers, results))


def _columns(peers, results, budgets):
    """{title: (value of a peer or None, sign of better, text of a peer's cell, format)}."""
    columns, longest = {}, budgets[-1]
    for budget in budgets:
        at = {p: _at(p, budget, budgets, results).dropna(subset="hidden") for p in peers}
        columns[f"hidden macro-F1 after {budget:g} s"] = _hidden_column(at, budget)
    goal = {p: seconds_to_goal(p, results) for p in peers if p != "bare"}
    columns[f"seconds to {GOAL}"] = (
        lambda p: goal[p] and goal[p][0],
        -1,
        lambda p: _goal_cell(p, goal, results),
        "{:.0f} s",
    )
    last = {p: _at(p, longest, budgets, results) for p in peers}
    pace = {p: rows["images"] / rows["seconds"] for p, rows in last.items()}
    columns["images a second"] = _column(pace, 1, "{:.0f}")
    memory = {p: rows["memory"].dropna() for p, rows in last.items()}
    columns["peak memory, MB"] = _column(memory, -1, "{:.0f}")
    written = {p: user_lines(PEERS[p].script) for p in peers if p != "bare"}
    columns["lines"] = (written.get, -1, lambda p: str(written.get(p, "")), "{:.0f}")
    return columns


def _column(values, sign, form):
    return (
        lambda p: None if values[p].empty else values[p].median(),
        sign,
        lambda p: _range(values[p], form),
        form,
    )


def _hidden_column(rows, budget):
    """That of the hidden scores, of which those of runs that took far longer are not ranked."""
    value, sign, shown, form = _column({p: r["hidden"] for p, r in rows.items()}, 1, "{:.3f}")
    took = {p: r["seconds"].median() for p, r in rows.items()}  # NaN where there are none
    late = {p for p, seconds in took.items() if seconds > LATE * budget}
    return (
        lambda p: None if p in late else value(p),
        sign,
        lambda p: shown(p) + (f", in {took[p]:.0f} s" if p in late else ""),
        form,
    )


def _at(peer, budget, budgets, results):
    """The rows of a peer's runs for a budget."""
    rows = results[results["peer"] == peer]
    if peer == "bare":
        return rows
    if PEERS[peer].by_epochs:
        return rows[rows["epochs"] == epochs_for(peer, budgets, results).get(budget, -1)]
    return rows[rows["mark"] == budget]


def _range(values, form):
    if values.empty:
        return ""
    text = form.format(values.median())
    if len(values) == 1:
        return text
    return f"{text} ({form.format(values.min())} to {form.format(values.max())})"


def _goal_cell(peer, goal, results):
    rows = results[(results["peer"] == peer) & results["hidden"].notna()]
    if peer not in goal or rows.empty:
        return ""
    if goal[peer] is None:
        return f"not reached in {rows['seconds'].max():.0f}"
    seconds, epochs, below = goal[peer]
    if epochs is None:
        return f"{seconds:.0f}"
    tried = f"{below} had not" if below else "none fewer tried"
    return f"{seconds:.0f} ({epochs} epochs; {tried})"


def _verdict(title, peers, value, sign, _text, form):
    """A line that says whether pokefast is first in a column, among those that are ranked."""
    if OURS not in peers:
        return []
    others = {p: value(p) for p in peers if PEERS[p].ranked and p != OURS}
    others = {p: v for p, v in others.items() if v is not None}
    ours = value(OURS)
    if not others or ours is None:
        return []
    best = max(others, key=lambda p: sign * others[p])
    us, them = form.format(ours), f"{PEERS[best].title} {form.format(others[best])}"
    if form.format(ours) == form.format(others[best]):
        return [f"- {title}: **level**, {us}, with {them}"]
    first = sign * ours > sign * others[best]
    return [f"- {title}: **{'first' if first else 'not first'}**, {us}; {them}"]


def _where(results):
    """On what was measured."""
    first, others = results.iloc[0], results["others"].dropna()
    commits = ", ".join(sorted(set(results["commit"].dropna())))
    text = f"Measured on {first['data'].split(':')[0]}, {first['machine']}, of commit {commits}."
    if len(others):
        text += f" Other processes kept {_range(others, '{:.2f}')} cores busy during the runs."
    return text


def _runs(peers, results, budgets):
    lines = ["", "## The runs", ""]
    lines += ["| | for | epochs | seconds of training | the whole process | runs |"]
    lines += ["|---|---|---|---|---|---|"]
    for name in peers:
        if name == "bare":
            continue
        for budget in budgets:
            rows = _at(name, budget, budgets, results)
            if rows.empty:
                continue
            epochs = f"{rows['epochs'].iloc[0]:.0f}" if PEERS[name].by_epochs else ""
            cells = [PEERS[name].title, f"{budget:g} s", epochs]
            cells += [_range(rows["seconds"], "{:.1f}"), _range(rows["whole"], "{:.0f} s")]
            lines.append("| " + " | ".join([*cells, str(len(rows))]) + " |")
    return lines


def _systems(peers, results):
    lines = ["", "## The systems", ""]
    for name in peers:
        versions = results[results["peer"] == name]["versions"].iloc[-1]
        lines.append(f"- **{PEERS[name].title}**: {PEERS[name].about} ({versions})")
    return [*lines, ""]
