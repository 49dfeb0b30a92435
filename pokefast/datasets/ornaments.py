"""Ornaments of the procedural creatures: ears, horns, wings, flames, leaves, fins, marks."""

from collections.abc import Callable

import numpy as np

from pokefast.datasets.shapes import BLACK, Body, ellipse, petal, spike, tube

__all__ = ["ORNAMENTS"]


def _cat_ears(b: Body) -> None:
    x, y, r = b.head
    for turn in (-122, -58):
        a = np.deg2rad(turn)
        b.add(
            spike(x + 0.72 * r * np.cos(a), y + 0.72 * r * np.sin(a), turn, 0.62 * r, 0.36 * r),
            "body",
            4.4,
        )
        b.add(
            spike(x + 0.8 * r * np.cos(a), y + 0.8 * r * np.sin(a), turn, 0.4 * r, 0.2 * r),
            "belly",
            4.5,
            line=False,
        )


def _round_ears(b: Body) -> None:
    x, y, r = b.head
    for side in (-1, 1):
        b.add(ellipse(x + side * 0.75 * r, y - 0.78 * r, 0.42 * r, 0.42 * r), "body", 4.4)
        b.add(
            ellipse(x + side * 0.75 * r, y - 0.78 * r, 0.23 * r, 0.23 * r),
            "accent",
            4.5,
            line=False,
        )


def _long_ears(b: Body) -> None:
    x, y, r = b.head
    for turn in (-112, -72):
        b.add(
            petal(x + (turn + 92) * 0.014 * r, y - 0.6 * r, turn, 1.35 * r, 0.26 * r), "body", 4.4
        )
        b.add(
            petal(x + (turn + 92) * 0.014 * r, y - 0.75 * r, turn, 1.0 * r, 0.13 * r),
            "belly",
            4.5,
            line=False,
        )


def _antennae(b: Body) -> None:
    x, y, r = b.head
    for side in (-1, 1):
        tip = (x + side * 0.75 * r + 0.1, y - 1.65 * r)
        b.add(
            tube(
                [(x + side * 0.3 * r, y - 0.7 * r), (x + side * 0.3 * r, y - 1.4 * r), tip],
                0.05,
                0.04,
            ),
            "mark",
            4.3,
        )
        b.add(ellipse(*tip, 0.12, 0.12), "accent", 4.4)


def _bug_wings(b: Body) -> None:
    x, y, rx, ry = b.trunk
    size = 0.75 + 0.3 * b.grown
    for turn, z in ((-70, 0.8), (-112, 0.9), (-150, 1.0)):
        b.add(
            petal(x - 0.1, y - 0.3 * ry, turn, size * (1 if z < 1 else 0.75), 0.26, 0.7), "belly", z
        )


def _stripes(b: Body) -> None:
    x, y, rx, ry = b.trunk
    for k in (-0.55, -0.15, 0.25):
        b.add(
            petal(x + k * rx, y - 0.9 * ry * np.sqrt(1 - k * k), 80, 1.0 * ry, 0.11 * rx),
            "mark",
            5.3,
            line=False,
        )


def _sting(b: Body) -> None:
    x, y, turn = b.tail
    b.add(spike(x, y, turn, 0.4 + 0.1 * b.grown, 0.13), BLACK if b.p[0] > 0 else "accent", 1.9)


def _fists(b: Body) -> None:
    size = 0.2 + 0.05 * b.grown
    for x, y in b.hands:
        b.add(ellipse(x, y, size, size * 0.95, power=0.85), "accent", 6.6)


def _headband(b: Body) -> None:
    x, y, r = b.head
    for turn in (160, 185):
        b.add(petal(x - 0.85 * r, y - 0.42 * r, turn, 0.8 * r, 0.14 * r), "accent", 4.2)
    b.add(
        tube(
            [(x - 0.92 * r, y - 0.4 * r), (x, y - 0.62 * r), (x + 0.92 * r, y - 0.4 * r)],
            0.13 * r,
            0.13 * r,
        ),
        "accent",
        5.6,
    )


def _belt(b: Body) -> None:
    x, y, rx, ry = b.trunk
    z = 5.5 if rx > 0.55 else 2.5
    y += 0.45 * ry
    b.add(tube([(x - 0.86 * rx, y), (x, y + 0.16 * ry), (x + 0.86 * rx, y)], 0.1, 0.1), "mark", z)
    b.add(ellipse(x + 0.1 * rx, y + 0.1 * ry, 0.11, 0.11), "accent", z + 0.1)


