"""A saved model predicts what the training process did, and says what is wrong with its input."""

import csv
import io
import json
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from fastai.vision.augment import Resize
from fasttransform import Transform
from PIL import Image
from safetensors.torch import load_file, save_file

from pokefast.errors import UserError
from pokefast.images import Squish
from pokefast.models.networks import architecture, build, cnn, mlp
from pokefast.options import Options, run_cli
from pokefast.predict import find_pictures, main
from pokefast.prediction.model_file import WEIGHTS, describe_model, save_model
from pokefast.prediction.pipeline import describe_pipeline, make_loader
from pokefast.prediction.predictor import load_predictor
from pokefast.training.learner import predict
from tasks import load_task

CASES = {
    "mlp": ("task1", dict(crop="outline")),
    "mlp-grey": ("task1", dict(crop="threshold", grey=True, layer1_size=32)),
    "cnn": ("task2", dict()),
    "cnn-report": ("task2", dict(head="dense", stages=3, crop="outline")),
    "cnn-fp32": ("task2", dict(precision="fp32")),
}


@pytest.fixture(scope="module")
def trained(small, tmp_path_factory):
    """By case: a run's folder, the Learner, the test pictures, and their loader there."""
    made = {}

    def get(case):
        if case not in made:
            name, given = CASES[case]
            task = load_task(name)
            o = task.recipe(bs=16, **given)
            learn = task.get_learner(task.get_dls(small / "task1", o), o)
            with learn.no_logging(), learn.no_bar():
                learn.fit(1)
            folder = tmp_path_factory.mktemp(case)
            save_model(folder, learn, o)
            files = sorted((small / "task1" / "Test").glob("*.png"))
            dl = learn.dls.test_dl(pd.DataFrame({"path": files}))
            made[case] = folder, learn, files, dl
        return made[case]

    return get


@pytest.mark.parametrize("case", CASES)
def test_the_same_batches_give_the_same_numbers(trained, case):
    folder, learn, files, dl = trained(case)
    here = predict(learn, dl, True)
    assert torch.equal(load_predictor(folder).probabilities(files), here)


def test_other_batches_give_the_same_labels(trained):
    folder, learn, files, dl = trained("cnn-fp32")
    here = predict(learn, dl, True)
    there = load_predictor(folder).probabilities(files[::-1], bs=5).flip(0)
    assert torch.equal(there.argmax(1), here.argmax(1))
    assert (there - here).abs().max() < 1e-5


def test_a_path_a_picture_and_an_array_are_the_same(trained):
    folder, _, files, _ = trained("cnn-fp32")
    predictor = load_predictor(folder)
    one = predictor(files[0])
    assert one.label == max(one.probabilities, key=one.probabilities.get)
    assert one.probability == one.probabilities[one.label]
    assert sum(one.probabilities.values()) == pytest.approx(1, abs=1e-5)
    image = Image.open(files[0])
    for other in predictor([image, str(files[0]), np.asarray(image)]):
        assert other.probabilities == pytest.approx(one.probabilities, abs=1e-5)
    assert predictor([]) == []


def test_without_flips_where_training_had_none(trained, tmp_path):
    folder, learn, files, dl = trained("cnn-fp32")
    save_model(tmp_path, learn, Options(precision="fp32", tta=False))
    found = load_predictor(tmp_path).probabilities(files)
    assert torch.equal(found, predict(learn, dl, False))
    assert not torch.equal(found, load_predictor(folder).probabilities(files))


def test_folds_are_averaged(trained, tmp_path):
    first, _, files, _ = trained("cnn-fp32")
    shutil.copytree(first, tmp_path / "fold1")
    second = shutil.copytree(first, tmp_path / "fold2")
    state = load_file(second / WEIGHTS)
    save_file({k: v * 1.1 if v.ndim > 1 else v for k, v in state.items()}, second / WEIGHTS)
    both = [load_predictor(tmp_path / f"fold{i}").probabilities(files) for i in (1, 2)]
    assert torch.equal(load_predictor(tmp_path).probabilities(files), sum(both) / 2)
    assert not torch.equal(*both)
    damage(second / "model.json", lambda d: d.update(tta=False))
    with pytest.raises(UserError, match="folds differ"):
        load_predictor(tmp_path)


def test_augmentation_is_no_part_of_the_description(small):
    task = load_task("task2")
    dls = task.get_dls(small / "task1", task.recipe(bs=16))
    from_train, from_valid = describe_pipeline(dls.train), describe_pipeline(dls.valid)
    assert from_train == from_valid
    names = [t["name"] for t in from_train["item_tfms"] + from_train["batch_tfms"]]
    assert names == ["Resize", "ToTensor", "IntToFloatTensor", "NormalizeInPlace"]
    dl = make_loader(json.loads(json.dumps(from_train)), list(dls.valid.items["path"]))
    assert torch.equal(dl.one_batch()[0], dls.valid.one_batch()[0])


