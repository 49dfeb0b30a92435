"""Growth: every row's work runs, and the table has a line for each size."""

import json

import pytest

from experiments import scaling
from experiments.scaling import SIZES, link_images, main, timed
from pokefast.data.competition import read_competition


@pytest.mark.parametrize("row", list(SIZES)[3:])
def test_work_on_random_numbers_prints_its_seconds_and_memory(row, capsys):
    timed(row, "60")
    wall, cpu, peak = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert wall > 0 and cpu > 0 and peak > 100


def test_images_are_linked_again_and_again(small, tmp_path):
    link_images(small / "task1", 200, tmp_path / "many")
    train = read_competition(tmp_path / "many").train
    assert len(train) == 200 and train["label"].nunique() == 9


def test_drawn_art_has_three_images_a_creature(tmp_path):
    train = read_competition(scaling.draw_art(108, tmp_path, size=64, backgrounds=2)).train
    assert len(train) == 108 and train["label"].nunique() == 9


def test_the_table_has_a_line_for_each_size(small, tmp_path, monkeypatch):
    monkeypatch.setattr(scaling, "measure", lambda row, argument, cache: (1.0, 2.0, 300.0))
    monkeypatch.setattr(scaling, "link_images", lambda competition, n, folder: folder.mkdir())
    monkeypatch.setattr(scaling, "draw_art", lambda n, folder: folder)
    main(small, most=5000, out=tmp_path / "scaling.md")
    lines = (tmp_path / "scaling.md").read_text().splitlines()
    assert "| icons, second run | 3,600 | 1.0 | 2.0 | 0.56 | 300 |" in lines
    assert len([line for line in lines if line.startswith("| ")]) == 1 + 6
