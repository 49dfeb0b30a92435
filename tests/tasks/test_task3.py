"""Task 3: what is frozen stays as it is, creatures stay on one side, folds cover everything."""

import inspect
import json

import numpy as np
import pandas as pd
import pytest
import torch
from fastai.callback.core import Callback, CancelFitException

from pokefast.crops import groups
from pokefast.data.loader import MemoryDL
from pokefast.datasets.drawn import small_competition
from pokefast.errors import UserError
from pokefast.models import backbones
from pokefast.models.backbones import GROUPS, layer_groups
from pokefast.models.colours import PaletteNet
from pokefast.models.weights import offline_weights
from pokefast.prediction.predictor import load_predictor
from tasks import task3_transfer as task

LITE = "tf_efficientnet_lite0"
QUICK = dict(
    epochs=1, bs=16, size=32, arch="resnet18", weights="none", precision="fp32", crop="none"
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    out = tmp_path_factory.mktemp("task3")
    return small_competition(out, 3, n_per_class=18)


@pytest.fixture(autouse=True)
def known_groups(tmp_path, data, monkeypatch):
    """Groups come from the truth: finding them is tested elsewhere and takes a while."""
    truth = pd.read_csv(data.parent / "solution" / "task3.csv").set_index("Id")["species"]
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(
        task,
        "add_groups",
        lambda train, file=None, by_image=False: train.assign(
            group=range(len(train)) if by_image else pd.factorize(truth[train["Id"]])[0]
        ),
    )


def learner(data, **given):
    options = {**QUICK, **given}
    dls = task.get_dls(data, **options)
    return task.get_learner(dls, **options)


def run_folder(sandbox):
    (folder,) = (p for p in (sandbox / "runs").iterdir() if p.is_dir())
    return folder


def state(model):
    return {k: v.clone() for k, v in model.state_dict().items()}


@pytest.mark.parametrize("train_from", [*reversed(GROUPS[1:]), "all"])
def test_frozen_groups_stay_bit_for_bit_with_their_batchnorm(data, train_from):
    learn = learner(data, train_from=train_from, average=0)
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
        learn = learner(data, head_frozen=head_frozen, average=0)
        before = state(learn.model[1])
        with learn.no_logging():
            learn.fit(1, 1e-3)
        same = all(torch.equal(v, before[k]) for k, v in learn.model[1].state_dict().items())
        assert same == head_frozen


def test_gradual_unfreezing_ends_at_layer1(data):
    learn = learner(data, unfreeze="gradual", average=0)
    with learn.no_logging():
        learn.fit(3, 1e-3)
    assert learn.opt.frozen_idx == GROUPS.index("layer1")


@pytest.mark.parametrize("ratio", [0, 10])
def test_learning_rates_of_the_groups(data, ratio):
    o = task.resolve(task.RECIPES, "report" if ratio == 0 else "fast", lr=1e-3)
    learn = learner(data, average=0)
    seen = []

    class Spy(Callback):
        def before_batch(self):
            seen.append([h["lr"] for h in self.opt.hypers])

    rates = task.learning_rates(o)
    with learn.no_logging():
        learn.fit(1, rates, cbs=Spy())
    found = seen[0]
    assert len(found) == 6
    if ratio:
        assert found[0] == pytest.approx(1e-4) and found[-1] == pytest.approx(1e-3)
        assert found == sorted(found)
    else:
        assert found == pytest.approx([1e-4] * 3 + [1e-3] * 3)


def test_no_creature_is_on_both_sides(data):
    dls = task.get_dls(data, **QUICK)
    sides = [set(dl.items["group"]) for dl in dls.loaders]
    assert not sides[0] & sides[1] and not sides[0] & sides[2] and not sides[1] & sides[2]


def test_a_split_by_image_says_that_it_flatters(data, sandbox, capsys):
    task.main(data=data, split="image", **QUICK)
    assert "will flatter" in capsys.readouterr().out


def test_folds_score_every_picture_once_and_average_their_models(data, sandbox, capsys):
    score = task.main(data=data, folds=3, **{**QUICK, "crop": "creature"})
    folder = run_folder(sandbox)
    metrics = json.loads((folder / "metrics.json").read_text())
    n = len(pd.read_csv(data / "train_labels.csv"))
    table = pd.read_csv(folder / "predictions.csv")
    assert len(table) == n == metrics["n_test"] and table["Id"].is_unique
    assert metrics["f1_macro_low"] <= score <= metrics["f1_macro_high"]
    assert len({(folder / f"fold{i}" / "model.safetensors").read_bytes() for i in (1, 2, 3)}) == 3
    assert len(pd.read_csv(sandbox / "submissions" / "task3_submit.csv")) == len(
        list((data / "test").glob("*.png"))
    )
    assert "54 creatures found in 162 pictures" in capsys.readouterr().out


def test_the_report_recipe_is_the_reports(data, sandbox):
    task.main(data=data, recipe="report", **QUICK)
    folder = run_folder(sandbox)
    options = json.loads((folder / "options.json").read_text())
    report = task.RECIPES["report"]
    assert (report["lr"], report["bs"], report["wd"], report["size"]) == (1e-4, 32, 1e-5, 224)
    assert options["head"] == "report" and options["dropout"] == 0.5
    learn = learner(data, recipe="report")
    kinds = [type(layer).__name__ for layer in learn.model[1]]
    assert kinds == ["MapPool", "Linear", "ReLU", "Dropout", "Linear"]
    assert learn.model[1][1].out_features == 512


def test_epochs_zero_is_the_untrained_head(data, sandbox):
    score = task.main(data=data, **{**QUICK, "epochs": 0})
    folder = run_folder(sandbox)
    assert 0 <= score < 0.4
    assert json.loads((folder / "metrics.json").read_text())["epochs"] == 0


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
        (dict(mix="mixup", imbalance="focal"), "--mix mixup needs plain cross-entropy"),
        (dict(folds=1), "--folds 1: at least 2"),
        (dict(recipe="report", folds=3), "--no-early-stop"),
        (dict(arch="resnet51"), "resnet50"),
        (dict(weights="nowhere.pth"), "nowhere.pth"),
        (dict(train_from="layer9"), "--train-from layer9"),
    ],
)
def test_bad_combinations_stop_before_any_work(data, sandbox, given, says):
    with pytest.raises(UserError) as error:
        task.main(data=data, **{**QUICK, **given})
    assert says in str(error.value)
    assert not (sandbox / "runs").exists()


