"""Runs' folders as `pokefast.report` finds them, made by hand."""

import csv
import json

import numpy as np
import pandas as pd
import pytest

from pokefast.files import write_own_csv
from pokefast.report.plots import to_data_uri
from pokefast.runs import probability_table

# labels like any other
EVIL = ("<script>window.evil=1</script>\"&'", "Ba$$in", "<b>", "truth", "a rather long name " * 5)


@pytest.fixture
def evil():
    """Names of classes that a page or figure might stumble over."""
    return list(EVIL)


@pytest.fixture(scope="session")
def make_run():
    """A function that writes a run's folder: `make_run(folder, vocab, folds=0, finished=True)`."""
    return _make_run


def _make_run(folder, vocab=EVIL, folds=0, finished=True, cams=True, epochs=3):
    folder.mkdir(parents=True)
    run = {
        "format": 2,
        "task": folder.name.split("-")[0],
        "title": "A title & more",
        "recipe": "fast",
        "options": {"seed": 0, "bs": 16, "contrast": 0, "flip": True, "weights": None},
        "given": {"bs": 16, "seed": 0},
        "command": 'make task1 ARGS="--bs 16 --seed 0"',
        "data": "/data/<here>",
        "provenance": "own",
        "published": {"local": 0.9022, "hidden": 0.8963, "seconds": 3709.7, "epochs": 50},
        "vocab": list(vocab),
        "images": "a hash",
        "n_train_by_class": {name: 10 + i for i, name in enumerate(vocab)},
        "versions": {"torch": "2.14", "machine": "a Linux"},
    }
    (folder / "run.json").write_text(json.dumps(run))
    with (folder / "history.csv").open("w", newline="") as file:
        names = ["fold", "epoch", "train_loss", "valid_loss", "accuracy", "f1_score"]
        table = csv.writer(file)
        table.writerow(names)
        for fold in range(1, folds + 1) or [""]:
            for epoch in range(1, epochs + 1):
                table.writerow([fold, epoch, 2 / epoch, 2.5 / epoch, 1 - 0.5 / epoch, 0.5])
    if not finished:
        return folder
    (folder / "metrics.json").write_text(json.dumps(_metrics(vocab, epochs)))
    (folder / "examples.json").write_text(json.dumps(_examples(vocab, cams)))
    items = pd.DataFrame({"Id": [f"i{i}" for i in range(40)]})
    items = items.assign(label=np.resize(vocab, 40), group=[str(i // 2) for i in range(40)])
    wrong = sum(map(ord, folder.name)) % 7  # images, another number in each run
    numbers = np.where(np.arange(40) < wrong, 1, 0) + np.arange(40)
    rows = np.eye(len(vocab))[numbers % len(vocab)]
    write_own_csv(folder / "probabilities.csv", probability_table(items, rows, vocab, "local"))
    return folder


def _metrics(vocab, epochs):
    n, rng = len(vocab), np.random.default_rng(0)
    counts = np.eye(n, dtype=int) * 8
    np.add.at(counts, tuple(rng.integers(0, n, (2, 3 * n))), 1)
    f1 = 2 * counts.diagonal() / (counts.sum(1) + counts.sum(0))
    return {
        "f1_macro": float(f1.mean()),
        "metric": "f1_macro",
        "accuracy": 0.875,
        "calibration": {"temperature": 0.8, "before": _curve(0.2), "after": _curve(0.02)},
        "per_class_f1": dict(zip(vocab, f1.tolist(), strict=True)),
        "confusion": counts.tolist(),
        "n_train": 1000,
        "n_valid": 200,
        "n_test": int(counts.sum()),
        "epochs": epochs,
        "device": "cpu",
        "dtype": "float32",
        "n_parameters": 391497,
        "prepare_seconds": 0.5,
        "train_seconds": 61.25,
        "total_seconds": 4000,
    }


def _curve(error):
    return {"confidence": [0.3, 0.9], "accuracy": [0.3 + error, 0.9], "error": error}


def _examples(vocab, cams):
    rng = np.random.default_rng(0)
    grey, rgb, rgba = (to_data_uri(rng.random((16, 16, channels))) for channels in (1, 3, 4))
    wrong = {"truth": vocab[0], "predicted": vocab[1], "image": grey, "map": rgb}
    right = wrong | {"predicted": vocab[0]}
    rows = [
        {"title": "Right predictions", "images": [right] * 2},
        {"title": "Wrong predictions", "images": [wrong] * 8},
    ]
    return {
        "batch": [
            {"class": vocab[i % len(vocab)], "image": (grey, rgb, rgba)[i % 3]} for i in range(32)
        ],
        "crops": [{"class": name, "before": rgb, "after": grey} for name in vocab[:8]],
        "wrong": [{"id": "7", "p_truth": 0.125, "p_predicted": 0.5, **wrong}] * 3,
        "cams": rows if cams else [],
    }
