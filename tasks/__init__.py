"""One script a competition; each is run by its name and gives get_dls and get_learner.

Imports pokefast/. `load_task` finds a script by its task's name.
"""

from importlib import import_module

from pokefast.errors import UserError
from pokefast.options import similar

__all__ = ["TASKS", "load_task"]

TASKS = {"task1": "task1_mlp", "task2": "task2_cnn", "task3": "task3_transfer"}


def load_task(name):
    """The `Task` called `name`; its script is imported now. Raises UserError for another name."""
    if name not in TASKS:
        raise UserError(f"there is no task {name}{similar(name, TASKS)}: choose {', '.join(TASKS)}")
    return import_module(f"{__name__}.{TASKS[name]}").TASK
