"""Every task's options and what each recipe sets: `make options-page` writes docs/options.md."""

import importlib
import inspect
from typing import Annotated, get_args, get_origin

from fastcore.docments import docments

from pokefast.files import ROOT, atomic_path

__all__ = ["options_page"]

TASKS = ("task1_mlp", "task2_cnn", "task3_transfer")
HEAD = """\
# Options

Every option of `make task1 ARGS="..."` and its like, and what the two recipes set. An option given
beats the recipe. Those without a flag are set from Python: `get_dls(shift_pixels=2)`.
Written by `make options-page` from the scripts themselves.
"""


def options_page():
    """The page as Markdown."""
    return "\n".join([HEAD, *map(_section, TASKS)])


def _section(name):
    task = importlib.import_module(f"tasks.{name}")
    notes = docments(task.main, full=True, returns=False, eval_str=True)
    fast, report = task.RECIPES["fast"], task.RECIPES["report"]
    rows = [
        (f"`--{k.replace('_', '-')}`", _type(v.anno), v.docment, fast.get(k), report.get(k))
        for k, v in notes.items()
    ]
    rows += [
        (f"`{k}`", "", "", fast.get(k), report.get(k)) for k in fast | report if k not in notes
    ]
    # the script's own words, without its examples
    parts = inspect.getdoc(task).split("\n\n")
    about = [p for p in parts if not p.startswith(" ") and not p.endswith(":")]
    lines = [f"## {task.TASK}", "", "\n\n".join(about), ""]
    lines += ["| option | values | what it is | fast | report |", "|---|---|---|---|---|"]
    lines += [f"| {n} | {t} | {d} | {_cell(f)} | {_cell(r)} |" for n, t, d, f, r in rows]
    left_out = [
        f"`{name}` ({', '.join(f'{k}={v}' for k, v in options.items())})"
        for name, options in task.INGREDIENTS.items()
    ]
    return "\n".join([*lines, "", f"`--without` takes, with commas: {', '.join(left_out)}.", ""])


def _type(hint):
    if get_origin(hint) is Annotated:
        kind, *notes = get_args(hint)
        choices = next((n["choices"] for n in notes if "choices" in n), None)
        return ", ".join(map(str, choices)) if choices else kind.__name__
    return {"bool": "flag", "Path": "path"}.get(hint.__name__, hint.__name__)


def _cell(value):
    if value is None:
        return ""
    return ("no", "yes")[value] if isinstance(value, bool) else value


def main():
    """Write docs/options.md."""
    with atomic_path(ROOT / "docs" / "options.md") as temp:
        temp.write_text(options_page(), encoding="utf-8")


if __name__ == "__main__":
    main()
