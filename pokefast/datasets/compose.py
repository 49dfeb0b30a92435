"""Composes competitions: sprites at random places on crops of photographs, in Kaggle's layout.

Knows nothing of where sprites and photographs come from: `drawn` draws both,
`sprites` fetches them. Everything random comes from a seed and a counter, so that the
result does not depend on the number of processes.
"""

import csv
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed, effective_n_jobs
from PIL import Image

from pokefast.files import atomic_path
from pokefast.progress import progress

__all__ = [
    "TYPES",
    "TRAIN_ICONS",
    "TEST_ICONS",
    "SOLUTION_COLUMNS",
    "PlannedImage",
    "parallel_map",
    "photo_crop",
    "paste",
    "plan_icons",
    "plan_art",
    "plan_species",
    "compose_competition",
    "write_solution",
]

TYPES = ("Bug", "Fighting", "Fire", "Grass", "Ground", "Normal", "Poison", "Rock", "Water")
# Images of tasks 1 and 2 in each class, as in the original competitions.
TRAIN_ICONS = dict(zip(TYPES, (374, 291, 381, 299, 244, 606, 467, 264, 674), strict=True))
TEST_ICONS = dict(zip(TYPES, (94, 72, 95, 74, 63, 150, 117, 66, 169), strict=True))
SOLUTION_COLUMNS = ("Id", "label", "species", "split", "x0", "y0", "x1", "y1")
ICON_IMAGE, ART_IMAGE = 64, 256  # side of the composed images in pixels
ART_SPRITE = (0.34, 0.72)  # longest side of the art, of the image's

# (species, longest side in pixels or None for its native size) -> RGBA sprite cropped to its box
DrawSprite = Callable[[str, int | None], Image.Image]


@dataclass(frozen=True)
class PlannedImage:
    """One image to compose; `number` seeds everything random about it."""

    number: int
    label: str
    species: str
    split: str  # "Train" or "Test"


