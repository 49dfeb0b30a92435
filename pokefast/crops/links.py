"""Which images hang together: components of pairs, and of several groupings."""

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

__all__ = ["components", "merged"]


def components(n, pairs):
    """Numbers [n] of the components of n images that `pairs` [m, 2] link, in order of first
    appearance.
    """
    links = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    return pd.factorize(connected_components(links, directed=False)[1])[0]


def merged(groupings):
    """Numbers [n] of the groups that hang together in any of several `groupings`, each the names
    [n] of its groups; an empty name is a group of its own.
    """
    pairs = []
    for names in groupings:
        first = {}
        pairs += [(i, first.setdefault(name, i)) for i, name in enumerate(names) if name != ""]
    return components(len(groupings[0]), np.array(pairs, int).reshape(-1, 2))
