"""Tasks 1 and 2 from end to end on small data: what they write, what they refuse, and that they
repeat themselves.
"""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from pokefast.errors import UserError
from pokefast.scoring.metrics import macro_f1
from pokefast.task import main, read_line, run_task
from pokefast.training.learner import predict
from tasks import load_task

PICTURES = {"class_counts.png", "batch.png", "crops.png", "curves.png", "confusion.png"}
FILES = PICTURES | {
    "run.json",
    "history.csv",
    "metrics.json",
    "probabilities.csv",
    "examples.json",
    "model.safetensors",
    "model.json",
    "report.html",
}
QUICK = dict(epochs=2, bs=16)


@pytest.fixture(params=["task1", "task2"])
def task(request):
    return load_task(request.param)


@pytest.fixture
def alone(small, tmp_path):
    """The small competition without its hidden labels anywhere near."""
    return shutil.copytree(small / "task1", tmp_path / "alone")


@pytest.fixture
def run(task, alone, tmp_path):
    """A function that runs the task on the small competition, with options that are given."""

    def _run(recipe=None, **given):
        return run_task(task, task.recipe(recipe, **given), alone, tmp_path / "out")

    return _run


def about(result):
    return json.loads((result.folder / "run.json").read_text())


@pytest.mark.pictures
def test_a_run_leaves_everything_behind(task, run, alone, capsys):
    result = run(**QUICK)
    folder = result.folder
    assert {p.name for p in folder.iterdir()} >= FILES
    metrics = json.loads((folder / "metrics.json").read_text())
    assert all(metrics[k] == v for k, v in result.scores.items() if "_seconds" not in k)
    assert 0 <= metrics["f1_macro"] <= 1 and metrics["epochs"] == 2
    labels = pd.read_csv(alone / "train_labels.csv", dtype=str)
    assert set(metrics["per_class_f1"]) == set(labels["label"])
    assert sum(map(sum, metrics["confusion"])) == metrics["n_test"]
    assert all(metrics[f"{k}_seconds"] > 0 for k in ("prepare", "train", "total"))
    options = about(result)
    assert options["recipe"] == "fast" and options["options"]["epochs"] == 2
    assert options["given"] == QUICK and "--epochs 2" in options["command"]
    assert options["published"] == task.published  # the nine classes of the competition
    history = pd.read_csv(folder / "history.csv")
    assert list(history["epoch"]) == [1, 2] and {"train_loss", "f1_score"} <= set(history)
    for name in PICTURES:
        assert min(Image.open(folder / name).size) > 100
    submission = pd.read_csv(result.submission)
    assert list(submission.columns) == ["Id", "Category"]
    assert list(submission["Id"]) == sorted(p.stem for p in (alone / "Test").glob("*.png"))
    out = capsys.readouterr().out
    assert "\r" not in out and out.count("epoch ") == 2 and "could not be made" not in out


def test_every_probability_is_kept(run, alone):
    result = run(**QUICK)
    table = pd.read_csv(result.folder / "probabilities.csv", dtype={"fold": str})
    columns = [f"p_{name}" for name in about(result)["vocab"]]
    assert list(table.columns[-len(columns) :]) == columns
    assert table[columns].sum(axis=1).to_numpy() == pytest.approx(1, abs=1e-4)
    local, test = (table[table["part"] == part] for part in ("local", "test"))
    assert len(local) == result.scores["n_test"] and local["truth"].notna().all()
    labels = pd.read_csv(alone / "train_labels.csv").set_index("Id")["label"]
    assert (labels[local["Id"]].to_numpy() == local["truth"]).all()
    submission = pd.read_csv(result.submission).set_index("Id")["Category"]
    assert (submission[test["Id"]].to_numpy() == test["predicted"]).all()
    assert test["truth"].isna().all() and not set(test["Id"]) & set(labels.index)


def test_the_same_seed_gives_the_same_bytes(run):
    results, files = [], []
    for _ in range(2):
        result = run(**QUICK)
        results.append({k: v for k, v in result.scores.items() if not k.endswith("_seconds")})
        names = ("model.safetensors", "probabilities.csv", "history.csv")
        written = [result.submission, *(result.folder / name for name in names)]
        files.append([file.read_bytes() for file in written])
    assert results[0] == results[1]
    times = re.compile(rb"\d\d:\d\d")
    assert [times.sub(b"", f) for f in files[0]] == [times.sub(b"", f) for f in files[1]]


def test_two_runs_that_start_together_have_folders_of_their_own(run):
    assert run(epochs=0).folder != run(epochs=0).folder