def test_the_fallback_is_loud_and_recorded(data, sandbox, monkeypatch, capsys):
    monkeypatch.setattr(backbones, "_reachable", lambda arch: False)
    task.main(data=data, epochs=0, bs=16, size=32)
    folder = run_folder(sandbox)
    assert json.loads((folder / "metrics.json").read_text())["arch"] == LITE
    assert f"using {LITE} instead" in capsys.readouterr().out
    with pytest.raises(UserError, match="--weights FILE"):
        task.main(data=data, recipe="report")
    with pytest.raises(UserError, match="--weights FILE"):
        task.main(data=data, arch="resnet50")


def test_resnet50_trains_a_few_steps(data):
    learn = learner(data, arch="resnet50", size=64, bs=8)
    before = state(learn.model)
    with learn.no_logging():
        learn.fit(1, 1e-3, cbs=StopAfter(2))
    after = learn.model.state_dict()
    assert torch.equal(after["0.5.0.conv1.weight"], before["0.5.0.conv1.weight"])
    assert not torch.equal(after["0.6.0.conv1.weight"], before["0.6.0.conv1.weight"])


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
    table = groups.add_groups(train, file)
    assert table["group"].nunique() == len(train)


def test_found_groups_are_kept_for_the_next_run(data, tmp_path, monkeypatch):
    ids = pd.read_csv(data / "train_labels.csv")
    train = ids.assign(path=[data / "train" / f"{i}.png" for i in ids["Id"]])
    calls = []

    def find(paths, labels, device):
        calls.append(len(paths))
        return np.arange(len(paths)) // 3

    monkeypatch.setattr(groups, "near_duplicate_groups", find)
    first = groups.add_groups(train, cache=tmp_path)
    assert groups.add_groups(train, cache=tmp_path)["group"].tolist() == first["group"].tolist()
    assert len(calls) == 1
    groups.add_groups(train.iloc[1:], cache=tmp_path)
    assert len(calls) == 2


def test_the_fast_recipe_is_the_palette_where_nothing_about_training_is_asked(data, sandbox):
    score = task.main(data=data, size=48, arch=LITE)
    folder = run_folder(sandbox)
    options = json.loads((folder / "options.json").read_text())
    assert options["classifier"] == "palette"
    assert score > 0.2  # nine types, creatures never seen
    assert options["folds"] == 6  # ten, but a type has six creatures
    test = sorted((data / "test").glob("*.png"))
    submission = pd.read_csv(sandbox / "submissions" / "task3_submit.csv")
    found = [p.label for p in load_predictor(folder)(test)]
    assert found == list(submission["Category"])


def palette_run(data, folder, monkeypatch, **given):
    """Predictions and submission of a palette with folds, and how many pictures were decoded."""
    decoded, original = [], MemoryDL._decode
    monkeypatch.setattr(MemoryDL, "_decode", lambda dl: decoded.append(dl.n) or original(dl))
    task.main(data=data, size=48, arch=LITE, precision="fp32", folds=3, out=folder, **given)
    (run,) = (p for p in (folder / "runs").iterdir() if p.is_dir())
    predictions = pd.read_csv(run / "predictions.csv").set_index("Id")
    monkeypatch.setattr(MemoryDL, "_decode", original)
    return predictions, pd.read_csv(folder / "submissions" / "task3_submit.csv"), sum(decoded)


