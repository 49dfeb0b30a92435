"""A run scored by another metric than macro-F1: what it watches, keeps, writes and says."""

import json

import numpy as np
import pandas as pd
import pytest

from pokefast.data.competition import read_competition
from pokefast.errors import UserError
from pokefast.prediction.predictor import load_predictor
from pokefast.runs import probability_columns
from pokefast.scoring.calibration import fit_temperature, tempered
from pokefast.scoring.metrics import choose_metric
from pokefast.task import run_task
from pokefast.training.learner import predict
from tasks import load_task

QUICK = dict(epochs=2, bs=16)
TASK = load_task("task1")


@pytest.fixture
def run(small, tmp_path):
    def _run(task=TASK, **given):
        return run_task(task, task.recipe(**{**QUICK, **given}), small / "task1", tmp_path / "out")

    return _run


def rows_of(result, part):
    """Truth and probabilities of a part of probabilities.csv."""
    table = pd.read_csv(result.folder / "probabilities.csv", keep_default_na=False)
    vocab = json.loads((result.folder / "run.json").read_text())["vocab"]
    table = table[table["part"] == part]
    rows = table[probability_columns(vocab)].to_numpy(float)
    return pd.Index(vocab).get_indexer(table["truth"]), rows, table


@pytest.mark.pictures
def test_it_stands_everywhere_and_changes_nothing_else(run, capsys):
    plain, other = run(epochs=1), run(epochs=1, metric="log_loss")
    assert plain.submission.read_bytes() == other.submission.read_bytes()
    assert other.scores["f1_macro"] == plain.scores["f1_macro"]
    truth, rows, _ = rows_of(other, "local")
    assert other.scores["metric"] == "log_loss"
    assert other.scores["log_loss"] == pytest.approx(choose_metric("log_loss").value(truth, rows))
    assert "log_loss" not in plain.scores and plain.scores["metric"] == "f1_macro"
    history = pd.read_csv(other.folder / "history.csv")
    assert list(history.columns[-2:]) == ["f1_score", "log_loss"]
    page = (other.folder / "report.html").read_text()
    assert "log loss, local test part" in page and "Calibration" in page
    out = capsys.readouterr().out
    assert "scored by log loss, less is better" in out and "images: log loss " in out


def test_early_stop_keeps_the_epoch_that_is_best_by_it(run):
    result = run(
        load_task("task2"), metric="log_loss", early_stop=True, stop_tolerance=0.0, epochs=4, lr=0.1
    )
    losses = pd.read_csv(result.folder / "history.csv")["log_loss"]
    o = load_task("task2").recipe(**QUICK)
    dls = load_task("task2").get_dls(result_data(result), o)
    learn = load_task("task2").get_learner(dls, o)
    learn.model.load_state_dict(load_predictor(result.folder).models[0].state_dict())
    value = choose_metric("log_loss").value(
        np.asarray(dls.valid.targets), predict(learn, dls.valid)
    )
    assert losses.nunique() > 1 and value == pytest.approx(losses.min(), rel=0.02)  # in bf16


def result_data(result):
    return json.loads((result.folder / "run.json").read_text())["data"]


def test_probabilities_are_calibrated_on_the_validation_part(run, small):
    result = run()
    o = TASK.recipe(**QUICK)
    competition = read_competition(small / "task1")
    dls = TASK.get_dls(competition, o)
    learn = TASK.get_learner(dls, o)
    predictor = load_predictor(result.folder)
    learn.model.load_state_dict(predictor.models[0].state_dict())
    temperature = fit_temperature(dls.valid.targets, predict(learn, dls.valid, o.tta))
    found = result.scores["calibration"]["temperature"]
    assert found == pytest.approx(temperature, rel=1e-3)
    assert predictor.description["temperature"] == found
    raw = predict(learn, dls[2], o.tta)
    truth, rows, _ = rows_of(result, "local")
    assert rows == pytest.approx(tempered(raw, found), abs=1e-4)
    assert (rows.argmax(1) == np.asarray(raw).argmax(1)).all()
    _, rows, table = rows_of(result, "test")
    there = predictor.probabilities(list(competition.test["path"])).numpy()
    assert there == pytest.approx(rows, abs=1e-6)
    assert list(table["predicted"]) == [competition.vocab[i] for i in there.argmax(1)]


def test_folds_are_calibrated_on_each_others_predictions(run, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "pokefast.steps.fold_temperatures",
        lambda truth, rows, folds: seen.append((truth, rows, folds)) or np.full(len(truth), 2.0),
    )
    result = run(folds=3, epochs=1)
    ((truth, raw, folds),) = seen
    found_truth, rows, table = rows_of(result, "local")
    assert (found_truth == truth).all()
    assert rows == pytest.approx(tempered(raw, 2), abs=1e-9)
    assert pd.Series(folds).groupby(table["fold"].to_numpy()).nunique().tolist() == [1, 1, 1]
    assert result.scores["calibration"]["temperature"] == fit_temperature(truth, raw)
    models = load_predictor(result.folder)
    assert len(models.models) == 3
    assert models.description["temperature"] == result.scores["calibration"]["temperature"]


def test_a_metric_that_cannot_be_stops_the_run_before_it_begins(run, tmp_path):
    for text in ("f1", "nowhere.py:cost"):
        with pytest.raises(UserError, match="--metric"):
            run(metric=text)
    (tmp_path / "own.py").write_text("def cost(truth, p):\n    return len(truth)\n")
    with pytest.raises(UserError, match="right"):
        run(metric=f"{tmp_path / 'own.py'}:cost")
    assert not (tmp_path / "out").exists()


def test_a_function_of_ones_own_scores_a_run(run, tmp_path):
    (tmp_path / "own.py").write_text(
        "def wrong(truth, probabilities):\n    return (probabilities.argmax(1) != truth).mean()\n"
    )
    scores = run(metric=f"{tmp_path / 'own.py'}:wrong", epochs=1).scores
    assert scores["own.py:wrong"] == pytest.approx(1 - scores["accuracy"])