def _brow(b: Body) -> None:
    x, y, r = b.head
    for side in (-1, 1):
        root = (x + 0.2 * r + side * 0.72 * r, y - 0.46 * r)
        b.add(
            tube([root, (x + 0.2 * r + side * 0.1 * r, y - 0.22 * r)], 0.13 * r, 0.09 * r),
            "mark",
            6.5,
            line=False,
        )


def _flame(b: Body, x: float, y: float, turn: float, size: float, z: float) -> None:
    for part, colour in (
        (1.0, (0.93, 0.27, 0.12)),
        (0.7, (1.0, 0.62, 0.15)),
        (0.42, (1.0, 0.92, 0.5)),
    ):
        b.add(
            petal(x, y, turn, size * part, 0.36 * size * part, 1.7),
            colour,
            z + 0.1 * (1 - part),
            line=part == 1,
        )


def _flame_tail(b: Body) -> None:
    x, y, turn = b.tail
    up = (x - 0.28, y - 0.2)
    b.add(tube([(x + 0.12, y + 0.05), (x - 0.25, y + 0.1), up], 0.11, 0.08), "body", 1.1)
    _flame(b, up[0] + 0.02, up[1] + 0.1, -100, 0.62 + 0.2 * b.grown, 1.2)


def _flame_head(b: Body) -> None:
    x, y, r = b.head
    for turn, size in ((-128, 0.8), (-60, 0.7), (-95, 1.0)):
        a = np.deg2rad(turn)
        _flame(
            b,
            x + 0.6 * r * np.cos(a),
            y + 0.6 * r * np.sin(a),
            turn,
            size * (1.0 * r + 0.1),
            4.0 + 0.2 * size,
        )


def _flame_back(b: Body) -> None:
    x, y, rx, ry = b.trunk
    for k, turn in ((-0.9, -150), (-0.55, -125), (-0.1, -105)):
        _flame(b, x + k * rx, y - 0.6 * ry * np.sqrt(1 - k * k), turn, 0.5 + 0.15 * b.grown, 0.6)


def _cheeks(b: Body) -> None:
    x, y, r = b.head
    for side in (-1, 1):
        b.add(
            ellipse(x + 0.14 * r + side * 0.66 * r, y + 0.42 * r, 0.17 * r, 0.15 * r),
            "accent",
            5.9,
            line=False,
        )


def _leaf_head(b: Body) -> None:
    x, y, r = b.head
    b.add(tube([(x, y - 0.7 * r), (x - 0.05, y - 1.2 * r)], 0.05, 0.05), (0.3, 0.55, 0.22), 4.1)
    for turn in (-150, -35):
        b.add(petal(x - 0.04, y - 1.1 * r, turn, 0.9 * r + 0.1, 0.26 * r), (0.36, 0.7, 0.28), 4.2)


def _flower(b: Body) -> None:
    x, y, r = b.head
    cx, cy, size = x - 0.3 * r, y - 0.95 * r, 0.26 * r + 0.05 + 0.05 * b.grown
    for k in range(5):
        a = 2 * np.pi * k / 5 - np.pi / 2
        b.add(
            ellipse(cx + size * np.cos(a), cy + size * np.sin(a), size * 0.66, size * 0.66),
            "accent",
            6.3,
        )
    b.add(ellipse(cx, cy, size * 0.6, size * 0.6), (1.0, 0.86, 0.36), 6.4)


def _leaf_tail(b: Body) -> None:
    x, y, turn = b.tail
    b.add(petal(x + 0.1, y, turn - 10, 0.72 + 0.2 * b.grown, 0.2), (0.33, 0.64, 0.27), 1.2)


def _leaf_collar(b: Body) -> None:
    x, y, rx, ry = b.trunk
    for turn in (15, 60, 120, 165):
        b.add(petal(x, y - 0.75 * ry, turn, 0.75 * rx + 0.1, 0.13), (0.4, 0.68, 0.3), 4.6)


def _back_spikes(b: Body) -> None:
    x, y, rx, ry = b.trunk
    for k in (-0.9, -0.6, -0.25, 0.1):
        rise = np.sqrt(1 - k * k)
        b.add(
            spike(x + k * rx, y - 0.85 * ry * rise, -90 + 45 * k, 0.24 + 0.1 * b.grown, 0.14),
            "accent",
            1.3,
        )


def _horn(b: Body) -> None:
    x, y, r = b.head
    b.add(spike(x + 0.35 * r, y - 0.7 * r, -62, 0.55 * r + 0.1 * b.grown, 0.2 * r), "belly", 5.7)


