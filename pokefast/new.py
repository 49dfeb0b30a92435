"""Write a script for images of one's own: `python -m pokefast new --name leaves --data folder`.

It has the shape of those of the three competitions, is chosen by what is seen in the folder, says
why in its comments, and is meant to be edited.
"""

import json
import keyword
import os
import random
import re
import sys
from dataclasses import dataclass
from importlib import resources
from importlib.metadata import packages_distributions
from pathlib import Path
from string import Template

import numpy as np
from PIL import Image

from pokefast.data.competition import read_competition
from pokefast.data.layout import Given, find_layout
from pokefast.errors import UserError
from pokefast.files import IN_CHECKOUT, ROOT, atomic_path
from pokefast.images import open_image
from pokefast.options import run_cli

__all__ = ["Sight", "look", "main", "propose"]

LOOKED_AT = 200  # images that are opened, drawn by chance
SMALL = 96  # pixels: up to here a network that was trained on photographs has little to see
TINY = 40  # pixels: up to here it has next to nothing
ENOUGH = 500  # labelled images for a network that is trained from nothing
STEPS = 90_000  # images that a small network sees in training, in 8 to 40 epochs
TUNED = 30_000  # images that a pretrained one sees in fine-tuning, in 2 to 12 epochs
FEW = 1500  # labelled images: below, a part of them is too small to score on


@dataclass(frozen=True)
class Sight:
    """What was seen: `n` labelled images of `classes` classes, `n_test` to predict, median of the
    shorter side in pixels, the commonest class's count by the rarest's, and of the images looked at
    whether most are grey, photographs (JPEG) and transparent in places.
    """

    n: int
    n_test: int
    classes: int
    side: int
    skew: float
    grey: bool
    photographs: bool
    transparent: bool

    def __str__(self):
        kind = "photographs" if self.photographs else "images"
        words = [f"{self.n} labelled {kind} of {self.classes} classes, {self.side} pixels wide"]
        words += ["grey"] * self.grey + ["transparent in places"] * self.transparent
        return ", ".join(words) + (f", {self.n_test} to predict" if self.n_test else "")


def look(competition):
    """The `Sight` of a `Competition`."""
    paths = list(competition.train["path"])
    chosen = random.Random(0).sample(paths, min(LOOKED_AT, len(paths)))
    sides, grey, alpha, jpeg = [], [], [], []
    for path in chosen:
        with Image.open(path) as image:
            sides.append(min(image.size))
            jpeg.append(image.format in ("JPEG", "MPO"))
        small = open_image(path, "RGBA")
        small.thumbnail((64, 64))
        values = np.asarray(small).astype(int)
        grey.append(np.ptp(values[..., :3], axis=-1).max() <= 8)
        alpha.append((values[..., 3] < 255).any())
    counts = competition.train["label"].value_counts()
    return Sight(
        n=len(paths),
        n_test=len(competition.test),
        classes=len(counts),
        side=int(np.median(sides)),
        skew=float(counts.max() / counts.min()),
        grey=bool(np.mean(grey) > 0.5),
        photographs=bool(np.mean(jpeg) > 0.5 and np.median(sides) > SMALL),
        transparent=bool(np.mean(alpha) > 0.5),
    )


def propose(sight):
    """(the template's name, what is filled in) for a `Sight`."""
    little = sight.side <= SMALL and sight.n >= ENOUGH
    # pictures without a background are fine-tuned: 0.77 on emoji, where a small network has 0.70;
    # on icons before photographs that has 1.000, and three epochs of fine-tuning 0.79
    tuned = little and sight.transparent and not sight.grey and sight.side > TINY
    small = little and not tuned
    folds = 0 if sight.n >= FEW else 5
    rare = sight.skew > 3
    flip = not (sight.grey and small)
    values = {
        "seen": str(sight),
        "n_classes": sight.classes,
        "folds": folds,
        "why_folds": (
            f"every image is scored once: {sight.n} are few"
            if folds
            else f"one split: {sight.n} images are enough to score on a part of them"
        ),
        "sampler": rare,
        "imbalance": "sampler" if rare else "none",
        "why_sampler": f"the commonest class has {sight.skew:.1f} times the images of the rarest",
        "flip": flip,
        "why_flip": (
            "of colour images, whose mirror image mostly is of the same class"
            if flip
            else "small and grey: letters and digits are others in the mirror"
        ),
    }
    if not small:
        return "transfer", values | _pretrained(sight, tuned)
    size = 32 if sight.side <= TINY else 64
    epochs = min(40, max(8, round(STEPS / sight.n)))
    whole = sight.side <= TINY or sight.grey
    return "cnn", values | {
        "size": size,
        "why_size": f"the images' shorter side is {sight.side}",
        "opener": "PILImageRGBA" if sight.transparent else "PILImageRGB",
        "channels": 4 if sight.transparent else 3,
        "stats": (
            "[0.5, 0.5, 0.5, 0.0], [0.5, 0.5, 0.5, 1.0]  # alpha stays as it is"
            if sight.transparent
            else "[0.5], [0.5]"
        ),
        "head": "dense" if whole else "global-max",
        "why_head": (
            "where in so small an image something is tells the class too"
            if whole
            else "it does not care where in the image something is"
        ),
        "epochs": epochs,
        "why_epochs": f"of {sight.n} images: {STEPS:,} in all, 8 to 40 epochs",
        "shift": 2 if size == 32 else 4,
    }


