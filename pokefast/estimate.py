"""How sure a local score is: its interval by a bootstrap over creatures."""

import numpy as np
from sklearn.metrics import confusion_matrix

__all__ = ["f1_interval"]


def f1_interval(truth, predicted, groups, labels, draws=2000, level=0.95, seed=0):
    """Ends of the `level` interval of macro-F1 when whole groups are drawn with replacement.

    `truth`, `predicted` and `groups` have one entry a picture. Pictures of one creature succeed or
    fail together, so that drawing single pictures would give too narrow an interval. Percentile
    bootstrap over clusters: "Bootstrapping clustered data", JRSS B 2007.
    """
    truth, predicted, groups = map(np.asarray, (truth, predicted, groups))
    names = np.unique(groups)
    tables = np.stack(
        [confusion_matrix(truth[groups == g], predicted[groups == g], labels=labels) for g in names]
    )
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=draws)
    sums = np.tensordot(counts, tables, 1)  # [draws, truth, prediction]
    hits = np.diagonal(sums, axis1=1, axis2=2)
    # F1 = 2 hits / (times true + times predicted); 0 for a class that a draw does not hold
    f1 = 2 * hits / np.maximum(sums.sum(1) + sums.sum(2), 1)
    tail = 100 * (1 - level) / 2
    low, high = np.percentile(f1.mean(1), [tail, 100 - tail])
    return float(low), float(high)
