"""Body plans of the procedural creatures: each draws a body and leaves anchors for ornaments."""

from collections.abc import Callable

import numpy as np

from pokefast.datasets.shapes import Body, ellipse, petal, spike, tube

__all__ = ["PLANS"]


def blob(b: Body) -> None:
    """A round head-and-body with stubby feet."""
    r = 0.72 + 0.06 * b.p[2]
    for x in (-0.34, 0.34):
        b.add(ellipse(x + 0.04, 0.78, 0.24, 0.15), "limb", 6.5)
        b.feet.append((x + 0.2, 0.8))
    b.trunk, b.tail = (0, 0.3, r, r * 0.7), (-0.8 * r, 0.4, 195)
    b.set_head(0, 0.1, r, wide=1 + 0.12 * b.p[3])
    b.add(ellipse(0.1, 0.48, r * 0.6, r * 0.34), "belly", 5.1, line=False)
    reach = 0.12 + 0.16 * b.grown
    for side in (-1, 1):
        hand = (side * (r * 0.9 + reach), 0.3 + 0.1 * b.p[4])
        b.add(tube([(side * r * 0.8, 0.2), hand], 0.15, 0.13), "limb", 4.8 if side < 0 else 5.6)
        b.hands.append(hand)


def quadruped(b: Body) -> None:
    """Four legs in side view, a big head in front."""
    r = 0.46 - 0.1 * b.grown + 0.04 * b.p[2]
    long, leg = 0.5 + 0.16 * b.grown + 0.06 * b.p[3], 0.26 + 0.14 * b.grown + 0.08 * b.p[4]
    y = 0.42 - 0.1 * b.grown
    thick = 0.31 + 0.05 * b.p[5]
    width = 0.12 + 0.02 * b.p[5]
    for x, z in ((-0.5, 1.0), (0.55, 1.0), (-0.78, 2.6), (0.3, 2.6)):
        b.leg(x * long * 1.05 - 0.05, y + 0.12, leg, width, z, "mark" if z < 2 else "limb")
    b.set_trunk(-0.08, y, long, thick, belly=False)
    b.add(ellipse(0, y + 0.5 * thick, long * 0.66, thick * 0.42), "belly", 2.2, line=False)
    b.tail = (-0.02 - long, y - 0.1, 215)
    hx, hy = long * 0.72 + 0.06, y - 0.42 - 0.2 * b.grown
    b.add(
        tube([(long * 0.45, y - 0.05), (hx - 0.05, hy + 0.1)], thick * 0.7, r * 0.55), "body", 2.1
    )
    b.set_head(hx, hy, r, wide=1.08)
    b.add(ellipse(hx + 0.42 * r, hy + 0.42 * r, r * 0.46, r * 0.3), "belly", 5.2, line=False)


def biped(b: Body) -> None:
    """Upright, with arms."""
    r = 0.48 - 0.13 * b.grown + 0.04 * b.p[2]
    ry = 0.36 + 0.12 * b.grown
    rx = 0.33 + 0.07 * b.p[3] + 0.05 * b.grown
    y = 0.32
    leg = 0.16 + 0.12 * b.grown
    for side in (-1, 1):
        b.leg(side * rx * 0.62, y + ry * 0.62, leg, 0.14 + 0.02 * b.p[5], 1.5 if side < 0 else 2.5)
    b.set_trunk(0, y, rx, ry)
    b.tail = (-0.85 * rx, y + 0.45 * ry, 200)
    for side in (-1, 1):
        shoulder = (side * rx * 0.8, y - ry * 0.45)
        hand = (
            side * (rx + 0.24 + 0.12 * b.grown),
            y + (0.05 if side < 0 else -0.12) + 0.2 * b.p[4],
        )
        b.add(
            tube([shoulder, (hand[0], shoulder[1]), hand], 0.12, 0.12),
            "limb",
            1.8 if side < 0 else 3,
        )
        b.hands.append(hand)
    b.set_head(0.04, y - ry - r * 0.62, r)


