"""The tasks from end to end on small data: what they write, what they refuse, and that they repeat
themselves.
"""

import importlib
import inspect
import json
import shutil

import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from pokefast.errors import UserError
from pokefast.scoring.metrics import macro_f1
from pokefast.training.learner import predict

TASKS = {name: importlib.import_module(f"tasks.{name}") for name in ("task1_mlp", "task2_cnn")}
PICTURES = {"class_counts.png", "batch.png", "crops.png", "curves.png", "confusion.png"}
FILES = PICTURES | {
    "options.json",
    "history.csv",
    "metrics.json",
    "predictions.csv",
    "examples.json",
    "model.safetensors",
    "model.json",
    "report.html",
}
QUICK = dict(epochs=2, bs=16)


@pytest.fixture(params=TASKS)
def task(request):
    return TASKS[request.param]


@pytest.fixture
def alone(small, tmp_path):
    """The small competition without its hidden labels anywhere near."""
    return shutil.copytree(small / "task1", tmp_path / "alone")


def run_folder(sandbox):
    (folder,) = (sandbox / "runs").glob("task*")
    return folder


def test_a_run_leaves_everything_behind(task, alone, sandbox, capsys):
    score = task.main(data=alone, **QUICK)
    folder = run_folder(sandbox)
    assert {p.name for p in folder.iterdir()} >= FILES
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["f1_macro"] == score and 0 <= score <= 1
    assert metrics["epochs"] == 2
    assert set(metrics["per_class_f1"]) == set(pd.read_csv(alone / "train_labels.csv")["label"])
    assert sum(map(sum, metrics["confusion"])) == metrics["n_test"]
    assert all(metrics[f"{k}_seconds"] > 0 for k in ("prepare", "train", "total"))
    options = json.loads((folder / "options.json").read_text())
    assert options["recipe"] == "fast" and options["epochs"] == 2
    history = pd.read_csv(folder / "history.csv")
    assert list(history["epoch"]) == [1, 2] and {"train_loss", "f1_score"} <= set(history)
    for name in PICTURES:
        assert min(Image.open(folder / name).size) > 100
    submission = pd.read_csv(sandbox / "submissions" / f"{task.TASK}_submit.csv")
    assert list(submission.columns) == ["Id", "Category"]
    assert list(submission["Id"]) == sorted(p.stem for p in (alone / "Test").glob("*.png"))
    out = capsys.readouterr().out
    assert "\r" not in out and out.count("epoch ") == 2


def test_the_same_seed_gives_the_same_bytes(task, alone, sandbox):
    results, submissions = [], []
    for _ in range(2):
        task.main(data=alone, **QUICK)
        submissions.append((sandbox / "submissions" / f"{task.TASK}_submit.csv").read_bytes())
    for folder in (sandbox / "runs").glob("task*"):
        metrics = json.loads((folder / "metrics.json").read_text())
        results.append({k: v for k, v in metrics.items() if not k.endswith("_seconds")})
    assert len(results) == 2 and results[0] == results[1]
    assert submissions[0] == submissions[1]


def test_saved_weights_give_the_reported_score(task, alone, sandbox):
    score = task.main(data=alone, **QUICK)
    dls = task.get_dls(alone, **QUICK)
    learn = task.get_learner(dls, **QUICK)
    learn.model.load_state_dict(load_file(run_folder(sandbox) / "model.safetensors"))
    predicted = predict(learn, dls[2], flip=True).argmax(1)
    assert macro_f1(dls[2].targets, predicted, range(len(dls.vocab))) == pytest.approx(score)


def test_every_option_of_main_is_in_both_recipes(task):
    not_options = {"data", "recipe", "no_early_stop", "without", "out"}
    options = set(inspect.signature(task.main).parameters) - not_options
    for recipe in task.RECIPES.values():
        assert options <= set(recipe)


def test_every_ingredient_leaves_something_of_the_fast_recipe_out(task):
    for options in task.INGREDIENTS.values():
        assert any(task.RECIPES["fast"][k] != v for k, v in options.items())


def test_a_run_without_a_part_goes_where_it_is_told(task, alone, sandbox, tmp_path):
    task.main(data=alone, without="flip,tta", out=tmp_path / "mine", **QUICK)
    (folder,) = (tmp_path / "mine" / "runs").glob("task*")
    options = json.loads((folder / "options.json").read_text())
    assert options["flip"] is False and options["tta"] is False and options["label_smoothing"]
    (file,) = (tmp_path / "mine" / "submissions").glob("*_submit.csv")
    assert len(pd.read_csv(file)) > 0
    assert not list(sandbox.glob("runs/*")) and not list(sandbox.glob("submissions/*.csv"))


def test_the_report_recipe_runs(task, alone, sandbox):
    assert task.main(data=alone, recipe="report", epochs=1) >= 0
    options = json.loads((run_folder(sandbox) / "options.json").read_text())
    assert options["bs"] == 16 and options["lr"] == 1e-3 and options["optimizer"] == "adam"


