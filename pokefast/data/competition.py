"""A folder of images and labels, read and checked as a whole before any work is done on it."""

import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd

from pokefast.data.layout import Given, Layout, find_layout
from pokefast.data.tables import ImageIndex, labels_of, matching_column
from pokefast.data.tree import name_of
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
from pokefast.runs import read_run

__all__ = ["Competition", "competition_of_run", "look_over", "read_competition", "usable"]

FIX = 'Mend them, or pass --skip-bad (ARGS="--skip-bad" for make) to go on without them.'
MEND = "Mend them: with --skip-bad there would be too little left to train and to predict."


@dataclass(frozen=True)
class Competition:
    """What a competition folder holds.

    `train` has the columns Id, label (the class) and path, `test` has Id and path, both in order of
    Id; `test` has no rows where there are no test images. Where a folder of validation images was
    given, they are rows of `train`, and its column is_valid says which. `sample` is the sample
    submission or None. `bad_test` lists test ids that `skip_bad` left out, `layout` is where all
    was found, and `problems` names what cannot be used, by its kind.
    """

    root: Path
    train: pd.DataFrame
    test: pd.DataFrame
    sample: pd.DataFrame | None = None
    bad_test: list = field(default_factory=list)
    layout: Layout | None = None
    problems: dict = field(default_factory=dict, repr=False)

    @property
    def vocab(self):
        """The classes' names, sorted."""
        return sorted(self.train["label"].unique())

    def without(self, errors):
        """The competition without the images in `errors`, a dict of paths that cannot be read and
        why, which are added to the problems; rows keep their index.
        """
        problems = dict(self.problems)
        for part, images in (("training", self.train), ("test", self.test)):
            if named := _named(images, errors):
                problems[f"{part} images that cannot be read"] = named
        bad = self.test["path"].isin(errors)
        return replace(
            self,
            train=self.train[~self.train["path"].isin(errors)],
            test=self.test[~bad],
            bad_test=[*self.bad_test, *self.test["Id"][bad]],
            problems=problems,
        )


def competition_of_run(run):
    """The `Competition` of the run in a folder, found by the run's own options, or None where its
    data is gone. Images are not looked at, and bad rows are left out.
    """
    about = read_run(run)
    if not Path(about["data"]).is_dir():
        return None
    layout = find_layout(about["data"], Given.among(about.get("options", {})))
    return read_competition(layout, skip_bad=True, check_images=False)


def read_competition(root, skip_bad=False, check_images=True):
    """Read and check a folder, given by its path or its `Layout`; returns a `Competition`.

    `skip_bad` leaves out bad rows and images instead of stopping, `check_images` decodes every
    image once to find the broken ones, as is done too where there are other problems. Ids and file
    names that only look alike are taken for the same, as are labels, and that is said. Raises
    UserError with the first few offenders of each kind and their count.
    """
    found = look_over(root if isinstance(root, Layout) else find_layout(root), check_images)
    if found.problems and not (check_images or skip_bad):
        found = _looked_at(found)
    return usable(found, skip_bad)


def usable(found, skip_bad=False):
    """The `Competition` that was `found`, after its problems were said.

    Raises UserError for these unless `skip_bad` leaves them out, and where too little is left.
    """
    layout, classes = found.layout, found.train["label"].nunique()
    enough = classes > 1 and (len(found.test) > 0 or not layout.test)
    _report(found.root, found.problems, skip_bad, enough)
    if classes < 2:
        table = found.root / (layout.table or "")
        raise UserError(f"{table}: fewer than two classes are left; a classifier needs two")
    if layout.test and found.test.empty:
        raise UserError(f"{found.root}: no test image is left")
    return found


def look_over(layout, check_images=True):
    """The `Competition` of a `Layout` as far as it can be used, whatever its problems are and
    however little that leaves.
    """
    root, table, problems = layout.root, layout.root / (layout.table or ""), {}
    sample = read_csv(root / layout.sample) if layout.sample else None
    train, unlabelled = _train(layout, table, problems)
    test = _test(layout, unlabelled, sample, problems)
    lacking = sorted(set(unlabelled) - set(test["path"]))
    problems["training images without a label"] = lacking
    problems["files of images that cannot be read here; save them as PNG"] = layout.unread
    for images in (train, test):
        images["path"] = [root / path for path in images["path"]]
    problems = {kind: list(offenders) for kind, offenders in problems.items() if offenders}
    train, test = (images.sort_values("Id", ignore_index=True) for images in (train, test))
    found = Competition(root, train, test, sample, layout=layout, problems=problems)
    return _looked_at(found) if check_images else found


def _looked_at(found):
    """The `Competition` without the images that cannot be read, after all were decoded."""
    return found.without(image_errors([*found.train["path"], *found.test["path"]]))


def _train(layout, table, problems):
    """(data frame Id, label, path and, where there is a validation folder, is_valid, of what is
    good; paths of images without a label). What is bad is added to `problems`.
    """
    files = [*layout.train_files, *layout.valid_files]
    if layout.table is None:
        named, twins = _by_path(files, [*layout.train, *layout.valid]), set()
        pairs = [(i, layout.classes[p]) for i, p in named.items() if p in layout.classes]
        labels = pd.DataFrame(pairs, columns=["Id", "label"])
    else:
        rows = read_csv(table)
        if rows.empty:
            raise UserError(f"{table}: it has no rows")
        labels = pd.DataFrame({"Id": rows[layout.id], "label": labels_of(rows, layout.label)})
        labels = _without_others(layout, table, labels)
        named, twins = _by_id(files, labels["Id"], problems, "training")
    labels["label"] = _labels(table, labels["label"])
    train, found = _matched(table, labels, named, twins, problems)
    if layout.valid:
        train["is_valid"] = train["path"].isin(layout.valid_files)
    return train, [path for name, path in named.items() if name not in found]


