"""Probabilities that mean what they say: one temperature, and how far they are from the truth.

A network's probabilities are too sure or not sure enough, those of a ridge regression's values mean
nothing by themselves. One number mends most of it and changes no image's likeliest class: "On
Calibration of Modern Neural Networks", ICML 2017.
"""

import numpy as np
from scipy.optimize import minimize_scalar
from sklearn.calibration import calibration_curve

__all__ = ["fit_temperature", "fold_temperatures", "reliability", "tempered"]

LIMITS = (0.02, 50)  # of a temperature
LEAST = 1e-30  # below what float32 tells from 0
BINS = 10  # of a reliability curve, of as many images each


def tempered(probabilities, temperature):
    """Probabilities [n, classes] to the power 1 / `temperature`, a number or one a row, float64:
    above 1 they come closer to each other.
    """
    logs = np.log(np.maximum(np.asarray(probabilities, float), LEAST))
    powers = logs / np.reshape(temperature, (-1, 1))
    powers = np.exp(powers - powers.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def fit_temperature(truth, probabilities):
    """The temperature at which the `probabilities` [n, classes] of images that the model has not
    seen have the lowest log loss, of class numbers `truth` [n].

    Where all n are right, the lowest would be at 0 and the first mistake cost everything, so the
    truth counts as sure to n + 1 in n + 2: "Probabilistic Outputs for Support Vector Machines",
    Platt 1999. scikit-learn's `CalibratedClassifierCV` (method "temperature") fits a classifier.
    """
    truth, n = np.asarray(truth), len(truth)
    share = 1 / (n + 2)

    def loss(log_temperature):
        logs = np.log(np.maximum(tempered(probabilities, np.exp(log_temperature)), LEAST))
        of_truth = logs[np.arange(n), truth]
        others = (logs.sum(1) - of_truth) / max(logs.shape[1] - 1, 1)
        return -np.mean((1 - share) * of_truth + share * others)

    found = minimize_scalar(loss, bounds=np.log(LIMITS), method="bounded")
    return float(np.exp(found.x))


def fold_temperatures(truth, probabilities, folds):
    """A temperature for each image, fitted on those of other `folds` [n], which share no group with
    it.
    """
    truth, probabilities, folds = map(np.asarray, (truth, probabilities, folds))
    found = np.ones(len(truth))
    for fold in np.unique(folds):
        mine = folds == fold
        found[mine] = fit_temperature(truth[~mine], probabilities[~mine])
    return found


def reliability(truth, probabilities):
    """Points of the reliability curve, as lists `confidence` (mean probability of the predicted
    class) and `accuracy`, each of as many images, and their mean distance as `error`.
    """
    probabilities = np.asarray(probabilities)
    right = np.asarray(truth) == probabilities.argmax(1)
    confidence = probabilities.max(1).clip(0, 1)
    bins = max(1, min(BINS, len(right) // 10))
    accuracy, mean = calibration_curve(
        right, confidence, n_bins=bins, strategy="quantile", pos_label=True
    )
    error = float(np.abs(accuracy - mean).mean())
    return {"confidence": mean.tolist(), "accuracy": accuracy.tolist(), "error": error}
