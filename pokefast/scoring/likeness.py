"""Does the test part look like training? A classifier that tells them apart says how much not.

Sources: adversarial validation, as in "Adversarial Validation Approach to Concept Drift Problem in
User Targeting Automation Systems at Uber", arXiv 2004.03045; for the interval "The meaning and use
of the area under a receiver operating characteristic (ROC) curve", Radiology 1982.
"""

import numpy as np
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

__all__ = ["FAR", "MOST", "tell_apart"]

FAR = 0.6  # area under the curve from which on it is worth a word
FOLDS, COMPONENTS, MOST = 5, 50, 5000  # of cross-validation; of the vectors; images of each part
Z = 1.96  # standard deviations of a two-sided 95%


def tell_apart(train, test, groups, seed=0):
    """How well the vectors `train` [n, d] and `test` [m, d] of two parts' images are told apart:
    the cross-validated area under the ROC curve (0.5: not at all) and the ends of its 95% interval.

    `groups` [n + m] are numbers of near duplicates, which stay in one fold. The interval counts
    groups, not images, since those of one group are no news. None where a part has under 20 images.
    """
    sizes = len(train), len(test)
    if min(sizes) < 20:
        return None
    rng, groups = np.random.default_rng(seed), np.asarray(groups)
    part = np.repeat([0, 1], sizes)
    rows = [np.flatnonzero(part == p) for p in (0, 1)]
    rows = np.sort(np.concatenate([rng.permutation(r)[:MOST] for r in rows]))
    x, part, groups = np.concatenate([train, test])[rows], part[rows], groups[rows]
    model = make_pipeline(
        StandardScaler(),
        PCA(min(COMPONENTS, *x.shape, len(x) // 2), random_state=seed),
        LogisticRegression(class_weight="balanced", max_iter=1000),
    )
    folds = GroupKFold(FOLDS, shuffle=True, random_state=seed)
    scores = cross_val_predict(model, x, part, groups=groups, cv=folds, method="decision_function")
    auc = roc_auc_score(part, scores)
    n, m = (len(np.unique(groups[part == p])) for p in (0, 1))
    q1, q2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    spread = auc * (1 - auc) + (m - 1) * (q1 - auc**2) + (n - 1) * (q2 - auc**2)
    half = Z * np.sqrt(spread / (n * m))
    return float(auc), float(max(0, auc - half)), float(min(1, auc + half))