@pytest.mark.parametrize("method, kind", [("squish", Squish), ("crop", Resize)])
def test_a_squish_goes_by_the_name_of_fastais_resize(method, kind, small):
    resize = dict(name="Resize", method=method, pad_mode="reflection", resamples=[2, 0])
    tfms = [resize | {"size": [8, 8]}, {"name": "ToTensor"}]
    pipeline = dict(opener="PILImageRGB", item_tfms=tfms, batch_tfms=[])
    loader = make_loader(pipeline, [next((small / "task1" / "Test").glob("*.png"))])
    assert type(loader.after_item.fs[0]) is kind
    assert describe_pipeline(loader) == pipeline


def test_a_crop_to_the_foreground_takes_files_images_and_arrays(small):
    file = next((small / "task1" / "Test").glob("*.png"))
    crop = dict(name="Crop", how="foreground", pad=0.1, square=True, cutout=True, size=32)
    pipeline = dict(opener="PILImageRGBA", item_tfms=[crop, {"name": "ToTensor"}], batch_tfms=[])
    image = Image.open(file)
    (batch,) = make_loader(pipeline, [file, str(file), image, np.asarray(image)]).one_batch()
    assert batch.shape == (4, 4, 32, 32) and (batch == batch[:1]).all()


def test_what_cannot_be_made_again_is_refused_before_training(small):
    task, options = load_task("task2"), load_task("task2").recipe(bs=16)
    learn = task.get_learner(task.get_dls(small / "task1", options), options)
    del learn.model.architecture
    with pytest.raises(UserError, match="Sequential cannot be saved"):
        describe_model(learn, options)
    learn.dls.train.after_batch.add([type("Unknown", (Transform,), {})()])
    with pytest.raises(UserError, match="transform Unknown cannot be saved"):
        describe_pipeline(learn.dls.train)


def test_models_are_built_again_from_their_description():
    for model in (mlp(12, 3, (8, 4)), cnn(3, 5, stages=2, head="dense", size=32)):
        description = json.loads(json.dumps(model.architecture))
        again = build(**description)
        assert str(again) == str(model)
        again.load_state_dict(model.state_dict())
    with pytest.raises(UserError, match="unknown architecture 'os.system'"):
        build("os.system", {})
    with pytest.raises(UserError, match="mlp cannot be built"):
        build("mlp", {"n": 3})
    assert architecture(lambda n: torch.nn.Linear(n, n))(3).architecture["arguments"] == {"n": 3}


def damage(file, how):
    if how == "missing":
        file.unlink()
    elif how == "half":
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    elif how == "deep":
        file.write_text("[" * 100_000)
    elif file.name == WEIGHTS:
        state = load_file(file)
        how(state)
        save_file(state, file)
    else:
        value = json.loads(file.read_text())
        how(value)
        file.write_text(json.dumps(value))


def set_arguments(description, **values):
    description["architecture"]["arguments"].update(values)


def set_crop(description, **values):
    crop = dict(name="Crop", how="outline", pad=0, square=False, cutout=False, size=None)
    description["pipeline"]["item_tfms"].append(crop | values)


@pytest.mark.parametrize(
    "name, how, says",
    [
        ("model.json", "missing", "there is no such file; give a finished run's folder"),
        ("model.safetensors", "missing", "there is no such file; give a finished run's folder"),
        ("model.json", "half", "damaged"),
        ("model.safetensors", "half", "damaged or of another model"),
        ("model.json", lambda d: d.pop("vocab"), "damaged (KeyError: 'vocab')"),
        ("model.json", lambda d: d.update(format=1), "a model of format 1"),
        ("model.json", lambda d: d.update(pipeline=[]), "damaged"),
        ("model.json", lambda d: d["pipeline"].update(opener="eval"), "'eval'"),
        ("model.json", lambda d: set_crop(d, how="eval"), "unknown crop 'eval'"),
        ("model.json", lambda d: set_crop(d, pad="x"), "Crop cannot be made"),
        ("model.json", lambda d: set_arguments(d, stages=3), "another model"),
        ("model.json", lambda d: set_arguments(d, stages=10**9), "cannot be built"),
        ("model.json", lambda d: set_arguments(d, n_in=10**12), "another model"),
        ("model.json", lambda d: set_arguments(d, n_in=10**30), "cannot be built"),
        ("model.json", lambda d: set_arguments(d, n_out=10**12), "not as many classes"),
        ("model.json", lambda d: d["vocab"].pop(), "not as many classes"),
        ("model.json", lambda d: set_crop(d, size=10**6), "images of 1000000 pixels"),
        ("model.json", "deep", "damaged"),
        ("model.json", lambda d: d.update(temperature=0), "a temperature of 0"),
        ("model.safetensors", lambda state: state["0.weight"].fill_(torch.nan), "no numbers"),
        ("model.safetensors", lambda state: state.pop("0.weight"), "0.weight is None, not (32"),
    ],
)
def test_damaged_runs_are_named(trained, tmp_path, name, how, says):
    folder = shutil.copytree(trained("cnn")[0], tmp_path / "run")
    damage(folder / name, how)
    with pytest.raises(UserError) as error:
        load_predictor(folder)
    text = str(error.value)
    assert says in text and str(folder / "model.") in text and "\n" not in text


