"""How far a hidden score may lie from a local one: an interval by a bootstrap over groups."""

import numpy as np
import pandas as pd

__all__ = ["score_interval"]

COUNTLESS = 10**6  # groups of a hidden test of which no chance is left


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

    Where every local image is right, all draws are alike and say nothing of the wrong ones that the
    hidden test may have: `_if_some_are_wrong` takes their place.
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
    hidden, drawn = np.full(len(local), score), COUNTLESS
    if n_hidden is not None:  # as many groups as its images make
        drawn = max(1, round(n_hidden * len(names) / len(numbers)))
        hidden = draw(drawn)
    known = [part[np.isfinite(part)] for part in (hidden, local)]
    n = min(map(len, known))
    if 2 * n < len(local):
        return None
    tail = 100 * (1 - level) / 2
    found = score + known[0][:n] - known[1][:n]
    if np.ptp(found) == 0 and (probabilities.argmax(1) == truth).all():
        found = _if_some_are_wrong(metric, truth, probabilities, numbers, drawn, len(local), rng)
    low, high = np.nanpercentile(found, [tail, 100 - tail]).clip(*metric.limits)
    return float(low), float(high)


def _if_some_are_wrong(metric, truth, probabilities, numbers, n_hidden, draws, rng):
    """Values of a `Metric` on `draws` hidden tests of `n_hidden` groups, where all local ones are
    right: a group is wrong with a chance that a uniform prior and the local groups leave likely,
    a wrong one's images have the probabilities of a right one's, each another class's.
    """
    n = numbers.max() + 1
    chance = rng.beta(1, n + 1, size=draws)
    wrong = rng.binomial(n_hidden, chance)
    counts = [rng.multinomial(k, np.full(n, 1 / n)) for k in (n_hidden - wrong, wrong)]
    rows = np.concatenate([probabilities, np.roll(probabilities, 1, axis=1)])
    groups = np.concatenate([numbers, numbers + n])
    return metric.resampled(np.tile(truth, 2), rows, groups, np.concatenate(counts, axis=1))