def _horns(b: Body) -> None:
    x, y, r = b.head
    for side in (-1, 1):
        root, tip = (x + side * 0.55 * r, y - 0.6 * r), (x + side * 0.8 * r, y - 1.55 * r)
        b.add(
            tube([root, (x + side * 1.15 * r, y - 1.0 * r), tip], 0.2 * r, 0.05 * r), "belly", 4.4
        )


def _claws(b: Body) -> None:
    for x, y in b.feet:
        b.add(spike(x - 0.02, y - 0.02, 15, 0.14, 0.08), (0.95, 0.93, 0.86), 6.6)


def _fluffy_tail(b: Body) -> None:
    x, y, turn = b.tail
    b.add(
        tube(
            [(x + 0.12, y + 0.05), (x - 0.45, y + 0.15), (x - 0.4, y - 0.4)],
            0.12,
            0.24 + 0.06 * b.grown,
        ),
        "body",
        1.1,
    )
    b.add(petal(x - 0.41, y - 0.25, -88, 0.5, 0.21, 1.3), "belly", 1.2, line=False)


def _spots(b: Body) -> None:
    x, y, rx, ry = b.trunk
    for dx, dy, size in (
        (-0.55, -0.3, 0.14),
        (0.05, -0.72, 0.1),
        (-0.7, 0.25, 0.09),
        (0.62, 0.3, 0.1),
    ):
        b.add(ellipse(x + dx * rx, y + dy * ry, size, size * 0.9), "accent", 5.25, line=False)


def _bubbles(b: Body) -> None:
    x, y, r = b.head
    for dx, dy, size in ((-1.0, -0.75, 0.2), (-0.55, -1.1, 0.15), (0.7, -0.95, 0.17)):
        b.add(ellipse(x + dx * r, y + dy * r, size + 0.03, size + 0.03), "accent", 4.1)


def _plates(b: Body) -> None:
    x, y, rx, ry = b.trunk
    for k in (-0.75, -0.3, 0.2):
        base = (x + k * rx, y - 0.75 * ry * np.sqrt(1 - k * k))
        b.add(ellipse(*base, 0.2, 0.24 + 0.06 * b.grown, 30 * k, power=0.55), "limb", 1.4)


def _crystals(b: Body) -> None:
    x, y, r = b.head
    for dx, turn, size in ((-0.5, -115, 0.8), (0.45, -65, 0.7), (0.0, -92, 1.0)):
        b.add(spike(x + dx * r, y - 0.72 * r, turn, 0.5 * r * size + 0.12, 0.24 * r), "accent", 4.3)


def _head_fin(b: Body) -> None:
    x, y, r = b.head
    b.add(petal(x - 0.05, y - 0.45 * r, -112, 1.2 * r, 0.42 * r, 0.8), "accent", 4.2)


def _tail_fin(b: Body) -> None:
    x, y, turn = b.tail
    b.add(tube([(x + 0.15, y), (x - 0.2, y + 0.02)], 0.12, 0.09), "body", 1.1)
    for spread in (-32, 32):
        b.add(petal(x - 0.15, y, 180 + spread, 0.5 + 0.12 * b.grown, 0.16, 0.7), "accent", 1.0)


def _shell(b: Body) -> None:
    x, y, rx, ry = b.trunk
    z = 1.6 if rx > 0.55 else 1.9
    b.add(ellipse(x - 0.55 * rx, y - 0.25 * ry, 0.4 + 0.08 * b.grown, 0.42, -15), "mark", z)
    b.add(ellipse(x - 0.62 * rx, y - 0.32 * ry, 0.24, 0.26, -15), "accent", z + 0.1, line=False)


def _drops(b: Body) -> None:
    x, y, r = b.head
    for side in (-1, 1):
        b.add(
            petal(x + side * 0.85 * r, y + 0.1 * r, 90 - side * 55, 0.75 * r, 0.2 * r),
            "accent",
            4.3,
        )


ORNAMENTS: dict[str, Callable[[Body], None]] = {
    f.__name__[1:]: f
    for f in (
        _cat_ears,
        _round_ears,
        _long_ears,
        _antennae,
        _bug_wings,
        _stripes,
        _sting,
        _fists,
        _headband,
        _belt,
        _brow,
        _flame_tail,
        _flame_head,
        _flame_back,
        _cheeks,
        _leaf_head,
        _flower,
        _leaf_tail,
        _leaf_collar,
        _back_spikes,
        _horn,
        _horns,
        _claws,
        _fluffy_tail,
        _spots,
        _bubbles,
        _plates,
        _crystals,
        _head_fin,
        _tail_fin,
        _shell,
        _drops,
    )
}