def test_refit_trains_a_second_model_on_everything(task, alone, sandbox, capsys):
    task.main(data=alone, refit=True, **QUICK)
    n = len(pd.read_csv(alone / "train_labels.csv"))
    assert f"once more on all {n} labelled pictures" in capsys.readouterr().out
    # not the model that was scored
    dls = task.get_dls(alone, **QUICK)
    learn = task.get_learner(dls, **QUICK)
    metrics = json.loads((run_folder(sandbox) / "metrics.json").read_text())
    learn.model.load_state_dict(load_file(run_folder(sandbox) / "model.safetensors"))
    assert metrics["n_train"] < n
    assert all(torch.isfinite(p).all() for p in learn.model.parameters())


def test_the_sample_submission_decides_order_and_columns(task, alone, sandbox):
    ids = sorted((p.stem for p in (alone / "Test").glob("*.png")), reverse=True)
    sample = pd.DataFrame({"image": ids, "type": "Water"})
    sample.to_csv(alone / "sample_submission.csv", index=False)
    task.main(data=alone, epochs=1, bs=16)
    submission = pd.read_csv(sandbox / "submissions" / f"{task.TASK}_submit.csv")
    assert list(submission.columns) == ["image", "type"] and list(submission["image"]) == ids


def test_a_sample_that_does_not_fit_stops_the_run_before_training(task, alone, sandbox, capsys):
    pd.DataFrame({"Id": ["x"], "Category": ["y"]}).to_csv(
        alone / "sample_submission.csv", index=False
    )
    with pytest.raises(UserError, match="sample_submission.csv"):
        task.main(data=alone, **QUICK)
    assert "epoch" not in capsys.readouterr().out
    assert not (sandbox / "runs").exists()


@pytest.mark.parametrize(
    "given, says",
    [
        (dict(epochs=-1), "--epochs -1"),
        (dict(bs=1), "--bs 1"),
        (dict(bs=5000), "--bs 5000"),
        (dict(crop="maybe"), "--crop maybe"),
        (dict(valid=0.9, test=0.2), "--valid 0.9 --test 0.2"),
        (dict(precision="fp16"), "--precision fp16"),
        (dict(lr=-1), "--lr -1"),
    ],
)
def test_bad_options_stop_the_run_before_training(task, alone, sandbox, given, says, capsys):
    with pytest.raises(UserError) as error:
        task.main(data=alone, **given)
    assert says in str(error.value)
    assert "epoch 1" not in capsys.readouterr().out


def test_the_old_submission_survives_a_run_that_fails(task, alone, sandbox):
    file = sandbox / "submissions" / f"{task.TASK}_submit.csv"
    file.parent.mkdir()
    file.write_text("old")
    with pytest.raises(UserError):
        task.main(data=alone, bs=5000)
    assert file.read_text() == "old"


def test_skip_bad_submits_every_test_picture_all_the_same(task, alone, sandbox):
    (alone / "Test" / "broken.png").write_text("no picture")
    task.main(data=alone, skip_bad=True, epochs=1, bs=16)
    submission = pd.read_csv(sandbox / "submissions" / f"{task.TASK}_submit.csv")
    assert "broken" in set(submission["Id"])


def test_the_embedded_data_is_the_default(task, small, monkeypatch):
    monkeypatch.setattr("pokefast.datasets.drawn.ensure", lambda n: small / f"task{n}")
    dls = task.get_dls(bs=16)
    assert dls.path == small / task.TASK
    assert len(dls.vocab) == 9


def test_lr_find_works_without_a_screen(task, small):
    learn = task.get_learner(task.get_dls(small / "task1", bs=16))
    before = {k: v.clone() for k, v in learn.model.state_dict().items()}
    suggestion = learn.lr_find(num_it=30)
    assert 1e-7 < suggestion.valley < 10
    assert all(torch.equal(v, before[k]) for k, v in learn.model.state_dict().items())


def test_weighted_sampling_weighs_by_class_count(task, small):
    learn = task.get_learner(task.get_dls(small / "task1", bs=16), sampler=True, bs=16)
    with learn.no_logging():
        learn.fit(1)
    dl = learn.dls.train
    counts = torch.bincount(dl.targets)
    assert dl.weights * counts[dl.targets].numpy() == pytest.approx(1)
    assert learn.dls.valid.weights is None


def test_grey_is_one_channel(small):
    task = TASKS["task1_mlp"]
    dls = task.get_dls(small / "task1", grey=True, bs=16)
    learn = task.get_learner(dls, grey=True, bs=16)
    assert dls.train.one_batch()[0].shape == (16, 1, 64, 64)
    assert next(learn.model.parameters()).shape == (256, 4096)


def test_the_cnn_sees_four_channels_with_alpha_as_it_is(small):
    dls = TASKS["task2_cnn"].get_dls(small / "task1", bs=16)
    x = dls.valid.one_batch()[0]
    assert x.shape[1:] == (4, 64, 64)
    assert (x[:, 3] == 1).all()
    assert x[:, :3].min() < -0.5 and x[:, :3].max() > 0.5


def test_predict_uncropped_is_another_prediction(alone, sandbox):
    task = TASKS["task2_cnn"]
    task.main(data=alone, crop="outline", **QUICK)
    task.main(data=alone, crop="outline", predict_uncropped=True, **QUICK)
    first, second = sorted((sandbox / "runs").glob("task*"))
    # probabilities: so short a training may name one type for every picture
    name = "predictions.csv"
    assert (first / name).read_bytes() != (second / name).read_bytes()
    assert (first / "model.safetensors").read_bytes() == (second / "model.safetensors").read_bytes()
