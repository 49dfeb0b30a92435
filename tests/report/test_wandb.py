"""Weights & Biases: what an offline run holds, read back from its own file, and when it says no."""

import contextlib
import io
import json
import os
import shlex
import socket
import struct
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from fastai.callback.core import Callback, CancelFitException
from fastai.callback.tracker import TrackerCallback
from fastai.data.core import DataLoaders
from fastai.data.load import DataLoader
from PIL import Image
from safetensors.torch import save_model
from torch import nn

from pokefast.errors import UserError
from pokefast.files import ROOT, write_json
from pokefast.report import wandb_log
from pokefast.report.wandb_log import WandbCallback, WandbLog, check_wandb
from pokefast.scoring.metrics import scores
from pokefast.training.learner import fit, make_learner

VOCAB = ["=1+1", '<b>Ba$$in</b>, "x"', "fold1/f1.score"]  # labels are data, whatever they are
EPOCH = {"epoch", "loss", "f1_score", "eval_loss", "eval_accuracy", "lr_0", "lr_1"}
EPOCH |= {"epoch_seconds", "images_per_second"}
REPORT = {"epochs", "learning_rate", "batch_size", "loss_function", "metric_function", "optimizer"}
REPORT |= {"dropout", "step_size", "layer1_size", "layer2_size", "gamma"}


@dataclass(frozen=True)
class Options:
    """What a task's options hold, as far as it is looked for here."""

    recipe: str = "report"
    epochs: int = 2
    bs: int = 16
    metric: str = "f1_macro"
    lr: float = 1e-3
    wd: float = 0.0
    optimizer: str = "adam"
    precision: str = "fp32"
    cuda_graph: bool = False
    label_smoothing: float = 0.0
    schedule: str = "step"
    step_size: int = 5
    gamma: float = 0.1
    layer1_size: int = 256
    layer2_size: int = 128
    folds: int = 0
    groups: Path = Path("groups.csv")


def make_learn():
    """A learner on 48 vectors of three classes."""
    torch.manual_seed(0)
    rows = [(torch.randn(4), torch.tensor(i % 3)) for i in range(48)]
    train = DataLoader(rows, bs=16, shuffle=True, drop_last=True)
    dls = DataLoaders(train, DataLoader(rows, bs=16), device=torch.device("cpu"))
    dls.vocab = VOCAB
    return make_learner(dls, nn.Sequential(nn.Dropout(0.2), nn.Linear(4, 3)), Options())