def _without_others(layout, table, labels):
    """`labels` without the rows that name images of other folders and none for training."""
    index, others = ImageIndex([*layout.train_files, *layout.valid_files]), layout.other_files
    names = set(ImageIndex(others).hits(labels["Id"])) - set(index.hits(labels["Id"]))
    other = labels["Id"].isin(names)
    if other.any():
        some = listed([shown(name) for name in labels["Id"][other]])
        print(f"{table}: {other.sum()} rows name images that are not for training: {some}")
    return labels[~other]


def _test(layout, unlabelled, sample, problems):
    """Data frame Id and path of the test images; ids are spelled as in the sample submission, or in
    the table of test ids, or else as those of training.
    """
    shared = layout.test == layout.train
    files = unlabelled if shared else layout.test_files
    table = sample
    if sample is None and layout.test_ids:
        table = read_csv(layout.root / layout.test_ids)
    if table is None and layout.table is None:
        named = _by_path(files, layout.test)
    else:
        like = table if table is not None else read_csv(layout.root / layout.table)[[layout.id]]
        ids = like[matching_column(like, ImageIndex(files))]
        named, _ = _by_id(files, ids, problems, "test", whole=table is not None)
    if table is not None:
        found, lines = match_names(list(ids), named)
        for line in lines:
            print(f"{layout.root / layout.test_ids}: ids taken for names of images: {line}")
        spelling = {there: name for name, there in found.items()}
        if shared or sample is None:
            if not shared:
                more = [p for name, p in named.items() if name not in spelling]
                problems[f"test images that {layout.test_ids} does not name"] = more
            named = {name: path for name, path in named.items() if name in spelling}
        named = {spelling.get(name, name): path for name, path in named.items()}
    return pd.DataFrame({"Id": list(named), "path": list(named.values())})


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


def _matched(table, labels, files, twins, problems):
    """(the good rows of `labels`, with a column path from `files`, a dict by id; names in `files`
    that an id stands for). The bad rows, those of `twins` apart, are added to `problems`.
    """
    ids = labels["Id"]
    outside = ids.map(visible).isin(["", ".", ".."]) | ids.str.contains(r"(?:^|[/\\])\.\.[/\\]")
    control = (ids + labels["label"]).str.contains(r"[\x00-\x1f\x7f]")
    found, lines = match_names(ids[~outside & ~control], files)
    for line in lines:
        print(f"{table}: ids that are taken for names of images: {line}")
    if alike := look_alikes(found):
        some = listed([" and ".join(map(ascii, names)) for names in alike])
        print(f"NOTE: {table}: ids that look alike are different images: {some}")
    no_file = ~ids.isin(found) & ~outside & ~control
    duplicate = ids.map(composed).duplicated(keep=False)
    empty = labels["label"].map(visible) == ""
    without = "ids without an image in the training folder"
    if not found and files:
        without += f", where they are called {listed([name_of(p) for p in files.values()])}"
    problems |= {
        "ids that are empty or lead out of the folder": list(ids[outside]),
        "ids with a line break, or the like, in them or their label": list(ids[control]),
        without: list(ids[no_file]),
        "ids that stand more than once": list(ids[duplicate].unique()),
        "ids with an empty label": list(ids[empty]),
    }
    twin = ids.map(found).isin(twins)
    train = labels[~(outside | control | no_file | duplicate | empty | twin)]
    return train.assign(path=[files[found[i]] for i in train["Id"]]), set(found.values())


def _by_path(files, folders):
    """`files` by their paths from the folder on, or from the root where there are several."""
    start = len(folders[0]) + 1 if len(folders) == 1 and folders[0] else 0
    return {path[start:]: path for path in files}


def _by_id(files, ids, problems, part, whole=True):
    """`files` by names of the form that most of `ids` have, and those names that several have: with
    or without suffix, and with as many folders (none where not `whole`). What cannot be used is
    added to `problems`.
    """
    depth = Counter(i.count("/") for i in ids).most_common(1)[0][0] if whole and len(ids) else 0
    with_suffix = sum(Path(i).suffix.lower() in IMAGE_SUFFIXES for i in ids) > len(ids) / 2
    same = defaultdict(list)
    for path in files:
        name = "/".join(path.split("/")[-depth - 1 :])
        same[composed(name if with_suffix else name.rpartition(".")[0])].append((name, path))
    twins = [found for found in same.values() if len(found) > 1]
    # bytes that are no UTF-8 stand in a name as lone surrogates, which no table can hold
    strange = {path for path in files if re.search("[\ud800-\udfff]", path)}
    problems[f"{part} images whose file names are no UTF-8"] = sorted(map(name_of, strange))
    problems[f"{part} images of the same id"] = [
        " and ".join(ascii(name) for name, _ in found) for found in twins
    ]

    def id_of(found):
        name = found[-1][0]
        return name if with_suffix else name.rpartition(".")[0]

    kept = {id_of(found): found[-1][1] for found in same.values() if found[-1][1] not in strange}
    return kept, {id_of(found) for found in twins}


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
    ]
    if lines and not (skip_bad and enough):
        fix = FIX if enough else MEND
        raise UserError("\n".join([f"{root}: this folder has problems.", *lines, fix]))
    if lines:
        print("\n".join([f"{root}: left out by --skip-bad:", *lines]))
