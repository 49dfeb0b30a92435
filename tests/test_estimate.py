"""The interval holds what it should, and knows that pictures of one creature go together."""

import numpy as np
import pytest
from sklearn.metrics import f1_score

from pokefast.estimate import f1_interval

LABELS = ["a", "b", "c"]


def world(rng, creatures=120, images=3, skill=0.6):
    """Truth, predictions and groups; a creature is right or wrong as a whole."""
    truth = np.repeat(rng.choice(LABELS, creatures), images)
    right = np.repeat(rng.random(creatures) < skill, images)
    guess = np.repeat(rng.choice(LABELS, creatures), images)
    return truth, np.where(right, truth, guess), np.repeat(np.arange(creatures), images)


def test_it_holds_the_score_and_repeats_itself():
    truth, predicted, groups = world(np.random.default_rng(0))
    low, high = f1_interval(truth, predicted, groups, LABELS)
    assert low < f1_score(truth, predicted, average="macro") < high
    assert (low, high) == f1_interval(truth, predicted, groups, LABELS)


def test_single_pictures_would_make_it_too_narrow():
    truth, predicted, groups = world(np.random.default_rng(0))
    low, high = f1_interval(truth, predicted, groups, LABELS)
    low1, high1 = f1_interval(truth, predicted, np.arange(len(truth)), LABELS)
    assert (high - low) / (high1 - low1) == pytest.approx(3**0.5, rel=0.15)


def test_it_covers_the_true_score_about_as_often_as_it_says():
    expected = f1_score(*world(np.random.default_rng(1), creatures=40_000)[:2], average="macro")
    covered = 0
    for seed in range(100):
        truth, predicted, groups = world(np.random.default_rng(seed + 10))
        low, high = f1_interval(truth, predicted, groups, LABELS, draws=300)
        covered += low <= expected <= high
    assert 86 <= covered <= 100


def test_a_class_that_is_never_right_counts():
    truth, predicted, groups = ["a", "a", "b"], ["a", "a", "a"], [0, 1, 2]
    low, high = f1_interval(truth, predicted, groups, LABELS)
    assert 0 <= low <= high < 0.5
