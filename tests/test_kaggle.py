"""Kaggle through a stand-in for its package; a bundle in an environment without network."""

import inspect
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pandas as pd
import pytest
from packaging.requirements import Requirement

from pokefast import kaggle
from pokefast.errors import UserError
from pokefast.task import run_task
from tasks import load_task

NOTEBOOK = ("torch", "torchvision", "timm", "pandas", "scikit-learn", "matplotlib", "safetensors")
NOTEBOOK += ("jinja2", "joblib", "filelock", "requests", "pyyaml", "packaging", "cloudpickle")
NOTEBOOK += ("rich",)


class Refused(OSError):
    """An answer of the service with that status; requests' own HTTPError is an OSError too."""

    def __init__(self, status):
        super().__init__(f"status {status}")
        self.response = SimpleNamespace(status_code=status)


class Api:
    """Stand-in for Kaggle's: hands out a zip and takes one submission, after `refused` answers."""

    COMPETITION_SUBMIT_UPLOAD_FAILED_MESSAGE = "Could not submit to competition"
    known, status, archive, score, error = True, None, None, "0.9", None

    def __init__(self):
        self.sent, self.looks = [], 0

    def authenticate(self):
        if not self.known:
            print("a page of help")
            raise SystemExit(1)

    def _answer(self):
        if self.status:
            raise Refused(self.status)

    def competition_download_files(self, competition, path=None, force=False, quiet=True):
        self._answer()
        shutil.copy(self.archive, Path(path) / f"{competition}.zip")

    def competition_submit(self, file_name, message, competition, quiet=False):
        self._answer()
        self.sent.append((Path(file_name).name, message, competition))
        return SimpleNamespace(message="Successfully submitted", ref=7)

    def competition_submissions(self, competition):
        self.looks += 1
        old = SimpleNamespace(ref=6, description="first", public_score="0.1", error_description="")
        new = SimpleNamespace(ref=7, description="first", public_score="", error_description="")
        if self.looks > 2:
            new.public_score, new.error_description = self.score, self.error
        return [new, old] if self.sent else [old]


@pytest.fixture
def api(monkeypatch):
    """The class of the stand-in, in the place of Kaggle's, which waits for nothing."""
    api = type("KaggleApi", (Api,), {})
    made = ModuleType("kaggle.api.kaggle_api_extended")
    made.KaggleApi = api
    monkeypatch.setitem(sys.modules, "kaggle", ModuleType("kaggle"))
    monkeypatch.setitem(sys.modules, "kaggle.api", ModuleType("kaggle.api"))
    monkeypatch.setitem(sys.modules, made.__name__, made)
    monkeypatch.setattr(kaggle, "POLL", 0)
    return api


@pytest.fixture(scope="module")
def run(small, tmp_path_factory):
    """A finished run of one epoch, on data that kaggle-data fetched."""
    out = tmp_path_factory.mktemp("kaggle")
    data = shutil.copytree(small / "task1", out / "data" / "icons")
    (data / kaggle.FROM).write_text('{"competition": "icons"}')
    task = load_task("task1")
    with pytest.MonkeyPatch.context() as patch:  # pictures take longer than the training
        for name in ("write_examples", "draw_figures", "write_report"):
            patch.setattr(f"pokefast.steps.{name}", lambda *_: None)
        return run_task(task, task.recipe(epochs=1, precision="fp32"), data, out).folder


def test_the_stand_in_has_kaggles_signatures():
    pytest.importorskip("kaggle")
    from kaggle.api.kaggle_api_extended import KaggleApi

    for name in ("competition_download_files", "competition_submit", "competition_submissions"):
        theirs = inspect.signature(getattr(KaggleApi, name)).parameters
        ours = inspect.signature(getattr(Api, name)).parameters
        assert list(ours) == list(theirs)[: len(ours)]
    failed = KaggleApi.COMPETITION_SUBMIT_UPLOAD_FAILED_MESSAGE
    assert failed == Api.COMPETITION_SUBMIT_UPLOAD_FAILED_MESSAGE


def test_data_is_fetched_whole_and_once(api, small, tmp_path, capsys):
    api.archive = shutil.make_archive(tmp_path / "x", "zip", small / "task1")
    address = "https://www.kaggle.com/competitions/icons/overview"
    kaggle.fetch(address, tmp_path / "data")
    assert {f.name for f in (tmp_path / "data").iterdir()} == {"icons"}
    assert json.loads((tmp_path / "data" / "icons" / kaggle.FROM).read_text())
    assert "training images in Train/" in capsys.readouterr().out
    api.status = 403  # a second call asks for nothing
    kaggle.fetch("icons", tmp_path / "data")


