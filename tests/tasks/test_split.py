"""Every task keeps together what belongs together, and gives an interval for it."""

import json
import shutil

import pandas as pd
import pytest

from pokefast.task import run_task
from tasks import load_task

QUICK = dict(epochs=1, bs=16)


@pytest.fixture(params=["task1", "task2"])
def task(request):
    return load_task(request.param)


@pytest.fixture
def run(task, task1, tmp_path):
    def _run(**given):
        return run_task(task, task.recipe(**{**QUICK, **given}), task1, tmp_path / "out")

    return _run


@pytest.fixture
def groups(task1, tmp_path):
    """A file of groups of two, within a class."""
    labels = pd.read_csv(task1 / "train_labels.csv", dtype=str).sort_values(["label", "Id"])
    numbers = labels.groupby("label").cumcount() // 2
    file = tmp_path / "groups.csv"
    labels.assign(group=labels["label"] + numbers.astype(str)).to_csv(file, index=False)
    return file


def sides(task, dls):
    return [set(dl.items["group"]) for dl in dls.loaders]


def test_given_groups_stay_together_in_a_split_and_in_folds(task, run, groups, task1, capsys):
    o = task.recipe(groups=groups, **QUICK)
    found = [set(dl.items["group"]) for dl in task.get_dls(task1, o).loaders]
    assert not (found[0] & found[1] or found[0] & found[2] or found[1] & found[2])
    result = run(groups=groups, folds=3)
    table = pd.read_csv(result.folder / "probabilities.csv")
    local = table[table["part"] == "local"]
    assert (local.groupby("group")["fold"].nunique() == 1).all() and len(local) == 126
    assert result.scores["f1_macro_low"] <= result.scores["f1_macro"]
    assert result.scores["n_groups"] == 63
    out = capsys.readouterr().out
    assert "63 groups of those given in 126 images" in out and "local and hidden groups" in out
    assert "--groups" in json.loads((result.folder / "run.json").read_text())["command"]


def test_without_copies_the_split_is_that_of_images_and_the_same_as_ever(run, capsys):
    alone, auto = run(split="image"), run()
    rows = [(r.folder / "probabilities.csv").read_bytes() for r in (alone, auto)]
    assert rows[0] == rows[1] and alone.submission.read_bytes() == auto.submission.read_bytes()
    out = capsys.readouterr().out
    assert "may flatter" in out and "no two are copies" in out and "--group COLUMN" in out
    assert "f1_macro_low" not in alone.scores and "f1_macro_low" in auto.scores


def test_copies_stay_together_and_are_counted(task, run, task1, capsys):
    labels = pd.read_csv(task1 / "train_labels.csv", dtype=str)
    twins = labels.iloc[:20].assign(Id=[f"twin{i}" for i in range(20)])
    for name, twin in zip(labels["Id"], twins["Id"], strict=False):
        shutil.copy(task1 / "Train" / f"{name}.png", task1 / "Train" / f"{twin}.png")
    pd.concat([labels, twins]).to_csv(task1 / "train_labels.csv", index=False)
    run()
    out = capsys.readouterr().out
    assert "20 groups of copies stay together" in out and "--group COLUMN" in out
