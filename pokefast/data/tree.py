"""The images and tables below a folder. Paths are strings from there on, with "/"; "" is itself."""

import os
from collections import Counter, defaultdict
from pathlib import Path

from pokefast.errors import UserError
from pokefast.images import IMAGE_SUFFIXES

__all__ = ["Tree", "is_in", "name_of", "parent_of"]

TABLE_DEPTH = 2  # folders below the first in which tables are looked for


class Tree:
    """What lies below the folder `root`: `images`, `tables` (.csv) and `folders` in order, and
    `others`, the number of other files by folder and suffix. Hidden files are passed over.

    Raises UserError for a folder that may not be read.
    """

    def __init__(self, root):
        self.root, self.images, self.tables = Path(root), [], []
        self.others, self.folders = defaultdict(Counter), []
        self._look("", 0, {self.root.resolve()})
        self.images.sort()
        self.tables.sort()
        self.direct = Counter(map(parent_of, self.images))  # images in a folder itself
        self.below = defaultdict(set)  # folders in it that hold images somewhere
        for folder in list(self.direct):
            while folder:
                self.below[parent_of(folder)].add(folder)
                folder = parent_of(folder)

    def _look(self, folder, depth, above):
        try:
            entries = sorted(os.scandir(self.root / folder), key=lambda entry: entry.name)
        except OSError as e:
            raise UserError(
                f"{self.root / folder}: the folder cannot be read ({e.strerror})"
            ) from None
        for entry in entries:
            if entry.name[0] == "." or entry.name == "__MACOSX":
                continue
            path, suffix = f"{folder}/{entry.name}".lstrip("/"), Path(entry.name).suffix.lower()
            if entry.is_dir():
                real = Path(entry).resolve()
                if real not in above:  # a link to a folder above it has no end
                    self.folders.append(path)
                    self._look(path, depth + 1, above | {real})
            elif not entry.is_file():
                continue
            elif suffix in IMAGE_SUFFIXES:
                self.images.append(path)
            elif suffix == ".csv" and depth <= TABLE_DEPTH:
                self.tables.append(path)
            else:
                self.others[folder][suffix] += 1

    def under(self, folders, but=()):
        """The images in `folders` and below, without those in the folders `but`."""
        return [p for p in self.images if is_in(p, folders) and not is_in(p, but)]

    def parting(self, folder="", but=(), stop=lambda inner: False):
        """The folder below `folder` from which the images part, `folder` itself in most cases, as
        if the folders `but` were not there; `stop` is a function of a folder that is not entered.
        """
        while not self.direct[folder] and len(inner := self.below[folder] - set(but)) == 1:
            (only,) = inner
            if stop(only):
                break
            folder = only
        return folder

    def path(self, given, option):
        """A folder or file that the user gave for `option`, from the root on or from where one
        stands; UserError where it is not there or lies elsewhere.
        """
        root = self.root.resolve()
        for full in (self.root / given, Path(given)):
            if full.exists() and full.resolve().is_relative_to(root):
                return full.resolve().relative_to(root).as_posix().removeprefix(".")
        raise UserError(f"{option} {given}: there is no such file or folder in {self.root}")


def is_in(path, folders):
    """Whether `path` lies in one of `folders`, or is one."""
    return any(not f or path == f or path.startswith(f"{f}/") for f in folders)


def parent_of(path):
    """The folder that `path` lies in."""
    return path.rpartition("/")[0]


def name_of(path):
    """The last name of `path`."""
    return path.rpartition("/")[2]
