"""Puts finished competitions in place: `task1`, `task2` (a link to it), `task3`, `solution`.

A competition appears under its name only when it is complete, and no folder is ever removed that
was not made here.
"""

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from filelock import FileLock

from pokefast.datasets.compose import write_solution
from pokefast.errors import UserError
from pokefast.files import atomic_folder

__all__ = ["MARKER", "is_complete", "publish"]

MARKER = ".made_by.json"  # in the competition's folder: what made it and with which settings
LOCK = ".lock"  # beside the competitions; held while one is made


def is_complete(root: Path, settings: Mapping[str, object]) -> bool:
    """True where `root` is a whole competition made with `settings`, False where nothing is there.

    Raises UserError where anything else is there: it may be someone's own work.
    """
    if not _exists(root):
        return False
    away = "Move it away, or choose another folder with --out"
    try:
        made = json.loads((root / MARKER).read_text(encoding="utf-8"))
        found = made["settings"]
    except (OSError, ValueError, KeyError, TypeError):
        by = settings["made_by"]
        raise UserError(
            f"{root} exists and was not made by {by}. {away}; to train on it, pass it as DATA."
        ) from None
    wrong = [
        f"{key} is {found.get(key)!r}, not {value!r}"
        for key, value in settings.items()
        if found.get(key) != value
    ]
    if wrong:
        raise UserError(f"{root} was made with other settings ({'; '.join(wrong)}). {away}.")
    images = sum(1 for path in root.glob("*/*.png"))
    if images != made["images"] or not (root / "train_labels.csv").is_file():
        raise UserError(
            f"{root} has {images} images of {made['images']}, or lacks train_labels.csv. {away}."
        )
    return True


def publish(
    out: Path, task: int, settings: Mapping[str, object], build: Callable[[Path], list[tuple]]
) -> bool:
    """Makes competition `task` (1 and 2 together, or 3) below `out`; True unless it was there.

    `build(folder)` writes it to the folder given and returns the solution's rows. A process that
    comes while another is at it waits, and finds it made. Raises UserError as `is_complete` does.
    """
    root, twin = out / ("task3" if task == 3 else "task1"), out / "task2"
    if task != 3 and _exists(twin) and not (twin.is_symlink() and os.readlink(twin) == root.name):
        is_complete(twin, settings)
    if is_complete(root, settings) and (task == 3 or _exists(twin)):
        return False
    try:
        out.mkdir(parents=True, exist_ok=True)
        held = FileLock(out / LOCK).acquire()
    except OSError as error:
        raise UserError(
            f"cannot write to {out} ({error.strerror}). Choose another folder with --out."
        ) from None
    with held:
        made = not is_complete(root, settings)
        if made:
            _build(root, task, settings, build)
        if task != 3 and not _exists(twin):
            _link(root, twin)
    return made


def _build(
    root: Path, task: int, settings: Mapping[str, object], build: Callable[[Path], list[tuple]]
) -> None:
    """The competition in a folder beside `root`, which gets that name once it is complete."""
    with atomic_folder(root) as part:
        rows = build(part)
        marker = {"settings": dict(settings), "images": len(rows)}
        (part / MARKER).write_text(json.dumps(marker, indent=1), encoding="utf-8")
        for number in (3,) if task == 3 else (1, 2):
            write_solution(root.parent / "solution" / f"task{number}.csv", rows)


def _exists(path: Path) -> bool:
    return path.exists() or path.is_symlink()


def _link(root: Path, twin: Path) -> None:
    """`twin` as a relative link to `root`; a copy where the file system has no links."""
    try:
        os.symlink(root.name, twin, target_is_directory=True)
    except OSError:
        with atomic_folder(twin) as part:
            shutil.copytree(root, part)