def test_saved_weights_give_the_reported_score(task, run, alone):
    result, o = run(**QUICK), task.recipe(**QUICK)
    dls = task.get_dls(alone, o)
    learn = task.get_learner(dls, o)
    learn.model.load_state_dict(load_file(result.folder / "model.safetensors"))
    predicted = predict(learn, dls[2], flip=True).argmax(1)
    score = macro_f1(dls[2].targets, predicted, range(len(dls.vocab)))
    assert score == pytest.approx(result.scores["f1_macro"])


def test_the_command_line_runs_a_task_where_it_is_told(task, alone, tmp_path):
    out = tmp_path / "mine"
    line = f"--data {alone} --out {out} --epochs 1 --bs 16 --no-flip --no-tta".split()
    assert main(task, line) == 0
    (folder,) = out.glob(f"runs/{task.name}-*")
    options = json.loads((folder / "run.json").read_text())
    assert options["options"]["flip"] is False and options["options"]["label_smoothing"]
    assert options["given"] == {"epochs": 1, "bs": 16, "flip": False, "tta": False}
    (file,) = out.glob("submissions/*_submit.csv")
    assert len(pd.read_csv(file)) > 0
    assert main(task, ["--data", str(tmp_path / "nowhere")]) == 2


def test_the_report_recipe_runs(run):
    result = run("report", epochs=1)
    options = about(result)["options"]
    assert options["bs"] == 16 and options["lr"] == 1e-3 and options["optimizer"] == "adam"
    assert "--recipe report" in about(result)["command"]


def test_refit_trains_a_second_model_on_everything(task, run, alone, capsys):
    result = run(refit=True, **QUICK)
    n = len(pd.read_csv(alone / "train_labels.csv"))
    said, n_train = capsys.readouterr().out, result.scores["n_train"]
    assert f"once more on all {n} labelled images" in said and n_train < n
    scored = f"scored is a model of {n_train} images, submitted is one of all {n}"
    assert scored in said and result.scores["submitted"] == scored
    assert (result.folder / "model.safetensors").exists()


def test_folds_take_turns_and_are_averaged(task, run, alone, monkeypatch, capsys):
    monkeypatch.setattr("pokefast.steps.LONG", 0)
    result = run(folds=3, **QUICK)
    said = capsys.readouterr().out
    assert "2 folds left, about 0" in said and "1 fold left, about 0" in said
    assert "each image is scored by one of 3 models, submitted is the mean of them all" in said
    table = pd.read_csv(result.folder / "probabilities.csv")
    local = table[table["part"] == "local"]
    assert set(local["Id"]) == set(pd.read_csv(alone / "train_labels.csv")["Id"])
    assert local["Id"].is_unique and sorted(local["fold"].unique()) == [1, 2, 3]
    assert len(list(result.folder.glob("fold*/model.safetensors"))) == 3
    assert set(pd.read_csv(result.folder / "history.csv")["fold"]) == {1, 2, 3}


def test_the_sample_submission_decides_order_and_columns(run, alone):
    ids = sorted((p.stem for p in (alone / "Test").glob("*.png")), reverse=True)
    sample = pd.DataFrame({"image": ids, "type": "Water"})
    sample.to_csv(alone / "sample_submission.csv", index=False)
    submission = pd.read_csv(run(epochs=1, bs=16).submission)
    assert list(submission.columns) == ["image", "type"] and list(submission["image"]) == ids


def test_a_sample_that_does_not_fit_stops_the_run_before_training(run, alone, tmp_path, capsys):
    pd.DataFrame({"Id": ["x"], "Category": ["y"]}).to_csv(
        alone / "sample_submission.csv", index=False
    )
    with pytest.raises(UserError, match="sample_submission.csv"):
        run(**QUICK)
    assert "epoch" not in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


def test_class_folders_without_a_test_give_a_score_and_no_submission(alone, tmp_path, capsys):
    labels = pd.read_csv(alone / "train_labels.csv").set_index("Id")["label"]
    for i, (name, label) in enumerate(labels.items()):
        to = tmp_path / "mine" / ("val" if i % 7 == 0 else "train") / label / f"{name}.png"
        to.parent.mkdir(parents=True, exist_ok=True)
        (alone / "Train" / f"{name}.png").rename(to)
    line = f"--data {tmp_path / 'mine'} --out {tmp_path / 'out'} --epochs 1 --bs 16 --valid val"
    assert main(load_task("task1"), line.split()) == 0
    out = capsys.readouterr().out
    assert "no test images: a score, and no submission" in out and "could not be made" not in out
    (folder,) = tmp_path.glob("out/runs/task1-*")
    about = json.loads((folder / "run.json").read_text())
    assert about["given"]["valid_folder"] == "val" and len(about["layout"]) == 4
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["n_valid"] == len(labels[::7]) and metrics["n_test"] > 0
    assert not list(tmp_path.glob("out/submissions/*"))
    table = pd.read_csv(folder / "probabilities.csv")
    assert set(table["part"]) == {"local"} and table["Id"].str.startswith("train/").all()


