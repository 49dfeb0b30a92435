"""Find near duplicates, images that show the same art, so that a split can keep them together and a
prediction can be averaged over them.

The same art in two images differs by scale, flip and background, and keeps its flat colours. So the
foreground is cut out, its colours are counted in a fine histogram, and each image is held against
those whose histograms are most alike (by the Bhattacharyya coefficient): the two cut-outs are laid
over each other (alignment.py), and how well they fit decides, by average linkage, so that
look-alikes make no chains. Nothing is assumed about how many images a group has. Source: "Color
indexing", IJCV 1991 (the histograms).

With labels, groups are sought within a class and every doubt is for them: an image left alone may
have a bad mask, and a missed twin leaks across the split, so it joins its likeliest group at a
lower threshold. Without labels only what is sure counts.
"""

import hashlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import pandas as pd
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from sklearn.cluster import AgglomerativeClustering

from pokefast.crops.alignment import centred_cutout, fit_of_pairs
from pokefast.crops.foreground import foreground_batches, main_part
from pokefast.crops.histogram import colour_histograms
from pokefast.errors import UserError
from pokefast.files import atomic_path, cache_dir, read_csv
from pokefast.names import listed, match_names, shown, visible

__all__ = ["Pairs", "add_groups", "describe_images", "find_pairs", "kept_pairs", "read_groups"]

VERSION = 5  # of the method: raise it when the pairs that it finds change
BINS = 24  # histogram bins a colour channel
NEAREST = 8  # images whose colours are most alike, that one is held against
CANDIDATE = 0.4  # histogram similarity below which two are not held against each other
ALIKE = 0.5  # mean similarity, histograms' times fit, above which images of a class are a group
LONELY = 0.15  # the same for an image that is alone so far
SURE = 0.6  # mean fit above which images of unknown classes are a group
LOOKALIKES = 4000  # images in a chain of pairs above which it is none of a group
CHAIN = 0.5  # fit of pairs that make a chain, which may be one group
LARGEST = 300  # images in a chain up to which every two of them are held against each other
CHUNK = 1024  # images whose similarity to all others is in memory at once


def describe_images(images, device=None):
    """What near duplicates are known by, of `images`, a sequence of paths or PIL images: square
    roots of the foregrounds' colour histograms, float32 [n, BINS^3], and n cut-outs, uint8
    [n, 4, 64, 64].

    Where no foreground is found, both are the whole image's.
    """
    histograms, cutouts = [np.zeros((0, BINS**3), np.float32)], []
    for small, maps in foreground_batches(images, device):
        weights = np.ones(maps.shape, np.float32)
        for i, part in enumerate(map(main_part, maps)):
            if part is not None:
                weights[i] = part
            cutouts.append(centred_cutout(small[i], weights[i]))
        colours = torch.from_numpy(small).permute(0, 3, 1, 2) / 255
        found = colour_histograms(colours, torch.from_numpy(weights)[:, None], BINS)
        histograms.append(found.numpy())
    return np.concatenate(histograms), np.stack(cutouts) if cutouts else np.zeros((0, 4, 64, 64))


@dataclass(frozen=True)
class Pairs:
    """Pairs of `n` images that may show the same art: row numbers [m, 2], the first the smaller,
    how alike the colours are [m] and how well the cut-outs fit [m], both 0..1.
    """

    n: int
    rows: np.ndarray
    colours: np.ndarray
    fit: np.ndarray

    def groups(self, labels):
        """Group numbers, int [n], of which images show the same art if those of different `labels`
        [n] do not, in order of first appearance.
        """
        labels = np.asarray(labels)
        same = labels[self.rows[:, 0]] == labels[self.rows[:, 1]]
        rows, similarity = self.rows[same], (self.colours * self.fit)[same]
        return _join_lonely(_clusters(self.n, rows, similarity, ALIKE), rows, similarity)

    def sure_groups(self):
        """Group numbers, int [n], of which images surely show the same art, whatever they are."""
        return _clusters(self.n, self.rows, self.fit, SURE)


