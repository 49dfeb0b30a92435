"""Evolution families, and those of them that take part in no choice.

Every rebuild from real sprites draws on the same species, so what was chosen on one rebuild has
seen the hidden species of the next. A fifth of the families of every type is therefore kept out of
all choices: `UNTOUCHED`, the families whose first member's name has the smallest SHA-256 within
its type. The list is written out, so that it cannot move.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from pokefast.datasets.compose import PlannedImage, plan_species

__all__ = ["SPECIES", "UNTOUCHED", "find_families", "plan_apart"]

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


def find_families(pokedex: Path) -> dict[str, str]:
    """The first member's key of the family of every species of a pokedex (JSON)."""
    entries = json.loads(Path(pokedex).read_text(encoding="utf-8"))
    keys = {entry["name"]: key for key, entry in entries.items() if "name" in entry}

    def first(key):
        while before := keys.get(entries[key].get("prevo")):
            key = before
        return key

    return {key: first(key) for key in entries}


def plan_apart(
    species: Mapping[str, Sequence[str]],
    families: Mapping[str, str],
    rng: np.random.Generator,
    images: int = 3,
    test_fraction: float = 0.2,
) -> list[PlannedImage]:
    """Task 3 with the `UNTOUCHED` of the `families` in the hidden test alone, beside other whole
    families, drawn at random, of no more species of any class; training on the rest.

    Whole families, as a species is much easier where training has another stage of it. A class
    keeps `test_fraction` of its familiar species for training at least.
    """
    hidden, most, known = set(), {}, {}
    for kind, names in species.items():
        apart = {name for name in names if families[name] in UNTOUCHED}
        rest = len(names) - len(apart)
        hidden |= apart
        most[kind] = min(len(apart), rest - max(1, round(rest * test_fraction)))
        for name in names:
            if name not in apart:
                known.setdefault(families[name], []).append((kind, name))
    for first in rng.permutation(sorted(known)).tolist():
        sizes = Counter(kind for kind, _ in known[first])
        if all(size <= most[kind] for kind, size in sizes.items()):
            hidden |= {name for _, name in known[first]}
            most = {kind: left - sizes[kind] for kind, left in most.items()}
    return plan_species(species, hidden.intersection, images)
