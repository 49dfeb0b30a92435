"""Splits are disjoint, complete, stratified and the same for the same seed."""

import numpy as np
import pandas as pd
import pytest

from pokefast.data.splits import (
    AllSplitter,
    FoldSplitter,
    GroupSplitter,
    StratifiedSplitter,
    left_out_parts,
    most_folds,
)
from pokefast.errors import UserError

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


def frame(*counts, rows=1):
    """Classes a, b, ... of so many groups of `rows` images each."""
    return pd.DataFrame(
        [(label, f"{label}{i}") for label, n in zip("abcdefghi", counts, strict=False)
         for i in range(n) for _ in range(rows)],
        columns=["label", "group"],
    )  # fmt: skip


FEW = [
    frame(60, 30, 3),
    frame(9, 9, 9),
    frame(3, 3, 3),
    frame(3, 3, 3, rows=3),
    frame(*[6] * 9),
    frame(200, 100, 4, 3),
    frame(60, 30, 3, rows=2),
    frame(20, 9, 9, rows=3),
]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("valid, test", [(0.15, 0.15), (0.1, 0.1), (0.01, 0.3), (0.45, 0.45)])
@pytest.mark.parametrize("df", FEW, ids=lambda df: f"{len(df)}")
@pytest.mark.parametrize("splitter", [StratifiedSplitter, GroupSplitter])
def test_every_part_has_every_class(splitter, df, valid, test, seed, recwarn):
    parts = splitter(valid, test, seed)(df)
    assert sorted(i for part in parts for i in part) == list(range(len(df)))
    for part in parts:
        assert set(df["label"].iloc[part]) == set(df["label"])
    assert parts == splitter(valid, test, seed)(df) and not recwarn.list
    if splitter is GroupSplitter:
        groups = [set(df["group"].iloc[part]) for part in parts]
        assert sum(map(len, groups)) == df["group"].nunique()


@pytest.mark.parametrize("splitter", [StratifiedSplitter, GroupSplitter])
def test_parts_that_are_out_of_proportion_are_said(splitter, capsys):
    parts = splitter(0.15, 0.15)(frame(60, 30, 3))
    assert [len(part) for part in parts] == [64, 15, 14]
    (line,) = capsys.readouterr().out.splitlines()
    assert "--valid 0.15 --test 0.15" in line and "c has only 3" in line
    splitter(0.15, 0.15)(frame(60, 30, 7))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("df", FEW, ids=lambda df: f"{len(df)}")
@pytest.mark.parametrize("grouped", [True, False])
def test_every_fold_has_every_class(df, grouped, recwarn):
    df = df if grouped else df[["label"]]
    most, label = most_folds(df)
    assert most >= 3 and (df["label"] == label).sum() == df["label"].value_counts().min()
    for n in {2, 3, most}:
        folds = [FoldSplitter(i, n)(df) for i in range(n)]
        assert sorted(i for _, _, test in folds for i in test) == list(range(len(df)))
        for train, _, test in folds:
            assert (
                set(df["label"].iloc[train])
                == set(df["label"].iloc[test])
                == set("abcdefghi"[: df["label"].nunique()])
            )
    with pytest.raises(UserError, match=rf"{label} \({most}\).*take --folds {most}"):
        FoldSplitter(0, most + 1)(df)
    assert not recwarn.list


def test_uneven_groups_leave_no_fold_without_a_class():
    # a class of one large group and few small ones, beside many of another
    sizes = [("a", n) for n in (40, 1, 1, 1, 1)] + [("b", n) for n in (9, 8, 7, 30, 2, 2)]
    df = pd.DataFrame(
        [(label, g) for g, (label, n) in enumerate(sizes) for _ in range(n)],
        columns=["label", "group"],
    )
    for seed in range(10):
        for fold in range(5):
            _, _, test = FoldSplitter(fold, 5, seed)(df)
            assert set(df["label"].iloc[test]) == {"a", "b"}


def test_groups_of_several_classes_that_cannot_be_split_are_named():
    df = pd.DataFrame({"label": [*"aaabbbccc"], "group": [1, 2, 3] * 3})
    assert [len(part) for part in GroupSplitter()(df)] == [3, 3, 3]
    df["group"] = [1, 2, 3, 1, 1, 1, 4, 5, 6]
    with pytest.raises(UserError, match=r"b \(1\).*Add images.*or take --split image"):
        GroupSplitter()(df)


@pytest.mark.parametrize("valid, test", [(0, 0.1), (0.5, 0.5), (-1, 0.1), (0.1, 1)])
def test_fractions_outside_the_limits_are_refused(valid, test):
    with pytest.raises(UserError, match="--valid"):
        StratifiedSplitter(valid, test)


