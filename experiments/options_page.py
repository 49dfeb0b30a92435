"""Every task's options and what each recipe sets: `make options-page` writes docs/options.md."""

import inspect
import sys
from dataclasses import fields
from typing import Annotated, Literal, get_args, get_origin, get_type_hints

from pokefast.files import ROOT, atomic_path
from pokefast.options import field_help, flag
from tasks import TASKS, load_task

__all__ = ["options_page"]

HEAD = """\
# Options

Every option of `make task1 ARGS="..."` and its like, and what the recipes set. An option given
beats the recipe; `--no-...` switches one off. In Python the same names are the fields of what a
recipe returns: `replace(fast(), shift_pixels=2)`. Written by `make options-page` from the scripts
themselves.
"""


def options_page():
    """The page as Markdown."""
    return "\n".join([HEAD, *(_section(load_task(name)) for name in TASKS)])


def _section(task):
    recipes = {function.__name__: function() for function in task.recipes}
    cls = type(next(iter(recipes.values())))
    notes, hints = field_help(cls), get_type_hints(cls, include_extras=True)
    # the script's own words, without its examples
    parts = inspect.getdoc(sys.modules[task.get_dls.__module__]).split("\n\n")
    about = [p for p in parts if not p.startswith(" ") and not p.endswith(":")]
    lines = [f"## {task.name}", "", "\n\n".join(about), ""]
    lines += [f"| option | values | what it is | {' | '.join(recipes)} |"]
    lines += ["|---|---|---|" + "---|" * len(recipes)]
    for name in [f.name for f in fields(cls) if f.name != "recipe"]:
        values = " | ".join(_cell(getattr(o, name)) for o in recipes.values())
        lines.append(f"| `{flag(name)}` | {_type(hints[name])} | {notes[name]} | {values} |")
    return "\n".join([*lines, ""])


def _type(hint):
    if get_origin(hint) is Annotated:
        kind, limits = get_args(hint)
        return f"{kind.__name__}, {limits}"
    if get_origin(hint) is Literal:
        return ", ".join(map(str, get_args(hint)))
    kind = next(k for k in (*get_args(hint), hint) if k is not type(None))
    return {"bool": "flag", "Path": "path"}.get(kind.__name__, kind.__name__)


def _cell(value):
    if value is None:
        return ""
    return ("no", "yes")[value] if isinstance(value, bool) else str(value)


def main():
    """Write docs/options.md."""
    with atomic_path(ROOT / "docs" / "options.md") as temp:
        temp.write_text(options_page(), encoding="utf-8")


if __name__ == "__main__":
    main()
