"""Metrics are scikit-learn's, or a function of one's own; resampled ones are those of the sets."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from fastai.learner import mk_metric
from fastai.torch_core import to_detach
from sklearn.metrics import cohen_kappa_score, f1_score, log_loss, roc_auc_score
from torch import tensor

from pokefast.errors import UserError
from pokefast.options import run_cli
from pokefast.scoring.metrics import METRICS, choose_metric, learner_metrics
from pokefast.scoring.score import main, score_submission

VOCAB = ["0", "1", "10", "2"]  # as text is sorted


@pytest.fixture
def rows():
    """Truth [90] and probabilities [90, 4]."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 4, 90)
    probabilities = rng.dirichlet(np.ones(4), 90).astype(np.float32)
    probabilities[range(90), truth] += 0.3
    return truth, probabilities / probabilities.sum(1, keepdims=True)


def test_they_are_scikit_learns(rows):
    truth, p = rows
    found = {name: choose_metric(name, VOCAB).value(truth, p) for name in METRICS}
    best = p.argmax(1)
    steps = np.array([0, 1, 3, 2])  # the classes by number
    expected = {
        "f1_macro": f1_score(truth, best, average="macro"),
        "accuracy": (truth == best).mean(),
        "log_loss": log_loss(truth, p),
        "auc": roc_auc_score(truth, p, multi_class="ovr"),
        "kappa": cohen_kappa_score(steps[truth], steps[best], weights="quadratic"),
    }
    assert found == pytest.approx(expected, rel=1e-5)
    assert choose_metric("kappa", VOCAB).order == ("0", "1", "2", "10")
    assert choose_metric("kappa", ["low", "high"]).order == ("high", "low")


@pytest.mark.parametrize("name", METRICS)
def test_a_resampled_value_is_that_of_the_set(name, rows):
    truth, p = rows
    p = p.round(1) + 1e-3  # many are equal
    groups = np.arange(90) // 3
    counts = np.random.default_rng(1).multinomial(30, np.full(30, 1 / 30), size=20)
    counts[0], counts[0, groups[truth == 2]] = 1, 0  # a set without class 2
    metric = choose_metric(name, VOCAB)
    found = metric.resampled(truth, p, groups, counts)
    for value, count in zip(found, counts, strict=True):
        n = np.repeat(np.arange(90), count[groups])
        here = metric.value(truth[n], p[n])
        if name == "f1_macro":  # of the classes that the set holds
            held = np.unique(truth[n])
            here = f1_score(truth[n], p[n].argmax(1), average="macro", labels=held)
        assert value == pytest.approx(here, rel=1e-9)


def test_the_area_of_two_classes_is_one_number(rows):
    truth, p = rows[0] % 2, rows[1][:, :2] / rows[1][:, :2].sum(1, keepdims=True)
    assert METRICS["auc"].value(truth, p) == pytest.approx(roc_auc_score(truth, p[:, 1]))


OWN = """
import numpy as np
def cost(truth, probabilities):
    return np.mean(probabilities.argmax(1) != truth)
def gain(truth, probabilities):
    assert probabilities.shape == (len(truth), 4)
    return np.mean(probabilities.argmax(1) == truth)
def constant(truth, probabilities):
    return 1.0
def words(truth, probabilities):
    return "good"
def fails(truth, probabilities):
    raise KeyError("weights")
number = 3
"""


@pytest.fixture
def own(tmp_path):
    """A file of functions."""
    (tmp_path / "own.py").write_text(OWN)
    return tmp_path / "own.py"


def test_a_function_of_ones_own_shows_by_itself_what_is_better(own, rows):
    cost, gain = (choose_metric(f"{own}:{name}", VOCAB) for name in ("cost", "gain"))
    assert (cost.lower, gain.lower) == (True, False)
    assert (cost.name, cost.column) == ("own.py:cost", "own.py:cost")
    assert cost.value(*rows) == pytest.approx(1 - gain.value(*rows))


