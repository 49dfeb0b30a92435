"""Task 3: what is frozen stays as it is, groups stay on one side, folds cover everything."""

import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from fastai.callback.core import Callback, CancelFitException

from pokefast import steps
from pokefast.crops import groups
from pokefast.data import grouping
from pokefast.data.loader import MemoryDL
from pokefast.datasets.drawn import small_competition
from pokefast.errors import UserError
from pokefast.models import backbones
from pokefast.models.ridge import RidgeBody
from pokefast.models.transfer import GROUPS, layer_groups
from pokefast.models.weights import offline_weights
from pokefast.prediction.predictor import load_predictor
from pokefast.scoring.metrics import macro_f1
from pokefast.task import run_task
from tasks import load_task, task3_transfer

TASK = load_task("task3")
LITE = "tf_efficientnet_lite0"
TRAINED = dict(epochs=1, bs=16, size=32, arch="resnet18", weights="none", precision="fp32")
TRAINED |= dict(crop="none", head="linear", folds=0, tta=True)
SOLVED = dict(size=48, arch=LITE, precision="fp32")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    out = tmp_path_factory.mktemp("task3")
    return small_competition(out, 3, n_per_class=18)


@pytest.fixture(autouse=True)
def known_groups(data, monkeypatch):
    """Groups come from the truth: finding them is tested elsewhere and takes a while."""
    truth = pd.read_csv(data.parent / "solution" / "task3.csv").set_index("Id")["species"]

    def add(train, groups=None, average=False, keep=True):
        species = pd.factorize(truth[train["Id"]])[0]
        group = species if groups is None else groups
        return train.assign(group=group, **({"alike": species} if average else {}))

    def pairs(paths, keep):
        species = pd.factorize(truth[[p.stem for p in paths]])[0]
        return SimpleNamespace(sure_groups=lambda: species, groups=lambda labels: species)

    monkeypatch.setattr(grouping, "add_groups", add)
    monkeypatch.setattr(steps, "kept_pairs", pairs)


@pytest.fixture
def run(data, tmp_path):
    """A function that runs task 3 on the small competition, with options that are given."""

    def _run(recipe=None, out="out", **given):
        return run_task(TASK, TASK.recipe(recipe, **given), data, tmp_path / out)

    return _run


def raises(error):
    """A function of any arguments that raises `error`."""

    def _raises(*_):
        raise error

    return _raises


def learner(data, recipe=None, **given):
    o = TASK.recipe(recipe, **{**TRAINED, **given})
    return TASK.get_learner(TASK.get_dls(data, o), o)


def state(model):
    return {k: v.clone() for k, v in model.state_dict().items()}


def about(result):
    return json.loads((result.folder / "run.json").read_text())


@pytest.mark.parametrize("train_from", [*reversed(GROUPS[1:]), "all"])
def test_frozen_groups_stay_bit_for_bit_with_their_batchnorm(data, train_from):
    learn = learner(data, train_from=train_from, ema=0)
    first = 0 if train_from == "all" else GROUPS.index(train_from)
    frozen = [id(p) for group in layer_groups(learn.model)[:first] for p in group]
    before = state(learn.model)
    with learn.no_logging():
        learn.fit(1, 1e-3)
    names = {n: id(p) for n, p in learn.model.named_parameters()}
    modules = dict(learn.model.named_modules())
    moved = {n for n in before if not torch.equal(before[n], learn.model.state_dict()[n])}
    assert not {n for n, i in names.items() if i in frozen} & moved
    for name, module in modules.items():
        if isinstance(module, torch.nn.BatchNorm2d):
            is_frozen = id(module.weight) in frozen
            assert (f"{name}.running_mean" in moved) != is_frozen, name
    for group in layer_groups(learn.model)[first:]:
        assert {n for n, i in names.items() if i in {id(p) for p in group}} & moved


def test_the_new_head_trains_and_head_frozen_is_the_reports_mistake(data):
    for head_frozen in (False, True):
        learn = learner(data, head_frozen=head_frozen, ema=0)
        before = state(learn.model[1])
        with learn.no_logging():
            learn.fit(1, 1e-3)
        same = all(torch.equal(v, before[k]) for k, v in learn.model[1].state_dict().items())
        assert same == head_frozen


