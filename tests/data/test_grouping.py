"""Which images stay together: those of a file, of a column, those found, or none."""

import shutil
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from pokefast.crops import groups
from pokefast.data import grouping
from pokefast.data.competition import read_competition
from pokefast.data.grouping import believable, read_groups, split_groups
from pokefast.data.layout import Given, find_layout
from pokefast.errors import UserError
from pokefast.options import Options


@pytest.fixture
def labels(task1):
    return pd.read_csv(task1 / "train_labels.csv", dtype=str)


def same_label(train, groups=None, average=False, keep=True):
    """In the place of `add_groups`."""
    return train.assign(group=train["label"] if groups is None else groups)


def pairs_of(silhouette):
    """In the place of `kept_pairs`: groups of this silhouette."""
    found = SimpleNamespace(groups=lambda labels: labels, silhouette=lambda _: silhouette)
    return lambda *_: found


def test_a_file_a_column_what_is_found_and_none(task1, labels, tmp_path, monkeypatch):
    monkeypatch.setattr(grouping, "add_groups", same_label)
    labels = labels.rename(columns={"Id": "name"})
    labels["kind"] = labels["label"] + (labels.groupby("label").cumcount() // 2).astype(str)
    labels.to_csv(task1 / "of_mine.csv", index=False)
    (task1 / "train_labels.csv").unlink()
    competition = read_competition(find_layout(task1, Given(label="label")))
    table = labels.rename(columns={"name": "Id", "kind": "group"})
    table.to_csv(tmp_path / "groups.csv", index=False)
    kinds = labels.set_index("name")["kind"][competition.train["Id"]]
    for given in (dict(groups=tmp_path / "groups.csv"), dict(group="kind")):
        train = split_groups(competition, Options(**given))
        assert list(train["group"]) == list(pd.factorize(kinds)[0])
        assert list(train["Id"]) == list(competition.train["Id"])
    assert "group" not in split_groups(competition, Options())
    assert "group" not in split_groups(competition, Options(split="image"))
    monkeypatch.setattr(grouping, "kept_pairs", pairs_of(0.6))
    train = split_groups(competition, Options(split="group"))
    assert list(train["group"]) == list(train["label"])


def test_unsure_near_duplicates_are_not_kept_together(task1, tmp_path, monkeypatch, capsys):
    competition = read_competition(task1)
    monkeypatch.setattr(grouping, "kept_pairs", pairs_of(0.04))
    o = Options(split="group", average=True)
    assert "group" not in split_groups(competition, o)
    assert "silhouette 0.04" in capsys.readouterr().out
    settled = believable(competition, o)
    assert (settled.split, settled.average) == ("auto", False)
    capsys.readouterr()
    for given in (dict(split="auto"), dict(split="group", group="label")):
        assert believable(competition, Options(**given)) == Options(**given)
    assert capsys.readouterr().out == ""
    for given in (dict(split="auto"), dict(split="group", group="label")):
        settled = believable(competition, Options(**given, average=True))
        assert settled == Options(**given)
        assert "--no-average" in capsys.readouterr().out
    monkeypatch.setattr(grouping, "kept_pairs", pairs_of(0.6))
    assert believable(competition, o) == o


def test_images_that_are_predicted_alike_are_in_one_group_of_those_given(task1, monkeypatch):
    competition = read_competition(task1)
    alike = np.arange(len(competition.train))
    alike[7] = alike[0]
    pairs = pairs_of(0.6)()
    pairs.sure_groups = lambda: alike
    for module in (groups, grouping):
        monkeypatch.setattr(module, "kept_pairs", lambda *_: pairs)
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


def test_read_groups_follows_the_order_of_the_ids(tmp_path):
    file = tmp_path / "groups.csv"
    file.write_text("Id,group\n03,x\n1,y\n2,x\n")
    assert read_groups(file, ["1", "2", "03"]).tolist() == [0, 1, 1]


def test_read_groups_says_which_ids_do_not_count_or_are_spelt_otherwise(tmp_path, capsys):
    file = tmp_path / "groups.csv"
    file.write_text("Id,group\n1.png,x\n9,y\n2,x\u200b\n")
    assert read_groups(file, ["1", "2"]).tolist() == [0, 0]
    suffix, unknown = capsys.readouterr().out.splitlines()
    assert "1 differ by the suffix of an image: '1.png' for '1'" in suffix
    assert "groups.csv: 1 ids are no training image and do not count: 9" in unknown


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Id,group\n1,x\n", "Id 2 is missing"),
        ("Id,group\n1,x\n2,\u200b\n", "Id 2 has no group"),
        ("Id,group\n1,x\n2,x\n2,y\n", "Id 2 appears more than once"),
        ("Id,group\n1,x\n2,\n", "Id 2 has no group"),
        ("Id,species\n1,x\n2,x\n", "no column group"),
        ("", "cannot be read"),
    ],
)
def test_read_groups_names_the_file_and_the_row(tmp_path, text, said):
    file = tmp_path / "groups.csv"
    file.write_text(text)
    with pytest.raises(UserError, match=f"groups.csv.*{said}"):
        read_groups(file, ["1", "2"])


def test_read_groups_names_a_missing_file(tmp_path):
    with pytest.raises(UserError, match="none.csv"):
        read_groups(tmp_path / "none.csv", ["1"])
