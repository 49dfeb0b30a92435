"""Is one model better than another? The difference of two scores on the same images."""

import numpy as np
import pandas as pd

__all__ = ["difference_interval", "drawn_differences"]


def difference_interval(metric, truth, one, other, groups, draws=2000, level=0.95, seed=0):
    """(difference, low, high): by how much the score of the probabilities `other` [n, classes] is
    above that of `one`, and the interval in which it falls with probability `level` if the images'
    near-duplicate `groups` [n] are drawn anew, with replacement; None where most draws have none.

    Both are scored on the same draw, so what makes a draw easy for both cancels out; whole groups
    are drawn, as in `score_interval`. What is not in it: other training images, other seeds.
    """
    rng = np.random.default_rng(seed)
    difference, every = drawn_differences(metric, truth, one, other, groups, draws, rng)
    drawn = every[np.isfinite(every)]
    if 2 * len(drawn) < len(every):
        return None
    tail = 100 * (1 - level) / 2
    low, high = np.percentile(drawn, [tail, 100 - tail])
    return float(difference), float(low), float(high)


def drawn_differences(metric, truth, one, other, groups, draws, rng):
    """(difference, differences on `draws` sets of groups, drawn by `rng`), as of
    `difference_interval`; nan where a set has none.
    """
    numbers, names = pd.factorize(np.asarray(groups))
    counts = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=draws)
    before, after = (metric.resampled(truth, p, numbers, counts) for p in (one, other))
    return metric.value(truth, other) - metric.value(truth, one), after - before