def test_folders_and_fractions_share_an_option(alone):
    line = f"--data {alone} --valid 0.2 --test .1 --test=Test --valid my/val --labels train.csv"
    o, *_ = read_line(load_task("task1"), line.split())
    assert (o.valid, o.test, o.labels) == (0.2, 0.1, "train.csv")
    assert (o.valid_folder, o.test_folder) == (Path("my/val"), Path("Test"))
    assert read_line(load_task("task1"), [])[0] == load_task("task1").recipe()


def test_a_misspelt_option_is_answered_in_two_lines(capsys):
    with pytest.raises(SystemExit):
        read_line(load_task("task1"), ["--epocs", "3"])
    _, said = capsys.readouterr().err.splitlines()
    assert "unknown option --epocs; did you mean --epochs" in said


@pytest.mark.parametrize(
    "given, says",
    [
        (dict(epochs=-1), "--epochs -1"),
        (dict(bs=1), "--bs 1"),
        (dict(bs=5000), "--bs 5000"),
        (dict(crop="maybe"), "--crop maybe"),
        (dict(valid=0.9, test=0.2), "--valid 0.9 --test 0.2"),
        (dict(precision="fp16"), "--precision fp16"),
        (dict(lr=-1.0), "--lr -1"),
    ],
)
def test_bad_options_stop_the_run_before_training(run, given, says, capsys, tmp_path):
    with pytest.raises(UserError) as error:
        run(**given)
    assert says in str(error.value)
    assert "epoch 1" not in capsys.readouterr().out
    assert not list(tmp_path.glob("out/runs/*"))


def test_an_output_folder_that_cannot_be_is_refused_before_any_work(task, alone, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="it is a file"):
        run_task(task, task.recipe(**QUICK), alone, tmp_path / "file")


def test_the_old_submission_survives_a_run_that_fails(task, run, tmp_path):
    file = tmp_path / "out" / "submissions" / f"{task.name}_submit.csv"
    file.parent.mkdir(parents=True)
    file.write_text("old")
    with pytest.raises(UserError):
        run(bs=5000)
    assert file.read_text() == "old"


def test_a_batch_size_that_nobody_asked_for_fits_few_images(task, run, capsys):
    result = run(epochs=0, valid=0.4, test=0.4)  # 25 of 126 images are left
    n = result.scores["n_train"]
    assert 2 <= about(result)["options"]["bs"] <= n < task.recipe().bs
    assert f"batches of {n // 4}" in capsys.readouterr().out


def test_a_gpu_that_is_full_is_one_line_that_says_what_to_make_smaller(run, monkeypatch):
    def full(*_, **__):
        monkeypatch.setattr("torch.cuda.is_available", lambda: True)
        monkeypatch.setattr("torch.cuda.mem_get_info", lambda: (3 << 29, 8 << 30))
        monkeypatch.setattr("torch.cuda.memory_reserved", lambda: 1 << 30)
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB.\nSee ...")

    monkeypatch.setattr("pokefast.steps.fit", full)
    with pytest.raises(UserError) as error:
        run(**QUICK)
    assert str(error.value) == (
        "the GPU's memory is full (2.5 of 8.0 GiB were free for this run): "
        "make --bs smaller, which is 16"
    )


@pytest.mark.pictures
def test_a_picture_that_fails_costs_a_line_and_not_the_run(run, monkeypatch, capsys):
    def fails(*_):
        raise ValueError("no picture of this")

    monkeypatch.setattr("pokefast.steps.draw_figures", fails)
    monkeypatch.setattr("pokefast.steps.write_examples", fails)
    result = run(epochs=1, bs=16)
    assert result.submission.exists() and (result.folder / "report.html").exists()
    out = capsys.readouterr().out
    assert out.count("could not be made: ValueError: no picture of this") == 2