def test_gradual_unfreezing_ends_at_layer1(data):
    learn = learner(data, unfreeze="gradual", ema=0)
    with learn.no_logging():
        learn.fit(3, 1e-3)
    assert learn.opt.frozen_idx == GROUPS.index("layer1")


@pytest.mark.parametrize("recipe", ["fast", "report"])
def test_learning_rates_of_the_groups(data, recipe):
    learn = learner(data, ema=0)
    seen = []

    class Spy(Callback):
        def before_batch(self):
            seen.append([h["lr"] for h in self.opt.hypers])

    with learn.no_logging():
        learn.fit(1, TASK.recipe(recipe, lr=1e-3).rates(), cbs=Spy())
    found = seen[0]
    assert len(found) == 6
    if recipe == "fast":
        assert found[0] == pytest.approx(1e-4) and found[-1] == pytest.approx(1e-3)
        assert found == sorted(found)
    else:
        assert found == pytest.approx([1e-4] * 3 + [1e-3] * 3)


def test_no_group_is_on_both_sides(data):
    dls = TASK.get_dls(data, TASK.recipe(**TRAINED))
    sides = [set(dl.items["group"]) for dl in dls.loaders]
    assert not sides[0] & sides[1] and not sides[0] & sides[2] and not sides[1] & sides[2]


def test_a_split_by_image_says_that_it_may_flatter_and_has_no_interval(run, capsys):
    scores = run(split="image", folds=3, **SOLVED).scores
    out = capsys.readouterr().out
    assert "may flatter" in out and "should be between" not in out
    assert "f1_macro_low" not in scores


