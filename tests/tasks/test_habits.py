"""What a fastai reader does with a Learner gives on ours what it gives on plain fastai's.

Each habit is a function of a Learner and of a test image's file. It is done twice, on the task's
own Learner and on one of fastai's alone (its loader, its callbacks) with the same weights, images,
optimizer and seeds; what it returns has to be the same numbers. What fastai itself has not:
`dls.summary` (it is the DataBlock's) and `learn.export` with a `CSVLogger` that the Learner was
made with (it cannot pickle the closed file, and leaves the Learner without data: give it to `fit`).
"""

import copy
import os
import random

import numpy as np
import pandas as pd
import pytest
import torch
from fastai.callback.core import Callback
from fastai.callback.mixup import MixUp
from fastai.callback.progress import CSVLogger, ShowGraphCallback
from fastai.callback.tracker import EarlyStoppingCallback, SaveModelCallback
from fastai.callback.training import BnFreeze, GradientAccumulation
from fastai.data.core import DataLoaders, TfmdDL
from fastai.interpret import ClassificationInterpretation
from fastai.learner import Learner, Recorder, load_learner
from fastai.torch_core import set_seed
from fastcore.basics import defaults
from PIL import Image

from pokefast.datasets.drawn import small_competition
from tasks import load_task

OPTIONS = {
    "task1": dict(crop="none"),
    "task2": dict(ema=0, stages=2),
    "task3": dict(arch="resnet18", weights="none", size=32, head="linear", crop="none", folds=0)
    | dict(ema=0, split="image", imbalance="none"),
}


@pytest.fixture(scope="module", params=OPTIONS if "MORE_TESTS" in os.environ else ["task1"])
def made(request, tmp_path_factory, small):
    """A task's Learner on a small competition, and a file of its test part."""
    task, data = load_task(request.param), small / "task1"
    if task.name == "task3":
        data = small_competition(tmp_path_factory.mktemp("art"), 3, n_per_class=18)
    o = task.recipe(bs=16, precision="fp32", **OPTIONS[task.name])
    learn = task.get_learner(task.get_dls(data, o), o)
    for dl in learn.dls.loaders:
        dl.prepare()  # which draws from torch's generator
    return learn, next(data.glob("[Tt]est/*.png"))


def ours(learn):
    """A Learner like `learn`, which stays as it is."""
    made = fresh(learn, [dl.new() for dl in learn.dls.loaders])
    made.remove_cb(Recorder)  # ours takes its place
    made.add_cbs(copy.copy(cb) for cb in learn.cbs if type(cb) not in defaults.callbacks)
    return made


def plain(learn):
    """A Learner like `learn` that is fastai's alone."""
    loaders = [
        TfmdDL(
            dl.dataset,
            bs=dl.bs,
            shuffle=dl.shuffle,
            drop_last=dl.drop_last,
            num_workers=0,
            after_item=list(dl.after_item.fs),
            after_batch=list(dl.after_batch.fs),
            device=dl.device,
        )
        for dl in learn.dls.loaders
    ]
    made = fresh(learn, loaders)
    made.add_cbs(copy.copy(cb) for cb in learn.cbs if isinstance(cb, BnFreeze))
    return made


def fresh(learn, loaders):
    for dl in loaders:
        dl.rng = random.Random(1)
    names = ("loss_func", "opt_func", "splitter", "lr", "wd", "metrics", "train_bn", "model_dir")
    return Learner(
        DataLoaders(*loaders, path=learn.dls.path, device=learn.dls.device),
        copy.deepcopy(learn.model),
        path=learn.path,
        **{name: getattr(learn, name) for name in names},
    )


def fitted(learn, *cbs, how="fit", n=1, **kwargs):
    """The losses of a fit, and what `weights` gives at its end."""
    with learn.no_bar():
        getattr(learn, how)(n, cbs=list(cbs), **kwargs)
    return [learn.recorder.values[-1][:2], weights(learn)]


class Double(Callback):
    """Batches in float64."""

    def before_batch(self):
        self.learn.xb = tuple(x.as_subclass(torch.Tensor).double() for x in self.xb)


def in_double(learn):
    """`learn` in float64: in two epochs of float32 a CNN's rounding grows beyond the tolerance."""
    loss = learn.loss_func
    learn.loss_func = lambda *batch: loss(*batch).float()  # as fastai's recorder wants it
    learn.model.double()
    learn.add_cb(Double())
    return learn


def weights(learn):
    """The mean size of each tensor of the model."""
    return [float(p.detach().abs().mean()) for p in learn.model.parameters()]


def decoded(prediction):
    """Class, its number and the probabilities, of what `predict` gives."""
    label, number, probabilities = prediction
    return [str(label), int(number), probabilities]


def saved_and_loaded(learn, _):
    learn.save("x")
    torch.nn.init.zeros_(next(learn.model.parameters()))
    learn.load("x")
    return weights(learn)


def exported(learn, file):
    learn.export("x.pkl")
    with pytest.warns(UserWarning, match="pickle"):  # it says that loading runs code
        there = load_learner(learn.path / "x.pkl")
    return decoded(there.predict(file))


def logged(learn, _):
    fitted(learn, CSVLogger("log.csv"))
    table = pd.read_csv(learn.path / "log.csv")
    learn.export("x.pkl")  # after it, too
    return [list(table), table["train_loss"].tolist(), table["f1_score"].tolist()]