def test_weights_and_submission_come_before_everything_else(run, monkeypatch, tmp_path):
    def fails(*_):
        raise RuntimeError("the power goes")

    monkeypatch.setattr("pokefast.task.predict_local", fails)
    with pytest.raises(RuntimeError):
        run(epochs=1, bs=16)
    (folder,) = (tmp_path / "out" / "runs").iterdir()
    assert {"run.json", "history.csv", "model.safetensors"} <= {p.name for p in folder.iterdir()}
    assert not (folder / "metrics.json").exists()
    assert len(list((tmp_path / "out" / "submissions").glob("*.csv"))) == 1


def test_skip_bad_submits_every_test_picture_all_the_same(run, alone, monkeypatch):
    (alone / "Test" / "broken.png").write_text("no picture")
    first, *_, last = sorted((alone / "Train").glob("*.png"))
    for file in (first, last):
        file.write_bytes(file.read_bytes()[:60])
    twice = lambda _: pytest.fail("images are decoded once more to find the broken ones")  # noqa: E731
    monkeypatch.setattr("pokefast.data.competition.image_errors", twice)
    result = run(skip_bad=True, epochs=1, bs=16)
    assert "broken" in set(pd.read_csv(result.submission)["Id"])
    n = sum(result.scores[k] for k in ("n_train", "n_valid", "n_test"))
    assert n == len(list((alone / "Train").glob("*.png"))) - 2


def test_a_run_gives_the_same_whether_its_images_were_kept_or_not(
    run, alone, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    anew = run(epochs=1, bs=16, cache=False)
    assert not (tmp_path / "cache").exists()
    first = run(epochs=1, bs=16)
    kept = {f: f.read_bytes() for f in (tmp_path / "cache").rglob("*.np[yz]")}
    monkeypatch.setattr("pokefast.data.decoding._filled", lambda *_: pytest.fail("decoded again"))
    second = run(epochs=1, bs=16)
    assert len(kept) == 3 and all(f.read_bytes() == data for f, data in kept.items())
    probabilities = [(r.folder / "probabilities.csv").read_bytes() for r in (anew, first, second)]
    assert len(set(probabilities)) == 1


def test_the_embedded_data_is_the_default(task, small, monkeypatch):
    monkeypatch.setattr("pokefast.datasets.drawn.embedded", lambda name: small / name)
    dls = task.get_dls(o=task.recipe(bs=16))
    assert dls.path == small / task.name
    assert len(dls.vocab) == 9


def test_lr_find_works_without_a_screen(task, small):
    o = task.recipe(bs=16)
    learn = task.get_learner(task.get_dls(small / "task1", o), o)
    before = {k: v.clone() for k, v in learn.model.state_dict().items()}
    suggestion = learn.lr_find(num_it=30)
    assert 1e-7 < suggestion.valley < 10
    assert all(torch.equal(v, before[k]) for k, v in learn.model.state_dict().items())


def test_weighted_sampling_weighs_by_class_count(task, small):
    o = task.recipe(sampler=True, bs=16)
    learn = task.get_learner(task.get_dls(small / "task1", o), o)
    with learn.no_logging():
        learn.fit(1)
    dl = learn.dls.train
    counts = torch.bincount(dl.targets)
    assert dl.weights * counts[dl.targets].numpy() == pytest.approx(1)
    assert learn.dls.valid.weights is None


def test_grey_is_one_channel(small):
    task = load_task("task1")
    o = task.recipe(grey=True, bs=16)
    dls = task.get_dls(small / "task1", o)
    learn = task.get_learner(dls, o)
    assert dls.train.one_batch()[0].shape == (16, 1, 64, 64)
    assert next(learn.model.parameters()).shape == (256, 4096)


def test_the_cnn_sees_four_channels_with_alpha_as_it_is(small):
    task = load_task("task2")
    dls = task.get_dls(small / "task1", task.recipe(bs=16))
    x = dls.valid.one_batch()[0]
    assert x.shape[1:] == (4, 64, 64)
    assert (x[:, 3] == 1).all()
    assert x[:, :3].min() < -0.5 and x[:, :3].max() > 0.5


def test_predict_uncropped_is_another_prediction(alone, tmp_path):
    task = load_task("task2")
    o = task.recipe(crop="outline", **QUICK)
    first = run_task(task, o, alone, tmp_path).folder
    second = run_task(task, replace(o, predict_uncropped=True), alone, tmp_path).folder
    # probabilities: so short a training may name one class for every image
    name = "probabilities.csv"
    assert (first / name).read_bytes() != (second / name).read_bytes()
    assert (first / "model.safetensors").read_bytes() == (second / "model.safetensors").read_bytes()
