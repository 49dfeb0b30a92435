"""Is one model better than another? The difference of two scores on the same images."""

import numpy as np
import pandas as pd

__all__ = ["difference_interval"]


def difference_interval(metric, truth, one, other, groups, draws=2000, level=0.95, seed=0):
    """(difference, low, high): by how much the score of the probabilities `other` [n, classes] is
    above that of `one`, and the interval in which it falls with probability `level` if the images'
    near-duplicate `groups` [n] are drawn anew, with replacement; None where most draws have none.

    Both are scored on the same draw, so what makes a draw easy for both cancels out; whole groups
    are drawn, as in `score_interval`. What is not in it: other training images, other seeds.
    """
    numbers, names = pd.factorize(np.asarray(groups))
    chance = np.full(len(names), 1 / len(names))
    counts = np.random.default_rng(seed).multinomial(len(names), chance, size=draws)
    each = [metric.resampled(truth, p, numbers, counts) for p in (one, other)]
    difference = metric.value(truth, other) - metric.value(truth, one)
    drawn = each[1] - each[0]
    drawn = drawn[np.isfinite(drawn)]
    if 2 * len(drawn) < len(each[0]):
        return None
    tail = 100 * (1 - level) / 2
    low, high = np.percentile(drawn, [tail, 100 - tail])
    return float(difference), float(low), float(high)
