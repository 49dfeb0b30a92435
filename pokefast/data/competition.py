"""A folder in Kaggle's layout, read and checked as a whole before any work is done on it."""

from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from pokefast.errors import UserError
from pokefast.files import read_csv
from pokefast.images import IMAGE_SUFFIXES, image_errors

__all__ = ["Competition", "read_competition"]

SHOWN = 5  # offenders of each kind that an error lists
FIX = 'Mend them, or pass --skip-bad (ARGS="--skip-bad" for make) to go on without them.'


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
    image once to find the broken ones. Raises UserError with the first few offenders of each kind
    and their count.
    """
    root = Path(root)
    if not root.is_dir():
        raise UserError(
            f"{root}: there is no such folder; DATA (--data) names a competition's folder"
        )
    labels = read_csv(root / "train_labels.csv", ["Id", "label"])
    if labels.empty:
        raise UserError(f"{root / 'train_labels.csv'}: it has no rows")
    labels["label"] = labels["label"].str.strip()
    train_files, train_twins = _images(_folder(root, "train"))
    test_files, test_twins = _images(_folder(root, "test"))
    if not test_files:
        raise UserError(f"{_folder(root, 'test')}: no {'/'.join(IMAGE_SUFFIXES)} images in it")

    with_path = labels["Id"].str.contains(r"[/\\]") | labels["Id"].isin(["", ".", ".."])
    no_file = ~labels["Id"].isin(set(train_files)) & ~with_path
    duplicate = labels["Id"].duplicated(keep=False)
    empty = labels["label"] == ""
    problems = {
        "ids that are empty or have a path in them": list(labels["Id"][with_path]),
        "ids without an image in the training folder": list(labels["Id"][no_file]),
        "ids that stand more than once": list(labels["Id"][duplicate].unique()),
        "ids with an empty label": list(labels["Id"][empty]),
        "training images without a label": sorted(set(train_files) - set(labels["Id"])),
        "training images of the same id": train_twins,
        "test images of the same id": test_twins,
    }
    train = labels[~(with_path | no_file | duplicate | empty) & ~labels["Id"].isin(train_twins)]
    train = train.assign(path=train["Id"].map(train_files))
    test = pd.DataFrame({"Id": list(test_files), "path": list(test_files.values())})
    bad_test = []
    if check_images:
        train_errors, test_errors = image_errors(train["path"]), image_errors(test["path"])
        problems["training images that cannot be read"] = _named(train, train_errors)
        problems["test images that cannot be read"] = _named(test, test_errors)
        bad_test = list(test["Id"][test["path"].isin(test_errors)])
        train = train[~train["path"].isin(train_errors)]
        test = test[~test["path"].isin(test_errors)]
    _report(root, problems, skip_bad)
    if train["label"].nunique() < 2:
        raise UserError(f"{root / 'train_labels.csv'}: fewer than two classes are left")
    if test.empty:
        raise UserError(f"{root}: no test image is left")
    sample_file = root / "sample_submission.csv"
    return Competition(
        root=root,
        train=train.sort_values("Id", ignore_index=True),
        test=test.sort_values("Id", ignore_index=True),
        sample=read_csv(sample_file) if sample_file.exists() else None,
        bad_test=bad_test,
    )


def _folder(root, name):
    """`root/Train` or `root/train`, whichever there is."""
    names = [p for p in root.iterdir() if p.is_dir() and p.name.lower() == name]
    if not names:
        raise UserError(f"{root}: no folder {name.title()}/ or {name}/ in it")
    if len(names) > 1:
        found = ", ".join(sorted(p.name for p in names))
        raise UserError(f"{root}: it has several of the same folder ({found}); keep one")
    return names[0]


def _images(folder):
    """The images in `folder` by id (file name without its suffix), and the ids that two files
    share.
    """
    files, twins = {}, set()
    for p in sorted(folder.iterdir()):
        if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith("."):
            if p.stem in files:
                twins.add(p.stem)
            files[p.stem] = p
    return files, sorted(twins)


def _named(df, errors):
    """Ids of the broken images with their reasons."""
    return [f"{i} ({errors[p]})" for i, p in zip(df["Id"], df["path"], strict=True) if p in errors]


def _report(root, problems, skip_bad):
    """Raise a UserError for `problems` or, with `skip_bad`, print how many were left out."""
    lines = []
    for kind, offenders in problems.items():
        if offenders:
            more = ", ..." if len(offenders) > SHOWN else ""
            lines.append(f"  {len(offenders)} {kind}: {', '.join(offenders[:SHOWN])}{more}")
    if lines and not skip_bad:
        raise UserError("\n".join([f"{root}: this competition folder has problems.", *lines, FIX]))
    if lines:
        print("\n".join([f"{root}: left out by --skip-bad:", *lines]))
