"""Runs side by side: the difference of their scores, and their mean as a submission."""

import json
import re

import numpy as np
import pandas as pd
import pytest

from pokefast import blend, compare
from pokefast.errors import UserError
from pokefast.files import write_own_csv
from pokefast.report.comparison import recent_pairs
from pokefast.report.plots import RunFiles
from pokefast.report.together import Together
from pokefast.runs import probability_table, write_run
from pokefast.scoring.metrics import METRICS
from pokefast.scoring.paired import difference_interval


@pytest.fixture
def make(small, tmp_path):
    """A function that writes a run's folder: images of the small competition, predicted rightly
    with a probability `p` where they are in `rows` and wrongly elsewhere.
    """
    data = small / "task1"
    labels = pd.read_csv(data / "train_labels.csv", dtype=str).rename(columns={"Label": "label"})
    vocab = sorted(labels["label"].unique())
    test = pd.DataFrame({"Id": sorted(f.stem for f in (data / "Test").glob("*.png"))})

    def write(name, rows, right=lambda i: True, p=0.6, vocab=vocab, group=lambda i: i // 2):
        local = labels.iloc[rows].assign(group=[str(group(i)) for i in rows])
        numbers = np.array([vocab.index(label) for label in local["label"]])
        hits = np.array([right(i) for i in rows])
        found = np.full((len(local), len(vocab)), (1 - p) / (len(vocab) - 1))
        found[np.arange(len(local)), np.where(hits, numbers, (numbers + 1) % len(vocab))] = p
        shares = np.full((len(test), len(vocab)), (1 - p) / (len(vocab) - 1))
        shares[:, 0] = p
        parts = [(local, found, "local"), (test, shares, "test")]
        table = pd.concat([probability_table(a, b, vocab, part) for a, b, part in parts])
        folder = tmp_path / name
        about = {"task": "task1", "data": str(data), "vocab": vocab, "options": {"p": p, "bs": 1}}
        write_run(folder, about)
        write_own_csv(folder / "probabilities.csv", table)
        (folder / "metrics.json").write_text(json.dumps({"metric": "accuracy", "accuracy": 0.5}))
        return folder

    write.vocab = vocab
    return write


def together(*folders):
    return Together(map(RunFiles, folders))


def test_only_images_that_every_run_predicted_unseen_count(make):
    one = make("a", range(20), group=lambda i: i // 2)
    both = together(one, make("b", range(10, 30), group=lambda i: (i + 1) // 2))
    assert len(both.local) == 10 and both.probabilities("local").shape[:2] == (2, 10)
    assert both.local["group"].nunique() == 1  # 10 and 11 in one run, 11 and 12 in the other, ...
    assert together(one, make("c", range(30, 40))).local.empty


def test_classes_in_another_order_are_the_same_classes(make):
    one = make("a", range(20))
    both = together(one, make("b", range(20), vocab=make.vocab[::-1]))
    np.testing.assert_allclose(*both.probabilities("local"))


@pytest.mark.parametrize("first", [0, 40])
def test_the_blend_is_the_mean_and_says_its_local_score(make, first, tmp_path, capsys):
    rows = range(first, first + 20)
    runs = [make("a", range(20), p=0.9), make("b", rows, right=lambda i: i % 2)]
    blend.main(runs, out=tmp_path / "x.csv")
    table = pd.read_csv(tmp_path / "x.csv")
    assert set(table["Category"]) == {make.vocab[0]}
    said = capsys.readouterr().out
    assert "no local score" in said if first else "1.0000" in said and "0.5000" in said


def test_weights_are_chosen_on_other_groups_than_they_are_scored_on():
    rng = np.random.default_rng(0)
    truth, groups = rng.integers(0, 2, 200), np.arange(200) // 2
    good = np.where(np.eye(2)[truth] > 0, 0.8, 0.2)
    found = np.stack([good, np.full_like(good, 0.5)])
    assert blend.fit_weights(truth, found) == pytest.approx([1, 0], abs=0.01)
    noise = rng.dirichlet([1, 1], 200)  # of which something fits by chance
    mixed = blend.cross_fitted(truth, np.stack([good, noise]), groups)
    np.testing.assert_allclose(mixed.sum(1), 1)
    for part, rest in blend.GroupKFold(blend.PARTS).split(truth, truth, groups):
        weights = blend.fit_weights(truth[part], np.stack([good, noise])[:, part])
        np.testing.assert_allclose(mixed[rest], weights[0] * good[rest] + weights[1] * noise[rest])


def test_a_difference_is_paired():
    rng = np.random.default_rng(0)
    truth, groups = rng.integers(0, 3, 300), np.arange(300) // 3
    one = rng.dirichlet([1, 1, 1], 300)
    other = one.copy()
    other[:3] = np.eye(3)[truth[:3]]  # one group mended
    low, high = difference_interval(METRICS["accuracy"], truth, one, other, groups)[1:]
    assert low >= 0 and high < 0.04  # each score alone is known to 0.1 or so
    same = difference_interval(METRICS["f1_macro"], truth, one, one, groups)
    assert same == (0, 0, 0)


def test_runs_are_compared_in_lines(make, capsys):
    compare.main([make("a", range(20)), make("b", range(20), right=lambda i: i % 2, p=0.7)])
    said = capsys.readouterr().out
    assert "0.6 " in said and "bs" not in said and "-0.5000 to the first run" in said
    assert "10 wrong here, right in the first" in said


def test_the_page_of_runs_shows_images_that_one_has_right(make, tmp_path):
    runs = [make("a", range(20)), make("b", range(20), right=lambda i: i not in (4, 7))]
    compare.main(runs)
    text = (tmp_path / "compare.html").read_text()
    data = json.loads(re.search(r'id="data">(.*?)</script>', text, re.S)[1])
    assert [run["name"] for run in data["runs"]] == ["a", "b"]
    (pair,) = data["pairs"]
    assert (pair["images"], pair["better"]["n"], pair["worse"]["n"]) == (20, 0, 2)
    for shown in pair["worse"]["shown"]:
        assert shown["image"].startswith("data:image/jpeg") and shown["truth"] != shown["wrong"]
    assert pair["low"] < pair["difference"] < pair["high"] and pair["difference"] == pytest.approx(
        -0.1
    )
    about = json.loads((runs[0] / "run.json").read_text())
    write_run(runs[0], about | {"data": str(tmp_path / "gone")})
    compare.main(runs, out=tmp_path / "own.html")  # without its images, by their names
    assert "data:image" not in (tmp_path / "own.html").read_text().split("</head>")[1]


def test_the_last_runs_are_compared_once(make):
    finished = [RunFiles(make(name, range(9), right=lambda i: i)) for name in "bcde"]
    finished.insert(0, RunFiles(make("a", range(9))))
    for files in finished:
        files.run["images"] = "a hash"
    assert [row["of"] for row in recent_pairs(finished[:2])] == [["a", "b"]]
    pairs = [("a", "b"), ("a", "c"), ("b", "c"), ("a", "d"), ("b", "d"), ("c", "d")]
    pairs += [("b", "e"), ("c", "e"), ("d", "e")]
    assert [tuple(row["of"]) for row in recent_pairs(finished)] == pairs
    for files in finished:
        (files.folder / "probabilities.csv").unlink()
    rows = recent_pairs(finished)  # read from what was kept
    assert [tuple(row["of"]) for row in rows] == pairs
    shown = [bool(row["worse"]["shown"]) for row in rows if row["of"][0] == "a"]
    assert shown == [False, True, True]  # images of the last runs alone


@pytest.mark.parametrize("words", ["two different", "other classes", "another metric"])
def test_runs_that_do_not_go_together_are_refused(make, words):
    one = make("a", range(9))
    other = one if "two" in words else make("b", range(9), vocab=[*make.vocab, "new"])
    if "metric" in words:
        other = make("c", range(9))
        (other / "metrics.json").write_text('{"metric": "f1_macro"}')
    with pytest.raises(UserError, match=words):
        together(one, other)