# 20, 30 and 10 groups of three classes with one to five images each
SIZES = [(label, 1 + i % 5) for label, n in (("a", 20), ("b", 30), ("c", 10)) for i in range(n)]
GROUPED = pd.DataFrame(
    [(label, g) for g, (label, n) in enumerate(SIZES) for _ in range(n)], columns=["label", "group"]
)
# groups of each class as in task 3, three images each
COUNTS = dict(zip("abcdefghi", (50, 20, 38, 53, 24, 74, 22, 33, 84), strict=True))
TASK3 = pd.DataFrame(
    [(label, f"{label}{i}") for label, n in COUNTS.items() for i in range(n) for _ in range(3)],
    columns=["label", "group"],
)


def fractions(df, rows):
    """The fraction of each class's images that `rows` hold."""
    return df["label"].iloc[rows].value_counts() / df["label"].value_counts()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("valid, test", [(0.1, 0.1), (0.2, 0.25)])
@pytest.mark.parametrize(
    "splitter, df, most",
    [
        (StratifiedSplitter, TASK3, 0.02),
        (GroupSplitter, TASK3, 0.08),
        (GroupSplitter, GROUPED, 0.1),
    ],
    ids=["image", "group", "uneven"],
)
def test_every_part_holds_its_fraction_of_every_class(splitter, df, most, valid, test, seed):
    parts = splitter(valid, test, seed)(df)
    for part, fraction in zip(parts, (1 - valid - test, valid, test), strict=True):
        assert (fractions(df, part) - fraction).abs().max() <= most + 1e-9


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "df, most",
    [(GROUPED, 0.1), (TASK3, 0.06), (TASK3[["label"]], 0.02)],
    ids=["uneven", "task3", "no groups"],
)
def test_every_fold_holds_its_fraction_of_every_class(df, most, seed):
    for fold in range(5):
        train, _, test = FoldSplitter(fold, 5, seed)(df)
        assert (fractions(df, test) - 1 / 5).abs().max() <= most
        assert (fractions(df, train) - 4 / 5).abs().max() <= most


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_groups_stay_together(seed):
    parts = GroupSplitter(0.1, 0.1, seed)(GROUPED)
    assert sorted(i for part in parts for i in part) == list(range(len(GROUPED)))
    groups = [set(GROUPED["group"][part]) for part in parts]
    assert not (groups[0] & groups[1] or groups[0] & groups[2] or groups[1] & groups[2])
    for part in parts[1:]:
        assert 0.06 < len(part) / len(GROUPED) < 0.14
    assert GroupSplitter(seed=seed)(GROUPED) == GroupSplitter(seed=seed)(GROUPED)


@pytest.mark.parametrize("df", [GROUPED, GROUPED[["label"]]], ids=["groups", "no groups"])
def test_folds_hold_every_image_once_and_share_no_group(df):
    folds = [FoldSplitter(i, 5, seed=1)(df) for i in range(5)]
    assert sorted(i for _, _, test in folds for i in test) == list(range(len(df)))
    for train, valid, test in folds:
        assert valid == test
        assert len(train) + len(test) == len(df) == len({*train, *test})
        if "group" in df:
            assert not set(df["group"][train]) & set(df["group"][test])


def test_a_class_with_too_few_groups_is_named():
    df = pd.concat([GROUPED, pd.DataFrame({"label": "rare", "group": [900, 900, 901]})])
    with pytest.raises(UserError, match=r"1 classes have fewer than 3 .*groups, .*: rare \(2\)"):
        GroupSplitter()(df)
    with pytest.raises(UserError, match="--folds"):
        FoldSplitter(0, 5)(df)
    with pytest.raises(UserError, match=r"rare \(3\)"):
        FoldSplitter(0, 5)(df[["label"]])


def test_all_splitter_trains_on_everything():
    assert AllSplitter()(DF)[0] == list(range(200))


@pytest.mark.parametrize("rows", [1, 3])
def test_parts_that_are_left_out_hold_whole_groups_and_every_class_alike(rows):
    df = frame(60, 45, 12, rows=rows)
    groups = pd.factorize(df["group"])[0]
    parts = left_out_parts(df["label"], groups, 30)
    assert sorted(set(parts)) == list(range(30))
    assert (df.assign(part=parts).groupby("group")["part"].nunique() == 1).all()
    each = df.assign(part=parts).drop_duplicates("group").value_counts(["label", "part"])
    assert set(each["a"]) == {2} and set(each["b"]) == {1, 2} and set(each["c"]) == {1}
    assert np.array_equal(parts, left_out_parts(df["label"], groups, 30))


def test_groups_that_are_too_few_for_parts_are_left_out_one_by_one():
    df = frame(29, 3)
    groups = pd.factorize(df["group"])[0]
    assert np.array_equal(left_out_parts(df["label"], groups, 30), groups)
