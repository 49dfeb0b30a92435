"""The embedded data set: what it holds, that its boxes are true, and that it is made safely."""

import csv
import hashlib
import json
import re
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from pokefast.datasets import drawn as synth
from pokefast.datasets.compose import (
    SOLUTION_COLUMNS,
    TEST_ICONS,
    TRAIN_ICONS,
    TYPES,
    plan_art,
    plan_icons,
)
from pokefast.datasets.creatures import make_creatures
from pokefast.datasets.drawing import draw_art, draw_icon
from pokefast.datasets.layout import LOCK, MARKER
from pokefast.errors import UserError
from pokefast.files import ROOT
from pokefast.options import run_cli


def read_csv(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def image_of(out, task, row):
    folder = row["split"].lower() if task == 3 else row["split"]
    return Image.open(out / f"task{task}" / folder / f"{row['Id']}.png")


def box_of(row):
    return tuple(int(row[key]) for key in ("x0", "y0", "x1", "y1"))


def digest(out):
    """One hash over every file's name and bytes below `out`."""
    total = hashlib.sha256()
    for path in sorted(p for p in out.rglob("*") if p.is_file()):
        total.update(str(path.relative_to(out)).encode() + path.read_bytes())
    return total.hexdigest()


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    out = tmp_path_factory.mktemp("small")
    synth.small_competition(out, 1)
    synth.small_competition(out, 3)
    return out


def test_small_competitions_have_kaggles_layout(small):
    for task, train, test in ((1, "Train", "Test"), (2, "Train", "Test"), (3, "train", "test")):
        root = small / f"task{task}"
        labels = read_csv(root / "train_labels.csv")
        assert set(labels[0]) == {"Id", "label"}
        assert {path.stem for path in (root / train).iterdir()} == {row["Id"] for row in labels}
        assert Counter(row["label"] for row in labels) == dict.fromkeys(TYPES, 12)
        assert {path.name for path in root.iterdir()} == {train, test, "train_labels.csv", MARKER}
    assert (small / "task2").is_symlink() and (small / "task2").readlink().as_posix() == "task1"


def test_solutions_list_every_image_of_both_splits(small):
    uuid4 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
    for task in (1, 2, 3):
        path = small / "solution" / f"task{task}.csv"
        assert path.read_text().splitlines()[0] == ",".join(SOLUTION_COLUMNS)
        rows = read_csv(path)
        assert all(uuid4.fullmatch(row["Id"]) for row in rows)
        assert (
            len({row["Id"] for row in rows})
            == len(rows)
            == len(list((small / f"task{task}").glob("*/*.png")))
        )
        for row in rows:
            assert image_of(small, task, row).mode == "RGBA"
        labels = {
            row["Id"]: row["label"] for row in read_csv(small / f"task{task}" / "train_labels.csv")
        }
        assert labels == {row["Id"]: row["label"] for row in rows if row["split"] == "Train"}


def test_boxes_of_icons_are_tight_about_a_pure_black_outline(small):
    black = (0, 0, 0, 255)
    for row in read_csv(small / "solution" / "task1.csv"):
        image, (x0, y0, x1, y1) = np.asarray(image_of(small, 1, row)), box_of(row)
        assert image.shape == (64, 64, 4) and 0 <= x0 < x1 <= 64 and 0 <= y0 < y1 <= 64
        assert 20 <= max(x1 - x0, y1 - y0) <= 40
        inside = (image[y0:y1, x0:x1] == black).all(-1)
        for edge in (inside[0], inside[-1], inside[:, 0], inside[:, -1]):
            assert edge.any()


def test_icons_have_one_closed_black_outline_one_pixel_wide():
    creatures = make_creatures(dict.fromkeys(TYPES, 12), np.random.default_rng(5))
    for creature in [one for group in creatures.values() for one in group]:
        pixels = np.asarray(draw_icon(creature))
        solid = np.pad(pixels[..., 3] > 0, 1)
        assert set(np.unique(pixels[..., 3])) <= {0, 255}
        around = solid[:-2, 1:-1] & solid[2:, 1:-1] & solid[1:-1, :-2] & solid[1:-1, 2:]
        rim = solid[1:-1, 1:-1] & ~around  # has a transparent neighbour above, below or beside
        assert (pixels[rim] == (0, 0, 0, 255)).all()
        assert (pixels[~rim & (pixels[..., 3] > 0)][:, :3].max(-1) > 0).any()


def test_relatives_share_family_and_differ_from_one_another():
    groups = make_creatures(dict.fromkeys(TYPES, 20), np.random.default_rng(1))
    names = [one.name for group in groups.values() for one in group]
    assert len(set(names)) == len(names)
    sizes = Counter(one.family.name for group in groups.values() for one in group)
    assert set(sizes.values()) == {1, 2, 3}
    shared = [one for group in groups.values() for one in group if sizes[one.family.name] == 3][:3]
    assert len({one.family.name for one in shared}) == len({one.family.plan for one in shared}) == 1
    assert len({draw_art(one, 60).tobytes() for one in shared}) == 3


def test_art_has_the_side_asked_for_and_soft_edges():
    creature = make_creatures({"Water": 1}, np.random.default_rng(0))["Water"][0]
    for side in (60, 150, 230):
        art = draw_art(creature, side)
        assert abs(max(art.size) - side) <= 2
        assert len(np.unique(np.asarray(art)[..., 3])) > 2


def test_full_plans_have_the_original_counts():
    names = {kind: [f"{kind}{i}" for i in range(synth.SPECIES_ICONS[kind])] for kind in TYPES}
    plan = plan_icons(names, np.random.default_rng(0))
    assert (
        Counter(p.label for p in plan if p.split == "Train") == TRAIN_ICONS
        and sum(TRAIN_ICONS.values()) == 3600
    )
    assert (
        Counter(p.label for p in plan if p.split == "Test") == TEST_ICONS
        and sum(TEST_ICONS.values()) == 900
    )
    assert len({p.species for p in plan}) == 151

    names = {kind: [f"{kind}{i}" for i in range(synth.SPECIES_ART[kind])] for kind in TYPES}
    plan = plan_art(names, np.random.default_rng(0))
    train = Counter(p.label for p in plan if p.split == "Train")
    assert [train[kind] for kind in TYPES] == [150, 60, 114, 159, 72, 222, 66, 99, 252]
    assert sum(p.split == "Test" for p in plan) == 300
    sides = {split: {p.species for p in plan if p.split == split} for split in ("Train", "Test")}
    assert (len(sides["Train"]), len(sides["Test"])) == (398, 100) and not sides["Train"] & sides[
        "Test"
    ]


def test_task_3_is_split_by_species(small):
    rows = read_csv(small / "solution" / "task3.csv")
    assert set(Counter(row["species"] for row in rows).values()) == {3}
    sides = {
        split: {row["species"] for row in rows if row["split"] == split}
        for split in ("Train", "Test")
    }
    assert sides["Train"] and sides["Test"] and not sides["Train"] & sides["Test"]
    assert {row["label"] for row in rows if row["split"] == "Test"} == set(TYPES)


@pytest.mark.parametrize("task", [1, 3])
def test_same_seed_same_bytes_whatever_the_number_of_processes(tmp_path, task):
    few = dict.fromkeys(TYPES, 2)
    for name, seed, workers in (("a", 3, 1), ("b", 3, 2), ("c", 4, 1)):
        if task == 1:
            synth.make_task12(tmp_path / name, seed, few, few, few, backgrounds=3, workers=workers)
        else:
            synth.make_task3(tmp_path / name, seed, few, size=64, backgrounds=3, workers=workers)
    assert digest(tmp_path / "a") == digest(tmp_path / "b")
    rows = [
        {row["Id"] for row in read_csv(tmp_path / n / "solution" / f"task{task}.csv")} for n in "ac"
    ]
    assert not rows[0] & rows[1]


def test_a_complete_data_set_is_left_as_it_is(small):
    before = (small / "task1" / "train_labels.csv").stat().st_mtime_ns
    synth.small_competition(small, 1)
    assert (small / "task1" / "train_labels.csv").stat().st_mtime_ns == before


def test_folders_of_others_are_refused_and_kept(tmp_path):
    (tmp_path / "task1").mkdir()
    (tmp_path / "task1" / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="was not made by"):
        synth.embedded("task1", tmp_path)
    assert (tmp_path / "task1" / "mine.txt").read_text() == "mine"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["task1"]
    (tmp_path / "second").mkdir()
    (tmp_path / "second" / "task2").mkdir()
    with pytest.raises(UserError, match="was not made by"):
        synth.embedded("task2", tmp_path / "second")
    with pytest.raises(UserError, match="'task4', only for task1, task2 and task3"):
        synth.embedded("task4", tmp_path)


def test_other_settings_and_missing_images_are_refused(tmp_path):
    synth.small_competition(tmp_path, 1, n_per_class=2)
    with pytest.raises(UserError, match="seed is 0, not 1"):
        synth.small_competition(tmp_path, 1, n_per_class=2, seed=1)
    next((tmp_path / "task1" / "Train").iterdir()).unlink()
    with pytest.raises(UserError, match="26 images of 27"):
        synth.small_competition(tmp_path, 1, n_per_class=2)


def test_a_failed_build_leaves_nothing_behind(tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError("full disk")

    monkeypatch.setattr(synth, "compose_competition", fail)
    with pytest.raises(RuntimeError, match="full disk"):
        synth.small_competition(tmp_path, 3, n_per_class=3)
    assert [p.name for p in tmp_path.iterdir()] == [LOCK]


BUILD = """
import sys, time
from pathlib import Path
from pokefast.datasets.layout import publish

def build(folder):
    (folder / "Train").mkdir(parents=True)
    (folder / "Train" / "a.png").touch()
    (folder / "train_labels.csv").touch()
    time.sleep(0.5)
    return [("a", "Bug", "one", "Train", 0, 0, 1, 1)]

print(publish(Path(sys.argv[1]), 1, {"made_by": "test"}, build))
"""


def test_of_two_builders_at_once_one_waits_and_finds_it_made(tmp_path):
    command = [sys.executable, "-c", BUILD, str(tmp_path)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, text=True) for _ in "ab"]
    assert sorted(one.communicate(timeout=60)[0] for one in both) == ["False\n", "True\n"]
    assert sorted(p.name for p in tmp_path.iterdir()) == [LOCK, "solution", "task1", "task2"]
    assert json.loads((tmp_path / "task1" / MARKER).read_text())["images"] == 1


def test_one_asks_by_name_for_a_folder(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(synth, "make_task12", lambda *args: asked.append((12, *args)))
    monkeypatch.setattr(synth, "make_task3", lambda *args: asked.append((3, *args)))
    for name in ("task1", "task2", "task3"):
        assert synth.embedded(name, tmp_path, seed=4) == tmp_path / name
    assert asked == [(n, tmp_path, 4) for n in (12, 12, 3)]


@pytest.mark.parametrize(
    "given, says",
    [
        (["--task", "4"], "--task"),
        (["--se", "1"], "--se"),
        (["--seed", "-1"], "--seed -1"),
        (["--task", "3"], "was not made by"),
    ],
)
def test_the_command_line_names_a_wrong_option(given, says, tmp_path, capsys, monkeypatch):
    (tmp_path / "task3").mkdir()
    monkeypatch.setattr(sys, "argv", ["drawn", "--out", str(tmp_path), *given])
    try:
        status = run_cli(synth.main)
    except SystemExit as stopped:  # argparse's own
        status = stopped.code
    assert status == 2 and says in capsys.readouterr().err
    assert not (tmp_path / "task1").exists()


def test_the_command_line_makes_what_is_asked_for(tmp_path, capsys, monkeypatch):
    made = []
    monkeypatch.setattr(synth, "make_task12", lambda *args: made.append(args) or True)
    monkeypatch.setattr(synth, "make_task3", lambda *args: made.append(args) or False)
    options = ["--out", str(tmp_path), "--seed", "5", "--task", "2", "3"]
    monkeypatch.setattr(sys, "argv", ["drawn", *options])
    assert run_cli(synth.main) == 0
    assert made == [(tmp_path, 5), (tmp_path, 5)]
    out = capsys.readouterr().out
    assert "task1 and task2: made in" in out and "task3: complete already" in out


def nearest_image_score(out, task, crop):
    """Accuracy on the hidden test of the label of the nearest training image, at 16x16 pixels."""
    rows = read_csv(out / "solution" / f"task{task}.csv")
    features = []
    for row in rows:
        image = image_of(out, task, row).convert("RGB")
        image = image.crop(box_of(row)) if crop else image
        features.append(np.asarray(image.resize((16, 16)), float).ravel())
    features = np.stack(features)
    train = np.array([row["split"] == "Train" for row in rows])
    labels = np.array([row["label"] for row in rows])
    gaps = ((features[~train][:, None] - features[train][None]) ** 2).sum(-1)
    return (labels[train][gaps.argmin(1)] == labels[~train]).mean()


def test_the_crop_and_not_the_whole_image_tells_the_type(tmp_path):
    few = dict.fromkeys(TYPES, 24)
    synth.make_task12(
        tmp_path,
        0,
        few,
        dict.fromkeys(TYPES, 12),
        dict.fromkeys(TYPES, 3),
        backgrounds=16,
        workers=1,
    )
    whole, crop = (nearest_image_score(tmp_path, 1, crop) for crop in (False, True))
    assert whole < 0.3 and crop > 0.6, (whole, crop)
