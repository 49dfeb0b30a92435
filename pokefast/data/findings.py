"""What one wants to know of images before training: sizes, duplicates, whether parts look alike.

Near duplicates are those of pokefast.crops, by which a split keeps images together. ImageHash's
pHash was tried in their place: at a distance of 4 it misses mirror images, and takes a hundred of
scikit-learn's 1,797 digits for copies of others, which are none.
"""

import hashlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
from PIL import Image

from pokefast.cores import cores
from pokefast.crops.copies import kept_copies
from pokefast.crops.groups import kept_pairs
from pokefast.crops.links import merged
from pokefast.images import image_facts, open_image
from pokefast.progress import progress
from pokefast.scoring.likeness import MOST, tell_apart

__all__ = ["PARTS", "image_table", "kept_together", "parts_told_apart", "repeats"]

PARTS = "training", "test"
SIDE, TILES, LEVELS = 64, 8, 4  # pixels; tiles on a side; levels a colour in the histogram


def image_table(competition, backgrounds):
    """A data frame of all images of a `Competition`, training first: part, Id, label (empty in the
    test part), path, format, mode, width, height, bytes, and numbers of groups: `file` of the same
    bytes, `copy` of copies, `near` of near duplicates of any kind.

    With `backgrounds`, near duplicates on other backgrounds are sought too, half a minute for a
    thousand images on one core.
    """
    parts = [competition.train, competition.test.assign(label="")]
    parts = [table[["Id", "label", "path"]] for table in parts]
    table = pd.concat(parts, ignore_index=True)
    table.insert(0, "part", np.repeat(PARTS, [len(part) for part in parts]))
    with ThreadPoolExecutor(cores()) as pool:
        facts = list(progress(pool.map(image_facts, table["path"]), len(table), "headers read"))
        digests = pool.map(_digest, table["path"])
        digests = list(progress(digests, len(table), "files compared"))
    table[["format", "mode", "width", "height"]] = pd.DataFrame(facts, columns=range(4))
    table["bytes"] = [path.stat().st_size for path in table["path"]]
    table["file"] = pd.factorize(pd.Series(digests, dtype=object))[0]
    table["copy"] = kept_copies(table["path"]) if len(table) else table["file"]
    kinds = [table["copy"]]
    if backgrounds and len(table):
        kinds.append(kept_pairs(table["path"]).sure_groups())
    return table.assign(near=merged([list(kind) for kind in kinds]))


def repeats(table):
    """Lists of the rows of groups in an `image_table`, by what is wrong with them: images in both
    parts ("across"), in training with several labels ("labels"), the same file more than once
    ("files"), and all other near duplicates ("near").

    Copies come first, the largest groups before the others, then near duplicates of other kinds
    without a pair of copies that is listed.
    """

    def across(group):
        return group["part"].nunique() > 1

    def labels(group):
        return group["label"][group["part"] == PARTS[0]].nunique() > 1

    def near(group):
        return not across(group) and not labels(group) and group["file"].nunique() > 1

    found = {"files": _groups(table, "file")}
    for wrong in (across, labels, near):
        copies = [rows for rows in _groups(table, "copy") if wrong(table.loc[rows])]
        listed = set(table["near"].loc[[row for rows in copies for row in rows]])
        others = [rows for rows in _groups(table, "near") if table["near"][rows[0]] not in listed]
        found[wrong.__name__] = copies + [rows for rows in others if wrong(table.loc[rows])]
    return found


def kept_together(train):
    """(groups of several images, images in them, images of the largest) of a data frame of training
    images, whose column `group`, where there is one, says which a split keeps together.
    """
    sizes = train["group"].value_counts() if "group" in train else pd.Series([], dtype=int)
    sizes = sizes[sizes > 1]
    return len(sizes), int(sizes.sum()), int(sizes.max()) if len(sizes) else 0


def parts_told_apart(table, seed=0):
    """What `tell_apart` says of the two parts of an `image_table`, by colours, where they stand and
    how sharp images of 64 pixels are; None where a part has too few images.
    """
    rng, chosen = np.random.default_rng(seed), []
    for part in PARTS:
        rows = np.flatnonzero(table["part"] == part)
        chosen.append(np.sort(rng.permutation(rows)[:MOST]))
    with ThreadPoolExecutor(cores()) as pool:
        vectors = [list(pool.map(_coarse, table["path"].iloc[rows])) for rows in chosen]
    return tell_apart(*vectors, table["near"].iloc[np.concatenate(chosen)], seed)


def _groups(table, column):
    """Lists of rows of the groups of several images, the largest first."""
    found = table.groupby(column).indices.values()
    return sorted((list(rows) for rows in found if len(rows) > 1), key=len, reverse=True)


def _digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "blake2b").digest()


def _coarse(path):
    """A vector of an image: mean colours of tiles, counts of coarse colours, and mean differences
    of neighbouring pixels at three scales.
    """
    small = open_image(path).resize((SIDE, SIDE), Image.Resampling.BOX)
    x = np.asarray(small, np.float32) / 256
    step = SIDE // TILES
    tiles = x.reshape(TILES, step, TILES, step, 3).mean((1, 3))
    place = (x * LEVELS).astype(int) @ [LEVELS * LEVELS, LEVELS, 1]
    counts = np.bincount(place.ravel(), minlength=LEVELS**3) / SIDE**2
    steps = []
    for by in (1, 2, 4):
        y = x.reshape(SIDE // by, by, SIDE // by, by, 3).mean((1, 3))
        steps += [np.abs(np.diff(y, axis=axis)).mean((0, 1)) for axis in (0, 1)]
    return np.concatenate([tiles.ravel(), np.sqrt(counts), *steps])