def test_nothing_is_allocated_for_what_is_declared_alone(trained, tmp_path, monkeypatch):
    folder = shutil.copytree(trained("cnn")[0], tmp_path / "run")
    header = {"0.weight": {"dtype": "F32", "shape": [10**9, 10**9], "data_offsets": [0, 4]}}
    text = json.dumps(header).encode()
    (folder / WEIGHTS).write_bytes(len(text).to_bytes(8, "little") + text + bytes(4))
    with pytest.raises(UserError, match="damaged"):
        load_predictor(folder)
    shutil.copy(trained("cnn")[0] / WEIGHTS, folder / WEIGHTS)
    damage(folder / "model.json", lambda d: set_arguments(d, n_in=10**12))
    monkeypatch.setattr("pokefast.prediction.model_file.load_file", lambda _: pytest.fail("read"))
    with pytest.raises(UserError, match="another model"):  # the meta device alone can have 1.3 PB
        load_predictor(folder)


def test_pictures_are_found_in_order_and_missing_ones_named(tmp_path):
    for name in ("b.png", "a.JPG", "sub/c.jpeg", "notes.txt", ".hidden.png"):
        (tmp_path / "x" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "x" / name).touch()
    found = [p.relative_to(tmp_path / "x").as_posix() for p in find_pictures([tmp_path / "x"])]
    assert found == ["a.JPG", "b.png", "sub/c.jpeg"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="empty: there are no pictures"):
        find_pictures([tmp_path / "empty"])
    with pytest.raises(UserError, match="nowhere: there is no such file or folder"):
        find_pictures([tmp_path / "nowhere"])


def test_the_command_prints_a_table_json_or_csv(trained, capsys):
    folder, _, files, _ = trained("cnn-fp32")
    names, predictor = [str(f) for f in files[:3]], load_predictor(folder)
    expected = predictor(names)
    main(folder, names)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["picture", "class", *predictor.vocab]
    assert [line.split()[:2] for line in lines[1:]] == [
        [n, e.label] for n, e in zip(names, expected, strict=True)
    ]
    main(folder, names, json=True)
    found = json.loads(capsys.readouterr().out)
    assert [(f["picture"], f["class"], f["probability"]) for f in found] == [
        (n, e.label, e.probability) for n, e in zip(names, expected, strict=True)
    ]
    main(folder, names, csv=True)
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [float(row[e.label]) for row, e in zip(rows, expected, strict=True)] == [
        e.probability for e in expected
    ]
    with pytest.raises(UserError, match="choose one"):
        main(folder, names, json=True, csv=True)


def test_an_unreadable_picture_is_named_after_the_others(trained, tmp_path, monkeypatch, capsys):
    folder, _, files, _ = trained("cnn-fp32")
    shutil.copy(files[0], tmp_path / "good.png")
    (tmp_path / "bad.png").write_text("no picture")
    monkeypatch.setattr(sys, "argv", ["predict", str(folder), str(tmp_path), "--json"])
    assert run_cli(main) == 2
    out, err = capsys.readouterr()
    assert [p["picture"] for p in json.loads(out)] == [str(tmp_path / "good.png")]
    assert "1 picture could not be read" in err and "bad.png: not a picture" in err
    with pytest.raises(UserError, match="bad.png"):
        load_predictor(folder)([tmp_path / "bad.png"])


def test_another_process_computes_the_same_numbers(trained):
    folder, learn, files, dl = trained("cnn")
    command = [
        sys.executable,
        "-m",
        "pokefast.predict",
        folder,
        files[0].parent,
        "--json",
    ]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rows = [list(row["probabilities"].values()) for row in json.loads(out)]
    assert torch.equal(torch.tensor(rows), predict(learn, dl, True))
