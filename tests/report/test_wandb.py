"""Weights & Biases: what an offline run holds, read back from its own file, and when it says no."""

import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from fastai.callback.core import Callback, CancelFitException
from fastai.callback.tracker import TrackerCallback
from PIL import Image

from pokefast.errors import UserError
from pokefast.files import ROOT
from pokefast.report import wandb_log
from pokefast.report.wandb_log import WandbCallback, WandbLog, check_wandb, gpu_figures
from tasks import task1_mlp, task2_cnn

QUICK = dict(epochs=2, bs=16)
EPOCH = {"epoch", "loss", "f1_score", "eval_loss", "eval_accuracy", "lr_0", "lr_1"}
EPOCH |= {"epoch_seconds", "images_per_second"}
REPORT = {"epochs", "learning_rate", "batch_size", "loss_function", "metric_function", "optimizer"}
REPORT |= {"dropout", "step_size", "layer1_size", "layer2_size", "gamma"}


def read_run(folder):
    """The records of an offline run by type: LevelDB's log format, each record a protobuf."""
    from wandb.proto.wandb_internal_pb2 import Record

    (file,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    data, at, whole, records = file.read_bytes(), 7, b"", {}
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
def logged(small, tmp_path_factory):
    """An offline run of task 1 with the report's recipe: its folder and its records."""
    out = tmp_path_factory.mktemp("logged")
    alone = shutil.copytree(small / "task1", out / "alone")
    before = set(os.environ.items())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pokefast.task.RUNS", out / "runs")
        patch.setattr("pokefast.task.SUBMISSIONS", out / "submissions")
        patch.setenv("HOME", str(out / "home"))
        patch.chdir(out)
        task1_mlp.main(data=alone, recipe="report", wandb="offline", **QUICK)
        patch.undo()
    assert {(k, v) for k, v in os.environ.items() if k != "WANDB_SERVICE"} == before
    (folder,) = (out / "runs").glob("task1-*")
    deadline = time.monotonic() + 30
    while "exit" not in (records := read_run(folder)):  # wandb's own process writes it
        assert time.monotonic() < deadline, "the run's file is not complete"
        time.sleep(0.05)
    return SimpleNamespace(out=out, folder=folder, records=records)


def test_an_epoch_is_one_record_under_the_reports_names(logged):
    history = [values(h.item) for h in logged.records["history"]]
    epochs = [h for h in history if "loss" in h]
    assert [h["epoch"] for h in epochs] == [1, 2]
    for h in epochs:
        assert set(h) >= EPOCH and not any(k.startswith("gpu_") for k in h)
        assert h["lr_0"] == pytest.approx(1e-3) and h["images_per_second"] > 0
    assert len(history) == 3  # and one with the results


def test_the_config_has_the_reports_names_and_ours(logged):
    (run,) = logged.records["run"]
    config = values(run.config.update)
    assert set(config) >= REPORT | {"lr", "bs", "crop", "recipe", "n_train", "device"}
    assert config["learning_rate"] == 1e-3 and config["batch_size"] == 16
    assert (config["layer1_size"], config["layer2_size"], config["dropout"]) == (256, 128, 0.2)
    assert (config["step_size"], config["gamma"]) == (5, 0.1)
    assert config["loss_function"] == "CrossEntropyLoss" and config["optimizer"] == "adam"
    assert run.project == "pokefast" and run.display_name == logged.folder.name


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


def test_the_most_wrong_pictures_come_first(logged):
    metrics = json.loads((logged.folder / "metrics.json").read_text())
    (file,) = logged.folder.glob("wandb/offline-run-*/files/media/table/most_wrong*.json")
    table = json.loads(file.read_text())
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
    assert len(rows) == round(metrics["n_test"] * (1 - metrics["accuracy"]))
    given = [row["probability_of_truth"] for row in rows]
    assert given == sorted(given)
    for row in rows:
        p = {name: row[name] for name in metrics["per_class_f1"]}
        assert sum(p.values()) == pytest.approx(1, abs=1e-3)
        assert row["predicted"] == max(p, key=p.get) != row["truth"]
        assert p[row["truth"]] == row["probability_of_truth"]
        assert (logged.out / "alone" / "Train" / f"{row['Id']}.png").exists()
    (table,) = (a for a in logged.records["artifact"] if a.name.endswith("-most_wrong"))
    pictures = [c.local_path for c in table.manifest.contents if c.path.endswith(".png")]
    assert [Image.open(p).size for p in pictures] == [(64, 64)] * len(rows)


def test_the_model_is_an_artifact(logged):
    (model,) = (a for a in logged.records["artifact"] if a.type == "model")
    assert model.name == "task1-model" and {"best", "latest"} <= set(model.aliases)
    files = {c.path: c.local_path for c in model.manifest.contents}
    assert files["model.safetensors"] == str(logged.folder / "model.safetensors")
    assert json.loads(model.metadata)["epochs"] == 2


def test_nothing_is_written_outside_the_runs_folder(logged):
    assert {p.name for p in logged.out.iterdir()} <= {"alone", "runs", "submissions", "home"}
    assert not list((logged.out / "home").rglob("*wandb*"))
    staged = next(logged.folder.glob("wandb/data/artifacts/staging"))
    assert list(staged.iterdir())  # which offline pictures are uploaded from


def test_off_imports_nothing_and_logs_nothing(small, tmp_path, sandbox, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)  # an import would raise
    alone = shutil.copytree(small / "task1", tmp_path / "alone")
    task1_mlp.main(data=alone, **QUICK)
    (folder,) = (sandbox / "runs").glob("task1-*")
    assert not (folder / "wandb").exists()


@pytest.mark.parametrize("task", ["task1", "task2"])
def test_make_hands_the_mode_on(task):
    make = ["make", "-n", task, "PY=python"]
    for mode in ("online", ""):
        env = {**os.environ, "WANDB": mode}
        said = subprocess.run(make, cwd=ROOT, env=env, capture_output=True, text=True).stdout
        assert f"tasks.{task}" in said and ('--wandb "online"' in said) == bool(mode)


def test_a_mode_that_does_not_exist_stops_the_run(small, sandbox):
    with pytest.raises(UserError, match="--wandb yes: choose off, offline, online"):
        task2_cnn.main(data=small / "task1", wandb="yes")


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


def test_online_without_a_key_says_so_before_any_work(online, small, sandbox, capsys):
    with pytest.raises(UserError, match="there is no key.*WANDB_API_KEY.*--wandb offline"):
        task1_mlp.main(data=small / "task1", wandb="online")
    assert "training" not in capsys.readouterr().out
    assert not (sandbox / "runs").exists()


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


def test_a_run_that_the_server_refuses_stops_before_training(small, sandbox, monkeypatch, capsys):
    import wandb

    def refuse(**kwargs):
        raise wandb.errors.CommError("project not found")

    monkeypatch.setattr(wandb, "init", refuse)
    with pytest.raises(UserError, match="--wandb offline: project not found"):
        task1_mlp.main(data=small / "task1", wandb="offline", **QUICK)
    assert "epoch 1" not in capsys.readouterr().out


class FakeRun:
    def __init__(self):
        self.logs, self.best = [], {}

    def define_metric(self, name, step_metric=None, summary=None):
        self.best[name] = summary

    def log(self, record):
        self.logs.append(record)


def test_lr_find_and_prediction_log_nothing(small):
    fake = FakeRun()
    learn = task1_mlp.get_learner(task1_mlp.get_dls(small / "task1", bs=16))
    learn.add_cb(WandbCallback(fake))
    learn.lr_find(num_it=30, show_plot=False)
    learn.get_preds()
    assert fake.logs == []
    with learn.no_logging():
        learn.fit(1)
    assert len(fake.logs) == 1


class StopCallback(Callback):
    order = TrackerCallback.order + 3

    def after_epoch(self):
        if self.epoch == 1:
            raise CancelFitException()


def test_an_early_stop_logs_its_last_epoch_too(small):
    fake = FakeRun()
    learn = task1_mlp.get_learner(task1_mlp.get_dls(small / "task1", bs=16))
    with learn.no_logging():
        learn.fit(10, cbs=[WandbCallback(fake), StopCallback()])
    assert [record["epoch"] for record in fake.logs] == [1, 2]


def test_folds_are_one_run_with_their_own_names(small, tmp_path, monkeypatch):
    fake = FakeRun()
    inits = []
    monkeypatch.setattr(WandbLog, "_init", lambda *args: inits.append(args) or fake)
    log = WandbLog("offline", "task1", tmp_path)
    learn = task1_mlp.get_learner(task1_mlp.get_dls(small / "task1", bs=16))
    for _ in range(2):
        with learn.no_logging():
            learn.fit(1, cbs=log.start(learn, SimpleNamespace(folds=2)))
    assert len(inits) == 1
    assert [set(r) >= {"epoch", f"fold{i}/f1_score"} for i, r in enumerate(fake.logs, 1)] == [1, 1]
    assert fake.best["fold2/f1_score"] == "max" and fake.best["fold2/eval_loss"] == "min"


def test_the_most_wrong_of_all_folds_are_ranked_together(small):
    picture = next((small / "task1" / "Train").glob("*.png"))
    rows = [("a", "x", "x", 0.9, 0.1), ("b", "x", "y", 0.4, 0.6), ("c", "y", "x", 0.8, 0.2)]
    folds = [pd.DataFrame([r], columns=["Id", "truth", "predicted", "x", "y"]) for r in rows]
    table = wandb_log._most_wrong(pd.concat(folds), dict.fromkeys("abc", picture), ["x", "y"])
    assert [row[1:] for row in table.data] == [
        ["c", "y", "x", 0.2, 0.8, 0.2],
        ["b", "x", "y", 0.4, 0.4, 0.6],
    ]


def test_gpu_figures_come_from_the_driver(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda i: (30 * 2**30, 40 * 2**30))
    monkeypatch.setattr(torch.cuda, "utilization", lambda i: 87)
    figures = {"gpu_1_memory_used_MB": 10240, "gpu_1_memory_total_MB": 40960}
    assert gpu_figures(torch.device("cuda", 1)) == figures | {"gpu_1_utilization_percent": 87}

    def missing(i):
        raise ModuleNotFoundError("pynvml")

    monkeypatch.setattr(torch.cuda, "utilization", missing)
    with pytest.warns(UserWarning, match="no GPU utilization: pynvml"):
        assert gpu_figures(torch.device("cuda", 1)) == figures
    assert gpu_figures(torch.device("cpu")) == {}


def test_gpu_figures_are_logged_each_epoch(small, monkeypatch):
    monkeypatch.setattr(wandb_log, "gpu_figures", lambda device: {"gpu_0_memory_used_MB": 1.0})
    fake = FakeRun()
    learn = task1_mlp.get_learner(task1_mlp.get_dls(small / "task1", bs=16))
    with learn.no_logging():
        learn.fit(2, cbs=[WandbCallback(fake)])
    assert [record["gpu_0_memory_used_MB"] for record in fake.logs] == [1.0, 1.0]
