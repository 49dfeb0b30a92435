"""One temperature mends probabilities and changes no likeliest class."""

import numpy as np
import pytest
from sklearn.metrics import log_loss

from pokefast.scoring.calibration import (
    fit_temperature,
    fold_temperatures,
    reliability,
    tempered,
)


def world(n=3000, classes=5, temperature=1.0, seed=0):
    """Truth, and probabilities that are `temperature` away from it."""
    rng = np.random.default_rng(seed)
    rows = tempered(rng.dirichlet(np.ones(classes), n), 0.7)
    truth = (rng.random((n, 1)) > rows.cumsum(1)).sum(1).clip(max=classes - 1)
    return truth, tempered(rows, 1 / temperature).astype(np.float32)


@pytest.mark.parametrize("temperature", [0.25, 1, 4])
def test_it_is_found_and_mends_what_it_has_not_seen(temperature):
    found = fit_temperature(*world(temperature=temperature))
    assert found == pytest.approx(temperature, rel=0.1)
    truth, rows = world(temperature=temperature, seed=1)
    mended = tempered(rows, found)
    assert reliability(truth, mended)["error"] < 0.03
    if temperature != 1:
        assert reliability(truth, rows)["error"] > 0.1
        assert log_loss(truth, mended) < log_loss(truth, rows) - 0.05


@pytest.mark.parametrize("temperature", [0.02, 0.3, 1, 7, 50])
def test_no_likeliest_class_changes(temperature):
    rng = np.random.default_rng(0)
    rows = rng.dirichlet(np.ones(9), 2000).astype(np.float32)
    rows[:500, 1] = np.nextafter(rows[:500, 0], np.float32(1))  # the least that can be between two
    rows[500:600] = np.eye(9, dtype=np.float32)[rng.integers(0, 9, 100)]
    mended = tempered(rows, temperature)
    assert (mended.argmax(1) == rows.argmax(1)).all()
    assert np.allclose(mended.sum(1), 1) and (mended >= 0).all()


def test_rows_may_have_a_temperature_each():
    _, rows = world(4)
    mended = tempered(rows, [1, 2, 1, 0.5])
    assert np.allclose(mended[1], tempered(rows[1:2], 2)) and np.allclose(mended[0], rows[0])


def test_predictions_without_a_mistake_do_not_become_certain():
    truth = np.arange(500) % 5
    rows = np.eye(5)[truth] * 0.8 + 0.04
    best = tempered(rows, fit_temperature(truth, rows)).max(1)
    assert best.min() > 0.99 and best.max() < 0.9999
    assert log_loss(truth, tempered(rows, fit_temperature(truth[:3], rows[:3]))) < 0.3


def test_a_folds_temperature_comes_from_the_others():
    truth, rows = world(600)
    folds = np.arange(600) % 3
    rows[folds == 2] = tempered(rows[folds == 2], 0.2)  # too sure of themselves
    found = fold_temperatures(truth, rows, folds)
    for fold in range(3):
        others = folds != fold
        expected = fit_temperature(truth[others], rows[others])
        assert found[folds == fold] == pytest.approx(expected)
    assert found[folds == 2].max() < found[folds == 0].min()


@pytest.mark.parametrize("right", [True, False])
@pytest.mark.parametrize("n", [1, 5, 100])
def test_a_curve_where_all_are_right_or_wrong(right, n):
    rows = np.tile([0.7, 0.2, 0.1], (n, 1))
    curve = reliability(np.full(n, 0 if right else 1), rows)
    assert curve["error"] == pytest.approx(0.3 if right else 0.7)
    assert len(curve["confidence"]) == len(curve["accuracy"]) >= 1
