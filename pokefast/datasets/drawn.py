"""The embedded data set: three competitions of procedural creatures, in Kaggle's layout.

    python -m pokefast data [--out data] [--seed 0] [--task 1 2 3]

Tasks 1 and 2: 3,600 train and 900 test images, 64x64 RGBA, 151 species as 20-40 px icons, split
by image. Task 3: 498 species three times at 256x256 RGBA, 1,194 train and 300 test images, split by
species within each type. `OUT/solution/task{1,2,3}.csv` holds the labels of every image; nothing
needs that folder for training.
The same seed gives the same bytes with the same versions of numpy, scipy and Pillow.
"""

import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated

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
from pokefast.options import run_cli

__all__ = [
    "VERSION",
    "SPECIES_ICONS",
    "SPECIES_ART",
    "embedded",
    "make_task12",
    "make_task3",
    "small_competition",
    "main",
]

VERSION = 2  # raised with every change of what the same seed draws
# species of each type: 151 icons; 498 with art, 80% of each for training
SPECIES_ICONS = dict(zip(TYPES, (15, 9, 15, 14, 10, 26, 17, 11, 34), strict=True))
SPECIES_ART = dict(zip(TYPES, (63, 25, 47, 66, 30, 93, 28, 41, 105), strict=True))
BACKGROUNDS = 96  # generated, each cropped many times
ICON_BACKGROUND = 256  # side of tasks 1 and 2's backgrounds in pixels
ART_FRACTION = (0.5, 0.95)  # longest side of task 3's creatures, of the image's
SAMPLE_FRACTION = 0.15  # of the images that lie on one of the two sample photographs


def embedded(name: str, out: Path = DATA, seed: int = 0) -> Path:
    """The folder of competition `name` ("task1", "task2" or "task3") below `out`, made now where it
    is not there (on two cores half a minute, for task 3 a minute and a half).

    Raises UserError for another name, and where something else has the folder's name.
    """
    if name not in ("task1", "task2", "task3"):
        raise UserError(f"there is no embedded data for {name!r}, only for task1, task2 and task3")
    (make_task3 if name == "task3" else make_task12)(out, seed)
    return Path(out) / name


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

    `species[type]` creatures of each type; `backgrounds` generated images, cropped many times.
    """
    images = sum(train_counts.values()) + sum(test_counts.values())
    plan = partial(plan_icons, train=train_counts, test=test_counts)
    return _make(out, 1, seed, plan, images, species, backgrounds, workers)


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
    count, plan = images * sum(species.values()), partial(plan_art, images=images)
    return _make(out, 3, seed, plan, count, species, backgrounds, workers, size)


def _make(
    out: Path,
    task: int,
    seed: int,
    plan: Callable,
    images: int,
    species: Mapping[str, int],
    backgrounds: int,
    workers: int | None,
    size: int | None = None,
) -> bool:
    """Competition `task` below `out`; `plan(names by type, rng)` says what its images show."""
    settings = {"made_by": "pokefast.datasets.drawn", "version": VERSION, "seed": seed}
    settings |= {"task": task, "images": images, "species": sum(species.values())}
    settings |= {"size": size} if size else {}

    def build(root: Path) -> list[tuple]:
        rng = np.random.default_rng([seed, task, 0])
        creatures = make_creatures(dict(species), rng)
        names = {kind: [one.name for one in group] for kind, group in creatures.items()}
        planned = plan(names, rng)
        side = 2 * size if size else ICON_BACKGROUND
        keys = [(seed, task, 1, i) for i in range(backgrounds)]
        samples = sample_photographs()
        copies = max(1, round(backgrounds * SAMPLE_FRACTION / len(samples)))
        drawn = parallel_map(partial(_background, side), keys, workers, "backgrounds drawn")
        photos = drawn + samples * copies
        draw = _Sprites(creatures)
        return compose_competition(
            root, task, planned, draw, photos, seed, size, workers, ART_FRACTION
        )

    return publish(Path(out), task, settings, build)


def _background(side: int, key: tuple[int, ...]) -> Image.Image:
    return make_background(np.random.default_rng(key), side)


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


def main(
    out: Path = Path("data"),  # folder to write to
    seed: int = 0,  # of all that is random: 0 or more
    task: Annotated[int, {"nargs": "+", "choices": [1, 2, 3]}] = (1, 2, 3),  # which to make
):
    """Make the embedded data set, three competitions of procedural creatures in Kaggle's layout;
    what is there already stays.
    """
    if seed < 0:
        raise UserError(f"--seed {seed}: it must be 0 or more")
    for name, numbers, make in (
        ("task1 and task2", {1, 2}, make_task12),
        ("task3", {3}, make_task3),
    ):
        if numbers & set(task):
            start = time.perf_counter()
            made = make(out, seed)
            took = f"made in {time.perf_counter() - start:.1f} s"
            print(f"{Path(out) / name}: {took if made else 'complete already'}")


if __name__ == "__main__":
    raise SystemExit(run_cli(main))
