"""How far a hidden score may lie from a local one: an interval by a bootstrap over groups."""

import numpy as np
import pandas as pd

__all__ = ["f1_interval"]


def f1_interval(truth, predicted, groups, labels, n_hidden=None, draws=2000, level=0.95, seed=0):
    """Ends of the interval in which macro-F1 on a hidden test of `n_hidden` images (None: of so
    many that only the local chance is left) falls with probability `level`, if its near-duplicate
    groups are drawn as the local ones were.

    `truth`, `predicted` and `groups` have one entry an image, `labels` are the classes. The hidden
    test is taken to hold as many groups as its images make at the local ones' images per group, of
    every class some. A draw is a local set of as many groups as there are and, apart from it, a
    hidden test, both with replacement: the difference of their scores has the chance of the local
    estimate and that of the hidden test in it and, macro-F1 being lower the smaller the set, the
    bias between their sizes. The ends are the local score plus that difference's percentiles. A
    class that a draw lacks does not count in it. Whole groups are drawn because their images
    succeed or fail together: "Bootstrapping clustered data", JRSS B 2007. What the draws do not
    have in them: other training images.
    """
    numbers, names = pd.factorize(np.asarray(groups))
    rows, columns = (pd.Index(labels).get_indexer(np.asarray(v)) for v in (truth, predicted))
    tables = np.zeros((len(names), len(labels), len(labels)))  # [group, truth, prediction]
    np.add.at(tables, (numbers, rows, columns), 1)
    rng = np.random.default_rng(seed)

    def draw(n):
        """Macro-F1 of `draws` sets of `n` groups."""
        counts = rng.multinomial(n, np.full(len(names), 1 / len(names)), size=draws)
        return _macro_f1(np.tensordot(counts, tables, 1))

    score, local = _macro_f1(tables.sum(0)), draw(len(names))
    hidden = score
    if n_hidden is not None:  # as many groups as its images make
        hidden = draw(max(1, round(n_hidden * len(names) / len(numbers))))
    tail = 100 * (1 - level) / 2
    ends = score + np.percentile(hidden - local, [tail, 100 - tail])
    low, high = ends.clip(0, 1)
    return float(low), float(high)


def _macro_f1(tables):
    """Mean F1 of the classes in confusion tables [..., truth, prediction], of those they hold."""
    hits, true = np.diagonal(tables, axis1=-2, axis2=-1), tables.sum(-1)
    f1 = 2 * hits / np.maximum(true + tables.sum(-2), 1)
    return f1.sum(-1) / (true > 0).sum(-1)
