"""Find copies: images that are one picture, saved again, in another size or format, or mirrored.

Each is reduced to 16 x 16 pixels; two are copies where these hardly differ. Pairs are sought among
those whose 4 x 4 pixels are near, by a k-d tree.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image
from scipy.spatial import cKDTree

from pokefast.cache import kept_arrays
from pokefast.cores import cores
from pokefast.crops.links import components
from pokefast.images import open_image
from pokefast.progress import progress

__all__ = ["copy_groups", "kept_copies"]

VERSION = 1  # of the method: raise it when the copies that it finds change
SIDE, COARSE = 16, 4  # pixels
SAME = 6.0  # levels of 255: root mean square of the difference, below which two are copies


def copy_groups(paths):
    """Group numbers [n] of n image files: copies, and copies of these, have the same; in order of
    first appearance.
    """
    with ThreadPoolExecutor(cores()) as pool:
        small = list(
            progress(pool.map(_reduced, paths), len(paths), f"{len(paths):,} images compared")
        )
    n = len(small)
    both = np.concatenate([small, np.flip(small, 2)])
    step = SIDE // COARSE
    coarse = both.reshape(2 * n, COARSE, step, COARSE, step, 4).mean((2, 4)).reshape(2 * n, -1)
    # the mean of a difference is at most its root mean square
    radius = SAME * coarse.shape[1] ** 0.5
    pairs = cKDTree(coarse).query_pairs(radius, output_type="ndarray")
    pairs = pairs[pairs[:, 0] < n]
    found = [((both[i] - both[j]) ** 2).mean() < SAME**2 for i, j in pairs]
    return components(n, pairs[np.array(found, bool)] % n)


def kept_copies(paths, keep=True):
    """The `copy_groups` of image files, kept for the next run: see `kept_arrays`."""
    found = kept_arrays("copies", VERSION, paths, lambda p: {"group": copy_groups(p)}, keep)
    return found["group"]


def _reduced(path):
    """An image file as float32 [16, 16, 4], colour times alpha and alpha."""
    image = open_image(path, "RGBA")
    x = np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX), np.float32)
    return np.concatenate([x[..., :3] * x[..., 3:] / 255, x[..., 3:]], -1)
