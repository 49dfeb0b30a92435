"""Which training images stay on one side of a split."""

from dataclasses import replace

import pandas as pd

from pokefast.crops.copies import kept_copies
from pokefast.crops.groups import add_groups, kept_pairs
from pokefast.errors import UserError
from pokefast.files import read_csv
from pokefast.names import listed, match_names, shown, visible

__all__ = ["NONE", "believable", "doubt", "given_groups", "read_groups", "split_groups"]

# silhouette of near-duplicate groups from which they are believed: sprites have 0.6, photographs
# without near duplicates, digits and flags at most 0.04 (docs/results.md)
BELIEVED = 0.45
NONE = "no two images of a class look alike"


def doubt(competition, keep=True):
    """Why near duplicates that are found in `competition` are not `BELIEVED`: words, which are
    empty where they are.
    """
    pairs = kept_pairs(competition.train["path"], keep)
    groups = pairs.groups(competition.train["label"])
    if len(set(groups)) == len(groups):
        return NONE
    silhouette = pairs.silhouette(groups)
    if silhouette >= BELIEVED:
        return ""
    return f"what looks alike is too unsure (silhouette {silhouette:.2f}, {BELIEVED} is asked)"


def believable(competition, o):
    """Options `o` without what rests on near duplicates, where those that are found in
    `competition` are too unsure to be `BELIEVED`: no image is predicted with others, and the split
    `group` is `auto`, copies alone, unless groups were given. Says so.
    """
    found = o.split == "group" and o.groups is None and o.group is None
    if not (found or o.average) or not (why := doubt(competition, o.cache)):
        return o
    if found:
        print(
            f"NOTE: --split auto, which keeps copies alone together, as {why}: the score may "
            "flatter; --groups FILE or --group COLUMN says which images belong together",
            flush=True,
        )
        return replace(o, split="auto", average=False)
    if why != NONE:
        print(f"NOTE: --no-average, as {why}", flush=True)
    return replace(o, average=False)


def split_groups(competition, o):
    """The training images of `competition` with a column `group` where some of them stay together:
    those of a group in the file `o.groups` (Id,group) or in the column `o.group` of the labels'
    table; otherwise, by `o.split`, copies ("auto"), near duplicates ("group") or none ("image").

    Near duplicates that are not `believable` are none. With `o.average` there is the column `alike`
    of `add_groups`. Raises UserError where a file or column does not fit the images.
    """
    train, o = competition.train, believable(competition, o)
    groups = given_groups(competition, o)
    if groups is None and o.split == "image":
        return train
    if groups is None and o.split == "auto":
        groups = kept_copies(train["path"], o.cache)
        if not o.average and len(set(groups)) == len(train):
            return train
    return add_groups(train, groups, o.average, o.cache)


def given_groups(competition, o):
    """The groups of the training images of `competition`, int [n], in the file `o.groups` or the
    column `o.group` of the labels' table; None where neither is given. Raises UserError where they
    do not fit the images.
    """
    if o.groups is not None:
        return read_groups(o.groups, competition.train["Id"])
    if o.group is None:
        return None
    layout = competition.layout
    if layout.table is None:
        raise UserError(f"--group {o.group}: there is no table of labels; --groups FILE is one")
    table = layout.root / layout.table
    return read_groups(table, competition.train["Id"], layout.id, o.group)


def read_groups(file, ids, id="Id", column="group"):
    """The groups of the training images `ids`, int [n], from a CSV with the columns `id` and
    `column`.

    A group's name may be any text; ids that are no training image do not count. Raises UserError
    naming the file and an Id that is missing or repeated, or has no group.
    """
    table, ids = read_csv(file), pd.Series([str(i) for i in ids])
    lacking = {id, column} - set(table.columns)
    if lacking:
        there = listed([shown(str(name)) for name in table.columns])
        raise UserError(f"{file}: no column {', '.join(sorted(lacking))}; it has {there}")
    table = pd.DataFrame({"Id": table[id], "group": table[column]})
    found, lines = match_names(table["Id"], ids)
    for line in lines:
        print(f"{file}: ids that are taken for those of images: {line}")
    table["Id"] = table["Id"].map(lambda name: found.get(name, name))
    if len(unknown := table.Id[~table.Id.isin(ids)]):  # --skip-bad may have left them out
        some = listed([shown(name) for name in unknown])
        print(f"{file}: {len(unknown)} ids are no training image and do not count: {some}")
        table = table[table.Id.isin(ids)]
    for problem, bad in (
        ("has no group", table.Id[table.group.map(visible) == ""]),
        ("appears more than once", table.Id[table.Id.duplicated()]),
        ("is missing", ids[~ids.isin(table.Id)]),
    ):
        if len(bad):
            more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
            raise UserError(
                f"{file}: Id {shown(bad.iloc[0])} {problem}{more}; each image needs one row"
            )
    return pd.factorize(table.set_index("Id").group.map(visible).loc[ids])[0]
