"""Parts that differ are told apart, parts that do not are not, and the interval says which."""

import numpy as np
import pytest

from pokefast.scoring.likeness import tell_apart


@pytest.mark.parametrize("shift, apart", [(0.0, False), (1.0, True)])
def test_parts_are_told_apart_where_they_differ(shift, apart):
    rng = np.random.default_rng(1)
    train, test = rng.normal(0, 1, (300, 30)), rng.normal(0, 1, (90, 30))
    test[:, 0] += 2 * shift
    auc, low, high = tell_apart(train, test, np.arange(390))
    assert low < auc < high
    assert (low > 0.8) if apart else (low < 0.5 < high)


def test_near_duplicates_widen_the_interval_and_stay_in_one_fold():
    rng = np.random.default_rng(2)
    art = rng.normal(0, 1, (130, 30)).repeat(3, 0)  # of no part: known art would tell it
    groups = np.arange(130).repeat(3)
    auc, low, high = tell_apart(art[:300], art[300:], groups)
    assert low < 0.5 < high
    *_, high_alone = tell_apart(art[:300:3], art[300::3], np.arange(130))
    assert high - low > 0.9 * (high_alone - auc)


def test_few_images_say_nothing():
    assert tell_apart(np.zeros((19, 2)), np.zeros((50, 2)), np.arange(69)) is None
