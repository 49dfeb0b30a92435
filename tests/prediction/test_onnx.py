"""A model as ONNX says what the predictor says, and runs without torch."""

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("onnxscript", reason="the extra export is not installed")

from pokefast import export
from pokefast.datasets.drawn import small_competition
from pokefast.errors import UserError
from pokefast.models.ridge import solve_head
from pokefast.predict import main as predict
from pokefast.prediction.model_file import save_model, save_temperature
from pokefast.prediction.onnx_file import OnnxPredictor, check_export, export_onnx
from pokefast.prediction.predictor import load_predictor
from pokefast.runs import write_run
from tasks import load_task

DOC = Path(__file__).resolve().parents[2] / "docs" / "elsewhere.md"
RIDGE = dict(size=48, arch="tf_efficientnet_lite0", split="image")
CASES = {
    "mlp": ("task1", dict(crop="outline")),
    "cnn-folds": ("task2", dict(folds=2, stages=2, ema=0)),
    "ridge-folds": ("task3", dict(RIDGE, folds=2)),
}


# tracing the last takes half a minute: `make test-more`
QUICK = [*CASES][:2]


@pytest.fixture(scope="module", params=CASES if "MORE_TESTS" in os.environ else QUICK)
def exported(request, small, tmp_path_factory):
    """A run's folder with a model hardly trained, and with its model.onnx."""
    name, given = CASES[request.param]
    task, out = load_task(name), tmp_path_factory.mktemp(request.param)
    data = small_competition(out, 3, n_per_class=9) if name == "task3" else small / "task1"
    o = task.recipe(bs=16, precision="fp32", **given)
    dls, folder = task.get_dls(data, o), out / "run"
    for i in range(o.folds or 1):
        learn = task.get_learner(dls, replace(o, seed=i))
        with learn.no_bar(), learn.no_logging():
            solve_head(learn, o, False) if name == "task3" else learn.fit(1)
        save_model(folder / f"fold{i + 1}" if o.folds else folder, learn, o)
    save_temperature(folder, 1.7)
    write_run(folder, {"task": name, "data": str(data)})
    export.main(run=folder)
    return folder, sorted(data.glob("[Tt]est/*.png"))


def test_a_graph_gives_the_predictors_probabilities(exported, capsys):
    folder, files = exported
    here, there = load_predictor(folder, "cpu", "fp32"), OnnxPredictor(folder / "model.onnx")
    assert there.vocab == here.vocab and there.about["folds"] == len(here.models)
    for some in (files, files[:1], []):  # any number of pictures
        found = there.probabilities(some)
        assert found.shape == (len(some), len(here.vocab))
        torch.testing.assert_close(
            found, here.probabilities(some), atol=1e-3, rtol=0, check_dtype=False
        )
    assert there(files[0]).label == here(files[0]).label
    predict(folder / "model.onnx", [str(files[0])], csv=True)
    assert there(files[0]).label in capsys.readouterr().out.splitlines()[1].split(",")


def test_twenty_lines_without_torch_do_it(exported, tmp_path):
    folder, files = exported
    there = OnnxPredictor(folder / "model.onnx")
    folder_of_pictures = files[0].parent
    if there.about["crop"]:  # the script gets cropped pictures
        folder_of_pictures = tmp_path
        for file, picture in zip(files, there.pictures(files), strict=True):
            Image.fromarray(picture).save(tmp_path / file.name)
    (script,) = re.findall(r"```python\n(.+?)```", DOC.read_text(encoding="utf-8"), re.DOTALL)
    assert len(script.strip().splitlines()) <= 20
    alone = "import sys; sys.modules |= dict.fromkeys(['torch', 'fastai', 'pokefast'])\n" + script
    call = [sys.executable, "-c", alone, folder / "model.onnx", folder_of_pictures]
    out = subprocess.run(call, capture_output=True, text=True, check=True).stdout
    found = [line.split() for line in out.splitlines()]
    expected = {file.name: p for file, p in zip(files, there.probabilities(files), strict=True)}
    assert [name for name, *_ in found] == [file.name for file in files]
    for name, label, probability in found:
        assert float(probability) == pytest.approx(expected[name].max().item(), abs=1e-3)
        assert label == there.vocab[expected[name].argmax()]


@pytest.mark.parametrize("exported", ["cnn-folds"], indirect=True)
def test_a_file_that_differs_is_not_written(exported, tmp_path):
    folder, files = exported
    predictor, there = load_predictor(folder, "cpu", "fp32"), OnnxPredictor(folder / "model.onnx")
    there.probabilities = lambda images: predictor.probabilities(images).roll(1, 1)
    with pytest.raises(UserError, match="the ONNX file is not written"):
        check_export(there, predictor, files)
    predictor.probabilities = lambda images: torch.full((len(images), len(there.vocab)), np.nan)
    with pytest.raises(UserError, match="is not written"):
        export_onnx(predictor, tmp_path / "x.onnx", files)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"no model at all"])
def test_other_files_are_named(tmp_path, content):
    (tmp_path / "x.onnx").write_bytes(content)
    for file in ("x.onnx", "missing.onnx"):
        with pytest.raises(UserError, match=f"{file}: it cannot be read as an ONNX file"):
            OnnxPredictor(tmp_path / file)