def winged(b: Body) -> None:
    """A bird-like body with wings, a beak and thin feet."""
    r = 0.42 - 0.08 * b.grown + 0.03 * b.p[2]
    for x in (-0.12, 0.18):
        b.add(tube([(x, 0.6), (x, 0.88)], 0.05, 0.05), "accent", 1)
        b.add(ellipse(x + 0.06, 0.9, 0.13, 0.06), "accent", 1.1)
        b.feet.append((x + 0.16, 0.9))
    b.set_trunk(0, 0.32, 0.46 + 0.05 * b.p[3], 0.42)
    for k, turn in enumerate((165, 185, 205)):
        b.add(
            petal(-0.3, 0.42, turn, 0.5 + 0.15 * b.grown, 0.12),
            "mark" if k % 2 else "limb",
            0.5 + 0.1 * k,
        )
    b.tail = (-0.4, 0.4, 190)
    span = 0.62 + 0.4 * b.grown + 0.1 * b.p[4]
    b.add(petal(0.1, 0.2, -48, span, 0.2, 0.8), "mark", 1.2)
    for k, turn in enumerate((-168, -146, -124)):
        b.add(petal(-0.02, 0.3, turn, span * (0.8 + 0.1 * k), 0.17, 0.8), "limb", 3 + 0.1 * k)
    b.hands += [(-0.02 - span * 0.75, -0.1)]
    hx, hy = 0.2, -0.22 - 0.12 * b.grown
    b.set_head(hx, hy, r)
    b.add(spike(hx + 0.78 * r, hy + 0.34 * r, 12, 0.3, 0.15 + 0.03 * b.p[5]), "accent", 6.3)


def larva(b: Body) -> None:
    """A caterpillar of round segments with little feet."""
    n = 3 + b.stage
    r = 0.3 + 0.04 * b.p[2]
    for i in range(n):
        x, y = -0.85 + 0.36 * i, 0.52 - 0.06 * (i % 2) - 0.08 * i * (0.5 + 0.5 * b.grown)
        b.add(ellipse(x + 0.02, y + r * 0.95, 0.11, 0.12), "accent", 1 + 0.1 * i)
        b.add(ellipse(x, y, r, r * 0.96), "body" if i % 2 else "limb", 2 + 0.1 * i)
        b.add(ellipse(x, y + 0.3 * r, 0.5 * r, 0.4 * r), "belly", 2.05 + 0.1 * i, line=False)
    b.trunk, b.tail = (-0.3, 0.42, 0.6, 0.3), (-1.1, 0.45, 190)
    b.feet = [(x, 0.8) for x in (-0.8, -0.4, 0.0)]
    b.set_head(x + 0.3, y - 0.3, 0.44 - 0.04 * b.grown)


def insect(b: Body) -> None:
    """Six thin legs, a striped abdomen."""
    r = 0.4 - 0.06 * b.grown + 0.04 * b.p[2]
    for k, x in enumerate((-0.42, -0.1, 0.22)):
        for z, dx in ((0.6, 0.16), (3.2, 0.0)):
            knee, foot = (x + dx - 0.3 + 0.3 * k, 0.44), (x + dx - 0.3 + 0.3 * k, 0.9)
            b.add(tube([(x + dx, 0.36), knee, foot], 0.06, 0.035), "mark", z)
            b.feet.append(foot)
    long = 0.48 + 0.12 * b.grown + 0.06 * b.p[3]
    b.set_trunk(-0.3, 0.3, long, 0.36 + 0.04 * b.p[4], belly=False)
    for k in (-0.5, 0.05):
        b.add(ellipse(-0.3 + k * long, 0.3, 0.09, 0.29), "accent", 2.2, line=False)
    b.tail = (-0.26 - long, 0.3, 180)
    b.add(ellipse(0.14, 0.2, 0.27, 0.27), "limb", 2.6)
    arm = (0.62, 0.42)
    b.add(tube([(0.26, 0.26), (0.6, 0.2), arm], 0.08, 0.06), "mark", 3.4)
    b.hands = [arm]
    b.set_head(0.36, -0.08, r)


def bulb(b: Body) -> None:
    """A plump bulb on root feet with leaf arms."""
    r = 0.46 - 0.08 * b.grown + 0.03 * b.p[2]
    rx, ry = 0.48 + 0.06 * b.p[3], 0.38 + 0.1 * b.grown
    y = 0.42 - 0.06 * b.grown
    for side in (-1, 1):
        b.add(ellipse(side * 0.24 + 0.04, y + ry * 0.96, 0.19, 0.12), "limb", 2.6)
        b.feet.append((side * 0.24 + 0.2, y + ry))
    b.set_trunk(0, y, rx, ry)
    b.tail = (-0.9 * rx, y + 0.2 * ry, 200)
    for side in (-1, 1):
        turn = -25 if side > 0 else 205
        length = 0.42 + 0.22 * b.grown + 0.1 * b.p[4]
        b.add(
            petal(side * rx * 0.75, y - 0.05, turn + side * 20 * b.p[5], length, 0.14),
            "accent",
            1.6,
        )
        b.hands.append((side * (rx * 0.75 + length * 0.9), y - 0.2))
    b.set_head(0.04, y - ry - r * 0.5, r, wide=1.12)


