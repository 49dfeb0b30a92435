"""Scores of a set of predictions; `labels` are the classes."""

import numpy as np
from fastai.metrics import accuracy, skm_to_fastai
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score

__all__ = ["macro_f1", "scores", "learner_metrics"]


def macro_f1(truth, predicted, labels):
    """Mean of the F1 of every class in `labels`, one that neither has counting as 0.

    scikit-learn leaves classes out that neither `truth` nor `predicted` holds unless it is told
    them.
    """
    return float(f1_score(truth, predicted, average="macro", labels=labels, zero_division=0))


def scores(truth, predicted, labels):
    """Dictionary of f1_macro, accuracy, per_class_f1 (by class) and confusion (rows: truth,
    columns: prediction).
    """
    each = f1_score(truth, predicted, average=None, labels=labels, zero_division=0)
    return {
        "f1_macro": macro_f1(truth, predicted, labels),
        "accuracy": float(accuracy_score(truth, predicted)),
        "per_class_f1": {str(n): float(f) for n, f in zip(labels, each, strict=True)},
        "confusion": confusion_matrix(truth, predicted, labels=labels).tolist(),
    }


def learner_metrics(n_classes):
    """fastai metrics for the epochs' lines: accuracy and macro-F1 over all classes.

    fastai's `F1Score` is the same but binary by default, and cannot be told what to do with an
    absent class.
    """
    labels = np.arange(n_classes).tolist()
    return [
        accuracy,
        skm_to_fastai(f1_score, average="macro", labels=labels, zero_division=0),
    ]
