"""A folder in Kaggle's layout, read and checked as a whole before any work is done on it."""

import re
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from pokefast.errors import UserError
from pokefast.files import read_csv
from pokefast.images import IMAGE_SUFFIXES, image_errors
from pokefast.names import (
    composed,
    listed,
    look_alikes,
    match_names,
    one_spelling,
    shown,
    visible,
)

__all__ = ["Competition", "read_competition"]

FIX = 'Mend them, or pass --skip-bad (ARGS="--skip-bad" for make) to go on without them.'
MEND = "Mend them: with --skip-bad there would be too little left to train and to predict."


@dataclass(frozen=True)
class Competition:
    """What a competition folder holds.

    `train` has the columns Id, label (the class) and path, `test` has Id and path, both in order of
    Id. `sample` is sample_submission.csv or None. `bad_test` lists test ids that `skip_bad` left
    out.
    """

    root: Path
    train: pd.DataFrame
    test: pd.DataFrame
    sample: pd.DataFrame | None = None
    bad_test: list = field(default_factory=list)

    @property
    def vocab(self):
        """The classes' names, sorted."""
        return sorted(self.train["label"].unique())


def read_competition(root, skip_bad=False, check_images=True):
    """Read and check folder `root`, with train_labels.csv, Train/ (or train/) and Test/ (or test/);
    returns a `Competition`.

    `skip_bad` leaves out bad rows and images instead of stopping, `check_images` decodes every
    image once to find the broken ones. Ids and file names that only look alike are taken for the
    same, as are labels, and that is said. Raises UserError with the first few offenders of each
    kind and their count.
    """
    root = Path(root)
    if not root.is_dir():
        raise UserError(
            f"{root}: there is no such folder; DATA (--data) names a competition's folder"
        )
    table, problems = root / "train_labels.csv", {}
    labels = read_csv(table, ["Id", "label"])
    if labels.empty:
        raise UserError(f"{table}: it has no rows")
    labels["label"] = _labels(table, labels["label"])
    train_files, twins = _images(_folder(root, "train"), problems, "training")
    test_files, _ = _images(_folder(root, "test"), problems, "test")
    sample = root / "sample_submission.csv"
    sample = read_csv(sample) if sample.exists() else None
    train = _matched(root, labels, train_files, twins, problems)
    test_files = _as_in_sample(root, test_files, sample)
    test = pd.DataFrame({"Id": list(test_files), "path": list(test_files.values())})
    bad_test = []
    if check_images:
        errors = image_errors([*train["path"], *test["path"]])
        for part, images in (("training", train), ("test", test)):
            problems[f"{part} images that cannot be read"] = _named(images, errors)
        bad_test = list(test["Id"][test["path"].isin(errors)])
        train, test = (images[~images["path"].isin(errors)] for images in (train, test))
    enough = train["label"].nunique() > 1 and len(test) > 0
    _report(root, problems, skip_bad, enough)
    if train["label"].nunique() < 2:
        raise UserError(f"{table}: fewer than two classes are left; a classifier needs two")
    if test.empty:
        raise UserError(f"{root}: no test image is left")
    return Competition(
        root=root,
        train=train.sort_values("Id", ignore_index=True),
        test=test.sort_values("Id", ignore_index=True),
        sample=sample,
        bad_test=bad_test,
    )


def _labels(table, labels):
    """The series `labels` with one spelling of each class, where several look the same."""
    labels = labels.str.strip()
    spelling = one_spelling(labels)
    if other := [f"{ascii(k)} as {ascii(v)}" for k, v in spelling.items() if k != v]:
        print(f"{table}: labels that look the same are taken as one class: {listed(other)}")
    if alike := look_alikes(spelling.values()):
        some = listed([" and ".join(map(ascii, names)) for names in alike])
        print(f"NOTE: {table}: labels that differ in case alone stay different classes: {some}")
    return labels.map(spelling)


