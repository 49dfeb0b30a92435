"""Find which pictures of a class show the same creature, so that a split can keep them together.

The same art in two pictures differs by scale, flip and background, and keeps its flat colours. So
the creature is cut out (`foreground`), its colours are counted in a fine histogram, and
two pictures are as alike as the histograms' Bhattacharyya coefficient. Average-linkage clustering
within a class finds the candidates, which relatives of one palette may be; among them, the
coefficient times the fit of the laid-over cut-outs (`alignment`) decides, by average
linkage again. A picture left alone may have a bad mask, and a missed twin leaks a creature across
the split, so it joins its likeliest group at a lower threshold. Nothing is assumed about how many
pictures a creature has. Source: "Color indexing", IJCV 1991 (the histograms).
"""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, UnidentifiedImageError
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from sklearn.cluster import AgglomerativeClustering

from pokefast.crops.alignment import aligned_similarity, centred_cutout
from pokefast.crops.foreground import INPUT, foreground_probability, probability_mask
from pokefast.errors import UserError
from pokefast.files import ROOT, atomic_path

__all__ = [
    "add_groups",
    "colour_histograms",
    "near_duplicate_groups",
    "group_similarity",
    "read_groups",
]

VERSION = 3  # of the method: raise it when the groups that it finds change
BINS = 24  # histogram bins a colour channel
CANDIDATE = 0.2  # mean histogram similarity above which clusters may be one creature
ALIKE = 0.45  # mean similarity, histograms' times alignment, above which they are
LONELY = 0.05  # the same for a picture that is alone so far
UNSEEN = 0.6  # alignment where a creature was not found: near twins' mean, so the colours decide


def _histogram(pixels, weights, bins=BINS):
    "Trilinear colour histogram of (n, 3) pixels 0-255: `bins`**3 shares, sum 1."
    v = pixels.astype(np.float64) / 255 * (bins - 1)
    low = np.minimum(v.astype(int), bins - 2)
    part, out = v - low, np.zeros(bins**3)
    for corner in np.ndindex(2, 2, 2):
        index = np.ravel_multi_index((low + corner).T, (bins,) * 3)
        share = np.where(corner, part, 1 - part).prod(1)
        out += np.bincount(index, weights * share, bins**3)
    return out / max(out.sum(), 1e-12)


def _describe(images, bs):
    "Each picture's histogram, as `colour_histograms`, and its cut-out, or None."
    for i in range(0, len(images), bs):
        batch = [_small(im) for im in images[i : i + bs]]
        for im, p in zip(batch, foreground_probability(batch, bs), strict=True):
            mask, picture = probability_mask(p), np.array(im)
            weights = np.ones(p.shape) if mask is None else np.where(mask, p, 0)
            seen = weights > 0
            histogram = np.sqrt(_histogram(picture[seen], weights[seen])).astype(np.float32)
            yield histogram, None if mask is None else centred_cutout(picture, weights, mask)


def colour_histograms(
    images,  # paths or PIL images
    bs: int = 64,  # pictures in memory at once
) -> np.ndarray:  # float32 (n, BINS**3), each row's squares sum to 1
    "Square roots of the creatures' colour histograms; where none was found, the whole picture's."
    rows = [histogram for histogram, _ in _describe(list(images), bs)]
    return np.stack(rows) if rows else np.zeros((0, BINS**3), np.float32)


def _small(image):
    "A path or PIL image as RGB of the foreground finder's size."
    if not isinstance(image, Image.Image):
        try:
            with Image.open(image) as im:
                return im.convert("RGB").resize((INPUT, INPUT), Image.Resampling.BOX)
        except (OSError, UnidentifiedImageError) as e:
            raise UserError(f"{image}: cannot be read as a picture ({e})") from e
    return image.convert("RGB").resize((INPUT, INPUT), Image.Resampling.BOX)


def group_similarity(histograms: np.ndarray) -> np.ndarray:
    "(n, d) histograms' square roots to (n, n) Bhattacharyya coefficients, 0-1; 1 on the diagonal."
    return np.clip(histograms @ histograms.T, 0, 1)


def _clusters(similarity, threshold):
    "Cluster of each of n pictures from their (n, n) similarity, by average linkage."
    if len(similarity) == 1:
        return np.zeros(1, int)
    return AgglomerativeClustering(
        n_clusters=None,
        metric="precomputed",
        linkage="average",
        distance_threshold=1 - threshold,
    ).fit_predict(1 - similarity)