@pytest.mark.parametrize("folds", [0, 5])
def test_too_few_groups_are_split_by_image_where_nobody_asked_for_them(
    folds, run, data, tmp_path, monkeypatch, capsys
):
    few = shutil.copytree(data, tmp_path / "few")
    labels = pd.read_csv(few / "train_labels.csv")
    kept = labels[labels["label"].isin(["Bug", "Fire", "Rock"])].groupby("label").head(9)
    kept.to_csv(few / "train_labels.csv", index=False)
    for file in set((few / "train").iterdir()) - {few / "train" / f"{i}.png" for i in kept["Id"]}:
        file.unlink()

    def one_a_class(train, groups=None, average=False, keep=True):
        return train.assign(group=pd.factorize(train["label"])[0])

    monkeypatch.setattr(grouping, "add_groups", one_a_class)
    monkeypatch.setattr("pokefast.task.describe_model", raises(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):  # all is decided by then
        run_task(TASK, TASK.recipe(**{**SOLVED, "folds": folds}), few, tmp_path / "out")
    said = capsys.readouterr().out
    assert "NOTE: --split image, as Bug has too few near-duplicate groups (1)" in said
    table = tmp_path / "groups.csv"
    one_a_class(kept)[["Id", "group"]].to_csv(table, index=False)
    with pytest.raises(UserError, match="fewer than 2 near-duplicate groups"):
        run_task(TASK, TASK.recipe(**{**SOLVED, "folds": 0, "groups": table}), few, tmp_path)


def test_folds_score_every_image_once_and_average_their_models(run, data, capsys):
    result = run(**{**TRAINED, "folds": 3, "crop": "foreground"})
    folder, metrics = result.folder, result.scores
    n = len(pd.read_csv(data / "train_labels.csv"))
    table = pd.read_csv(folder / "probabilities.csv")
    local = table[table["part"] == "local"]
    assert len(local) == n == metrics["n_test"] and local["Id"].is_unique
    assert metrics["f1_macro_low"] <= metrics["f1_macro"] <= metrics["f1_macro_high"]
    assert len({(folder / f"fold{i}" / "model.safetensors").read_bytes() for i in (1, 2, 3)}) == 3
    assert len(pd.read_csv(result.submission)) == len(list((data / "test").glob("*.png")))
    assert "54 groups of near duplicates in 162 images" in capsys.readouterr().out


def test_the_report_recipe_is_the_reports(data):
    report = TASK.recipe("report")
    assert (report.lr, report.bs, report.wd, report.size) == (1e-4, 32, 1e-5, 224)
    assert (report.head, report.dropout, report.epochs, report.early_stop) == ("mlp", 0.5, 80, True)
    learn = learner(data, "report", head="mlp")
    kinds = [type(layer).__name__ for layer in learn.model[1]]
    assert kinds == ["Linear", "ReLU", "Dropout", "Linear"]
    assert learn.model[1][0].out_features == 512


def test_epochs_zero_of_a_trained_head_is_the_untrained_one(run):
    scores = run(**{**TRAINED, "epochs": 0}).scores
    assert 0 <= scores["f1_macro"] < 0.4 and scores["epochs"] == 0


@pytest.mark.parametrize("imbalance", ["sampler", "weighted-ce", "focal", "none"])
def test_every_answer_to_imbalance_trains(data, imbalance):
    learn = learner(data, imbalance=imbalance)
    with learn.no_logging():
        learn.fit(1, 1e-3)
    assert np.isfinite(learn.recorder.values[0][0])
    assert (learn.dls.train.weights is not None) == (imbalance == "sampler")


@pytest.mark.parametrize("mix", ["mixup", "cutmix"])
def test_mixes_train(data, mix):
    learn = learner(data, mix=mix)
    with learn.no_logging():
        learn.fit(1, 1e-3)
    assert np.isfinite(learn.recorder.values[0][0])


@pytest.mark.parametrize(
    "given, says",
    [
        (dict(mix="mixup", imbalance="focal"), "--mix mixup needs --imbalance sampler or none"),
        (dict(folds=1), "--folds 1: at least 2"),
        (dict(recipe="report", folds=3), "--no-early-stop"),
        (dict(arch="resnet51"), "resnet50"),
        (dict(weights="nowhere.pth"), "nowhere.pth"),
        (dict(train_from="layer9"), "--train-from layer9"),
    ],
)
def test_bad_combinations_stop_before_any_work(run, tmp_path, given, says):
    with pytest.raises(UserError) as error:
        run(**{**TRAINED, **given})
    assert says in str(error.value)
    assert not (tmp_path / "out").exists()


def test_the_fallback_is_loud_and_recorded(run, monkeypatch, capsys):
    monkeypatch.setattr(backbones, "_reachable", lambda arch: False)
    result = run(bs=16, size=32, folds=2)
    assert about(result)["options"]["arch"] == LITE
    assert f"using {LITE} instead" in capsys.readouterr().out
    with pytest.raises(UserError, match="--weights FILE"):
        run("report")
    with pytest.raises(UserError, match="--weights FILE"):
        run(arch="resnet50")


def test_resnet50_trains_a_few_steps(data):
    learn = learner(data, arch="resnet50", size=64, bs=8)
    before = state(learn.model)
    with learn.no_logging():
        learn.fit(1, 1e-3, cbs=StopAfter(2))
    moved = {n for n, v in learn.model.state_dict().items() if not torch.equal(v, before[n])}
    assert any("layer3.0.conv1.weight" in n for n in moved)
    assert not any("layer2.0.conv1.weight" in n for n in moved)


class StopAfter(Callback):
    """End the fit after so many steps."""

    def __init__(self, steps):
        self.steps = steps

    def after_batch(self):
        if self.training and self.train_iter >= self.steps:
            raise CancelFitException()


def test_known_groups_are_read_from_a_file(data, tmp_path):
    train = pd.read_csv(data / "train_labels.csv")
    file = tmp_path / "groups.csv"
    train.assign(group=range(len(train)))[["Id", "group"]].to_csv(file, index=False)
    assert len(set(grouping.read_groups(file, train["Id"]))) == len(train)


def test_a_run_with_groups_from_a_file_says_where_they_are(run, data, tmp_path):
    train = pd.read_csv(data / "train_labels.csv")
    train.assign(group=range(len(train))).to_csv(tmp_path / "groups.csv", index=False)
    result = run(groups=tmp_path / "groups.csv", folds=2, **SOLVED)
    assert about(result)["options"]["groups"] == str(tmp_path / "groups.csv")
    assert "--groups" in about(result)["command"]


def test_found_pairs_are_kept_for_the_next_run_and_groups_join_what_is_averaged(
    data, tmp_path, monkeypatch
):
    ids = pd.read_csv(data / "train_labels.csv")
    train = ids.assign(path=[data / "train" / f"{i}.png" for i in ids["Id"]])
    calls = []

    def find(paths, device=None):
        calls.append(len(paths))
        return groups.Pairs(len(paths), np.array([[0, 1]]), np.ones(1), np.ones(1))

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(groups, "find_pairs", find)
    first = groups.add_groups(train)
    assert groups.add_groups(train)["group"].tolist() == first["group"].tolist()
    assert len(calls) == 1
    groups.add_groups(train.iloc[1:])
    assert len(calls) == 2
    file = tmp_path / "groups.csv"
    pairs = np.arange(len(train)) // 2  # rows 0 and 1, 2 and 3, ...
    train.assign(group=np.roll(pairs, 1)).to_csv(file, index=False)  # ..., 1 and 2, 3 and 4, ...
    both = groups.add_groups(train, grouping.read_groups(file, train["Id"]), average=True)
    assert both["alike"].nunique() == len(train) - 1
    assert both["group"].nunique() == len(train) // 2 - 1
    assert both.groupby("alike")["group"].nunique().max() == 1


@pytest.mark.pictures
def test_the_fast_recipe_solves_one_head_and_scores_each_group_without_itself(run, data, capsys):
    result = run(**SOLVED)
    options, scores = about(result)["options"], result.scores
    assert options["head"] == "ridge" and options["epochs"] == 0 and options["leave_one_out"]
    assert "162 training images, each scored without its group" in capsys.readouterr().out
    assert scores["f1_macro"] > 0.2  # nine classes, species never seen
    assert (scores["n_train"], scores["n_valid"], scores["n_test"]) == (162, 0, 162)
    test = sorted((data / "test").glob("*.png"))
    found = [p.label for p in load_predictor(result.folder)(test)]
    tables = [pd.read_csv(result.folder / f"{name}.csv") for name in ("plain", "probabilities")]
    plain, averaged = (table[table["part"] == "test"] for table in tables)
    assert found == list(plain["predicted"])  # prediction looks at an image alone
    assert list(averaged["predicted"]) == list(pd.read_csv(result.submission)["Category"])
    columns = [c for c in plain if c.startswith("p_")]
    mean = plain.groupby("alike")[columns].transform("mean")
    assert np.allclose(averaged[columns], mean, atol=1e-6)
    local = tables[1][tables[1]["part"] == "local"]
    assert macro_f1(local["truth"], local["predicted"], sorted(set(local["truth"]))) == (
        pytest.approx(scores["f1_macro"])
    )
    history = pd.read_csv(result.folder / "history.csv")
    assert list(history["epoch"]) == [0] and 0 < history["f1_score"][0] < 1


@pytest.mark.pictures
def test_a_split_that_is_unsure_has_the_other_figure_beside_it(run, monkeypatch, capsys):
    monkeypatch.setattr(grouping, "kept_copies", lambda paths, keep: np.arange(len(paths)))
    sure = run(**SOLVED, average=False).scores
    capsys.readouterr()
    auto = run(**SOLVED, average=False, split="auto")
    assert auto.scores["f1_macro_apart"] == pytest.approx(sure["f1_macro"])
    assert auto.scores["f1_macro"] > sure["f1_macro"] and "f1_macro_apart" not in sure
    words = "with all that looks alike kept together"
    assert words in capsys.readouterr().out
    assert words in (auto.folder / "report.html").read_text()


def test_no_average_submits_what_each_image_gets_alone(run):
    result = run(**SOLVED, average=False)
    table = pd.read_csv(result.folder / "probabilities.csv")
    assert table["alike"].isna().all() and not (result.folder / "plain.csv").exists()


def test_epochs_go_on_from_the_solved_head(run):
    result = run(**{**SOLVED, "epochs": 1, "folds": 0, "bs": 16})
    history = pd.read_csv(result.folder / "history.csv")
    assert list(history["epoch"]) == [0, 1]
    assert pd.isna(history["train_loss"][0]) and history["train_loss"][1] > 0


def solved_run(data, folder, monkeypatch, **given):
    """Local rows and submission of solved folds, and how many images were decoded."""
    decoded, original = [], MemoryDL._decode
    monkeypatch.setattr(MemoryDL, "_decode", lambda dl: decoded.append(dl.n) or original(dl))
    result = run_task(TASK, TASK.recipe(folds=3, **SOLVED, **given), data, folder)
    monkeypatch.setattr(MemoryDL, "_decode", original)
    table = pd.read_csv(result.folder / "probabilities.csv").set_index("Id")
    local = table[table["part"] == "local"]
    return local, pd.read_csv(result.submission), sum(decoded), result


@pytest.mark.pictures
def test_folds_share_what_is_the_same_in_all_and_change_nothing(data, tmp_path, monkeypatch):
    described, original = [], RidgeBody.describe
    monkeypatch.setattr(
        RidgeBody, "describe", lambda net, x: described.append(len(x)) or original(net, x)
    )
    shared, submission, decoded, _ = solved_run(data, tmp_path / "a", monkeypatch)
    everything = len(shared) + len(submission)
    assert decoded == everything
    assert everything <= sum(described) < everything + 32  # Grad-CAM looks at some more
    monkeypatch.setattr(MemoryDL, "share", lambda dl, whole: dl)
    alone, submission_alone, decoded, _ = solved_run(data, tmp_path / "b", monkeypatch)
    assert decoded > 2 * everything
    numbers = [c for c in shared if c.startswith("p_")]
    assert np.allclose(shared[numbers], alone.loc[shared.index, numbers], atol=1e-5)
    assert submission.equals(submission_alone)


def test_a_refit_takes_the_images_of_the_folds(data, tmp_path, monkeypatch):
    local, submission, decoded, result = solved_run(data, tmp_path, monkeypatch, refit=True)
    assert decoded == len(local) + len(submission)
    assert (result.folder / "model.safetensors").exists()
    assert not (result.folder / "fold1").exists()


def test_weights_come_from_a_file(data, tmp_path):
    zeros = {k: torch.zeros_like(v) for k, v in offline_weights(LITE).items()}
    torch.save(zeros, tmp_path / "w.pth")
    o = TASK.recipe(**{**SOLVED, "weights": str(tmp_path / "w.pth"), "size": 32, "folds": 0})
    learn = TASK.get_learner(TASK.get_dls(data, o), o)
    assert not any(p.any() for p in learn.model[0].parameters())


@pytest.mark.parametrize(
    "part", [dict(crop="none"), dict(colour_weight=0.0), dict(deep_weight=0.0)]
)
def test_a_part_of_the_fast_recipe_is_left_out(part, data):
    o = replace(TASK.recipe(**{**SOLVED, "weights": "none", "folds": 0}), **part)
    learn = TASK.get_learner(TASK.get_dls(data, o), o)
    solved = task3_transfer.solve_head(learn, o)
    assert np.isfinite(solved.row[1:]).all() and np.isfinite(solved.left_out).all()


@pytest.mark.parametrize("given", [dict(folds=2), {}])
def test_the_same_seed_gives_the_same_bytes_stopped_or_not(given, run, tmp_path, monkeypatch):
    given = dict(size=48, arch=LITE, **given)  # in bf16, where that is fast: it rounds the most
    whole = run(**given)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("pokefast.task.predict_test", raises(KeyboardInterrupt))
        run(out="stopped", **given)
    (folder,) = (tmp_path / "stopped" / "runs").iterdir()
    again = run_task(TASK, resume=folder)
    models = [f"fold{i}/model.safetensors" for i in (1, 2)] if "folds" in given else []
    for name in (*models, "history.csv", "probabilities.csv"):
        assert (folder / name).read_bytes() == (whole.folder / name).read_bytes(), name
    assert again.submission.read_bytes() == whole.submission.read_bytes()