def test_folds_share_what_is_the_same_in_all_and_change_nothing(data, tmp_path, monkeypatch):
    described, original = [], PaletteNet.describe
    monkeypatch.setattr(
        PaletteNet, "describe", lambda net, x: described.append(len(x)) or original(net, x)
    )
    shared, submission, decoded = palette_run(data, tmp_path / "a", monkeypatch)
    everything = len(shared) + len(submission)
    assert decoded == everything
    assert everything <= sum(described) < everything + 32  # Grad-CAM looks at some more
    monkeypatch.setattr(task.Run, "share", lambda run, dls, whole=None: dls)
    monkeypatch.setattr("pokefast.training.learner.inputs", lambda learn, dl: dl)
    alone, submission_alone, decoded = palette_run(data, tmp_path / "b", monkeypatch)
    assert decoded > 2 * everything
    numbers = list(shared.select_dtypes("number"))
    assert np.allclose(shared[numbers], alone.loc[shared.index, numbers], atol=1e-5)
    assert submission.equals(submission_alone)


def test_a_refit_takes_the_pictures_of_the_folds(data, tmp_path, monkeypatch):
    predictions, submission, decoded = palette_run(data, tmp_path, monkeypatch, refit=True)
    assert decoded == len(predictions) + len(submission)
    (run,) = (p for p in (tmp_path / "runs").iterdir() if p.is_dir())
    assert (run / "model.safetensors").exists() and not (run / "fold1").exists()


@pytest.mark.parametrize("given, folds", [(dict(), 10), (dict(folds=0), 0), (dict(test=0.2), 0)])
def test_the_palette_takes_folds_unless_told_otherwise(given, folds):
    names = [*task.NETWORK_OPTIONS, "classifier", "folds"]
    assert task.choose_classifier({**dict.fromkeys(names), **given}).folds == folds
    names = {**dict.fromkeys(names), "classifier": "network"}
    assert task.choose_classifier(names).folds == 0


def test_a_split_by_image_prints_no_interval(data, tmp_path, monkeypatch, capsys):
    palette_run(data, tmp_path / "a", monkeypatch)
    assert "the hidden test's should be between" in capsys.readouterr().out
    palette_run(data, tmp_path / "b", monkeypatch, split="image")
    assert "should be between" not in capsys.readouterr().out


def test_the_palette_takes_weights_from_a_file(data, tmp_path, monkeypatch):
    state = {k: torch.zeros_like(v) for k, v in offline_weights(LITE).items()}
    torch.save(state, tmp_path / "w.pth")
    options = dict(classifier="palette", arch=LITE, weights=str(tmp_path / "w.pth"), size=32)
    learn = task.get_learner(task.get_dls(data, **options), **options)
    assert not any(p.any() for p in learn.model.net.parameters())


@pytest.mark.parametrize(
    "given, classifier",
    [
        (dict(), "palette"),
        (dict(recipe="report"), "network"),
        (dict(train_from="head"), "network"),
        (dict(classifier="network"), "network"),
        (dict(recipe="report", classifier="palette"), "palette"),
    ],
)
def test_options_about_training_ask_for_the_network(given, classifier):
    names = [*task.NETWORK_OPTIONS, "classifier", "recipe"]
    asked = {**dict.fromkeys(names), "recipe": "fast", **given}
    assert task.choose_classifier(asked).classifier == classifier


@pytest.mark.parametrize("part", ["cutout", "colours", "maps"])
def test_a_part_of_the_palette_is_left_out(part, data, sandbox):
    task.main(
        data=data, arch="tf_efficientnet_lite0", weights="none", size=64, without=part, folds=2
    )
    (folder,) = (sandbox / "runs").glob("task3*")
    options = json.loads((folder / "options.json").read_text())
    assert options["classifier"] == "palette"
    assert {k: options[k] for k in task.INGREDIENTS[part]} == task.INGREDIENTS[part]


def test_parts_belong_to_one_classifier():
    names = set(inspect.signature(task.main).parameters) - {"data", "out", "without"}
    given = dict.fromkeys(names)
    given |= {"recipe": "fast"}
    network = task.choose_classifier(given | task.INGREDIENTS["smoothing"])
    assert network.classifier == "network" and network.label_smoothing == 0
    for other in ({"epochs": 3}, {"classifier": "network"}, {"recipe": "report"}):
        with pytest.raises(UserError, match="only the palette has them"):
            task.choose_classifier(given | other | task.INGREDIENTS["maps"])


def test_the_palette_has_nothing_to_train(data, sandbox):
    with pytest.raises(UserError, match="it has no --epochs, --train-from"):
        task.main(data=data, classifier="palette", epochs=3, train_from="head")
