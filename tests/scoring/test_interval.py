"""The interval holds hidden scores as often as it says, and knows that groups go together."""

import numpy as np
import pytest
from sklearn.metrics import f1_score

from pokefast.scoring.interval import score_interval
from pokefast.scoring.metrics import METRICS, choose_metric

LABELS = list("abcdefghi")
FRACTIONS = np.array([50, 20, 38, 53, 24, 74, 22, 33, 84]) / 398  # of groups, as in task 3


def f1_interval(truth, predicted, groups, labels, n_hidden=None, metric="f1_macro", **given):
    """The interval of predictions that are sure of themselves."""
    truth, predicted = (np.searchsorted(labels, values) for values in (truth, predicted))
    rows = np.eye(len(labels))[predicted] * 0.9 + 0.1 / len(labels)
    return score_interval(METRICS[metric], truth, rows, groups, n_hidden, **given)


def world(rng, n_groups=368, images=3):
    """Truth, predictions and groups; some classes are easier, images of a group alike."""
    kind = rng.choice(9, n_groups, p=FRACTIONS)
    skill = np.repeat(np.linspace(0.2, 0.7, 9)[kind], images)
    luck = np.repeat(rng.random(n_groups), images)  # a group's, and a bit of each image's
    right = 0.8 * luck + 0.2 * rng.random(len(luck)) < skill
    truth = np.repeat(kind, images)
    guess = np.where(right, truth, np.repeat(rng.choice(9, n_groups, p=FRACTIONS), images))
    names = np.array(LABELS)
    return names[truth], names[guess], np.repeat(np.arange(n_groups), images)


def macro(truth, predicted):
    return f1_score(truth, predicted, average="macro", labels=np.unique(truth), zero_division=0)


def test_it_holds_the_score_and_repeats_itself():
    local = world(np.random.default_rng(0))
    low, high = f1_interval(*local, LABELS, 276)
    assert low < macro(*local[:2]) < high
    assert (low, high) == f1_interval(*local, LABELS, 276)


def test_single_images_would_make_it_too_narrow():
    truth, predicted, groups = world(np.random.default_rng(0))
    low, high = f1_interval(truth, predicted, groups, LABELS, 276)
    low1, high1 = f1_interval(truth, predicted, np.arange(len(truth)), LABELS, 276)
    assert 1.3 < (high - low) / (high1 - low1) < 1.8


def test_a_small_hidden_test_scatters_more_than_a_large_one():
    local = world(np.random.default_rng(0))
    widths = [np.ptp(f1_interval(*local, LABELS, n)) for n in (60, 276, 1104, 10**6)]
    assert widths == sorted(widths, reverse=True)
    assert np.ptp(f1_interval(*local, LABELS)) == pytest.approx(widths[3], rel=0.05)
    # as many groups on both sides: the variances are equal and add up
    assert widths[2] / widths[3] == pytest.approx(2**0.5, rel=0.1)


@pytest.mark.parametrize("n_groups", [92, 30])
def test_hidden_scores_fall_into_it_as_often_as_it_says(n_groups):
    rng = np.random.default_rng(1)
    below = above = 0
    for _ in range(150):
        local, hidden = world(rng), world(rng, n_groups)
        low, high = f1_interval(*local, LABELS, 3 * n_groups, draws=200)
        below += macro(*hidden[:2]) < low
        above += macro(*hidden[:2]) > high
    assert 1 <= below + above <= 15  # 7.5 expected, standard deviation 2.7
    assert max(below, above) <= 10


def test_a_class_that_is_never_right_counts():
    truth, predicted, groups = ["a", "a", "b"], ["a", "a", "a"], [0, 1, 2]
    low, high = f1_interval(truth, predicted, groups, ["a", "b"], 3)
    assert 0 <= low < 0.5 and low <= 0.4 <= high


def test_ends_are_scores():
    truth, groups = ["a", "b"] * 4, range(8)
    low, high = f1_interval(truth, ["a"] * 7 + ["b"], groups, ["a", "b"], 2)
    assert 0 <= low <= high <= 1


@pytest.mark.parametrize("name", ["f1_macro", "accuracy", "kappa"])
def test_where_all_local_images_are_right_some_hidden_ones_may_be_wrong(name):
    def interval(n, n_hidden=900, images=1):
        truth = np.repeat(np.arange(n) % 9, images)
        predicted = np.array(LABELS)[truth]
        groups = np.repeat(np.arange(n), images)
        return f1_interval(predicted, predicted, groups, LABELS, n_hidden, name)

    low, high = interval(540)
    assert high == 1 and 0.98 < low < 0.998
    assert interval(540, None)[0] == pytest.approx(low, abs=0.003)
    assert interval(60)[0] < low - 0.02  # fewer are less sure
    assert interval(60, images=9)[0] < low - 0.02  # groups count, not their images


def test_hidden_scores_of_a_model_that_is_hardly_ever_wrong_fall_into_it():
    rng, outside, flawless = np.random.default_rng(0), 0, 0
    for _ in range(300):
        chance = rng.random() * 0.02
        if (rng.random(200) < chance).any():
            continue
        truth = np.repeat(["a", "b"], 100)
        low, _ = f1_interval(truth, truth, range(200), ["a", "b"], 300, "accuracy", draws=150)
        flawless += 1
        outside += (rng.random(300) >= chance).mean() < low
    assert flawless > 40 and outside <= 0.05 * flawless


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_has_one_that_groups_make_wider(name):
    truth, predicted, groups = world(np.random.default_rng(0))
    low, high = f1_interval(truth, predicted, groups, LABELS, 276, name, draws=300)
    low1, high1 = f1_interval(truth, predicted, range(len(truth)), LABELS, 276, name, draws=300)
    numbers = (np.searchsorted(LABELS, values) for values in (truth, predicted))
    truth, rows = next(numbers), np.eye(9)[next(numbers)] * 0.9 + 0.1 / 9
    assert low < METRICS[name].value(truth, rows) < high
    assert 1.2 < (high - low) / (high1 - low1) < 2


@pytest.mark.parametrize("name", METRICS)
def test_a_class_of_one_image_that_most_draws_lack_counts_where_it_is(name):
    truth = [*"aaaabbbbc"]
    low, high = f1_interval(truth, [*"aaabbbbac"], range(9), ["a", "b", "c"], 9, name, draws=300)
    assert METRICS[name].limits[0] <= low < high <= METRICS[name].limits[1]


def test_a_metric_of_ones_own_has_one_by_the_draws_that_it_takes(tmp_path):
    (tmp_path / "m.py").write_text(
        "from sklearn.metrics import roc_auc_score\n"
        "def auc(truth, probabilities):\n"
        "    return roc_auc_score(truth, probabilities, multi_class='ovr')\n"
    )
    metric = choose_metric(f"{tmp_path / 'm.py'}:auc", ["a", "b", "c"])
    rng = np.random.default_rng(0)
    truth, rows = np.arange(60) % 3, rng.dirichlet(np.ones(3), 60)
    rows[range(60), truth] += 0.3
    rows /= rows.sum(1, keepdims=True)
    found = score_interval(metric, truth, rows, range(60), 60, draws=40)
    known = score_interval(METRICS["auc"], truth, rows, range(60), 60, draws=40)
    assert found == pytest.approx(known, abs=0.1)
    truth[truth == 2] = 0  # scikit-learn refuses a set without one of the classes
    truth[0] = 2
    assert score_interval(metric, truth, rows, range(60), 60, draws=40)  # 6 of 10 draws have it
    truth = np.arange(6) % 3
    assert score_interval(metric, truth, rows[:6], range(6), 3, draws=40) is None  # few have all