@pytest.mark.parametrize(
    "change, words",
    [
        (dict(known=False), "does not know you"),
        (dict(status=403), "accept its rules"),
        (dict(status=404), "no such competition"),
        (dict(status=None, archive=__file__), "no whole zip"),
    ],
)
def test_what_kaggle_refuses_leaves_nothing_half_done(api, tmp_path, capsys, change, words):
    for name, value in change.items():
        setattr(api, name, value)
    with pytest.raises(UserError, match=words):
        kaggle.fetch("icons", tmp_path)
    assert not list(tmp_path.iterdir())
    assert "page of help" not in capsys.readouterr().out
    with pytest.raises(UserError, match="last part of its address"):
        kaggle.fetch("No Name", tmp_path)


def test_the_public_score_is_noted_beside_the_local_one(api, run, monkeypatch, capsys):
    monkeypatch.chdir(run.parent.parent)
    kaggle.send("1", "first")
    assert "public score 0.9, local 0." in capsys.readouterr().out
    assert json.loads((run / "kaggle.json").read_text())["public_score"] == "0.9"
    assert "public score, icons" in (run / "report.html").read_text()


def test_what_is_not_the_runs_own_is_not_sent(api, run, tmp_path, monkeypatch):
    api.competition_submit = None  # nothing may be sent
    place = shutil.copytree(run.parent.parent, tmp_path / "copy")
    run = place / "runs" / run.name
    (file,) = (place / "submissions").glob("*.csv")
    table = pd.read_csv(file)
    table.iloc[::-1].to_csv(file, index=False)
    with pytest.raises(UserError, match="not what"):
        kaggle.send(run=run, message="first")
    file.unlink()
    with pytest.raises(UserError, match="no such file"):
        kaggle.send(run=run, message="first")
    with pytest.raises(UserError, match="a task or a run"):
        kaggle.send(task="task1", message="")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="no finished run"):
        kaggle.send(task="leaves", message="first")


@pytest.mark.parametrize("change", [dict(error="Wrong columns"), dict(score="")])
def test_a_submission_that_gets_no_score_is_said(api, run, change):
    for name, value in change.items():
        setattr(api, name, value)
    with pytest.raises(UserError, match="Wrong columns" if "error" in change else "no score"):
        kaggle.send(run=run, message="first", wait=0 if "score" in change else 60)


def needed(names):
    """The names of installed distributions that those of `names` need, themselves included."""
    found, todo = set(), list(names)
    while todo:
        name = re.sub(r"[-_.]+", "-", todo.pop()).lower()
        if name not in found:
            found.add(name)
            wanted = map(Requirement, metadata.requires(name) or [])
            todo += [r.name for r in wanted if not r.marker or r.marker.evaluate({"extra": ""})]
    return found


@pytest.mark.skipif("MORE_TESTS" not in os.environ, reason="make test-bundle: it makes wheels")
def test_a_bundle_predicts_and_trains_without_network(run, small, tmp_path):
    env, made = tmp_path / "env", tmp_path / "bundle"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", env], check=True)
    (site,) = (env / "lib").glob("python*/site-packages")
    for name in needed(NOTEBOOK):
        for file in metadata.files(name):
            top = file.parts[0]
            if top not in ("..", "__pycache__") and not (site / top).exists():
                (site / top).symlink_to(metadata.distribution(name).locate_file(top))
    (site / "sitecustomize.py").write_text(
        "import socket\n\n\ndef refuse(*args):\n    raise OSError('no network')\n\n\n"
        "socket.socket.connect = refuse\n"
    )
    kaggle.bundle(run, made)
    before = {file: file.stat().st_mtime_ns for file in made.rglob("*")}
    for file in before:
        file.chmod(0o555 if file.is_dir() else 0o444)
    python = [env / "bin" / "python", "-W", "ignore"]
    work = tmp_path / "working"
    work.mkdir()
    home = {"PATH": os.environ["PATH"], "HOME": str(work), "OMP_NUM_THREADS": "1"}

    def call(*words, **more):
        done = subprocess.run(
            [*python, *map(str, words)], cwd=work, env=home | more, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr

    call(made / "predict.py", small / "task1")
    (sent,) = (run.parent.parent / "submissions").glob("*.csv")
    assert (work / "submission.csv").read_text() == sent.read_text()
    call(made / "predict.py", "--unpack", work / "lib")
    assert zipfile.is_zipfile(next((made / "wheels").glob("pokefast*.whl")))
    words = ("-m", "pokefast.tasks.task1_mlp", "--data", small / "task1", "--out", ".")
    call(*words, "--epochs", 1, "--precision", "fp32", PYTHONPATH="lib")
    assert (work / "submissions" / "task1_submit.csv").is_file()
    assert {file: file.stat().st_mtime_ns for file in made.rglob("*")} == before
