"""Competitions from fetched sprites, on tiny fake assets: no network, no real artwork."""

import csv
import hashlib
import io
import json
import os
import sys
import tarfile
from collections import Counter

import numpy as np
import pytest
from PIL import Image, ImageDraw

from pokefast.datasets import families, fetch
from pokefast.datasets import sprites as real_data
from pokefast.datasets.compose import TYPES
from pokefast.errors import UserError
from pokefast.options import run_cli


def draw_disc(path, colour, size):
    """A disc with a black rim and a transparent margin."""
    sprite = Image.new("RGBA", (size + 10, size + 6))
    ImageDraw.Draw(sprite).ellipse((5, 3, 4 + size, 2 + size), fill=colour, outline=(0, 0, 0, 255))
    sprite.save(path)


def make_assets(cache):
    """Four species of every type, four photographs; numbers 152 and up have art only."""
    made = real_data.Assets(cache)
    for folder in (made.icons, made.art, made.photos):
        folder.mkdir(parents=True)
    entries = {
        "missing": {"num": 0, "types": ["Bug"]},
        "fairy": {"num": 150, "types": ["Fairy"]},
        "bug1mega": {"num": 1, "types": ["Fire"], "forme": "Mega", "baseSpecies": "bug1"},
    }
    for i, kind in enumerate(TYPES):
        for k in range(4):
            number = 1 + 4 * i + k if k < 3 else 200 + 4 * i + k
            key = f"{kind.lower()}{number}" if (i, k) != (6, 0) else "nidoranf"
            entries[key] = {"num": number, "types": [kind, "Water"]}
            colour = (20 * i + 40, 40 * k + 30, 120, 255)
            draw_disc(made.art / f"{number}.png", colour, 60 + 5 * k)
            if k < 3:
                draw_disc(
                    made.icons / f"{real_data.ICON_FILES.get(key, key)}.png", colour, 20 + 3 * k
                )
    made.pokedex.write_text(json.dumps(entries))
    rng = np.random.default_rng(0)
    for name in "abcd":
        pixels = rng.integers(0, 256, (3, 4, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((120, 90), Image.Resampling.BILINEAR).save(
            made.photos / f"{name}.png"
        )
    return made


@pytest.fixture
def assets(tmp_path):
    return make_assets(tmp_path / "cache")


def read_csv(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """The assets, and the folder of the competitions made of them."""
    tmp_path = tmp_path_factory.mktemp("real")
    assets = make_assets(tmp_path / "cache")
    assert make(tmp_path / "data", assets) == ["task1 and task2", "task3"]
    return assets, tmp_path / "data"


def make(out, assets, **options):
    counts = {"train_counts": dict.fromkeys(TYPES, 6), "test_counts": dict.fromkeys(TYPES, 3)}
    return real_data.make_real_data(out, assets=assets, workers=1, **counts, **options)


def test_fake_assets_give_three_competitions(real):
    assets, out = real
    for task, test, species in ((1, 3, 3), (2, 3, 3), (3, 3, 4)):
        rows = read_csv(out / "solution" / f"task{task}.csv")
        assert Counter(row["label"] for row in rows if row["split"] == "Test") == dict.fromkeys(
            TYPES, test
        )
        for kind in TYPES:
            assert len({row["species"] for row in rows if row["label"] == kind}) == species
        labels = read_csv(out / f"task{task}" / "train_labels.csv")
        assert {row["Id"] for row in labels} == {
            row["Id"] for row in rows if row["split"] == "Train"
        }
        assert not {"fairy", "missing", "bug1mega"} & {row["species"] for row in rows}
    sides = {
        split: {row["species"] for row in rows if row["split"] == split}
        for split in ("Train", "Test")
    }
    assert not sides["Train"] & sides["Test"]


def test_what_is_complete_is_kept_and_other_settings_are_refused(real):
    assets, out = real
    assert make(out, assets) == []
    with pytest.raises(UserError, match="half is 'even', not 'odd'"):
        make(out, assets, half="odd")
    with pytest.raises(UserError, match="seed is 7, not 1"):
        make(out, assets, seed=1)


def test_boxes_are_those_of_the_sprites_without_their_margins(real):
    for row in read_csv(real[1] / "solution" / "task1.csv"):
        image = np.asarray(Image.open(real[1] / "task1" / row["split"] / f"{row['Id']}.png"))
        x0, y0, x1, y1 = (int(row[key]) for key in ("x0", "y0", "x1", "y1"))
        assert x1 - x0 == y1 - y0 and x1 - x0 in (20, 23, 26)
        black = (image[y0:y1, x0:x1] == (0, 0, 0, 255)).all(-1)
        assert black[0].any() and black[-1].any() and black[:, 0].any() and black[:, -1].any()
    for row in read_csv(real[1] / "solution" / "task3.csv"):
        image = Image.open(real[1] / "task3" / row["split"].lower() / f"{row['Id']}.png")
        assert image.size == (320, 320) and image.mode == "RGBA"
        assert 108 <= int(row["x1"]) - int(row["x0"]) <= 231


def test_halves_of_the_photographs_are_disjoint(assets):
    halves = [
        {photo.tobytes() for photo in real_data.read_photos(assets.photos, half)}
        for half in ("even", "odd")
    ]
    assert len(halves[0]) == len(halves[1]) == 2 and not halves[0] & halves[1]


def install(folder, name, script="exit 0"):
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def test_a_missing_program_is_named_before_anything_is_fetched(tmp_path, monkeypatch):
    programs, cache = tmp_path / "bin", tmp_path / "cache"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))
    for program, advice in (
        ("npm", "Node.js"),
        ("rsvg-convert", "librsvg"),
        ("apt-get", "--photos"),
        ("dpkg", "--photos"),
    ):
        with pytest.raises(UserError, match=rf"{program} is not installed.*{advice}"):
            real_data.main(out=tmp_path / "out", cache=cache)
        assert not cache.exists() and not (tmp_path / "out").exists()
        install(programs, program)
    with pytest.raises(UserError, match="is not a folder"):
        fetch.fetch_assets(cache, tmp_path / "no-photos")


def test_a_finished_step_is_not_repeated_and_a_failed_one_leaves_nothing(
    tmp_path, assets, monkeypatch
):
    cache, programs = tmp_path / "cache", tmp_path / "bin"
    for path in assets.icons.iterdir():
        path.unlink()
    assets.icons.rmdir()
    install(programs, "npm", "echo no network >&2; exit 1")
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(UserError, match="(?s)fetching pokesprite-images.* failed .*no network"):
        fetch.fetch_assets(cache)
    assert sorted(p.name for p in cache.iterdir()) == ["art", "photos", "pokedex.json"]

    def pack(count):
        with tarfile.open(tmp_path / "package.tgz", "w:gz") as tar:
            for name in [f"{i}.png" for i in range(count)] + ["female/x.png", "readme.txt"]:
                member = tarfile.TarInfo(f"{fetch.ICONS[1]}/{name}")
                member.size = 3
                tar.addfile(member, io.BytesIO(b"png"))

    install(programs, "npm", f"echo run >> {tmp_path}/calls; cp {tmp_path}/package.tgz .")
    pack(10)
    with pytest.raises(UserError, match="gave 10 files where at least 900"):
        fetch.fetch_assets(cache)
    assert not assets.icons.exists()
    pack(900)
    for _ in range(2):
        fetch.fetch_assets(cache)
    assert len(list(assets.icons.iterdir())) == 900
    assert (tmp_path / "calls").read_text().split() == ["run", "run"]
    assert sorted(p.name for p in cache.iterdir()) == ["art", "icons", "photos", "pokedex.json"]


def test_unreadable_photographs_and_empty_folders_are_named(tmp_path, assets):
    (assets.photos / "a.png").write_bytes(b"not an image")
    with pytest.raises(UserError, match="a.png cannot be read"):
        real_data.read_photos(assets.photos, "even")
    (tmp_path / "none").mkdir()
    with pytest.raises(UserError, match="too few photographs"):
        real_data.read_photos(tmp_path / "none", "odd")


def test_the_command_composes_with_photographs_of_ones_own(tmp_path, assets, monkeypatch, capsys):
    monkeypatch.setattr(
        real_data,
        "make_real_data",
        lambda out, seed, half, found, species: [str(found.photos), half, str(seed)],
    )
    mine = tmp_path / "mine"
    mine.mkdir()
    monkeypatch.setenv("PATH", "")
    given = {"--out": tmp_path, "--cache": tmp_path / "cache", "--photos": mine, "--half": "odd"}
    monkeypatch.setattr(sys, "argv", ["sprites", *(str(i) for pair in given.items() for i in pair)])
    assert run_cli(real_data.main) == 0
    out = capsys.readouterr().out
    assert all(f"{tmp_path / name}: made" in out for name in (mine, "odd", "7"))


def test_untouched_families_are_in_no_part_or_in_the_hidden_test_alone(tmp_path, assets):
    pokedex = json.loads(assets.pokedex.read_text())
    pokedex["combee"] = {"name": "Combee", "num": 900, "types": ["Bug"]}
    pokedex["bug2"] |= {"name": "Two", "prevo": "Combee"}  # a family of the list
    assets.pokedex.write_text(json.dumps(pokedex))
    first = families.find_families(assets.pokedex)
    assert first["bug2"] == first["combee"] == "combee" and first["bug1"] == "bug1"
    found = {}
    for species in families.SPECIES[1:]:
        out = tmp_path / species
        assert real_data.make_real_data(out, assets=assets, species=species) == ["task3"]
        with open(out / "solution" / "task3.csv") as file:
            rows = list(csv.DictReader(file))
        found[species] = Counter((row["species"], row["split"]) for row in rows)
    assert not any(name == "bug2" for name, _ in found["familiar"])
    assert found["untouched"]["bug2", "Test"] == 3
    bugs = [name for name, split in found["untouched"] if split == "Test"]
    assert len(bugs) == 2 and all(name.startswith("bug") for name in bugs)  # one familiar beside it


def test_beside_untouched_families_other_whole_families_are_hidden():
    apart = sorted(families.UNTOUCHED)[:4]
    species = {"Bug": [*apart, *(f"b{i}" for i in range(12))], "Fire": ["f0", "f1", "f2"]}
    first = {name: name for names in species.values() for name in names}
    first |= {f"b{i}": f"b{i - i % 3}" for i in range(12)}  # families of three
    plan = families.plan_apart(species, first, np.random.default_rng(0))
    hidden = {image.species for image in plan if image.split == "Test"}
    known = hidden - set(apart)
    assert len(known) == 3 and len({first[name] for name in known}) == 1
    assert hidden >= set(apart) and not hidden & {"f0", "f1", "f2"}


def test_the_list_of_untouched_families_does_not_move():
    digest = hashlib.sha256(" ".join(sorted(families.UNTOUCHED)).encode()).hexdigest()
    assert len(families.UNTOUCHED) == 46 and digest.startswith("7d2b53122895a8a9")