def find_pairs(images, device=None):
    """The `Pairs` of a sequence of paths or PIL images.

    Seconds and memory grow with the number of images, but for their colours' similarities, whose
    number is its square. Raises UserError naming a file that cannot be read.
    """
    histograms, cutouts = describe_images(images, device)
    n = len(histograms)
    if n < 2:
        return Pairs(n, np.zeros((0, 2), int), np.zeros(0), np.zeros(0))
    rows = _nearest(torch.from_numpy(histograms))
    fit = fit_of_pairs(cutouts, rows)
    # in a chain all pairs count, not the nearest alone
    chain = _components(n, rows[fit > CHAIN])
    members = pd.Series(range(n)).groupby(chain).agg(list)
    some = members[members.map(len).between(3, LARGEST)]
    every = [np.stack(np.triu_indices(len(m), 1), 1) for m in some]
    more = [np.asarray(m)[pairs] for m, pairs in zip(some, every, strict=True)]
    known = rows @ [n, 1]
    more = np.concatenate([np.zeros((0, 2), int), *more])
    more = more[~np.isin(more @ [n, 1], known)]
    rows, fit = np.concatenate([rows, more]), np.concatenate([fit, fit_of_pairs(cutouts, more)])
    colours = [np.zeros(0, np.float32)]
    for part in np.array_split(rows, len(rows) // CHUNK + 1):
        colours.append((histograms[part[:, 0]] * histograms[part[:, 1]]).sum(1))
    return Pairs(n, rows, np.concatenate(colours).clip(0, 1), fit)


def _nearest(histograms):
    """Pairs of rows [m, 2], each once: those that are nearest by colours, and near enough."""
    n, found = len(histograms), [np.zeros((0, 2), int)]
    for rows in torch.arange(n).split(CHUNK):
        alike = histograms[rows] @ histograms.T
        alike[torch.arange(len(rows)), rows] = 0
        near, columns = alike.topk(min(NEAREST, n))
        first, place = (near > CANDIDATE).nonzero(as_tuple=True)
        pairs = torch.stack([rows[first], columns[first, place]], 1)
        found.append(pairs.sort(1).values.numpy())
    return np.unique(np.concatenate(found), axis=0)


def _components(n, rows):
    """Component [n] of each of n images in the graph of pairs [m, 2]."""
    links = coo_matrix((np.ones(len(rows)), (rows[:, 0], rows[:, 1])), shape=(n, n))
    return connected_components(links, directed=False)[1]


def _clusters(n, rows, similarity, threshold):
    """Cluster [n] of each of n images from the similarity of pairs, which is 0 for all others: by
    average linkage, within what is connected at a third of the threshold.
    """
    some = similarity > threshold / 3
    rows, similarity = rows[some], similarity[some]
    component = _components(n, rows)
    if np.bincount(component).max(initial=0) > LOOKALIKES:
        strong = similarity > threshold
        component = _components(n, rows[strong])
    clusters = component * (n + 1)
    matrix = coo_matrix((similarity, (rows[:, 0], rows[:, 1])), shape=(n, n)).tocsr()
    matrix = matrix + matrix.T
    for members in pd.Series(range(n)).groupby(component).agg(np.array):
        if len(members) > LOOKALIKES:
            clusters[members] += np.arange(len(members))
        elif len(members) > 1:
            alike = matrix[members][:, members].toarray()
            np.fill_diagonal(alike, 1)
            linkage = AgglomerativeClustering(
                n_clusters=None,
                metric="precomputed",
                linkage="average",
                distance_threshold=1 - threshold,
            )
            clusters[members] += linkage.fit_predict(1 - alike)
    return pd.factorize(clusters)[0]


def _join_lonely(clusters, rows, similarity):
    """Clusters [n] with every lone image joined to its likeliest cluster, if that is `LONELY`."""
    size = np.bincount(clusters)
    both = np.concatenate([rows, rows[:, ::-1]])
    table = pd.DataFrame({"a": clusters[both[:, 0]], "b": clusters[both[:, 1]]})
    table = table.assign(mean=np.tile(similarity, 2))[size[table["a"]] == 1]
    mean = table.groupby(["a", "b"], as_index=False)["mean"].sum()
    mean["mean"] /= size[mean["b"]]
    mean = mean[mean["mean"] > LONELY].sort_values("mean").drop_duplicates("a", keep="last")
    joined = _components(len(size), mean[["a", "b"]].to_numpy())
    return pd.factorize(joined[clusters])[0]


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


def add_groups(train, groups=None, average=False, cache=None, device=None):
    """`train`, a competition's training images (Id, label, path), with a column `group`: its near
    duplicates.

    `groups` are their numbers [n] where these are known; otherwise they are found: see
    `kept_pairs`, which `cache` and `device` are for. With `average` there is a column `alike`, of
    `sure_groups`, which no group then cuts through: whose predictions are averaged must not be
    known to each other's models.
    """
    pairs = kept_pairs(train["path"], cache, device) if average or groups is None else None
    groups = pairs.groups(train["label"]) if groups is None else np.asarray(groups)
    if not average:
        return train.assign(group=groups)
    alike, n = pairs.sure_groups(), len(train)
    links = np.stack([np.r_[range(n), range(n)], np.r_[n + groups, 2 * n + alike]], 1)
    joined = pd.factorize(_components(3 * n, links)[:n])[0]
    return train.assign(group=joined, alike=alike)


def kept_pairs(paths, cache=None, device=None):
    """The `Pairs` of image files, kept for the next time in the folder `cache`, by default
    `cache_dir()`. A thousand take half a minute on one core, or on `device`, the fastest there is.
    """
    digest = hashlib.sha256(f"{VERSION}\n".encode())
    for path in paths:
        try:
            stat = Path(path).stat()
        except OSError as e:
            raise UserError(f"{path}: cannot be read ({e})") from None
        digest.update(f"{Path(path).name} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    kept = Path(cache or cache_dir()) / f"pairs-{digest.hexdigest()[:16]}.npz"
    with suppress(OSError, ValueError, KeyError, BadZipFile), np.load(kept) as found:
        return Pairs(len(paths), *(found[name] for name in ("rows", "colours", "fit")))
    pairs = find_pairs(list(paths), device)
    try:
        with atomic_path(kept) as temp, open(temp, "wb") as f:
            np.savez(f, rows=pairs.rows, colours=pairs.colours, fit=pairs.fit)
    except OSError as e:
        print(f"NOTE: near duplicates are sought again in the next run: {kept} ({e})")
    return pairs
