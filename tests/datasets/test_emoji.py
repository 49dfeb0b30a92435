"""The competition of emoji: no emoji on both sides, every vendor's drawing of each."""

import json

import pandas as pd
import pytest
from PIL import Image

from pokefast.data.competition import read_competition
from pokefast.datasets.emoji import make_emoji
from pokefast.datasets.fetch import VENDORS, fetch_emoji
from pokefast.errors import UserError


@pytest.fixture
def emoji(tmp_path):
    """A folder as `fetch_emoji` leaves it, of two classes and one that is none."""
    table = []
    for i in range(32):
        category = ("Food & Drink", "Flags", "Component")[i % 3 if i < 30 else 0]
        entry = {"name": f"EMOJI {i}", "image": f"{i}.png", "category": category}
        table.append(entry | {f"has_img_{v}": i < 31 or v == "apple" for v in VENDORS})
    for vendor in VENDORS:
        folder = tmp_path / "emoji" / vendor
        folder.mkdir(parents=True)
        for i in range(32):
            Image.new("RGBA", (4, 4), (8 * i, 0, VENDORS.index(vendor), 255)).save(
                folder / f"{i}.png"
            )
        (folder / "emoji.json").write_text(json.dumps(table))
    return tmp_path / "emoji"


def test_no_emoji_is_on_both_sides_and_groups_are_the_emoji(emoji, tmp_path):
    assert make_emoji(tmp_path / "out", 3, emoji) and not make_emoji(tmp_path / "out", 3, emoji)
    competition = read_competition(tmp_path / "out" / "competition")
    solution = pd.read_csv(tmp_path / "out" / "solution" / "emoji.csv")
    assert len(solution) == 21 * 4 and solution["Id"].is_unique
    assert set(solution["label"]) == {"Flags", "Food & Drink"}
    assert (solution.groupby("emoji")[["split"]].nunique() == 1).all(axis=None)
    assert (solution.groupby("emoji")["vendor"].nunique() == 4).all()
    hidden = solution[solution["split"] == "Test"]
    assert set(hidden["Id"]) == set(competition.test["Id"])
    assert hidden.groupby("label")["emoji"].nunique().to_dict() == {"Flags": 2, "Food & Drink": 2}
    groups = pd.read_csv(tmp_path / "out" / "groups.csv").set_index("Id")["group"]
    assert set(groups.index) == set(competition.train["Id"])
    assert (solution.set_index("Id")["emoji"][groups.index] == groups).all()
    path = competition.train.set_index("Id")["path"][groups.index[0]]
    assert Image.open(path).getpixel((0, 0))[0] == 8 * int(groups.iloc[0].split()[1])


def test_the_same_seed_makes_the_same_and_another_is_refused(emoji, tmp_path):
    for out in ("a", "b"):
        make_emoji(tmp_path / out, 3, emoji)
    files = [(tmp_path / out / "solution" / "emoji.csv").read_bytes() for out in ("a", "b")]
    assert files[0] == files[1]
    with pytest.raises(UserError, match="seed is 3, not 4"):
        make_emoji(tmp_path / "a", 4, emoji)


def test_npm_is_named_where_it_is_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="npm is not installed"):
        fetch_emoji(tmp_path / "cache")