def read_run(folder, seconds=60):
    """The records of an offline run by type, once W&B's own process, which is slow on a busy
    machine, has written all of them.
    """
    from google.protobuf.message import DecodeError

    (file,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    end = time.monotonic() + seconds
    while True:
        try:
            records = read_records(file.read_bytes())
            if "exit" in records:
                return records
        except DecodeError:  # half of a record
            if time.monotonic() > end:
                raise
        assert time.monotonic() < end, f"{file}: incomplete"
        time.sleep(0.2)


def read_records(data):
    """The records in LevelDB's log format, each a protobuf, by type."""
    from wandb.proto.wandb_internal_pb2 import Record

    at, whole, records = 7, b"", {}
    while at + 7 <= len(data):
        left = 2**15 - at % 2**15  # blocks of 32 KiB; no header is split between two
        if left < 7:
            at += left
            continue
        _, size, kind = struct.unpack("<IHB", data[at : at + 7])
        whole += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # a whole record, or the last part of one
            record = Record.FromString(whole)
            name, whole = record.WhichOneof("record_type"), b""
            records.setdefault(name, []).append(getattr(record, name))
    return records


def values(items):
    """Name to value of a history, summary or config record's items; nested names with dots."""
    return {".".join(i.nested_key) or i.key: json.loads(i.value_json) for i in items}


@pytest.fixture(scope="module")
def logged(tmp_path_factory):
    """An offline run as a task makes it, of the report's recipe: its folder and its records."""
    out = tmp_path_factory.mktemp("logged")
    folder = out / "runs" / "task1-<b>=now $x"
    images = {f"image{i}": out / "images" / f"image{i}.png" for i in range(48)}
    (out / "images").mkdir()
    for i, file in enumerate(images.values()):
        Image.new("RGB", (64, 64), (5 * i, 0, 0)).save(file)
    before = wandb_variables()
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("WANDB_MODE")
        patch.setenv("HOME", str(out / "home"))
        patch.chdir(out)
        patch.setattr(wandb_log, "STATS_SECONDS", 0.1)
        learn, log = make_learn(), WandbLog("offline", "task1", folder)
        fit(learn, Options(), cbs=log.start(learn, Options()))
        table = probabilities(learn, list(images))
        local = table[table["part"] == "local"]
        metrics = scores(local["truth"], local["predicted"], VOCAB) | {"n_test": len(local)}
        Image.new("RGB", (64, 64)).save(folder / "crops.png")
        log.results(table, images, metrics)
        write_json(folder / "run.json", {"format": 2})
        write_json(folder / "metrics.json", metrics)
        save_model(learn.model, folder / "model.safetensors")
        time.sleep(1)  # for W&B to look at the machine
        with contextlib.redirect_stdout(io.StringIO()) as said:
            log.finish({"f1_macro": metrics["f1_macro"], "epochs": 2})
        patch.undo()
    assert wandb_variables() == before
    records = read_run(folder)
    return SimpleNamespace(out=out, folder=folder, records=records, said=said.getvalue())


def wandb_variables():
    """W&B's variables in the environment, without the address of its own process."""
    return {k: v for k, v in os.environ.items() if k.startswith("WANDB_") and k != "WANDB_SERVICE"}


def probabilities(learn, ids):
    """probabilities.csv of a run, with a row of the competition's test that has no truth."""
    p, y = learn.get_preds()
    named = {f"p_{name}": p[:, i] for i, name in enumerate(VOCAB)}
    truth, predicted = ([VOCAB[i] for i in column] for column in (y, p.argmax(1)))
    local = pd.DataFrame(dict(Id=ids, part="local", truth=truth, predicted=predicted) | named)
    return pd.concat([local, local[:1].assign(Id="hidden", part="test", truth="")])


def test_an_epoch_is_one_record_under_the_reports_names(logged):
    history = [values(h.item) for h in logged.records["history"]]
    epochs = [h for h in history if "loss" in h]
    assert [h["epoch"] for h in epochs] == [1, 2]
    for h in epochs:
        assert set(h) >= EPOCH
        assert h["lr_0"] == pytest.approx(1e-3) and h["images_per_second"] > 0
    assert len(history) == 3  # and one with the results


def test_the_config_has_the_reports_names_and_all_options(logged):
    (run,) = logged.records["run"]
    config = values(run.config.update)
    assert set(config) >= REPORT | {"lr", "bs", "folds", "n_train", "device"}
    assert config["learning_rate"] == 1e-3 and config["batch_size"] == 16
    assert (config["layer1_size"], config["layer2_size"], config["dropout"]) == (256, 128, 0.2)
    assert (config["step_size"], config["gamma"]) == (5, 0.1)
    assert config["loss_function"] == "CrossEntropyLoss" and config["optimizer"] == "adam"
    assert config["groups"] == "groups.csv"
    assert run.project == "pokefast" and run.display_name == logged.folder.name
    assert run.run_group == "task1" and set(run.tags) == {"task1", "report"}


def test_wandb_looks_at_the_machine_itself(logged):
    names = {item.key for stats in logged.records["stats"] for item in stats.item}
    assert names >= {"cpu", "proc.memory.rssMB"}


def test_the_epoch_is_the_step_and_the_summary_holds_the_best(logged):
    metrics = {m.name or m.glob_name: m for m in logged.records["metric"]}
    assert metrics["*"].step_metric == metrics["f1_score"].step_metric == "epoch"
    assert metrics["f1_score"].summary.max and metrics["eval_accuracy"].summary.max
    assert metrics["eval_loss"].summary.min and metrics["loss"].summary.min
    history = [values(h.item) for h in logged.records["history"]]
    summary = {}
    for s in logged.records["summary"]:
        summary |= values(s.update)
    for name, best in (("f1_score", max), ("eval_loss", min)):
        found = best(h[name] for h in history if name in h)
        assert summary[name] == {best.__name__: pytest.approx(found)}


def test_the_results_are_there(logged):
    metrics = json.loads((logged.folder / "metrics.json").read_text())
    summary = {}
    for s in logged.records["summary"]:
        summary |= values(s.update)
    assert summary["test_f1_score"] == metrics["f1_macro"]
    assert summary["test_accuracy"] == metrics["accuracy"]
    for name, f1 in metrics["per_class_f1"].items():
        assert summary[f"test_f1_{name}"] == f1
    names = {key.split(".")[0] for key in values(logged.records["history"][-1].item)}
    assert names >= {"per_class_f1_table", "confusion_matrix_table", "most_wrong", "crops"}
    media = next(logged.folder.glob("wandb/offline-run-*/files/media"))
    assert len(list(media.glob("images/crops*.png"))) == 1
    (table,) = media.glob("table/confusion_matrix_table*.json")
    counts = sum(row[2] for row in json.loads(table.read_text())["data"])
    assert counts == metrics["n_test"]


def test_the_most_wrong_images_come_first(logged):
    metrics = json.loads((logged.folder / "metrics.json").read_text())
    (file,) = logged.folder.glob("wandb/offline-run-*/files/media/table/most_wrong*.json")
    table = json.loads(file.read_text())
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
    assert len(rows) == round(metrics["n_test"] * (1 - metrics["accuracy"])) > 0
    given = [row["probability_of_truth"] for row in rows]
    assert given == sorted(given)
    for row in rows:
        p = {name: row[name] for name in VOCAB}
        assert sum(p.values()) == pytest.approx(1, abs=1e-3)
        assert row["predicted"] == max(p, key=p.get) != row["truth"]
        assert p[row["truth"]] == row["probability_of_truth"]
        assert (logged.out / "images" / f"{row['Id']}.png").exists()
    (table,) = (a for a in logged.records["artifact"] if "-most_wrong" in a.name)
    images = [c.local_path for c in table.manifest.contents if c.path.endswith(".png")]
    assert [Image.open(p).size for p in images] == [(64, 64)] * len(rows)


def test_the_model_is_an_artifact(logged):
    (model,) = (a for a in logged.records["artifact"] if a.type == "model")
    assert model.name == "task1-model" and {"best", "latest"} <= set(model.aliases)
    files = {c.path: c.local_path for c in model.manifest.contents}
    assert set(files) == {"run.json", "metrics.json", "model.safetensors"}
    assert files["model.safetensors"] == str(logged.folder / "model.safetensors")
    assert json.loads(model.metadata)["epochs"] == 2


def test_nothing_is_written_outside_the_runs_folder(logged):
    assert {p.name for p in logged.out.iterdir()} <= {"images", "runs", "home"}
    assert not list((logged.out / "home").rglob("*wandb*"))
    staged = next(logged.folder.glob("wandb/data/artifacts/staging"))
    assert list(staged.iterdir())  # which offline images are uploaded from


def test_the_line_that_uploads_it_can_be_typed(logged):
    *_, sync, place = shlex.split(logged.said.strip())
    assert sync == "sync" and Path(place).parent == logged.folder / "wandb" and Path(place).is_dir()


def test_labels_are_logged_as_they_are(logged):
    media = next(logged.folder.glob("wandb/offline-run-*/files/media"))
    (table,) = map(json.loads, (f.read_text() for f in media.glob("table/confusion*.json")))
    assert {row[0] for row in table["data"]} == set(VOCAB)
    (table,) = map(json.loads, (f.read_text() for f in media.glob("table/per_class*.json")))
    assert [row[0] for row in table["data"]] == VOCAB


def test_off_imports_nothing_and_logs_nothing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)  # an import would raise
    log = WandbLog("off", "task1", tmp_path / "run")
    assert log.start(make_learn(), Options()) == []
    log.results(pd.DataFrame(), {}, {})
    log.finish({})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("task", ["task1", "task2"])
