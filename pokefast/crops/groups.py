"""Find near duplicates, images of a class that show the same art, so that a split can keep them
together.

The same art in two images differs by scale, flip and background, and keeps its flat colours. So the
foreground is cut out, its colours are counted in a fine histogram, and two images are as alike as
the histograms' Bhattacharyya coefficient. Average-linkage clustering within a class finds the
candidates, which relatives of the same colours may be; among them, the coefficient times the fit of
the laid-over cut-outs (alignment.py) decides, by average linkage again. An image left alone may
have a bad mask, and a missed twin leaks across the split, so it joins its likeliest group at a
lower threshold. Nothing is assumed about how many images a group has. Source: "Color indexing",
IJCV 1991 (the histograms).
"""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from sklearn.cluster import AgglomerativeClustering

from pokefast.crops.alignment import aligned_similarity, centred_cutout
from pokefast.crops.foreground import foreground_batches, main_part
from pokefast.crops.histogram import colour_histograms
from pokefast.errors import UserError
from pokefast.files import atomic_path, cache_dir, read_csv
from pokefast.names import listed, match_names, shown, visible

__all__ = ["add_groups", "describe_images", "near_duplicate_groups", "read_groups"]

VERSION = 4  # of the method: raise it when the groups that it finds change
BINS = 24  # histogram bins a colour channel
CANDIDATE = 0.2  # mean histogram similarity above which clusters may be one group
ALIKE = 0.45  # mean similarity, histograms' times alignment, above which they are
LONELY = 0.05  # the same for an image that is alone so far
UNSEEN = 0.6  # alignment where no foreground was found: near twins' mean, so the colours decide


def describe_images(images, device=None):
    """What near duplicates are known by, of `images`, a sequence of paths or PIL images: square
    roots of the foregrounds' colour histograms, float32 [n, BINS^3], and a list of n cut-outs.

    Where no foreground is found, the histogram is the whole image's and the cut-out None.
    """
    histograms, cutouts = [np.zeros((0, BINS**3), np.float32)], []
    for small, maps in foreground_batches(images, device):
        weights = np.empty(maps.shape, np.float32)
        for i, part in enumerate(map(main_part, maps)):
            cutouts.append(None if part is None else centred_cutout(small[i], part))
            weights[i] = 1 if part is None else part
        colours = torch.from_numpy(small).permute(0, 3, 1, 2) / 255
        found = colour_histograms(colours, torch.from_numpy(weights)[:, None], BINS)
        histograms.append(found.numpy())
    return np.concatenate(histograms), cutouts


def _clusters(similarity, threshold):
    """Cluster of each of n images from their [n, n] similarity, by average linkage."""
    if len(similarity) == 1:
        return np.zeros(1, int)
    return AgglomerativeClustering(
        n_clusters=None,
        metric="precomputed",
        linkage="average",
        distance_threshold=1 - threshold,
    ).fit_predict(1 - similarity)


def _similarity(histograms, cutouts):
    """[n, n]: the histograms' times that of the aligned cut-outs; 0 where two are no candidates, 1
    on the diagonal.
    """
    colours = np.clip(histograms @ histograms.T, 0, 1)  # Bhattacharyya coefficients
    candidates = _clusters(colours, CANDIDATE)
    fit = np.where(candidates[:, None] == candidates, np.float32(UNSEEN), 0)
    for c in np.unique(candidates):
        found = [i for i in np.flatnonzero(candidates == c) if cutouts[i] is not None]
        if len(found) > 1:
            fit[np.ix_(found, found)] = aligned_similarity(np.stack([cutouts[i] for i in found]))
    out = colours * fit
    np.fill_diagonal(out, 1)
    return out


def _join_lonely(clusters, similarity):
    """Clusters [n] with every lone image joined to its likeliest cluster, if that is `LONELY`."""
    size = np.bincount(clusters)
    member = np.eye(len(size))[clusters]
    mean = member.T @ similarity @ member / np.outer(size, size)
    np.fill_diagonal(mean, 0)
    to = mean.argmax(1)
    lone = np.flatnonzero((size == 1) & (mean.max(1) > LONELY))
    links = coo_matrix((np.ones(len(lone)), (lone, to[lone])), shape=mean.shape)
    return connected_components(links, directed=False)[1][clusters]


def near_duplicate_groups(images, labels, alike=ALIKE, device=None):
    """Which images show the same art: group numbers 0, 1, ... in order of first appearance, int
    [n].

    `images` is a sequence of n paths or PIL images, `labels` their classes, between which there are
    no groups; a lower `alike`, between 0 and 1, joins more. Raises UserError naming a file that
    cannot be read.
    """
    labels = np.asarray(labels)
    if len(images) != len(labels):
        raise UserError(f"{len(images)} images but {len(labels)} labels")
    if not 0 < alike < 1:
        raise UserError(f"alike={alike}: must lie between 0 and 1")
    histograms, cutouts = describe_images(images, device)
    groups, n_groups = np.zeros(len(images), int), 0
    for label in pd.unique(labels):
        rows = np.flatnonzero(labels == label)
        similarity = _similarity(histograms[rows], [cutouts[r] for r in rows])
        clusters = _join_lonely(_clusters(similarity, alike), similarity)
        groups[rows] = clusters + n_groups
        n_groups += clusters.max() + 1
    return pd.factorize(groups)[0]


def read_groups(file, ids):
    """The groups of the training images `ids`, int [n], from a CSV with the columns Id and group.

    A group's name may be any text; ids that are no training image do not count. Raises UserError
    naming the file and an Id that is missing or repeated, or has no group.
    """
    table, ids = read_csv(file), pd.Series([str(i) for i in ids])
    lacking = {"Id", "group"} - set(table.columns)
    if lacking:
        raise UserError(f"{file}: no column {', '.join(sorted(lacking))}; it needs Id,group")
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


def add_groups(train, file=None, by_image=False, cache=None, device=None):
    """`train`, a competition's training images (Id, label, path), with a column `group`: its near
    duplicates.

    Groups are read from `file` (Id,group) where given; with `by_image` every image is its own;
    otherwise they are found, a thousand in half a minute, and kept for the next run in the folder
    `cache`, by default `cache_dir()`. `device` is the fastest there is by default.
    """
    if by_image:
        return train.assign(group=range(len(train)))
    if file is not None:
        return train.assign(group=read_groups(file, train["Id"]))
    digest = hashlib.sha256(f"{VERSION}\n".encode())
    for row in train.itertuples():
        try:
            stat = Path(row.path).stat()
        except OSError as e:
            raise UserError(f"{row.path}: cannot be read ({e})") from None
        digest.update(f"{row.Id} {row.label} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    kept = Path(cache or cache_dir()) / f"groups-{digest.hexdigest()[:16]}.csv"
    if kept.exists():
        return train.assign(group=read_groups(kept, train["Id"]))
    groups = near_duplicate_groups(list(train["path"]), train["label"], device=device)
    train = train.assign(group=groups)
    try:
        with atomic_path(kept) as temp:
            train[["Id", "group"]].to_csv(temp, index=False)
    except OSError as e:
        print(f"NOTE: the groups are found again in the next run, {kept} cannot be written ({e})")
    return train
