"""Puts finished competitions in place: `task1`, `task2` (a link to it), `task3`, `solution`.

A competition appears under its name only when it is complete, and no folder is ever removed that
was not made here.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from pokefast.datasets.compose import write_solution
from pokefast.errors import UserError

__all__ = ["MARKER", "is_complete", "publish"]

MARKER = ".made_by.json"  # in the competition's folder: what made it and with which settings


def is_complete(root: Path, settings: Mapping[str, object]) -> bool:
    """True where `root` is a whole competition made with `settings`, False where nothing is there.

    Raises UserError where anything else is there: it may be someone's own work.
    """
    if not (root.exists() or root.is_symlink()):
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

    `build(folder)` writes it to the folder given and returns the solution's rows. Two processes may
    call this at once: both build, the first to finish wins, and the other's copy is dropped.
    Raises UserError as `is_complete` does.
    """
    root = out / ("task3" if task == 3 else "task1")
    twin = out / "task2"
    made = False
    if root.name == "task1" and (twin.exists() or twin.is_symlink()) and not _is_twin(twin, root):
        is_complete(twin, settings)
    if not is_complete(root, settings):
        try:
            out.mkdir(parents=True, exist_ok=True)
            work = Path(tempfile.mkdtemp(prefix=f".{root.name}-", suffix=".part", dir=out))
        except OSError as error:
            raise UserError(
                f"cannot write to {out} ({error.strerror}). Choose another folder with --out."
            ) from None
        try:
            rows = build(work / root.name)
            marker = {"settings": dict(settings), "images": len(rows)}
            (work / root.name / MARKER).write_text(json.dumps(marker, indent=1), encoding="utf-8")
            for number in (3,) if task == 3 else (1, 2):
                write_solution(out / "solution" / f"task{number}.csv", rows)
            try:
                os.rename(work / root.name, root)
                made = True
            except OSError:
                if not is_complete(root, settings):
                    raise
        finally:
            shutil.rmtree(work, ignore_errors=True)
    if root.name == "task1" and not (twin.exists() or twin.is_symlink()):
        _link(root, twin)
    return made


def _is_twin(twin: Path, root: Path) -> bool:
    return twin.is_symlink() and os.readlink(twin) == root.name


def _link(root: Path, twin: Path) -> None:
    """`twin` as a relative link to `root`; a copy where the file system has no links."""
    try:
        os.symlink(root.name, twin, target_is_directory=True)
    except FileExistsError:  # another process was faster
        pass
    except OSError:
        with tempfile.TemporaryDirectory(
            prefix=f".{twin.name}-", suffix=".part", dir=root.parent
        ) as work:
            copy = shutil.copytree(root, Path(work) / twin.name)
            try:
                os.rename(copy, twin)
            except OSError:
                if not twin.exists():
                    raise
