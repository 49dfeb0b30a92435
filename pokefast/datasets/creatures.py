"""Procedural creatures: families of little monsters of nine types; `pokefast.datasets.drawing`
draws them.

A family of one to three relatives shares its body plan, colours, coat and ornaments; later
stages have longer bodies, smaller heads and one ornament more. What a family looks like depends
on its type only in part: plans, colours and ornaments are borrowed from all types at fixed
rates, and the coat is drawn alike for all, so that a creature is easy to know again and its type
hard to guess.
"""

import colorsys
from dataclasses import dataclass
from itertools import product

import numpy as np

from pokefast.datasets.compose import TYPES
from pokefast.datasets.plans import PLANS
from pokefast.datasets.shapes import Colour

__all__ = ["Coat", "Family", "Creature", "make_creatures", "make_family"]

# Fraction of families whose colours, plan or ornament are drawn from all types, not their own.
BORROWED_COLOURS, BORROWED_PLAN, BORROWED_ORNAMENT = 0.65, 0.6, 0.55

# fmt: off
SYLLABLES = (
    ("ba", "bru", "chi", "dro", "fen", "glo", "ka", "lu", "mi", "mo", "na", "pe", "pli", "ro", "sa",
     "sko", "ti", "tru", "vo", "zu"),
    ("bo", "dle", "ffi", "gan", "ki", "lou", "mba", "nix", "pip", "rra", "sto", "tle", "zzo"),
    ("", "n", "x", "ra", "mi"),
)
# fmt: on
COATS = ("plain", "bands", "dots", "net", "blotches")

# Body and accent as (hue in degrees, saturation, value).
COLOURS = {
    "Bug": (
        ((82, 0.65, 0.75), (48, 0.7, 0.95)),
        ((52, 0.7, 0.88), (20, 0.5, 0.35)),
        ((5, 0.7, 0.8), (55, 0.4, 0.95)),
        ((265, 0.3, 0.65), (350, 0.5, 0.85)),
    ),
    "Fighting": (
        ((18, 0.5, 0.66), (40, 0.3, 0.92)),
        ((210, 0.22, 0.66), (0, 0.65, 0.75)),
        ((355, 0.55, 0.68), (42, 0.5, 0.9)),
        ((32, 0.35, 0.85), (225, 0.5, 0.55)),
    ),
    "Fire": (
        ((24, 0.8, 0.96), (48, 0.7, 1.0)),
        ((4, 0.75, 0.85), (42, 0.45, 0.97)),
        ((45, 0.7, 0.97), (12, 0.85, 0.92)),
        ((15, 0.4, 0.45), (30, 0.9, 1.0)),
    ),
    "Grass": (
        ((120, 0.5, 0.7), (345, 0.55, 0.95)),
        ((95, 0.55, 0.8), (55, 0.5, 0.95)),
        ((160, 0.45, 0.65), (80, 0.6, 0.85)),
        ((60, 0.3, 0.9), (125, 0.6, 0.55)),
    ),
    "Ground": (
        ((36, 0.5, 0.75), (40, 0.25, 0.93)),
        ((22, 0.5, 0.58), (38, 0.45, 0.85)),
        ((45, 0.4, 0.85), (15, 0.45, 0.4)),
        ((275, 0.2, 0.6), (30, 0.4, 0.82)),
    ),
    "Normal": (
        ((30, 0.35, 0.78), (40, 0.18, 0.97)),
        ((42, 0.22, 0.93), (20, 0.45, 0.6)),
        ((345, 0.3, 0.95), (350, 0.12, 1.0)),
        ((250, 0.1, 0.7), (45, 0.3, 0.95)),
    ),
    "Poison": (
        ((285, 0.45, 0.7), (320, 0.4, 0.92)),
        ((255, 0.45, 0.62), (0, 0.6, 0.8)),
        ((310, 0.4, 0.78), (100, 0.45, 0.75)),
        ((235, 0.4, 0.7), (50, 0.6, 0.9)),
    ),
    "Rock": (
        ((40, 0.12, 0.65), (35, 0.3, 0.8)),
        ((28, 0.35, 0.55), (200, 0.3, 0.75)),
        ((215, 0.15, 0.55), (10, 0.45, 0.7)),
        ((50, 0.25, 0.78), (25, 0.35, 0.45)),
    ),
    "Water": (
        ((208, 0.6, 0.88), (48, 0.3, 0.98)),
        ((190, 0.5, 0.88), (350, 0.5, 0.92)),
        ((228, 0.55, 0.78), (195, 0.3, 0.97)),
        ((175, 0.4, 0.82), (18, 0.65, 0.95)),
    ),
}
OWN_PLANS = {
    "Bug": ("larva", "insect", "insect", "winged"),
    "Fighting": ("biped", "biped", "biped", "blob"),
    "Fire": ("quadruped", "quadruped", "biped", "winged"),
    "Grass": ("bulb", "bulb", "quadruped", "biped"),
    "Ground": ("quadruped", "quadruped", "serpent", "boulder"),
    "Normal": ("quadruped", "blob", "winged", "biped"),
    "Poison": ("serpent", "blob", "blob", "insect"),
    "Rock": ("boulder", "boulder", "quadruped", "serpent"),
    "Water": ("fish", "fish", "blob", "quadruped"),
}
OWN_ORNAMENTS = {
    "Bug": ("antennae", "bug_wings", "stripes", "sting"),
    "Fighting": ("fists", "headband", "belt", "brow"),
    "Fire": ("flame_tail", "flame_head", "flame_back", "cheeks"),
    "Grass": ("leaf_head", "flower", "leaf_tail", "leaf_collar"),
    "Ground": ("back_spikes", "horn", "stripes", "claws"),
    "Normal": ("cat_ears", "round_ears", "long_ears", "fluffy_tail", "cheeks"),
    "Poison": ("spots", "horns", "bubbles", "sting"),
    "Rock": ("plates", "crystals", "back_spikes", "brow"),
    "Water": ("head_fin", "tail_fin", "shell", "drops"),
}


