"""What a folder of images holds, found by looking at it and said before any work.

A competition's folder, as it is downloaded, has a table of labels or a folder for each class, a
folder of test images or a table of their ids, and a sample submission; each under names of its own.
"""

import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path

from pokefast.data.archive import unpack
from pokefast.data.tables import ImageIndex, find_id, find_labels
from pokefast.data.tree import Tree, is_in, name_of, parent_of
from pokefast.errors import UserError
from pokefast.files import read_csv
from pokefast.images import IMAGE_SUFFIXES
from pokefast.names import listed, shown

__all__ = ["Given", "Layout", "find_layout"]

AFFIXES = "images?|imgs?|pictures?|pics|photos?|data|dataset|set|files?|jpe?gs?|pngs?|seg|stg"
ROLES = {  # of folders, by name: train, train_images, seg_train, test1, Testing, ...
    role: re.compile(rf"(?:(?:{AFFIXES})[-_. ]?)?(?:{words})(?:[-_. ]?(?:{AFFIXES}|\d+|x))*", re.I)
    for role, words in {
        "train": "train|training",
        "valid": "val|valid|validation",
        "test": "test|testing",
    }.items()
}
OF_OTHERS = re.compile(r"(test|testing|val|valid|validation)[-_. \d]", re.I)  # tables: test.csv
SAMPLE = re.compile(r"(sample|example).*sub(?!set)|subm.*(sample|example|format)", re.I)
BEFORE_NUMBER = re.compile(r"(.+?)[-_. (]*\d+\)?")  # cat in cat.12
# images all the same
UNREAD = {".heic", ".heif", ".svg", ".eps", ".pdf", ".psd", ".dcm", ".dng", ".cr2", ".nef", ".arw"}
UNREAD |= {".jxl", ".xbm", ".xpm", ".icns", ".fits", ".wmf"}
ARCHIVES = {".zip", ".7z", ".rar", ".tar", ".tgz", ".gz"}
WITHOUT_TABLE = {  # what --labels takes besides a file, and where the class then stands
    "folders": "the folder in the training folder",
    "inner-folders": "the folder that an image lies in",
    "names": "the file's name up to its number",
}
SUFFIXES = "/".join(IMAGE_SUFFIXES[:6]) + "/..."


@dataclass(frozen=True)
class Given:
    """What the user says of a folder's layout; the rest is found. Files and folders are given from
    that folder on.
    """

    labels: str | Path | None = None
    id: str | None = None
    label: str | None = None
    train: str | Path | None = None
    valid_folder: str | Path | None = None
    test_folder: str | Path | None = None
    sample: str | Path | None = None

    @classmethod
    def among(cls, options):
        """What a dict of a task's options says of it."""
        return cls(**{f.name: options.get(f.name) for f in fields(cls)})


@dataclass(frozen=True)
class Layout:
    """What was found in the folder `root`; paths are strings from there on, "" is itself.

    `table` has the column `id` and the columns `label`: one, or several of zeros and ones. Where it
    is None, `labels` says where the class stands, a key of `WITHOUT_TABLE`, and `classes` has that
    of each image. `train`, `valid` and `test` are folders and `*_files` their images, which may be
    one another's: `test_ids` is the table that names those of the test, the sample submission
    `sample` where there is one. `other_files` are images that are left alone.
    """

    root: Path
    table: str | None
    id: str | None
    label: tuple
    labels: str | None
    train: tuple
    valid: tuple
    test: tuple
    test_ids: str | None
    sample: str | None
    train_files: tuple = field(repr=False)
    valid_files: tuple = field(repr=False)
    test_files: tuple = field(repr=False)
    other_files: tuple = field(repr=False)
    classes: dict = field(repr=False)
    notes: tuple = ()  # what is left alone, as lines
    unread: tuple = ()  # images of formats that Pillow does not read

    def __str__(self):
        """Four lines, and one for each thing that is left alone."""
        if self.table is None:
            first = f"no table of labels; the class is {WITHOUT_TABLE[self.labels]}"
        else:
            first = f"labels in {self.table}: id column {shown(self.id)}, label column" + (
                f" {shown(self.label[0])}"
                if len(self.label) == 1
                else f"s {listed(self.label)}, one a class"
            )
        train = f"training images in {_places(self.train, self.train_files)}"
        if self.valid:
            train += f", validation images in {_places(self.valid, self.valid_files)}"
        if self.test and self.test == self.train:
            test = f"test images are those of {self.test_ids}, in {_places(self.test)}"
        elif self.test:
            test = f"test images in {_places(self.test, self.test_files)}"
        else:
            test = "no test images: a score, and no submission"
        sample = f"submission as {self.sample}" if self.sample else "no sample submission"
        return "\n".join(f"{self.root}: {s}" for s in (first, train, test, sample, *self.notes))