def boulder(b: Body) -> None:
    """An angular rock with a face, stone fists."""
    corners = 8
    turn = np.linspace(0, 2 * np.pi, corners, endpoint=False) + 0.3
    wave = 1 + 0.12 * np.cos(3 * turn + 3 * b.p[2]) + 0.08 * np.cos(5 * turn + 4 * b.p[3])
    rx, ry = 0.7 + 0.06 * b.p[3], 0.62 + 0.06 * b.grown
    shape = np.stack([rx * wave * np.cos(turn), 0.14 + ry * wave * np.sin(turn)], 1)
    for side in (-1, 1):
        b.add(ellipse(side * 0.32 + 0.03, 0.78, 0.23, 0.15, power=0.7), "limb", 6.5)
        b.feet.append((side * 0.32 + 0.2, 0.8))
    b.add(shape, "body", 5)
    b.add(np.stack([shape[5], shape[6], shape[7], (0.1, -0.14)]), "belly", 5.1, line=False)
    b.add(np.stack([shape[1], shape[2], shape[3], (-0.1, 0.42)]), "mark", 5.1, line=False)
    b.trunk, b.tail, b.head = (0, 0.2, rx, ry), (-0.9 * rx, 0.3, 190), (0, 0.05, 0.6)
    b.face(0, 0.05, 0.6)
    size = 0.19 + 0.07 * b.grown
    for side in (-1, 1):
        hand = (side * (rx + 0.2 + 0.12 * b.grown), 0.22 + 0.25 * b.p[4] * side)
        b.add(tube([(side * rx * 0.75, 0.1), hand], 0.11, 0.11), "mark", 4.6)
        b.add(ellipse(*hand, size, size, 20, power=0.7), "limb", 6.4)
        b.hands.append(hand)


def serpent(b: Body) -> None:
    """A coiled snake, head up."""
    w = 0.19 + 0.02 * b.p[2] + 0.03 * b.grown
    b.add(
        tube([(-0.5, 0.66), (-1.15, 0.72), (-1.0, 0.2 - 0.2 * b.grown)], w * 0.9, 0.03), "limb", 1
    )
    b.add(ellipse(-0.05, 0.66, 0.66, w), "limb", 2, line=True)
    b.add(ellipse(-0.02, 0.44, 0.5, w * 0.95), "body", 2.4)
    top = -0.28 - 0.22 * b.grown
    b.add(tube([(-0.25, 0.4), (-0.45, -0.05), (0.1, top)], w * 1.05, w * 0.9), "body", 3)
    b.add(
        tube([(-0.1, 0.36), (-0.27, 0.05), (0.14, top + 0.1)], w * 0.45, w * 0.4),
        "belly",
        3.1,
        line=False,
    )
    b.trunk, b.tail = (-0.1, 0.4, 0.55, 0.3), (-1.0, 0.22 - 0.2 * b.grown, -100)
    b.feet = [(0.5, 0.7)]
    b.set_head(0.16, top - 0.04, 0.38 - 0.03 * b.grown + 0.03 * b.p[3], wide=1.15)
    if b.p[4] > 0:  # a hood
        b.add(ellipse(0.05, top + 0.16, 0.44, 0.34), "mark", 2.9)


def fish(b: Body) -> None:
    """A round fish with fins, swimming to the right."""
    r = 0.6 + 0.05 * b.p[2]
    long = 1.1 + 0.2 * b.grown + 0.1 * b.p[3]
    for turn in (150, 205):
        b.add(petal(-0.5 * long, 0.1, turn, 0.5 + 0.18 * b.grown, 0.18, 0.7), "accent", 1)
    b.add(petal(-0.1, -0.32, -125, 0.45 + 0.25 * b.grown, 0.24), "accent", 1.2)
    b.trunk, b.tail = (-0.1, 0.15, r, r * 0.8), (-0.9, 0.1, 180)
    b.head = (0.12, 0.08, r * 0.8)
    b.add(ellipse(0, 0.12, r * long, r * 0.84), "body", 5)
    b.add(ellipse(0.06, 0.36, r * 0.66 * long, r * 0.38), "belly", 5.1, line=False)
    b.face(0.28, 0.06, r * 0.62)
    b.add(petal(-0.1, 0.28, 140, 0.44 + 0.1 * b.grown, 0.15), "accent", 6.4)
    b.hands, b.feet = [(-0.4, 0.56)], [(0.1, 0.6)]


PLANS: dict[str, Callable[[Body], None]] = {
    f.__name__: f
    for f in (blob, quadruped, biped, winged, larva, insect, bulb, boulder, serpent, fish)
}