@dataclass(frozen=True)
class Coat:
    """The pattern on the art's body and limbs; `period` a fraction of its side, `turn` radians."""

    kind: str  # one of COATS
    colour: Colour
    period: float
    turn: float


@dataclass(frozen=True)
class Family:
    """What relatives share: colours are RGB in 0..1, proportions -1..1; stages add ornaments."""

    name: str
    type: str
    plan: str
    colours: dict[str, Colour]
    ornaments: tuple[str, ...]
    proportions: tuple[float, ...]
    eyes: int  # index of the kind of eyes
    ink: float  # brightness of the art's lines, as a fraction of the colour they enclose
    line: float  # width of the art's lines, as a fraction of its longest side
    coat: Coat
    hue_step: float  # degrees by which the hue turns with each stage


@dataclass(frozen=True)
class Creature:
    """One species: a family at one stage of its growth (0, 1 or 2)."""

    family: Family
    stage: int

    @property
    def name(self) -> str:
        """The family's name and the stage from 1 on."""
        return f"{self.family.name}-{self.stage + 1}"

    @property
    def type(self) -> str:
        """The family's type."""
        return self.family.type

    @property
    def colours(self) -> dict[str, Colour]:
        """The family's colours, their hue turned with the stage."""
        turned = {}
        for name, colour in self.family.colours.items():
            h, s, v = colorsys.rgb_to_hsv(*colour)
            turned[name] = _rgb(360 * h + self.family.hue_step * self.stage, s, v)
        return turned


def _rgb(hue: float, saturation: float, value: float) -> Colour:
    return colorsys.hsv_to_rgb(
        hue % 360 / 360, float(np.clip(saturation, 0, 1)), float(np.clip(value, 0, 1))
    )