def parallel_map(
    function: Callable, jobs: Iterable, workers: int | None = None, what: str = "images made"
) -> list:
    """`[function(job) for job in jobs]` over `workers` processes, by default one a core; `what`
    is said to be in progress.

    joblib's processes ask nothing of the caller's main module, and it hands large arrays that
    `function` holds to all of them as one memory map.
    """
    jobs = list(jobs)
    workers = max(1, min(effective_n_jobs(workers or -1), len(jobs)))
    size = max(1, len(jobs) // (16 * workers))
    pool = Parallel(workers, batch_size=size, return_as="generator")
    return list(progress(pool(delayed(function)(job) for job in jobs), len(jobs), what))


def photo_crop(rng: np.random.Generator, photo: Image.Image, size: int) -> Image.Image:
    """A random square of `photo`, a quarter to the whole of its shorter side, as size x size.

    Flipped half the time; the mode is the photograph's.
    """
    side = int(min(photo.size) * rng.uniform(0.25, 1.0))
    x, y = int(rng.integers(photo.width - side + 1)), int(rng.integers(photo.height - side + 1))
    crop = photo.resize(
        (size, size), Image.Resampling.LANCZOS, (x, y, x + side, y + side), reducing_gap=2.0
    )
    return crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else crop


def paste(
    rng: np.random.Generator, sprite: Image.Image, background: Image.Image
) -> tuple[Image.Image, tuple[int, int, int, int]]:
    """`sprite`, flipped half the time, at a random place on `background`.

    Returns the RGBA image and the sprite's box in pixels, x1 and y1 excluded.
    """
    if rng.random() < 0.5:
        sprite = sprite.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    image = background.convert("RGBA")
    x = int(rng.integers(max(1, image.width - sprite.width + 1)))
    y = int(rng.integers(max(1, image.height - sprite.height + 1)))
    image.alpha_composite(sprite, (x, y))
    return image, (x, y, x + sprite.width, y + sprite.height)


def plan_icons(
    species: Mapping[str, Sequence[str]],
    rng: np.random.Generator,
    train: Mapping[str, int] = TRAIN_ICONS,
    test: Mapping[str, int] = TEST_ICONS,
) -> list[PlannedImage]:
    """Tasks 1 and 2: a class's species in turn, split by image: species may be on both sides."""
    plan: list[PlannedImage] = []
    for label, names in species.items():
        count = train[label] + test[label]
        hidden = set(rng.permutation(count)[: test[label]].tolist())
        for i in range(count):
            split = "Test" if i in hidden else "Train"
            plan.append(PlannedImage(len(plan), label, names[i % len(names)], split))
    return plan


def plan_art(
    species: Mapping[str, Sequence[str]],
    rng: np.random.Generator,
    images: int = 3,
    test_fraction: float = 0.2,
) -> list[PlannedImage]:
    """Task 3: `images` of every species, split by species within each class."""

    def hidden(names):
        chosen = rng.permutation(len(names))[: round(len(names) * test_fraction)]
        return {names[i] for i in chosen}

    return plan_species(species, hidden, images)


def plan_species(
    species: Mapping[str, Sequence[str]],
    hidden: Callable[[Sequence[str]], set[str]],
    images: int,
) -> list[PlannedImage]:
    """`images` of every species; `hidden` says which of a class's species are in the test part."""
    plan: list[PlannedImage] = []
    for label, names in species.items():
        test = hidden(names)
        for name in names:
            split = "Test" if name in test else "Train"
            plan += [PlannedImage(len(plan) + k, label, name, split) for k in range(images)]
    return plan


def _compose(
    planned: PlannedImage,
    folders: Mapping[str, Path],
    size: int,
    sprite_sides: tuple[float, float] | None,
    seed: tuple[int, int],
    photos: Sequence[np.ndarray],
    draw: DrawSprite,
) -> tuple:
    """Composes one image, saves it, and returns its row of the solution."""
    rng = np.random.default_rng([*seed, planned.number])
    photo = Image.fromarray(photos[int(rng.integers(len(photos)))])
    background = photo_crop(rng, photo, size)
    side = None if sprite_sides is None else round(size * rng.uniform(*sprite_sides))
    image, box = paste(rng, draw(planned.species, side), background)
    name = str(uuid.UUID(bytes=rng.bytes(16), version=4))
    # level 3: a tenth more bytes than 6 for half the time
    image.save(folders[planned.split] / f"{name}.png", compress_level=3)
    return (name, planned.label, planned.species, planned.split, *box)


def compose_competition(
    root: Path,
    task: int,
    plan: Sequence[PlannedImage],
    draw: DrawSprite,
    photos: Sequence[Image.Image],
    seed: int,
    size: int | None = None,
    workers: int | None = None,
    sprite_fraction: tuple[float, float] = ART_SPRITE,
) -> list[tuple]:
    """Writes the images and `train_labels.csv` of one competition below `root`, a new folder.

    `size` is the images' side in pixels: 64 for tasks 1 and 2, 256 for task 3 unless given. Icons
    keep their native size, art has a longest side of `sprite_fraction` of the image's. Returns the
    rows of the solution (SOLUTION_COLUMNS) in a random order, that of the labels.
    """
    icons = task != 3
    folders = {split: root / (split if icons else split.lower()) for split in ("Train", "Test")}
    for folder in folders.values():
        folder.mkdir(parents=True)
    compose = partial(
        _compose,
        folders=folders,
        size=size or (ICON_IMAGE if icons else ART_IMAGE),
        sprite_sides=None if icons else sprite_fraction,
        seed=(seed, task),
        photos=[np.asarray(photo) for photo in photos],
        draw=draw,
    )
    rows = parallel_map(compose, plan, workers)
    rows = [rows[i] for i in np.random.default_rng([seed, task, len(rows)]).permutation(len(rows))]
    labels = [row[:2] for row in rows if row[3] == "Train"]
    _write_csv(root / "train_labels.csv", ("Id", "label"), labels)
    return rows


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence]) -> None:
    with atomic_path(path) as temp, temp.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def write_solution(path: Path, rows: Sequence[tuple]) -> None:
    """Writes the hidden labels of every image of both splits; boxes are unpadded, half-open."""
    _write_csv(path, SOLUTION_COLUMNS, rows)
