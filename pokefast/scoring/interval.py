"""How far a hidden score may lie from a local one: an interval by a bootstrap over groups."""

import numpy as np
import pandas as pd

__all__ = ["score_interval"]


def score_interval(
    metric, truth, probabilities, groups, n_hidden=None, draws=2000, level=0.95, seed=0
):
    """Ends of the interval in which a `Metric` on a hidden test of `n_hidden` images (None: of so
    many that only the local chance is left) falls with probability `level`, if its near-duplicate
    groups are drawn as the local ones were; None where the metric has no value for most draws.

    `truth` (class numbers), `probabilities` [n, classes] and `groups` have one entry an image. The
    hidden test is taken to hold as many groups as its images make at the local ones' images per
    group, of every class some. A draw is a local set of as many groups as there are and, apart from
    it, a hidden test, both with replacement: the difference of their scores has the chance of the
    local estimate and that of the hidden test in it and, macro-F1 being lower the smaller the set,
    the bias between their sizes. The ends are the local score plus that difference's percentiles. A
    class that a draw lacks does not count in it. Whole groups are drawn because their images
    succeed or fail together: "Bootstrapping clustered data", JRSS B 2007. What the draws do not
    have in them: other training images.
    """
    numbers, names = pd.factorize(np.asarray(groups))
    truth, probabilities = np.asarray(truth), np.asarray(probabilities)
    rng = np.random.default_rng(seed)

    def values(counts):
        return metric.resampled(truth, probabilities, numbers, counts)

    def draw(n):
        """The metric of `draws` sets of `n` groups."""
        return values(rng.multinomial(n, np.full(len(names), 1 / len(names)), size=draws))

    (score,), local = values(np.ones((1, len(names)), int)), draw(len(names))
    hidden = np.full(len(local), score)
    if n_hidden is not None:  # as many groups as its images make
        hidden = draw(max(1, round(n_hidden * len(names) / len(numbers))))
    known = [part[np.isfinite(part)] for part in (hidden, local)]
    n = min(map(len, known))
    if 2 * n < len(local):
        return None
    difference = known[0][:n] - known[1][:n]
    tail = 100 * (1 - level) / 2
    ends = score + np.percentile(difference, [tail, 100 - tail])
    low, high = ends.clip(*metric.limits)
    return float(low), float(high)
