"""The commands of the package: `python -m pokefast task1 --data folder`, from any folder.

They are those of make, without its set-up. Only what a command uses is imported, and Ctrl-C
meanwhile ends the program without a traceback.
"""

import gc
import os
import signal
import sys
import warnings
from functools import partial
from importlib import import_module
from pathlib import Path

__all__ = ["COMMANDS", "main"]

# name: module and function in it
COMMANDS = {
    "blend": ("pokefast.blend", "main"),
    "check": ("pokefast.check", "main"),
    "compare": ("pokefast.compare", "main"),
    "data": ("pokefast.datasets.drawn", "main"),
    "demo": ("pokefast.demo", "main"),
    "emoji-data": ("pokefast.datasets.emoji", "main"),
    "export": ("pokefast.export", "main"),
    "kaggle-bundle": ("pokefast.kaggle", "bundle"),
    "kaggle-data": ("pokefast.kaggle", "fetch"),
    "kaggle-submit": ("pokefast.kaggle", "send"),
    "new": ("pokefast.new", "main"),
    "predict": ("pokefast.predict", "main"),
    "real-data": ("pokefast.datasets.sprites", "main"),
    "report": ("pokefast.report.page", "main"),
    "score": ("pokefast.scoring.score", "main"),
    "wandb-workspace": ("pokefast.workspace", "main"),
}


def main(argv):
    """Run the command that the words `argv` name; returns the exit status."""
    if not sys.warnoptions:  # what libraries say about each other is nothing that a user can mend
        for category in (FutureWarning, DeprecationWarning):
            warnings.simplefilter("ignore", category)
    # Nothing is begun while modules are imported. An exception would not do: some of those in C
    # turn it into another.
    before = signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    gc.disable()  # modules stay: looking for garbage among them is a tenth of the imports' time
    try:
        run = _command(argv)
    finally:
        gc.freeze()  # nor is it looked for later
        gc.enable()
        signal.signal(signal.SIGINT, before)
    return run()


def _command(argv):
    """A function of no argument that does what the words `argv` say and returns the exit status."""
    package, scripts = _scripts()
    name = argv[0] if argv else ""
    sys.argv[0] = f"python -m pokefast {name}"  # what --help shows
    if name in COMMANDS:
        module, function = COMMANDS[name]
        command = getattr(import_module(module), function)
        return partial(import_module("pokefast.options").run_cli, command, argv[1:])
    if name in scripts:
        task = import_module(f"{package}.{scripts[name]}").TASK
        return partial(import_module("pokefast.task").main, task, argv[1:])
    known = ", ".join(sorted({*COMMANDS, *scripts}))
    print(f"usage: python -m pokefast COMMAND ...\ncommands: {known}", file=sys.stderr)
    return lambda: 0 if name in ("-h", "--help") else 2


def _scripts():
    """(package, {name of a task: module in it}) of the scripts of tasks/, which lies beside this
    package in a checkout and in it where it is installed; one of make new's has its file's name.
    """
    here = Path(__file__).resolve().parent
    package, folder = "pokefast.tasks", here / "tasks"
    if (here.parent / "pyproject.toml").is_file():
        package, folder = "tasks", here.parent / "tasks"
        sys.path.insert(0, str(here.parent))  # from whatever folder the command is run
    ours = import_module(package).TASKS
    others = {file.stem for file in folder.glob("[a-z]*.py")} - {*ours.values(), "published"}
    return package, {name: name for name in others} | ours


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
