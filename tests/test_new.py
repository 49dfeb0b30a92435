"""A script for one's own images is chosen by what is seen in their folder, and trains at once."""

import importlib.util
import re
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pokefast import __main__
from pokefast.data.competition import read_competition
from pokefast.errors import UserError
from pokefast.new import Sight, look, propose
from pokefast.new import main as new
from pokefast.task import main

ROOT = Path(__file__).resolve().parents[1]
COLOURS = {"blast": (200, 40, 40), "normal": (40, 200, 40), "tungro": (40, 40, 200)}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder, which one stands in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def picture(file, colour, seed, size=(20, 24)):
    file.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 40, (size[1], size[0], 3))
    Image.fromarray((noise + colour).clip(0, 255).astype(np.uint8)).save(file)


def leaves(root):
    """The folder that docs/your-own-data.md describes."""
    names = list(COLOURS)
    for i in range(60):
        picture(root / "train_images" / f"{i}.png", COLOURS[names[i % 3]], i)
    for i in range(60, 72):
        picture(root / "test_images" / f"{i}.png", COLOURS[names[i % 3]], i)
    rows = [(f"{i}.png", names[i % 3], "ADT45", 45 + i % 2) for i in range(60)]
    table = pd.DataFrame(rows, columns=["image_id", "label", "variety", "age"])
    table.to_csv(root / "train.csv", index=False)
    sample = pd.DataFrame({"image_id": [f"{i}.png" for i in range(71, 59, -1)], "label": ""})
    sample.to_csv(root / "sample_submission.csv", index=False)


def load(file):
    """The TASK of a script."""
    spec = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module
    spec.loader.exec_module(module)
    return module.TASK


def test_every_command_of_the_docs_works(here, capsys):
    leaves(here / "leaves")
    with zipfile.ZipFile(here / "leaves.zip", "w") as archive:
        for file in (here / "leaves").rglob("*"):
            archive.write(file, file.relative_to(here / "leaves"))
    (here / "leaves").rename(here / "original")
    text = (ROOT / "docs" / "your-own-data.md").read_text()
    check, first, train, tell = re.findall(r"^```sh\npython (.+)\n```$", text, re.M)
    assert __main__.main(shlex.split(check.removeprefix("-m pokefast "))) == 0
    assert (here / "runs" / "check-leaves.html").is_file()
    assert __main__.main(shlex.split(first.removeprefix("-m pokefast "))) == 0
    said = capsys.readouterr().out
    (printed,) = re.findall(r"^```\n(leaves: .+?)\n```$", text, re.M | re.S)
    assert printed in said.replace(f"{here}/", "")
    script, *options = shlex.split(train)
    task = load(here / script)
    assert main(task, [*options, "--bs", "8"]) == 0
    submission = pd.read_csv(here / "submissions" / "leaves_submit.csv")
    sample = pd.read_csv(here / "leaves" / "sample_submission.csv")
    assert list(submission.columns) == ["image_id", "label"]
    assert list(submission["image_id"]) == list(sample["image_id"])
    assert set(submission["label"]) <= set(COLOURS)
    capsys.readouterr()
    assert __main__.main(shlex.split(tell.removeprefix("-m pokefast "))) == 0
    assert len(capsys.readouterr().out.splitlines()) == 13


def sight(**given):
    seen = dict(n=4000, n_test=0, classes=9, side=64, skew=1.5, grey=False)
    return Sight(**(seen | dict(photographs=False, transparent=False) | given))


@pytest.mark.parametrize(
    "seen, template, values",
    [
        (sight(), "cnn", dict(size=64, head="global-max", flip=True, folds=0, channels=3)),
        (sight(side=28, grey=True), "cnn", dict(size=32, head="dense", flip=False, sampler=False)),
        (sight(side=32, transparent=True), "cnn", dict(channels=4, opener="PILImageRGBA")),
        (sight(transparent=True), "transfer", dict(size=128, epochs=8, flip=True, folds=0)),
        (sight(transparent=True, n=600), "transfer", dict(size=128, epochs=12, folds=5)),
        (sight(n=600), "cnn", dict(folds=5, epochs=40)),
        (sight(skew=20), "cnn", dict(sampler=True)),
        (sight(n=300), "transfer", dict(size=160, folds=5, epochs=0)),
        (
            sight(side=600, photographs=True, skew=9),
            "transfer",
            dict(size=224, imbalance="sampler"),
        ),
    ],
)
def test_what_is_seen_chooses_the_network(seen, template, values):
    name, found = propose(seen)
    assert name == template and values.items() <= found.items()


def test_look_sees_what_is_there(tmp_path):
    leaves(tmp_path)
    seen = look(read_competition(tmp_path))
    assert seen == Sight(60, 12, 3, 20, 1.0, False, False, False)
    assert str(seen) == "60 labelled images of 3 classes, 20 pixels wide, 12 to predict"
    for file in (tmp_path / "train_images").iterdir():
        Image.new("LA", (300, 200), (90, 0)).save(file)
    seen = look(read_competition(tmp_path))
    assert (seen.side, seen.grey, seen.transparent) == (200, True, True)


@pytest.mark.parametrize("n, kind", [(60, "transfer"), (510, "cnn")])
def test_a_script_is_written_as_ours_are(n, kind, here):
    for i in range(n):
        for j, name in enumerate(("a", "b")):
            if i % 2 == j:
                picture(here / "it's" / name / f"{i}.png", (90 * j, 50, 90), i, (8, 8))
    new("mine", Path("it's"), labels="folders")
    text = (here / "mine.py").read_text()
    assert kind == ("cnn" if "import cnn" in text else "transfer") and "$" not in text
    ruff = [sys.executable, "-m", "ruff"]
    first = 'lint.isort.known-first-party=["pokefast"]'
    config = ["--config", ROOT / "pyproject.toml", "--config", first, "mine.py"]
    for check in (["check"], ["format", "--check"]):
        done = subprocess.run([*ruff, *check, *config], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout
    task = load(here / "mine.py")
    assert task.recipe().labels == "folders" and task.data == here / "it's"
    assert task.line("--epochs 1") == "python mine.py --epochs 1"
    with pytest.raises(UserError, match="take another"):
        new("mine", Path("it's"))


@pytest.mark.parametrize("name", ["Leaves", "a-b", "2x", "../x", "class", "torch", "json"])
def test_a_name_that_is_none_is_refused(name, here):
    with pytest.raises(UserError, match="--name"):
        new(name, here)


def test_make_runs_what_it_has_written():
    line = [
        "make",
        "-n",
        "--no-print-directory",
        "new",
        "NAME=leaves",
        "DATA=my folder",
        "PY=python",
    ]
    said = subprocess.run(line, cwd=ROOT, capture_output=True, text=True).stdout
    assert said.endswith('-m pokefast new --name "leaves" --data "my folder" \n')
