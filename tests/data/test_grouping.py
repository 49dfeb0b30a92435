"""Which images stay together: those of a file, of a column, those found, or none."""

import shutil
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from pokefast.crops import groups
from pokefast.data.competition import read_competition
from pokefast.data.grouping import split_groups
from pokefast.data.layout import Given, find_layout
from pokefast.errors import UserError
from pokefast.options import Options


@pytest.fixture
def labels(task1):
    return pd.read_csv(task1 / "train_labels.csv", dtype=str)


def same_label(train, groups=None, average=False):
    """In the place of `add_groups`."""
    return train.assign(group=train["label"] if groups is None else groups)


def test_a_file_a_column_what_is_found_and_none(task1, labels, tmp_path):
    labels = labels.rename(columns={"Id": "name"})
    labels["kind"] = labels["label"] + (labels.groupby("label").cumcount() // 2).astype(str)
    labels.to_csv(task1 / "of_mine.csv", index=False)
    (task1 / "train_labels.csv").unlink()
    competition = read_competition(find_layout(task1, Given(label="label")))
    table = labels.rename(columns={"name": "Id", "kind": "group"})
    table.to_csv(tmp_path / "groups.csv", index=False)
    kinds = labels.set_index("name")["kind"][competition.train["Id"]]
    for given in (dict(groups=tmp_path / "groups.csv"), dict(group="kind")):
        train = split_groups(competition, Options(**given), same_label)
        assert list(train["group"]) == list(pd.factorize(kinds)[0])
        assert list(train["Id"]) == list(competition.train["Id"])
    assert "group" not in split_groups(competition, Options())
    assert "group" not in split_groups(competition, Options(split="image"))
    train = split_groups(competition, Options(split="group"), same_label)
    assert list(train["group"]) == list(train["label"])


def test_images_that_are_predicted_alike_are_in_one_group_of_those_given(task1, monkeypatch):
    competition = read_competition(task1)
    alike = np.arange(len(competition.train))
    alike[7] = alike[0]
    pairs = SimpleNamespace(sure_groups=lambda: alike)
    monkeypatch.setattr(groups, "kept_pairs", lambda *_: pairs)
    for given in (dict(), dict(group="Id")):
        train = split_groups(competition, Options(average=True, **given))
        assert train["group"][7] == train["group"][0] and train["alike"][7] == train["alike"][0]
        assert train["group"].nunique() == len(train) - 1


@pytest.mark.parametrize(
    "given, says",
    [
        (dict(split="image", groups="g.csv"), "--groups g.csv --split image: they contradict"),
        (dict(groups="g.csv", group="who"), "--groups g.csv --group who: they contradict"),
        (dict(folds=1), "--folds 1: at least 2"),
    ],
)
def test_what_contradicts_itself_is_refused(given, says):
    with pytest.raises(UserError, match=says):
        Options(**given)


def test_a_column_that_is_not_there_is_named(task1, tmp_path):
    competition = read_competition(task1)
    with pytest.raises(UserError, match="train_labels.csv: no column who; it has Id, label"):
        split_groups(competition, Options(group="who"))
    for row in competition.train.itertuples():
        folder = tmp_path / "folders" / row.label
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(row.path, folder)
    with pytest.raises(UserError, match="--group who: there is no table"):
        split_groups(read_competition(tmp_path / "folders"), Options(group="who"))