def _verified(similarity, cutouts):
    "The (n, n) similarity of histograms times that of the aligned cut-outs; 0 across candidates."
    candidates = _clusters(similarity, CANDIDATE)
    out = np.zeros_like(similarity)
    for c in np.unique(candidates):
        rows = np.flatnonzero(candidates == c)
        out[np.ix_(rows, rows)] = similarity[np.ix_(rows, rows)] * UNSEEN
        found = np.array([r for r in rows if cutouts[r] is not None], int)
        if len(found) > 1:
            pairs = np.ix_(found, found)
            fit = aligned_similarity(np.stack([cutouts[r] for r in found]))
            out[pairs] = similarity[pairs] * fit
    np.fill_diagonal(out, 1)
    return out


def _join_lonely(clusters, similarity):
    "Clusters (n,) with every lone picture joined to its likeliest cluster, if that is `LONELY`."
    size = np.bincount(clusters)
    member = np.eye(len(size))[clusters]
    mean = member.T @ similarity @ member / np.outer(size, size)
    np.fill_diagonal(mean, 0)
    to = mean.argmax(1)
    lone = np.flatnonzero((size == 1) & (mean.max(1) > LONELY))
    links = coo_matrix((np.ones(len(lone)), (lone, to[lone])), shape=mean.shape)
    return connected_components(links, directed=False)[1][clusters]


def near_duplicate_groups(
    images,  # n paths or PIL images
    labels,  # n classes; pictures of different classes never share a group
    alike: float = ALIKE,  # 0-1; lower joins more
    histograms: np.ndarray | None = None,  # other ones than those of `colour_histograms`
) -> np.ndarray:  # int (n,): group ids 0, 1, ... in the order of first appearance
    "Which pictures show the same creature."
    images, labels = list(images), np.asarray(labels)
    if len(images) != len(labels):
        raise UserError(f"{len(images)} pictures but {len(labels)} labels")
    if not 0 < alike < 1:
        raise UserError(f"alike={alike}: must lie between 0 and 1")
    if not images:
        return np.zeros(0, int)
    found, cutouts = zip(*_describe(images, 64), strict=True)
    histograms = np.stack(found) if histograms is None else histograms
    groups, n_groups = np.zeros(len(images), int), 0
    for label in pd.unique(labels):
        rows = np.flatnonzero(labels == label)
        similarity = _verified(group_similarity(histograms[rows]), [cutouts[r] for r in rows])
        clusters = _join_lonely(_clusters(similarity, alike), similarity)
        groups[rows] = clusters + n_groups
        n_groups += clusters.max() + 1
    return pd.factorize(groups)[0]


def read_groups(
    file,  # CSV with the columns Id and group; group may be any text or number
    ids,  # the training pictures' ids; every one needs exactly one row
) -> np.ndarray:  # int (n,): group ids in the order of `ids`
    "The user's own groups; `UserError` names the file and a missing, unknown or repeated id."
    file, ids = Path(file), [str(i) for i in ids]
    try:
        table = pd.read_csv(file, dtype=str, keep_default_na=False)
    except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as e:
        raise UserError(
            f"{file}: cannot be read as CSV ({e}); it needs the columns Id,group"
        ) from e
    lacking = {"Id", "group"} - set(table.columns)
    if lacking:
        raise UserError(f"{file}: no column {', '.join(sorted(lacking))}; it needs Id,group")
    for problem, bad in (
        ("has no group", table.Id[table.group.str.strip() == ""]),
        ("appears more than once", table.Id[table.Id.duplicated()]),
        ("is no training picture", table.Id[~table.Id.isin(ids)]),
        ("is missing", pd.Series(ids)[~pd.Series(ids).isin(table.Id)]),
    ):
        if len(bad):
            more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
            raise UserError(f"{file}: Id {bad.iloc[0]} {problem}{more}")
    return pd.factorize(table.set_index("Id").group.loc[ids])[0]


def add_groups(
    train: pd.DataFrame,  # a competition's training pictures: Id, label, path
    file=None,  # CSV of known groups (Id,group), found from the pictures otherwise
    by_image=False,  # every picture is a group of its own
    cache: Path = ROOT / ".cache",  # where found groups are kept for the next run
) -> pd.DataFrame:  # the same with a column `group`
    "Which pictures show the same creature, as a column; finding takes a minute, once for a folder."
    if by_image:
        return train.assign(group=range(len(train)))
    if file is not None:
        return train.assign(group=read_groups(file, train["Id"]))
    digest = hashlib.sha256(f"{VERSION}\n".encode())
    for row in train.itertuples():
        stat = Path(row.path).stat()
        digest.update(f"{row.Id} {row.label} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    kept = cache / f"groups-{digest.hexdigest()[:16]}.csv"
    if not kept.exists():
        groups = near_duplicate_groups(train["path"], train["label"])
        with atomic_path(kept) as temp:
            pd.DataFrame({"Id": train["Id"], "group": groups}).to_csv(temp, index=False)
    return train.assign(group=read_groups(kept, train["Id"]))
