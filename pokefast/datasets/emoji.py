"""A competition of emoji: their nine groups as classes, each emoji as four vendors draw it.

    python -m pokefast emoji-data [--out data/emoji] [--seed 7] [--cache DIR]

The images come from npm (emoji-datasource-apple, -google, -twitter, -facebook: 400 MB, of which 60
are kept below --cache). Emoji of the hidden test are in no training image. Never commit what it
makes: competition/ (train_labels.csv, Train/, Test/), solution/emoji.csv, and groups.csv, which
images of the training part are the same emoji: `--groups data/emoji/groups.csv`.
"""

import json
import shutil
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from pokefast.datasets.fetch import VENDORS, fetch_emoji
from pokefast.datasets.layout import MARKER, is_complete
from pokefast.errors import UserError
from pokefast.files import atomic_folder, cache_dir, write_json, write_own_csv
from pokefast.options import run_cli

__all__ = ["choose_emoji", "main", "make_emoji"]

MOST = 130  # emoji of a class
HIDDEN = 0.2  # fraction of a class's emoji that are hidden
WITHOUT = "Component"  # hair and skin colours: no group of emoji of its own


def choose_emoji(table: list[Mapping], rng: np.random.Generator) -> pd.DataFrame:
    """Data frame label, emoji (name), file and split (Train, Test) of at most `MOST` emoji of each
    class that all vendors draw, of the entries of emoji.json.
    """
    entries = [
        (entry["category"], entry["name"], entry["image"])
        for entry in table
        if entry["category"] != WITHOUT and all(entry[f"has_img_{v}"] for v in VENDORS)
    ]
    chosen = []
    for _, part in pd.DataFrame(entries, columns=["label", "emoji", "file"]).groupby("label"):
        part = part.iloc[rng.permutation(len(part))[:MOST]]
        n_hidden = int(HIDDEN * len(part))
        split = ["Test"] * n_hidden + ["Train"] * (len(part) - n_hidden)
        chosen.append(part.assign(split=split))
    return pd.concat(chosen, ignore_index=True)


def make_emoji(out: Path, seed: int = 7, emoji: Path | None = None) -> bool:
    """Makes the competition below `out` from the folder of `fetch_emoji`; True unless it was there.

    A competition appears when it is complete. Raises UserError where something else is there.
    """
    settings = {"made_by": "pokefast.datasets.emoji", "version": 1, "seed": seed}
    out, root = Path(out), Path(out) / "competition"
    if is_complete(root, settings):
        return False
    emoji = emoji or fetch_emoji(cache_dir())
    rng = np.random.default_rng(seed)
    table = json.loads((emoji / VENDORS[0] / "emoji.json").read_text(encoding="utf-8"))
    images = choose_emoji(table, rng).merge(pd.DataFrame({"vendor": VENDORS}), how="cross")
    images = images.iloc[rng.permutation(len(images))].reset_index(drop=True)
    images.insert(0, "Id", [rng.bytes(8).hex() for _ in range(len(images))])
    train = images[images["split"] == "Train"]
    with atomic_folder(root) as part:
        for row in images.itertuples():
            folder = part / row.split
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(emoji / row.vendor / row.file, folder / f"{row.Id}.png")
        write_own_csv(part / "train_labels.csv", train[["Id", "label"]])
        write_own_csv(out / "groups.csv", train[["Id", "emoji"]].set_axis(["Id", "group"], axis=1))
        columns = ["Id", "label", "emoji", "vendor", "split"]
        write_own_csv(out / "solution" / "emoji.csv", images[columns])
        write_json(part / MARKER, {"settings": settings, "images": len(images)})
    return True


def main(
    out: Path = Path("data/emoji"),  # folder to write to
    seed: int = 7,  # of what is hidden: 0 or more
    cache: Path = None,  # where fetched files stay; pokefast/ in the user's cache folder otherwise
):
    """Make the competition of emoji from public packages; what is there already stays."""
    if seed < 0:
        raise UserError(f"--seed {seed}: it must be 0 or more")
    start = time.perf_counter()
    made = make_emoji(out, seed, fetch_emoji(Path(cache or cache_dir()).resolve()))
    print(f"{out}: {'made' if made else 'there'} in {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    raise SystemExit(run_cli(main))