@pytest.mark.parametrize(
    "text, says",
    [
        ("f1_makro", "did you mean f1_macro"),
        ("precision", "choose f1_macro, accuracy, log_loss, auc, kappa or file.py:function"),
        ("nowhere.py:cost", "there is no file nowhere.py"),
        ("{own}:costs", "has no function 'costs'; did you mean cost"),
        ("{own}:number", "has no function 'number'"),
        ("{own}:", "has no function ''"),
        ("{own}:constant", "it gives 1 for right and 1 for wrong predictions"),
        ("{own}:words", "ValueError for truth"),
        ("{own}:fails", "KeyError for truth .16,. and probabilities .16, 4.: 'weights'"),
        ("{broken}:cost", "cannot be run: SyntaxError"),
        ("{text}:cost", "is no Python file"),
    ],
)
def test_what_is_no_metric_is_said_in_one_line(own, tmp_path, text, says):
    (tmp_path / "broken.py").write_text("def cost(:")
    (tmp_path / "text.txt").write_text("")
    files = dict(own=own, broken=tmp_path / "broken.py", text=tmp_path / "text.txt")
    with pytest.raises(UserError, match=says) as error:
        choose_metric(text.format(**files), VOCAB)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", METRICS)
def test_fastai_computes_it_over_the_whole_validation_part(name, rows, recwarn):
    truth, p = map(tensor, rows)
    metric = choose_metric(name, VOCAB)
    found = map(mk_metric, learner_metrics(4, metric))
    (fastais,) = [m for m in found if m.name == metric.column]
    fastais.reset()
    for part in range(0, 90, 7):
        y = truth[part : part + 7]
        learn = dict(pred=p[part : part + 7].log(), y=y, yb=(y,), to_detach=to_detach)
        fastais.accumulate(SimpleNamespace(**learn))
    assert fastais.value == pytest.approx(metric.value(*rows), rel=1e-5)
    assert not recwarn.list


SOLUTION = pd.DataFrame({"Id": [*"abcd"], "label": ["x", "y", "x", "z"], "split": "Test"})
CLASSES = pd.DataFrame({"Id": [*"dcba"], "Category": ["z", "x", "x", "x"]})
ROWS = [[0.1, 0.1, 0.8], [0.6, 0.2, 0.2], [0.5, 0.4, 0.1], [0.7, 0.2, 0.1]]
PROBABILITIES = pd.DataFrame(ROWS, columns=[*"xyz"]).astype(str)
PROBABILITIES.insert(0, "Id", [*"dcba"])


def test_a_submission_of_probabilities_is_scored_by_any_metric():
    assert score_submission(CLASSES, SOLUTION, "accuracy") == 0.75
    assert score_submission(CLASSES.replace("z", "new"), SOLUTION, "accuracy") == 0.5
    shuffled = PROBABILITIES[["Id", "z", "x", "y"]]
    for name in ("f1_macro", "accuracy"):
        expected = score_submission(CLASSES, SOLUTION, name)
        assert score_submission(shuffled, SOLUTION, name) == expected
    expected = log_loss([*"zxyx"], np.array(ROWS))
    assert score_submission(shuffled, SOLUTION, "log_loss") == pytest.approx(expected)
    with pytest.raises(UserError, match="classes alone; log loss is one of probabilities"):
        score_submission(CLASSES, SOLUTION, "log_loss")


def test_score_says_what_is_no_submission_of_this_metric(tmp_path, capsys):
    SOLUTION.to_csv(tmp_path / "solution.csv", index=False)
    out = tmp_path / "submissions"
    out.mkdir()
    CLASSES.to_csv(out / "classes.csv", index=False)
    PROBABILITIES.to_csv(out / "good.csv", index=False)
    PROBABILITIES.drop(columns="z").to_csv(out / "lacking.csv", index=False)
    PROBABILITIES.replace("0.8", "much").to_csv(out / "text.csv", index=False)
    args = ["--solution", str(tmp_path / "solution.csv"), "--submissions", str(out)]
    assert run_cli(main, [*args, "--metric", "log_loss"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "log loss" in lines[0] and "classes alone" in lines[1]
    assert float(lines[2].split()[0]) > 0 and "good.csv" in lines[2]
    assert "it has 3 columns" in lines[3] and "x, y, z" in lines[3]
    assert "no numbers" in lines[4]
    assert run_cli(main, [*args, "--metric", "loss"]) == 2