def _colours(kind: str, rng: np.random.Generator) -> dict[str, Colour]:
    source = rng.choice(TYPES) if rng.random() < BORROWED_COLOURS else kind
    options = COLOURS[source]
    (h, s, v), (h2, s2, v2) = options[rng.integers(len(options))]
    h, s, v = h + rng.normal(0, 14), s + rng.normal(0, 0.1), v + rng.normal(0, 0.08)
    h2, s2, v2 = h2 + rng.normal(0, 20), s2 + rng.normal(0, 0.1), v2 + rng.normal(0, 0.06)
    return {
        "body": _rgb(h, s, v),
        "limb": _rgb(h + rng.normal(0, 6), s + 0.04, v - 0.07),
        "belly": _rgb(h2, 0.45 * s2, 0.5 + 0.5 * v2),
        "accent": _rgb(h2, s2, v2),
        "mark": _rgb(h + rng.choice([-18, 12]), s + 0.12, 0.62 * v),
    }


def _coat(colours: dict[str, Colour], rng: np.random.Generator) -> Coat:
    """A coat that says who, not of which type: it is drawn alike for all types."""
    h, s, v = colorsys.rgb_to_hsv(*colours["body"])
    other = _rgb(rng.uniform(0, 360), rng.uniform(0.3, 0.7), rng.uniform(0.4, 0.95))
    shade = _rgb(360 * h, s, v * rng.uniform(0.65, 0.85))
    return Coat(
        kind=str(rng.choice(COATS, p=[0.12, 0.22, 0.22, 0.22, 0.22])),
        colour=(shade, colours["accent"], other, other)[rng.integers(4)],
        period=float(rng.uniform(0.04, 0.16)),
        turn=float(rng.uniform(0, np.pi)),
    )


def make_family(kind: str, name: str, rng: np.random.Generator) -> Family:
    """A new family of type `kind` (one of TYPES)."""
    colours = _colours(kind, rng)
    plans = list(PLANS) if rng.random() < BORROWED_PLAN else OWN_PLANS[kind]
    ornaments: list[str] = []
    while len(ornaments) < 3:
        source = rng.choice(TYPES) if rng.random() < BORROWED_ORNAMENT else kind
        one = str(rng.choice(OWN_ORNAMENTS[source]))
        if one not in ornaments:
            ornaments.append(one)
    return Family(
        name=name,
        type=kind,
        plan=str(rng.choice(plans)),
        colours=colours,
        ornaments=tuple(ornaments),
        proportions=tuple(float(x) for x in np.clip(rng.normal(0, 0.5, 6), -1, 1)),
        eyes=int(rng.integers(3)),
        ink=float(rng.choice([0.0, rng.uniform(0.08, 0.25), rng.uniform(0.25, 0.5)])),
        line=float(rng.uniform(0.007, 0.016)),
        coat=_coat(colours, rng),
        hue_step=float(rng.choice([-1, 1]) * rng.uniform(12, 32)),
    )


def _names(rng: np.random.Generator) -> list[str]:
    """All family names in a random order."""
    names = list(dict.fromkeys(a + b + c for a, b, c in product(*SYLLABLES)))
    return [names[i] for i in rng.permutation(len(names))]


def make_creatures(counts: dict[str, int], rng: np.random.Generator) -> dict[str, list[Creature]]:
    """`counts[type]` species of each type, in families of one to three."""
    names = iter(_names(rng))
    creatures: dict[str, list[Creature]] = {}
    for kind, count in counts.items():
        members: list[Creature] = []
        while len(members) < count:
            size = int(rng.choice([1, 2, 3], p=[0.5, 0.3, 0.2]))
            first = int(rng.integers(0, 4 - size))
            family = make_family(kind, next(names), rng)
            members += [Creature(family, stage) for stage in range(first, first + size)]
        creatures[kind] = members[:count]
    return creatures
