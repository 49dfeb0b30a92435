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

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.sparse import csr_array, vstack
from scipy.spatial.distance import squareform

from pokefast.cache import kept_arrays
from pokefast.crops.alignment import centred_cutout, fit_of_pairs
from pokefast.crops.foreground import foreground_batches, main_part
from pokefast.crops.histogram import colour_histograms
from pokefast.crops.links import components, merged
from pokefast.progress import progress

__all__ = ["Pairs", "add_groups", "describe_images", "find_pairs", "kept_pairs", "nearest"]

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
BATCH = 64  # images whose foreground is found at once
CHUNK = 1024  # images whose similarity to all others is in memory at once


def describe_images(images, device=None):
    """What near duplicates are known by, of `images`, a sequence of paths or PIL images: square
    roots of the foregrounds' colour histograms, float32 [n, BINS^3], sparse as a foreground has few
    colours, and n cut-outs, uint8 [n, 4, 64, 64].

    Where no foreground is found, both are the whole image's.
    """
    histograms, cutouts = [csr_array((0, BINS**3), dtype=np.float32)], []
    batches = foreground_batches(images, device, BATCH)
    n, what = -(-len(images) // BATCH), f"{len(images):,} foregrounds cut out"
    for small, maps in progress(batches, n, what):
        for image, part in zip(small, map(main_part, maps), strict=True):
            weight = np.ones(image.shape[:2], np.float32) if part is None else part
            cutouts.append(centred_cutout(image, weight))
            inside = weight > 0  # a quarter of the pixels
            colours = torch.from_numpy(image[inside]).T[None, :, None] / 255
            mask = torch.from_numpy(weight[inside])[None, None, None]
            histograms.append(csr_array(colour_histograms(colours, mask, BINS).numpy()))
    return vstack(histograms, "csr"), np.stack(cutouts) if cutouts else np.zeros((0, 4, 64, 64))


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

    def silhouette(self, groups):
        """How sure it is that `groups` [n] show the same art: how much better an image fits the
        others of its group than the image of another group that it fits best, -1..1, the mean over
        the images of groups of two and more; -1 where there are none.

        Rousseeuw's silhouette (1987), but for the nearest image in the place of the nearest
        cluster's mean: look-alikes that were linked to a group fit others as well.
        """
        first, second = np.concatenate([self.rows, self.rows[:, ::-1]]).T
        fit, together = np.tile(self.fit, 2), groups[first] == groups[second]
        others = np.bincount(groups)[groups] - 1
        within = np.bincount(first[together], fit[together], self.n) / others.clip(1)
        nearest = np.zeros(self.n)
        np.maximum.at(nearest, first[~together], fit[~together])
        far = 1 - np.minimum(within, nearest)
        silhouette = (within - nearest) / far.clip(1e-6)
        return float(silhouette[others > 0].mean()) if (others > 0).any() else -1.0

    def sure_groups(self):
        """Group numbers, int [n], of which images surely show the same art, whatever they are."""
        return _clusters(self.n, self.rows, self.fit, SURE)


def find_pairs(images, device=None):
    """The `Pairs` of a sequence of paths or PIL images.

    Seconds and memory grow with the number of images, but for their colours' similarities, whose
    number is its square. Raises UserError naming a file that cannot be read.
    """
    histograms, cutouts = describe_images(images, device)
    n = histograms.shape[0]
    if n < 2:
        return Pairs(n, np.zeros((0, 2), int), np.zeros(0), np.zeros(0))
    rows = nearest(histograms)
    fit = fit_of_pairs(cutouts, rows)
    # in a chain all pairs count, not the nearest alone
    chain = components(n, rows[fit > CHAIN])
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


def nearest(histograms):
    """Pairs of rows [m, 2] of `histograms`, as of `describe_images`, each once: those that are
    nearest by colours, and near enough.
    """
    n, found = histograms.shape[0], [np.zeros((0, 2), int)]
    for rows in torch.arange(n).split(CHUNK):
        alike = torch.from_numpy((histograms[rows.numpy()] @ histograms.T).toarray())
        alike[torch.arange(len(rows)), rows] = 0
        near, columns = alike.topk(min(NEAREST, n))
        first, place = (near > CANDIDATE).nonzero(as_tuple=True)
        pairs = torch.stack([rows[first], columns[first, place]], 1)
        found.append(pairs.sort(1).values.numpy())
    return np.unique(np.concatenate(found), axis=0)


def _clusters(n, rows, similarity, threshold):
    """Cluster [n] of each of n images from the similarity of pairs, which is 0 for all others: by
    average linkage, within what is connected at a third of the threshold.
    """
    some = similarity > threshold / 3
    rows, similarity = rows[some], similarity[some]
    component = components(n, rows)
    if np.bincount(component).max(initial=0) > LOOKALIKES:
        component = components(n, rows[similarity > threshold])
    clusters, ends = component * (n + 1), component[rows]
    inside = np.flatnonzero(ends[:, 0] == ends[:, 1])
    pairs = pd.Series(inside).groupby(ends[inside, 0]).indices
    for number, members in pd.Series(range(n)).groupby(component).indices.items():
        if len(members) > LOOKALIKES:
            clusters[members] += np.arange(len(members))
        elif len(members) > 1:
            alike, some = np.eye(len(members)), inside[pairs[number]]
            i, j = np.searchsorted(members, rows[some]).T
            alike[i, j] = alike[j, i] = similarity[some]
            tree = linkage(squareform(1 - alike, checks=False), "average")
            clusters[members] += fcluster(tree, 1 - threshold, "distance")
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
    joined = components(len(size), mean[["a", "b"]].to_numpy())
    return pd.factorize(joined[clusters])[0]


def add_groups(train, groups=None, average=False, keep=True, device=None):
    """`train`, a competition's training images (Id, label, path), with a column `group`: its near
    duplicates.

    `groups` are their numbers [n] where these are known; otherwise they are found: see
    `kept_pairs`, which `keep` and `device` are for. With `average` there is a column `alike`, of
    `sure_groups`, which no group then cuts through: whose predictions are averaged must not be
    known to each other's models.
    """
    pairs = kept_pairs(train["path"], keep, device) if average or groups is None else None
    groups = pairs.groups(train["label"]) if groups is None else np.asarray(groups)
    if not average:
        return train.assign(group=groups)
    alike = pairs.sure_groups()
    return train.assign(group=merged([groups, alike]), alike=alike)


def kept_pairs(paths, keep=True, device=None):
    """The `Pairs` of image files, kept for the next run: see `kept_arrays`. A thousand take half a
    minute on one core, or on `device`, the fastest there is.
    """

    def make(paths):
        pairs = find_pairs(paths, device)
        return {"rows": pairs.rows, "colours": pairs.colours, "fit": pairs.fit}

    return Pairs(len(paths), **kept_arrays("pairs", VERSION, paths, make, keep))
