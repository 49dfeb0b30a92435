"""The embedded data set: three competitions of procedural creatures, in Kaggle's layout.

    python -m pokefast.datasets.drawn [--out data] [--seed 0] [--task 1 2 3]

Tasks 1 and 2: 3,600 train and 900 test images, 64x64 RGBA, 151 species as 20-40 px icons, split
by image. Task 3: 498 species three times at 256x256 RGBA, 1,194 train and 300 test images, split by
species within each type. `OUT/solution/task{1,2,3}.csv` holds the labels of every image; nothing
needs that folder for training.
The same seed gives the same bytes with the same versions of numpy, scipy and Pillow.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from pokefast.datasets.backgrounds import make_background, sample_photographs
from pokefast.datasets.compose import (
    TEST_ICONS,
    TRAIN_ICONS,
    TYPES,
    compose_competition,
    parallel_map,
    plan_art,
    plan_icons,
)
from pokefast.datasets.creatures import Creature, make_creatures
from pokefast.datasets.drawing import draw_art, draw_icon
from pokefast.datasets.layout import publish
from pokefast.errors import UserError
from pokefast.files import DATA

__all__ = [
    "VERSION",
    "SPECIES_ICONS",
    "SPECIES_ART",
    "ensure",
    "make_task12",
    "make_task3",
    "small_competition",
    "main",
]

VERSION = 2  # raised with every change of what the same seed draws
SPECIES_ICONS = dict(zip(TYPES, (15, 9, 15, 14, 10, 26, 17, 11, 34), strict=True))  # 151
SPECIES_ART = dict(
    zip(TYPES, (63, 25, 47, 66, 30, 93, 28, 41, 105), strict=True)
)  # 498; 80% of each train
BACKGROUNDS = 96  # generated, each cropped many times
ART_SHARE = (0.5, 0.95)  # longest side of task 3's creatures, as a share of the image's
SAMPLE_SHARE = 0.15  # of the images lie on one of the two sample photographs


def _background(side: int, key: tuple[int, ...]) -> Image.Image:
    return make_background(np.random.default_rng(key), side)


def _photos(seed: int, task: int, count: int, side: int, workers: int | None) -> list[Image.Image]:
    keys = [(seed, task, 1, i) for i in range(count)]
    samples = sample_photographs()
    copies = max(1, round(count * SAMPLE_SHARE / len(samples)))
    return parallel_map(partial(_background, side), keys, workers) + samples * copies


class _Sprites:
    """Draws creatures by name; keeps what has a size of its own."""

    def __init__(self, creatures: Mapping[str, list[Creature]]):
        self.creatures = {one.name: one for group in creatures.values() for one in group}
        self.icons: dict[str, Image.Image] = {}

    def __call__(self, name: str, side: int | None) -> Image.Image:
        if side is not None:
            return draw_art(self.creatures[name], side)
        if name not in self.icons:
            self.icons[name] = draw_icon(self.creatures[name])
        return self.icons[name]


def make_task12(
    out: Path,
    seed: int = 0,
    train_counts: Mapping[str, int] = TRAIN_ICONS,
    test_counts: Mapping[str, int] = TEST_ICONS,
    species: Mapping[str, int] = SPECIES_ICONS,
    backgrounds: int = BACKGROUNDS,
    workers: int | None = None,
) -> bool:
    """Makes `out/task1` and `out/task2`; True if they were not there.

    `species[type]` creatures of each type; `backgrounds` generated pictures, cropped many times.
    """
    images = sum(train_counts.values()) + sum(test_counts.values())
    settings = _settings(seed, task=1, images=images, species=sum(species.values()))

    def build(root: Path) -> list[tuple]:
        rng = np.random.default_rng([seed, 1, 0])
        creatures = make_creatures(dict(species), rng)
        names = {kind: [one.name for one in group] for kind, group in creatures.items()}
        plan = plan_icons(names, rng, train_counts, test_counts)
        photos = _photos(seed, 1, backgrounds, 256, workers)
        return compose_competition(
            root, 1, plan, _Sprites(creatures), photos, seed, workers=workers
        )

    return publish(Path(out), 1, settings, build)


def make_task3(
    out: Path,
    seed: int = 0,
    species: Mapping[str, int] = SPECIES_ART,
    images: int = 3,
    size: int = 256,
    backgrounds: int = BACKGROUNDS,
    workers: int | None = None,
) -> bool:
    """Makes `out/task3`, `images` of every species, `size` px square; True if not there."""
    count = sum(species.values())
    settings = _settings(seed, task=3, images=images * count, species=count, size=size)

    def build(root: Path) -> list[tuple]:
        rng = np.random.default_rng([seed, 3, 0])
        creatures = make_creatures(dict(species), rng)
        names = {kind: [one.name for one in group] for kind, group in creatures.items()}
        plan = plan_art(names, rng, images)
        photos = _photos(seed, 3, backgrounds, 2 * size, workers)
        return compose_competition(
            root, 3, plan, _Sprites(creatures), photos, seed, size, workers, ART_SHARE
        )

    return publish(Path(out), 3, settings, build)


def _settings(seed: int, **values: int) -> dict[str, object]:
    return {"made_by": "pokefast.datasets.drawn", "version": VERSION, "seed": seed, **values}


def small_competition(out: Path, task: int, n_per_class: int = 12, seed: int = 0) -> Path:
    """A competition for tests, in a second or two: about `n_per_class` training images a type.

    Tasks 1 and 2: 3 species a type, a quarter as many test images. Task 3: 96 px, 3 images a
    species, a fifth of the species (at least one a type) hidden. Returns its folder; the solution
    lies in `out/solution`.
    """
    out = Path(out)
    if task == 3:
        kept = max(1, round(n_per_class / 3))
        species = dict.fromkeys(TYPES, max(kept + 1, round(kept / 0.8)) if kept > 1 else 3)
        make_task3(out, seed, species, size=96, backgrounds=6, workers=1)
    else:
        train = dict.fromkeys(TYPES, n_per_class)
        test = dict.fromkeys(TYPES, max(1, n_per_class // 4))
        make_task12(out, seed, train, test, dict.fromkeys(TYPES, 3), backgrounds=6, workers=1)
    return out / f"task{task}"


def ensure(task: int, out: Path | str | None = None, seed: int = 0) -> Path:
    """The folder of competition `task` (1, 2 or 3) below `out`, made now if it is not there.

    `out` is the project's `data` folder by default. Raises UserError where something else has the
    folder's name.
    """
    if task not in (1, 2, 3):
        raise UserError(f"there is no task {task!r}: the tasks are 1, 2 and 3.")
    out = DATA if out is None else Path(out)
    (make_task3 if task == 3 else make_task12)(out, seed)
    return out / f"task{task}"


def main(argv: list[str] | None = None) -> None:
    """The command line; prints a line for each competition."""
    parser = argparse.ArgumentParser(
        "python -m pokefast.datasets.drawn", description=__doc__.split("\n")[0], allow_abbrev=False
    )
    parser.add_argument(
        "--out", type=Path, default=Path("data"), help="folder to write to (default: data)"
    )
    parser.add_argument("--seed", type=int, default=0, help="0 or more (default: 0)")
    parser.add_argument(
        "--task",
        type=int,
        nargs="+",
        choices=(1, 2, 3),
        default=[1, 2, 3],
        help="default: all three",
    )
    options = parser.parse_args(argv)
    if options.seed < 0:
        parser.error("--seed must be 0 or more")
    try:
        for task, make in ((1, make_task12), (3, make_task3)):
            if task in options.task or (task == 1 and 2 in options.task):
                start = time.perf_counter()
                made = make(options.out, options.seed)
                name = options.out / ("task3" if task == 3 else "task1 and task2")
                print(
                    f"{name}: made in {time.perf_counter() - start:.1f} s"
                    if made
                    else f"{name}: complete already"
                )
    except UserError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