def _matched(root, labels, files, twins, problems):
    """The good rows of `labels`, with a column path from `files`, a dict by id; the bad ones, those
    of `twins` apart, are added to `problems`.
    """
    ids = labels["Id"]
    with_path = ids.str.contains(r"[/\\]") | ids.map(visible).isin(["", ".", ".."])
    control = (ids + labels["label"]).str.contains(r"[\x00-\x1f\x7f]")
    found, lines = match_names(ids[~with_path & ~control], files)
    for line in lines:
        print(f"{root / 'train_labels.csv'}: ids that are taken for names of images: {line}")
    if alike := look_alikes(found):
        some = listed([" and ".join(map(ascii, names)) for names in alike])
        print(
            f"NOTE: {root / 'train_labels.csv'}: ids that look alike are different images: {some}"
        )
    no_file = ~ids.isin(found) & ~with_path & ~control
    duplicate = ids.map(composed).duplicated(keep=False)
    empty = labels["label"].map(visible) == ""
    without = "ids without an image in the training folder"
    if not found and files:
        without += f", where they are called {listed([p.name for p in files.values()])}"
    problems |= {
        "ids that are empty or have a path in them": list(ids[with_path]),
        "ids with a line break, or the like, in them or their label": list(ids[control]),
        without: list(ids[no_file]),
        "ids that stand more than once": list(ids[duplicate].unique()),
        "ids with an empty label": list(ids[empty]),
        "training images without a label": sorted(set(files) - set(found.values())),
    }
    twin = ids.map(found).isin(twins)
    train = labels[~(with_path | control | no_file | duplicate | empty | twin)]
    return train.assign(path=[files[found[i]] for i in train["Id"]])


def _as_in_sample(root, files, sample):
    """`files`, a dict by id, with the ids as sample_submission.csv, where there is one, spells
    them.
    """
    if sample is None:
        return files
    found, lines = match_names(list(sample.iloc[:, 0]), files)
    for line in lines:
        print(f"{root / 'sample_submission.csv'}: ids that are taken for names of images: {line}")
    spelling = {there: name for name, there in found.items()}
    return {spelling.get(name, name): path for name, path in files.items()}


def _folder(root, name):
    """`root/Train` or `root/train`, whichever there is."""
    names = [p for p in _entries(root) if p.is_dir() and p.name.lower() == name]
    if not names:
        raise UserError(f"{root}: no folder {name.title()}/ or {name}/ in it")
    if len(names) > 1:
        found = ", ".join(sorted(p.name for p in names))
        raise UserError(f"{root}: it has several of the same folder ({found}); keep one")
    return names[0]


def _entries(folder):
    """The paths in `folder`, sorted; UserError where it may not be read."""
    try:
        return sorted(folder.iterdir())
    except OSError as e:
        raise UserError(f"{folder}: the folder cannot be read ({e.strerror})") from None


def _images(folder, problems, part):
    """The images in `folder` by id, the file's name without its suffix, and those ids that several
    files have. What cannot be used is added to `problems`.
    """
    paths = [p for p in _entries(folder) if p.suffix and p.name[0] != "." and p.is_file()]
    images = [p for p in paths if p.suffix.lower() in IMAGE_SUFFIXES]
    if not images:
        others = sorted({p.suffix for p in paths})
        but = f", but {listed(others)}" if others else ""
        raise UserError(f"{folder}: no {'/'.join(IMAGE_SUFFIXES)} images in it{but}")
    same = defaultdict(list)
    for p in images:
        same[composed(p.stem)].append(p)
    twins = [found for found in same.values() if len(found) > 1]
    # bytes that are no UTF-8 stand in a name as lone surrogates, which no table can hold
    strange = [p for p in images if re.search("[\ud800-\udfff]", p.name)]
    problems[f"{part} images whose file names are no UTF-8"] = [p.name for p in strange]
    problems[f"{part} images of the same id"] = [
        " and ".join(ascii(p.name) for p in found) for found in twins
    ]
    files = {found[-1].stem: found[-1] for found in same.values() if found[-1] not in strange}
    return files, {found[-1].stem for found in twins}


def _named(df, errors):
    """Ids of the broken images with their reasons."""
    rows = zip(df["Id"], df["path"], strict=True)
    return [f"{shown(i)} ({errors[p]})" for i, p in rows if p in errors]


def _report(root, problems, skip_bad, enough):
    """Raise a UserError for `problems` or, with `skip_bad`, print how many were left out; `enough`
    says whether anything is left to go on with.
    """
    lines = [
        f"  {len(offenders)} {kind}: {listed([shown(name) for name in offenders])}"
        for kind, offenders in problems.items()
        if offenders
    ]
    if lines and not (skip_bad and enough):
        fix = FIX if enough else MEND
        raise UserError("\n".join([f"{root}: this competition folder has problems.", *lines, fix]))
    if lines:
        print("\n".join([f"{root}: left out by --skip-bad:", *lines]))
