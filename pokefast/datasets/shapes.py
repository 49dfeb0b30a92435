"""Shapes of the procedural creatures in unit coordinates: x right, y down, both within about -1..1.

All creatures face right. A body plan (`pokefast.datasets.plans`) draws into a `Body` and leaves
anchors (head, trunk, tail, hands, feet); an ornament (`pokefast.datasets.ornaments`) draws
itself at the anchors, so that every ornament fits every plan.
"""

from dataclasses import dataclass

import numpy as np

__all__ = ["BLACK", "WHITE", "Colour", "Part", "Body", "ellipse", "petal", "spike", "tube"]

Colour = tuple[float, float, float]
BLACK, WHITE = (0.07, 0.06, 0.09), (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Part:
    """A filled shape: `points` (n, 2), RGB in 0..1, height `z`; `line`: with outline and shade."""

    points: np.ndarray
    colour: Colour
    z: float
    line: bool = True
    eye: bool = False


def ellipse(
    x: float, y: float, rx: float, ry: float, turn: float = 0.0, power: float = 1.0
) -> np.ndarray:
    """A superellipse (`power` < 1 is boxier), turned by `turn` degrees."""
    t = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    c, s = np.cos(t), np.sin(t)
    points = np.stack(
        [rx * np.sign(c) * np.abs(c) ** power, ry * np.sign(s) * np.abs(s) ** power], 1
    )
    a = np.deg2rad(turn)
    return points @ np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]]) + (x, y)


def tube(points: list[tuple[float, float]], start: float, end: float) -> np.ndarray:
    """A tapered tube along a quadratic Bezier curve (three points) or a line (two); radii."""
    p = np.asarray(points, float)
    if len(p) == 2:
        p = np.stack([p[0], p.mean(0), p[1]])
    t = np.linspace(0, 1, 14)[:, None]
    centre = (1 - t) ** 2 * p[0] + 2 * t * (1 - t) * p[1] + t**2 * p[2]
    slope = np.gradient(centre, axis=0)
    normal = np.stack([-slope[:, 1], slope[:, 0]], 1)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-9
    radius = start + (end - start) * t
    a = np.linspace(-np.pi / 2, np.pi / 2, 7)[1:-1]
    along = slope[-1] / (np.linalg.norm(slope[-1]) + 1e-9)
    cap = centre[-1] + end * (np.cos(a)[:, None] * along - np.sin(a)[:, None] * normal[-1])
    return np.concatenate([centre + radius * normal, cap, (centre - radius * normal)[::-1]])


def petal(
    x: float, y: float, turn: float, length: float, width: float, tip: float = 1.0
) -> np.ndarray:
    """A leaf or flame from (x, y) towards `turn` degrees (0 right, -90 up).

    `tip` > 1 moves its widest place towards the root, < 1 towards the end.
    """
    t = np.linspace(0, 1, 14)
    half = width * np.sin(np.pi * t ** (1 / tip))
    along, across = np.concatenate([t, t[::-1]]) * length, np.concatenate([half, -half[::-1]])
    a = np.deg2rad(turn)
    return np.stack(
        [x + along * np.cos(a) - across * np.sin(a), y + along * np.sin(a) + across * np.cos(a)], 1
    )


def spike(x: float, y: float, turn: float, length: float, width: float) -> np.ndarray:
    """A straight cone, its root a little inside the body."""
    a = np.deg2rad(turn)
    u, v = np.array([np.cos(a), np.sin(a)]), np.array([-np.sin(a), np.cos(a)])
    root = np.array([x, y]) - 0.3 * length * u
    return np.stack([root + width * v, root + 1.3 * length * u, root - width * v])


class Body:
    """Collects the parts of one creature and the anchors at which ornaments are drawn."""

    def __init__(
        self, colours: dict[str, Colour], proportions: tuple[float, ...], stage: int, eyes: int
    ):
        self.colours, self.p, self.stage, self.eyes = colours, proportions, stage, eyes
        self.grown = stage / 2
        self.parts: list[Part] = []
        self.head = (0.0, 0.0, 0.5)  # x, y, radius
        self.trunk = (0.0, 0.4, 0.4, 0.4)  # x, y, radii
        self.tail = (-0.4, 0.5, 200.0)  # x, y, direction in degrees
        self.hands: list[tuple[float, float]] = []
        self.feet: list[tuple[float, float]] = []

    def add(
        self,
        points: np.ndarray,
        colour: str | Colour,
        z: float,
        line: bool = True,
        eye: bool = False,
    ) -> None:
        """A part with the outline `points`; `colour` is RGB or one of the family's by name."""
        colour = self.colours[colour] if isinstance(colour, str) else colour
        self.parts.append(Part(points, colour, z, line, eye))

    def set_head(
        self,
        x: float,
        y: float,
        r: float,
        colour: str = "body",
        wide: float = 1.0,
        face: bool = True,
    ) -> None:
        """The head with its face, looking a little to the right."""
        self.head = (x, y, r)
        self.add(ellipse(x, y, r * wide, r * 0.94, power=0.92), colour, 5)
        if face:
            self.face(x, y, r)

    def face(self, x: float, y: float, r: float) -> None:
        """Eyes and mouth on a head at (x, y) of radius `r`."""
        gap, high = r * (0.44 + 0.06 * self.p[1]), y + r * 0.08
        tall = r * (0.34, 0.26, 0.3)[self.eyes]
        for side in (-1, 1):
            ex = x + r * 0.2 + side * gap
            if self.eyes == 1:  # white eyes with a pupil
                self.add(ellipse(ex, high, tall * 0.8, tall), WHITE, 6.0, line=False, eye=True)
                self.add(
                    ellipse(ex + 0.25 * tall, high, tall * 0.5, tall * 0.75),
                    BLACK,
                    6.1,
                    line=False,
                    eye=True,
                )
            else:
                self.add(ellipse(ex, high, tall * 0.58, tall), BLACK, 6.0, line=False, eye=True)
                shine = tall * (0.34 if self.eyes == 0 else 0.24)
                self.add(
                    ellipse(ex - 0.1 * tall, high - 0.4 * tall, shine, shine),
                    WHITE,
                    6.1,
                    line=False,
                    eye=True,
                )
        mouth = y + r * 0.52
        self.add(
            petal(x + r * 0.02, mouth, 0, r * 0.36, r * 0.07), self.colours["mark"], 6.0, line=False
        )

    def leg(
        self, x: float, y: float, length: float, width: float, z: float, colour: str = "limb"
    ) -> None:
        """A leg down from (x, y) with its foot, which becomes an anchor."""
        self.add(tube([(x, y), (x + 0.02, y + length)], width, width * 0.95), colour, z)
        self.add(ellipse(x + 0.05, y + length, width * 1.35, width * 0.75), colour, z + 0.1)
        self.feet.append((x + 0.05 + width, y + length))

    def set_trunk(
        self, x: float, y: float, rx: float, ry: float, colour: str = "body", belly: bool = True
    ) -> None:
        """The trunk, an ellipse with a lighter belly, which becomes an anchor."""
        self.trunk = (x, y, rx, ry)
        self.add(ellipse(x, y, rx, ry, power=0.95), colour, 2)
        if belly:
            self.add(
                ellipse(x + 0.16 * rx, y + 0.22 * ry, 0.62 * rx, 0.68 * ry),
                "belly",
                2.2,
                line=False,
            )