def test_make_hands_the_mode_on(task):
    make = ["make", "-n", task, "PY=python"]
    for mode in ("online", ""):
        env = {**os.environ, "WANDB": mode}
        said = subprocess.run(make, cwd=ROOT, env=env, capture_output=True, text=True).stdout
        assert f"pokefast {task} " in said and ('--wandb "online"' in said) == bool(mode)


def test_a_mode_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(UserError, match="--wandb yes: choose off, offline, online"):
        WandbLog("yes", "task2", tmp_path)


@pytest.fixture
def online(tmp_path, monkeypatch):
    """No key anywhere, and a server that refuses everyone; wandb forgets both afterwards."""
    import wandb

    for name in ("WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path / "cache"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.server_port}")
    wandb.teardown()  # it has read the environment already
    yield server
    wandb.teardown()
    server.shutdown()
    server.server_close()


class Refusing(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(401)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_POST = do_GET

    def log_message(self, *args):
        pass


def test_online_without_a_key_says_so(online, tmp_path):
    with pytest.raises(UserError, match="there is no key.*WANDB_API_KEY.*--wandb offline"):
        WandbLog("online", "task1", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_online_with_a_wrong_key_says_so(online, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    with pytest.raises(UserError, match="--wandb online: .*Check WANDB_API_KEY, or.*offline"):
        check_wandb("online")


@pytest.mark.parametrize("server", ["none", "silent"])
def test_online_without_a_network_says_so_soon(server, online, monkeypatch):
    import wandb

    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setattr(wandb_log, "REACH_SECONDS", 0.5)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        if server == "silent":
            unused.listen()
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{unused.getsockname()[1]}")
        wandb.teardown()
        start = time.perf_counter()
        with pytest.raises(UserError, match="127.0.0.1.* does not answer.*--wandb offline"):
            check_wandb("online")
        assert time.perf_counter() - start < 20


def test_a_run_that_the_server_refuses_is_named_and_leaves_the_environment(tmp_path, monkeypatch):
    import wandb

    def refuse(**kwargs):
        raise wandb.errors.CommError("project not found")

    monkeypatch.setattr(wandb, "init", refuse)
    before = wandb_variables()
    log = WandbLog("offline", "task1", tmp_path)
    with pytest.raises(UserError, match="--wandb offline: project not found"):
        log.start(make_learn(), Options())
    assert wandb_variables() == before


class FakeRun:
    def __init__(self):
        self.logs, self.best = [], {}

    def define_metric(self, name, step_metric=None, summary=None):
        self.best[name] = summary

    def log(self, record):
        self.logs.append(record)


def test_lr_find_and_prediction_log_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fake, learn = FakeRun(), make_learn()
    learn.add_cb(WandbCallback(fake))
    learn.lr_find(num_it=30, show_plot=False)
    learn.get_preds()
    assert fake.logs == []
    learn.fit(1)
    assert len(fake.logs) == 1


class StopCallback(Callback):
    order = TrackerCallback.order + 3

    def after_epoch(self):
        if self.epoch == 1:
            raise CancelFitException()


def test_an_early_stop_logs_its_last_epoch_too():
    fake = FakeRun()
    make_learn().fit(10, cbs=[WandbCallback(fake), StopCallback()])
    assert [record["epoch"] for record in fake.logs] == [1, 2]


def test_folds_are_one_run_with_their_own_names(tmp_path, monkeypatch):
    fake = FakeRun()
    inits = []
    monkeypatch.setattr(WandbLog, "_init", lambda *args: inits.append(args) or fake)
    log, learn = WandbLog("offline", "task1", tmp_path), make_learn()
    for fold in (1, 2):
        learn.fit(1, cbs=log.start(learn, Options(folds=2), fold))
    assert len(inits) == 1
    assert [set(r) >= {"epoch", f"fold{i}/f1_score"} for i, r in enumerate(fake.logs, 1)] == [1, 1]
    assert fake.best["fold2/f1_score"] == "max" and fake.best["fold2/eval_loss"] == "min"


def test_the_most_wrong_of_all_folds_are_ranked_together(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "any.png")
    rows = [("a", "x", "x", 0.9, 0.1), ("b", "x", "y", 0.4, 0.6), ("c", "y", "x", 0.8, 0.2)]
    folds = [pd.DataFrame([r], columns=["Id", "truth", "predicted", "p_x", "p_y"]) for r in rows]
    images = dict.fromkeys("abc", tmp_path / "any.png")
    table = wandb_log._most_wrong(pd.concat(folds), images, ["x", "y"])
    assert [row[1:] for row in table.data] == [
        ["c", "y", "x", 0.2, 0.8, 0.2],
        ["b", "x", "y", 0.4, 0.4, 0.6],
    ]
