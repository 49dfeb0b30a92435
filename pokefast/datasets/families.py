"""Evolution families, and those of them that take part in no choice.

Every rebuild from real sprites draws on the same species, so what was chosen on one rebuild has
seen the hidden species of the next. A fifth of the families of every type is therefore kept out of
all choices: `UNTOUCHED`, the families whose first member's name has the smallest SHA-256 within
its type. The list is written out, so that it cannot move.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from pokefast.datasets.compose import PlannedImage, plan_species

__all__ = ["SPECIES", "UNTOUCHED", "find_untouched", "plan_apart"]

SPECIES = ("all", "familiar", "untouched")  # what `make real-data` may draw task 3 from
UNTOUCHED = frozenset((
    "combee", "karrablast", "paras", "scyther", "surskit", "venonat", "machop", "makuhita",
    "heatran", "magby", "torchic", "vulpix", "cherubi", "hoppip", "oddish", "seedot", "snover",
    "cubone", "hippopotas", "trapinch", "eevee", "igglybuff", "lillipup", "munchlax", "pidove",
    "starly", "tauros", "whismur", "zangoose", "zigzagoon", "ekans", "grimer", "cranidos",
    "geodude", "regirock", "roggenrola", "buizel", "ducklett", "kyogre", "lotad", "manaphy",
    "psyduck", "relicanth", "shellder", "totodile", "wooper",
))  # fmt: skip
# First members of 46 of 230 families, which are 104 of the 460 species that have art.


def find_untouched(pokedex: Path) -> frozenset[str]:
    """The keys of all species of a pokedex (JSON) whose family is `UNTOUCHED`."""
    entries = json.loads(Path(pokedex).read_text(encoding="utf-8"))
    keys = {entry["name"]: key for key, entry in entries.items() if "name" in entry}

    def first(key):
        while before := keys.get(entries[key].get("prevo")):
            key = before
        return key

    return frozenset(key for key in entries if first(key) in UNTOUCHED)


def plan_apart(
    species: Mapping[str, Sequence[str]],
    untouched: frozenset[str],
    rng: np.random.Generator,
    images: int = 3,
    test_fraction: float = 0.2,
) -> list[PlannedImage]:
    """Task 3 with the `untouched` species in the hidden test alone, beside as many familiar ones of
    every class; training on the other familiar ones.

    A class keeps `test_fraction` of its familiar species for training at least.
    """

    def hidden(names):
        apart = [name for name in names if name in untouched]
        known = [name for name in names if name not in untouched]
        most = len(known) - max(1, round(len(known) * test_fraction))
        return {*apart, *rng.permutation(known)[: min(len(apart), most)].tolist()}

    return plan_species(species, hidden, images)