def _pretrained(sight, tuned):
    """What is filled in for a pretrained network, which is `tuned` or not."""
    return {
        "arch": "tf_efficientnet_lite0" if tuned else "auto",
        "why_arch": (
            "a small one, as it is trained as well"
            if tuned
            else "resnet50, or tf_efficientnet_lite0 where its weights cannot be had"
        ),
        "size": 128 if tuned else 160 if sight.side < 224 else 224,
        "why_size": f"the images' shorter side is {sight.side}",
        "epochs": min(12, max(2, round(TUNED / sight.n))) if tuned else 0,
        "why_epochs": (
            f"of fine-tuning after the closed form: {TUNED:,} images in all, 2 to 12 epochs"
            if tuned
            else "of fine-tuning after the closed form; what follows is for these alone"
        ),
    }


def main(
    name: str = None,  # of the task, as in make NAME
    data: Path = None,  # folder or zip of images and labels, as it was downloaded
    labels: str = None,  # table in that folder; or folders, inner-folders, names
    id: str = None,  # column of that table that names the images
    label: str = None,  # column that holds the class; several with commas: of 0 and 1
    train: str = None,  # folder of training images, in that folder
    test: str = None,  # folder of the images to predict
    sample: str = None,  # sample submission
):
    """Write a script that trains on the images in a folder, and say what was seen."""
    if name is None or data is None:
        raise UserError("give the task a name and a folder: --name leaves --data folder")
    if not re.fullmatch("[a-z][a-z0-9_]*", name):
        raise UserError(f"--name {name}: lower-case letters, digits and _, a letter first")
    if keyword.iskeyword(name) or name in {*sys.stdlib_module_names, *packages_distributions()}:
        raise UserError(f"--name {name}: Python has a word or module of that name; take another")
    inside = IN_CHECKOUT and Path.cwd() == ROOT
    file = (ROOT / "tasks" if inside else Path.cwd()) / f"{name}.py"
    if file.exists() or (inside and re.search(rf"^{name}:", (ROOT / "Makefile").read_text(), re.M)):
        raise UserError(f"--name {name}: {file} or that target of make is there; take another")
    given = Given(labels, id, label, train, None, test, sample)
    layout = find_layout(data, given)
    print(layout, flush=True)
    competition = read_competition(layout)
    sight = look(competition)
    template, values = propose(sight)
    command = f"make {name}" if inside else f"python {file.name}"
    first, tune, says = "--epochs 3", "--epochs 0", "the solved head alone"
    if not values["epochs"]:
        tune, says = "--epochs 5 --folds 0", "fine-tune the network from the solved head on"
    values |= {
        "name": name,
        "title": name.replace("_", " ").capitalize(),
        "data": json.dumps(os.path.abspath(layout.root), ensure_ascii=False),
        "command": command,
        "first3": f'{command} ARGS="{first}"' if inside else f"{command} {first}",
        "tune_says": says,
        "tune": f'{command} ARGS="{tune}"' if inside else f"{command} {tune}",
        "given": "".join(
            f"        {field}={json.dumps(value)},\n"
            for field, value in vars(given).items()
            if value is not None
        ),
        "submission": ", write the submission" if sight.n_test else "",
    }
    text = resources.files("pokefast").joinpath(f"templates/{template}.txt").read_text("utf-8")
    with atomic_path(file) as temp:
        temp.write_text(Template(text).substitute(values), encoding="utf-8")
    kind = "a small CNN" if template == "cnn" else "a pretrained network"
    print(f"{sight}\n{file}: {kind}; read it, edit it, and train with: {command}")


if __name__ == "__main__":
    raise SystemExit(run_cli(main))