def find_layout(root, given=None):
    """The `Layout` of the folder or zip `root`; `given` is what the user says of it.

    Raises UserError where there is no image, where something may be meant in two ways, naming both
    and the option that decides, and for tables that are no classification.
    """
    root = Path(root)
    if root.is_file() and root.suffix.lower() == ".zip":
        root = unpack(root)
    if not root.is_dir():
        raise UserError(
            f"{root}: there is no such folder; DATA (--data) names a folder of images or a zip"
        )
    return _Finder(Tree(root), given or Given()).layout()


class _Finder:
    """Looks at a `Tree` for what `Given` leaves open.

    `train`, `valid` and `test` are folders by their names, `base` is the folder that they lie in.
    """

    def __init__(self, tree, given):
        self.tree, self.given, self.root, self.read = tree, given, tree.root, {}
        if not tree.images:
            archives = self._packed()
            hint = f"; unpack its {listed(archives)} files" if archives else ""
            raise UserError(f"{self.root}: no {SUFFIXES} images in it{hint}")
        self.base = tree.parting(stop=_role)
        inside = [f for f in tree.folders if parent_of(f) == self.base]
        self.train, self.valid, self.test = (
            self._named_folders(role, option, inside)
            for role, option in zip(ROLES, ("train", "valid_folder", "test_folder"), strict=True)
        )
        self.sample, self.tables = self._sample_and_tables()
        self.test = self._one_test()
        self.hidden = [*self.test, *([] if given.valid_folder else self.valid)]

    def layout(self):
        """The `Layout`."""
        found = self._table()
        if found is None:
            name, table, column, label, hits = None, None, None, (), {}
            labels = self._without_table()
        else:
            (name, table, column, label, hits), labels = found, None
        train = self.train or (self._homes(hits) if hits else [self._area(self.base)])
        if self.train and hits and not self.given.train:
            train = [*train, *self._homes(hits, besides=train)]
        files = self.tree.under(train, but=[*self.test, *self.valid])
        if not files:
            raise UserError(f"{self.root / train[0]}: no {SUFFIXES} images in it")
        labelled = {path for paths in hits.values() for path in paths}
        unlabelled = [path for path in files if path not in labelled]
        test_ids = self._test_ids(self.tree.under(self.test) if self.test else unlabelled)
        if self.sample and not self.test and not test_ids:
            self.test = self._asked_for([*train, *self.valid])
            test_ids = self._test_ids(self.tree.under(self.test))
        if self.sample and not self.test and not test_ids:
            raise UserError(
                f"{self.root}: {self.sample} asks for test images and there are none; --test DIR "
                "names their folder, and without that file there is a score alone"
            )
        valid = self.valid if self.given.valid_folder else []
        test = train if test_ids and not self.test else self.test
        notes, unread = self._left(train, valid, test)
        if table is not None and (rest := [c for c in table if c not in (column, *label)]):
            notes.insert(0, f"not used: columns {listed(rest)} of {name}")
        return Layout(
            self.root,
            name,
            column,
            label,
            labels,
            train=tuple(train),
            valid=tuple(valid),
            test=tuple(test),
            test_ids=test_ids,
            sample=self.sample,
            train_files=tuple(files),
            valid_files=tuple(self.tree.under(valid)),
            test_files=tuple(self.tree.under(test)),
            other_files=tuple(self.tree.under([""], but=[*train, *valid])),
            classes=self._classes(labels, [*train, *valid]),
            notes=tuple(notes),
            unread=tuple(unread),
        )

    def _area(self, folder):
        """The folder in `folder` from which its images part; those that are not for training do not
        count.
        """
        return self.tree.parting(folder, but=[*self.test, *self.valid])

    def _packed(self):
        """The suffixes of archives in the folder, which are not looked into."""
        return sorted(ARCHIVES & {s for suffixes in self.tree.others.values() for s in suffixes})

    def _named_folders(self, role, option, inside):
        """The folders of a part: the one that is given, or those that are called so."""
        given = getattr(self.given, option)
        if given is not None:
            return [self.tree.path(given, f"--{option.removesuffix('_folder')}")]
        return [f for f in inside if ROLES[role].fullmatch(name_of(f))]

    def _sample_and_tables(self):
        """(sample submission or None, the other tables)."""
        if self.given.sample is not None:
            found = [self.tree.path(self.given.sample, "--sample")]
        else:
            found = [t for t in self.tree.tables if SAMPLE.search(name_of(t))]
        if len(found) > 1:
            raise UserError(
                f"{self.root}: {' and '.join(found)} may both be the sample submission; --sample "
                "FILE says which one counts"
            )
        return next(iter(found), None), [t for t in self.tree.tables if t not in found]

    def _read(self, name):
        """The table of that name, read once."""
        if name not in self.read:
            self.read[name] = read_csv(self.root / name)
        return self.read[name]

    @cached_property
    def asked(self):
        """The columns of the sample submission besides the first."""
        return tuple(self._read(self.sample).columns[1:]) if self.sample else ()

    def _one_test(self):
        """The folder of test images, of several that are called so."""
        full = [f for f in self.test if self.tree.under([f])]
        if self.test and not full:
            there = listed(sorted(self.tree.others[self.test[0]]))
            but = f", but {there}" if there else ""
            raise UserError(f"{self.root / self.test[0]}: no {SUFFIXES} images in it{but}")
        if len(full) > 1 and self.sample:
            table = self._read(self.sample)
            indices = {f: ImageIndex(self.tree.under([f])) for f in full}
            full = [f for f in full if any(indices[f].hits(table[c]) for c in table)] or full
        if len(full) > 1:
            raise self._either("the test images may be those in", map(_slash, full), "--test DIR")
        return full

    def _either(self, what, names, option):
        names = list(names)
        return UserError(
            f"{self.root}: {what} {' or '.join(names)}; {option} says which"
            f"{' one counts' if len(names) == 2 else ' counts'}"
        )

    def _table(self):
        """(name, data frame, id column, label columns, images by id) of the table of labels; None
        where no table holds them.
        """
        if str(self.given.labels) in WITHOUT_TABLE:
            return None
        tables = [t for t in self.tables if not OF_OTHERS.match(name_of(t))]
        if self.given.labels is not None:
            tables = [self.tree.path(self.given.labels, "--labels")]
        pools = [self.train or [""], [""]]  # a table may name images beside the folder train/ too
        found, errors = {}, []
        for folders in pools[: 1 + bool(self.train and not self.given.train)]:
            index = ImageIndex(self.tree.under(folders, but=self.hidden))
            for name in tables:
                try:
                    table = self._read(name)
                except UserError as e:  # another may do
                    errors.append(e)
                    continue
                if self.given.labels is None and self._lacks(table):
                    continue
                found[name] = (table, *find_id(self.root / name, table, index, self.given.id))
            hit = {name: f for name, f in found.items() if f[2]}
            if hit:
                return self._best(hit)
        if not self.classes and errors:
            raise errors[0]
        return self._by_name(found)

    def _lacks(self, table):
        """Whether a table has not the columns that the user named."""
        columns, label = set(table.columns), self.given.label or ""
        labels = {label} if label in columns else {c.strip() for c in label.split(",")}
        return bool(({self.given.id} | labels) - {None, ""} - columns)

    def _by_name(self, found):
        """As `_table`, where ids name no image, which is said in full when they are compared."""
        said = self.given.labels is not None or self.given.id is not None
        pattern = "" if said else "train|label"
        named = [n for n in found if re.search(pattern, name_of(n), re.I) and found[n][1]]
        if not named or (self.classes and not said):
            return None
        table, column, _ = found[named[0]]
        if table.empty:
            raise UserError(f"{self.root / named[0]}: it has no rows")
        label = find_labels(self.root / named[0], table, column, self.given.label, self.asked)
        return (named[0], table, column, label, {}) if label else None

    def _best(self, hit):
        """As `_table`, of the tables `hit` that name images."""
        most = max(len(hits) for _, _, hits in hit.values())
        in_folders = 0 if self.given.labels else sum(map(len, self.classes.values()))
        fitting = []
        for name, (table, column, hits) in hit.items():
            if 2 * len(hits) < max(most, in_folders):
                continue  # of the classes' names, say, which by chance are those of images too
            self._check_once(hits)
            strange = table[column][~table[column].isin(hits)]
            hidden = ImageIndex(self.tree.under(self.hidden)).hits(strange)
            rows = table[~table[column].isin(hidden)]  # those of a test may have other classes
            folders = self._folders_of(rows[column], hits) if self.classes else None
            label = find_labels(
                self.root / name, rows, column, self.given.label, self.asked, folders
            )
            if label and self._folders_say(name, rows, label, folders):
                if len(rows) == len(table) and len(hits) == in_folders:
                    return name, table, column, label, hits
                return None  # of every image, where the table lacks some or has those of others
            if label:
                fitting.append((name, table, column, label, hits))
        if len(fitting) > 1:
            names = [name for name, *_ in fitting]
            raise self._either("the labels may be those in", names, "--labels FILE")
        if not fitting and not self.classes:
            name, (table, column, _) = next(iter(hit.items()))
            columns = listed([shown(c) for c in table if c != column]) or "none but the ids"
            raise UserError(
                f"{self.root / name}: no column looks like a class ({columns}); --label COL says "
                "which one is, --labels FILE names another table"
            )
        return next(iter(fitting), None)

    def _check_once(self, hits):
        """Raise UserError where most ids name images in two folders, as of images and masks."""
        twice = [paths for paths in hits.values() if len({*map(parent_of, paths)}) > 1]
        if 2 * len(twice) > len(hits):
            folders = map(_slash, map(parent_of, twice[0]))
            raise self._either("the training images may be those in", folders, "--train DIR")

    def _folders_say(self, name, rows, label, folders):
        """Whether the class folders give the labels of a table; UserError where they give others
        and nobody said which count.
        """
        if not self.classes or self.given.labels is not None or self.given.label is not None:
            return False
        if len(label) == 1 and (rows[label[0]] == folders).all():
            return True
        if set(label) & set(self.asked):
            return False
        columns = f"column {shown(label[0])} of {name} or the folder"
        raise UserError(
            f"{self.root}: the class may be {columns} that an image lies in "
            f"({listed(sorted(self.classes))}); --labels {name} or --labels folders says which"
        )

    @cached_property
    def classes(self):
        """A dict of classes and their images, where there is a folder for each; empty otherwise."""
        found = defaultdict(list)
        for area in map(self._area, self.train or [self.base]):
            inner = [f for f in self.tree.below[area] if f not in self.hidden]
            if len(inner) < 2 or 2 * self.tree.direct[area] > len(self.tree.under([area])):
                return {}
            for folder in inner:
                found[name_of(folder)] += self.tree.under([folder])
        return found

    def _folders_of(self, ids, hits):
        """The class folder of each id's image, as a series like `ids`."""
        of = {path: name for name, paths in self.classes.items() for path in paths}
        return ids.map(lambda i: of.get(hits[i][0], "") if i in hits else "")

    def _without_table(self):
        """Where the class stands: a key of `WITHOUT_TABLE`."""
        for option in ("label", "id"):
            if (given := getattr(self.given, option)) is not None:
                raise UserError(f"--{option} {given}: no table in {self.root} has that column")
        if len(self.train) > 1:
            raise self._either(
                "the training images may be those in", map(_slash, self.train), "--train DIR"
            )
        keyword = None if self.given.labels is None else str(self.given.labels)
        if keyword == "names":
            return keyword
        area = self._area((self.train or [self.base])[0])
        if not self.classes:
            raise self._no_labels(area)
        if keyword:
            return keyword
        for folder in sorted(self.tree.below[area] - set(self.hidden)):
            inner = sorted(self.tree.below[self._area(folder)])
            if len(inner) > 1:
                outer, inner = sorted(self.classes), [name_of(f) for f in inner]
                raise UserError(
                    f"{self.root}: the class may be the outer folder ({listed(outer)}) or the "
                    f"inner one ({listed(inner)} in {folder}/); --labels folders or --labels "
                    "inner-folders says which"
                )
        return "folders"

    def _no_labels(self, area):
        """The UserError for images without labels."""
        images = self.tree.under([area], but=self.hidden)
        found = (BEFORE_NUMBER.fullmatch(Path(p).stem) for p in images)
        names = sorted({m.group(1) for m in found if m})
        hint = ""
        if 1 < len(names) <= len(images) / 2:
            hint = f"; --labels names takes the files' names ({listed(names)}) for classes"
        if self.train and (beside := self.tree.below[self.base] - {*self.train, *self.hidden}):
            folders = listed([_slash(f) for f in sorted({*self.train, *beside})])
            hint = f"; --train . takes the folders {folders} for classes"
        seen = f"{listed(self.tables)} names no image" if self.tables else "there is no .csv table"
        return UserError(
            f"{self.root}: no labels are found: {seen}, and {_slash(area)} has no folder for each "
            f"class; --labels FILE names a table, --id COL and --label COL its columns{hint}"
        )

    def _homes(self, hits, besides=()):
        """The folders of the images of a table, apart from those in `besides`."""
        areas = sorted(f for f in self.tree.below[self.base] if f not in self.hidden)
        if self.tree.direct[self.base] or not areas:
            return [] if besides else [self.base]
        homes = set()
        for paths in hits.values():
            mine = {a for a in areas for p in paths if is_in(p, [a])}
            homes |= mine if not mine & set(besides) else set()
        homes -= set(besides)
        return [self.base] if homes == set(areas) and not self.hidden else sorted(homes)

    def _asked_for(self, besides):
        """The folders of the images that the sample submission names, apart from `besides`."""
        index = ImageIndex(self.tree.under([""], but=besides))
        hits = find_id(self.root / self.sample, self._read(self.sample), index)[1]
        return self._homes(hits, besides) if hits else []

    def _test_ids(self, images):
        """The table that names those of `images` that are the test's: the sample submission, or one
        that is called test.csv or the like; None where there is none.
        """
        index = ImageIndex(images)
        tables = [t for t in self.tables if OF_OTHERS.match(name_of(t))]
        for name in filter(None, (self.sample, *tables)):
            if find_id(self.root / name, self._read(name), index)[1]:
                return name
        return None

    def _classes(self, labels, folders):
        """A dict of the class of each image in `folders`, where `labels` says it stands."""
        files = self.tree.under(folders, but=self.test)
        if labels is None:
            return {}
        if labels == "names":
            found = {p: BEFORE_NUMBER.fullmatch(Path(p).stem) for p in files}
            return {p: m.group(1) for p, m in found.items() if m}
        areas = [self._area(f) for f in folders]
        inside = {p: a for p in files for a in areas if is_in(p, [a]) and parent_of(p) != a}
        if labels == "inner-folders":
            return {p: name_of(parent_of(p)) for p in inside}
        return {p: p[len(a) :].strip("/").partition("/")[0] for p, a in inside.items()}

    def _left(self, train, valid, test):
        """(lines on what is left alone, images of formats that Pillow does not read)."""
        used, notes, unread = [*train, *valid, *test], [], []
        if self.valid and not valid:
            n = len(self.tree.under(self.valid))
            notes.append(
                f"not used: {n} images in {_places(self.valid)}; --valid {self.valid[0]} validates "
                "on them"
            )
        beside = self.tree.under([""], but=[*used, *self.valid])
        for folder, n in sorted(Counter(p.partition("/")[0] for p in beside if "/" in p).items()):
            notes.append(f"not used: {n} images in {_slash(folder)}")
        if alone := [p for p in beside if "/" not in p]:
            notes.append(f"not used: {listed(alone)}")
        if archives := self._packed():
            notes.append(f"not used: {listed(archives)} files; unpack them where they are wanted")
        for folder, suffixes in sorted(self.tree.others.items()):
            if folder != "" and is_in(folder, used):
                for suffix, n in sorted(suffixes.items()):
                    line = f"{n} {suffix or 'without a suffix'} in {_slash(folder)}"
                    unread += [line] if suffix in UNREAD else []
                    notes += [] if suffix in UNREAD else [f"not used, no images: {line}"]
        return notes, unread


def _role(folder):
    """Whether a folder is called like one of the parts."""
    return any(pattern.fullmatch(name_of(folder)) for pattern in ROLES.values())


def _places(folders, files=None):
    return ", ".join(map(_slash, folders)) + ("" if files is None else f" ({len(files)})")


def _slash(folder):
    return f"{shown(folder)}/" if folder else "./"