def frozen(learn, _):
    learn.freeze()
    some = [p.requires_grad for p in learn.model.parameters()]
    learn.unfreeze()
    return [some, [p.requires_grad for p in learn.model.parameters()]]


def interpreted(learn, _):
    found = ClassificationInterpretation.from_learner(learn)
    found.plot_confusion_matrix()
    found.plot_top_losses(4)
    found.print_classification_report()
    losses, numbers = found.top_losses(4)
    return [found.confusion_matrix(), losses, numbers, [list(c) for c in found.most_confused()]]


def found_rate(learn, _):
    set_seed(1)
    return [float(v) for v in learn.lr_find(num_it=20, show_plot=False)]


def tta(learn, _):
    set_seed(1)
    return list(learn.tta(n=2))


def shown(learn, _):
    learn.dls.show_batch(max_n=4)
    learn.dls.valid.show_batch(max_n=4)
    learn.show_results(max_n=4)
    return [learn.dls.valid.one_batch()]


def labelled(learn, _):
    dl = learn.dls.test_dl(learn.dls.valid.items, with_labels=True)
    return [list(learn.validate(dl=dl)), learn.get_preds(dl=dl)]


HABITS = {
    "show_batch, show_results": shown,
    "learn.summary": lambda learn, _: [str(learn.summary()).partition("Callbacks")[0]],
    "lr_find": found_rate,
    "fit": lambda learn, _: fitted(learn),
    "fit_one_cycle": lambda learn, _: fitted(learn, how="fit_one_cycle"),
    "fit_flat_cos": lambda learn, _: fitted(learn, how="fit_flat_cos"),
    "fine_tune": lambda learn, _: fitted(learn, how="fine_tune", freeze_epochs=1),
    "SaveModelCallback": lambda learn, _: fitted(learn, SaveModelCallback(monitor="f1_score")),
    "EarlyStoppingCallback": lambda learn, _: fitted(
        in_double(learn), EarlyStoppingCallback("valid_loss", min_delta=9, patience=0), n=3
    ),
    "CSVLogger, then export": logged,
    "MixUp": lambda learn, _: fitted(learn, MixUp()),
    "GradientAccumulation": lambda learn, _: fitted(learn, GradientAccumulation(32)),
    "predict a path": lambda learn, file: decoded(learn.predict(file)),
    "predict a string": lambda learn, file: decoded(learn.predict(str(file))),
    "predict a PIL image": lambda learn, file: decoded(learn.predict(Image.open(file))),
    "predict an array": lambda learn, file: decoded(learn.predict(np.asarray(Image.open(file)))),
    "predict bytes": lambda learn, file: decoded(learn.predict(file.read_bytes())),
    "test_dl": lambda learn, f: list(learn.get_preds(dl=learn.dls.test_dl([f, str(f)]))[:1]),
    "test_dl with labels": labelled,
    "get_preds": lambda learn, _: list(
        learn.get_preds(with_input=True, with_decoded=True, with_loss=True)
    ),
    "tta": tta,
    "ClassificationInterpretation": interpreted,
    "save, load": saved_and_loaded,
    "export, load_learner": exported,
    "freeze, unfreeze": frozen,
    "to_fp32": lambda learn, _: fitted(learn.to_fp32()),
    "dls.new(bs=8)": lambda learn, _: [learn.dls.valid.new(bs=8).one_batch()],
    "num_workers": lambda learn, f: list(
        learn.get_preds(dl=learn.dls.test_dl([f], num_workers=2))[:1]
    ),
}


def leaves(value):
    """Arrays and strings of nested lists and tuples, one after the other."""
    if isinstance(value, (list, tuple)) or type(value).__name__ == "L":
        return [leaf for item in value for leaf in leaves(item)]
    if isinstance(value, torch.Tensor):
        value = value.detach().as_subclass(torch.Tensor).numpy()
    return [value if isinstance(value, str) else np.asarray(value, float)]


@pytest.mark.parametrize("habit", HABITS)
@pytest.mark.filterwarnings("ignore")
def test_a_habit_gives_what_plain_fastai_gives(made, habit, tmp_path, monkeypatch):
    learn, file = made
    monkeypatch.chdir(tmp_path)
    found = []
    for kind in (ours, plain):
        one = kind(learn)
        set_seed(2)
        with one.no_bar(), one.no_logging() if "CSV" not in habit else one.no_bar():
            found.append(leaves(HABITS[habit](one, file)))
    mine, theirs = found
    assert len(mine) == len(theirs) > 0
    for a, b in zip(mine, theirs, strict=True):
        if isinstance(a, str):
            same = a == b
            assert same, a  # pytest would compare long ones letter by letter
        else:
            np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-4)


@pytest.mark.filterwarnings("ignore")
def test_a_graph_is_asked_for_where_there_is_no_terminal(made, tmp_path, monkeypatch, capsys):
    learn, _ = made
    monkeypatch.chdir(tmp_path)
    learn.fit(2, cbs=ShowGraphCallback())
    assert capsys.readouterr().out.count("epoch ") == 2 and not hasattr(learn, "progress")


@pytest.mark.filterwarnings("ignore")
def test_reduced_precision_after_ours_is_one_of_them(made, tmp_path, monkeypatch):
    learn, _ = made
    monkeypatch.chdir(tmp_path)
    with learn.no_logging():
        learn.to_fp16().fit(1)
    assert np.isfinite(learn.recorder.values[-1][0])
