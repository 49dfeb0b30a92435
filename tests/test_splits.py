"""Splits are disjoint, complete, stratified and the same for the same seed."""

import pandas as pd
import pytest

from pokefast.errors import UserError
from pokefast.splits import AllSplitter, StratifiedSplitter

DF = pd.DataFrame({"label": ["a"] * 60 + ["b"] * 100 + ["c"] * 40})


@pytest.mark.parametrize("seed", [0, 1])
def test_parts_are_disjoint_complete_and_in_proportion(seed):
    parts = StratifiedSplitter(0.15, 0.15, seed)(DF)
    assert sorted(i for part in parts for i in part) == list(range(200))
    assert [len(p) for p in parts] == [140, 30, 30]
    for part in parts[1:]:
        assert DF["label"][part].value_counts().to_dict() == {"b": 15, "a": 9, "c": 6}


def test_the_seed_alone_decides():
    assert StratifiedSplitter(seed=3)(DF) == StratifiedSplitter(seed=3)(DF)
    assert StratifiedSplitter(seed=3)(DF) != StratifiedSplitter(seed=4)(DF)


def test_a_class_too_small_for_three_parts_is_named():
    df = pd.concat([DF, pd.DataFrame({"label": ["rare"] * 2})])
    with pytest.raises(UserError, match=r"rare \(2\)"):
        StratifiedSplitter()(df)


def test_a_part_too_small_for_all_classes_is_named():
    with pytest.raises(UserError, match="--valid 0.01"):
        StratifiedSplitter(valid=0.01)(DF)


@pytest.mark.parametrize("valid, test", [(0, 0.1), (0.5, 0.5), (-1, 0.1), (0.1, 1)])
def test_fractions_outside_the_limits_are_refused(valid, test):
    with pytest.raises(UserError, match="--valid"):
        StratifiedSplitter(valid, test)


def test_all_splitter_trains_on_everything():
    assert AllSplitter()(DF)[0] == list(range(200))
