"""What the command prints of names that nobody thought of; tests/prediction has the rest."""

import csv
import io
import json
import os

import pytest
import torch
from PIL import Image

from pokefast import predict
from pokefast.errors import UserError
from pokefast.files import as_written

VOCAB = ["=1+1", "Fire"]


class Fake:
    """A predictor that is always as sure."""

    vocab = VOCAB

    def probabilities(self, files):
        return torch.tensor([[0.75, 0.25]] * len(files))


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    """A folder with a picture whose name is a formula, one with a line break and one no UTF-8."""
    monkeypatch.setattr(predict, "open_predictor", lambda run: Fake())
    monkeypatch.chdir(tmp_path)
    for name in (b"+1.png", b"a\n=b.png", b"\xff.png"):
        Image.new("RGB", (4, 4)).save(tmp_path / "x.png")
        os.rename(tmp_path / "x.png", os.path.join(os.fsencode(tmp_path), name))


def test_csv_has_no_formula_and_gives_the_names_back(pictures, capsys):
    predict.main("run", ["."], csv=True)
    rows = list(csv.reader(io.StringIO(capsys.readouterr().out)))
    assert not any(cell[:1] in ("=", "+", "-", "@", "\t") for row in rows for cell in row)
    assert [as_written(cell) for cell in rows[0]] == ["picture", "class", *VOCAB]
    assert [as_written(row[0]) for row in rows[1:]] == ["+1.png", "a\n=b.png", "\\udcff.png"]
    assert [as_written(row[1]) for row in rows[1:]] == [VOCAB[0]] * 3
    assert [float(v) for v in rows[1][2:]] == [0.75, 0.25]


def test_the_newest_run_is_meant_where_none_is_named(pictures, capsys, monkeypatch):
    opened = []
    monkeypatch.setattr(predict, "newest_run", lambda: "runs/late")
    monkeypatch.setattr(predict, "open_predictor", lambda run: opened.append(run) or Fake())
    predict.main("newest", ["."], csv=True)
    said = capsys.readouterr()
    assert opened == ["runs/late"] and "runs/late" in said.err and "late" not in said.out


def test_a_second_run_is_no_folder_of_pictures(pictures, tmp_path):
    """As where the shell makes two runs of runs/leaves-*."""
    (tmp_path / "leaves-2").mkdir()
    (tmp_path / "leaves-2" / "run.json").write_text("{}")
    with pytest.raises(UserError, match="leaves-2: a run where pictures belong"):
        predict.main("run", ["leaves-2", "."])


def test_the_table_has_a_line_a_picture(pictures, capsys):
    predict.main("run", ["."])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4 and "'a\\n=b.png'" in lines[2] and "udcff" in lines[3]


def test_json_keeps_names_as_they_are(pictures, capsys):
    predict.main("run", ["."], json=True)
    found = [one["picture"] for one in json.loads(capsys.readouterr().out)]
    assert [os.fsencode(name) for name in found] == [b"+1.png", b"a\n=b.png", b"\xff.png"]
