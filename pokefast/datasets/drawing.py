"""Draws creatures: pixel icons with a one-pixel black outline, and larger antialiased art."""

import colorsys

import numpy as np
from PIL import Image, ImageChops, ImageDraw
from scipy import ndimage

from pokefast.datasets.creatures import Coat, Creature
from pokefast.datasets.ornaments import ORNAMENTS
from pokefast.datasets.plans import PLANS
from pokefast.datasets.shapes import Body, Part

__all__ = ["draw_icon", "draw_art"]

# Longest side of an icon in pixels with the outline, per stage.
ICON_SIDE = ((21, 26), (26, 32), (31, 39))


def _parts(creature: Creature) -> list[Part]:
    """The creature's shapes, back to front."""
    family = creature.family
    body = Body(creature.colours, family.proportions, creature.stage, family.eyes)
    PLANS[family.plan](body)
    for ornament in family.ornaments[: creature.stage + 1]:
        ORNAMENTS[ornament](body)
    return sorted(body.parts, key=lambda part: part.z)


def _fit(parts: list[Part], side: float) -> tuple[list[np.ndarray], tuple[int, int]]:
    """The outlines in a common box whose longer side is `side`, and that box's (width, height)."""
    every = np.concatenate([part.points for part in parts])
    low, high = every.min(0), every.max(0)
    scale = side / (high - low).max()
    width, height = np.ceil((high - low) * scale).astype(int)
    return [(part.points - low) * scale for part in parts], (int(width), int(height))


def _tone(colour: tuple[float, float, float], factor: float) -> tuple[int, int, int]:
    """`colour` in 8 bits, darker and a little more saturated (factor < 1), or lighter (> 1)."""
    h, s, v = colorsys.rgb_to_hsv(*colour)
    if factor <= 1:
        rgb = colorsys.hsv_to_rgb(h, min(1, s * (1 + 0.35 * (1 - factor))), v * factor)
    else:
        rgb = tuple(c + (1 - c) * (factor - 1) for c in colour)
    return tuple(int(round(255 * c)) for c in rgb)


def draw_icon(creature: Creature, side: int | None = None) -> Image.Image:
    """A pixel icon, RGBA, cropped to its box; `side` is its longer side, the species' own if None.

    The outline is one pixel of exactly (0, 0, 0, 255) all round; alpha is 0 or 255. Sides of their
    own lie between 20 and 40 pixels.
    """
    parts = _parts(creature)
    if side is None:
        low, high = ICON_SIDE[creature.stage]
        side = low + round((high - low) * (creature.family.proportions[0] + 1) / 2)
    fine = 4  # subpixels; the centre one is kept, which leaves hard edges
    outlines, (width, height) = _fit(parts, (side - 2) * fine)
    canvas = Image.new("L", ((width // fine + 5) * fine, (height // fine + 5) * fine))
    draw = ImageDraw.Draw(canvas)
    for number, points in enumerate(outlines, 1):
        draw.polygon([tuple(p) for p in points + 2 * fine], fill=number)
    label = np.asarray(canvas)[fine // 2 :: fine, fine // 2 :: fine].astype(int)

    regions, count = ndimage.label(label > 0, np.ones((3, 3)))
    if count > 1:  # loose specks would need outlines of their own
        sizes = np.bincount(regions.ravel())[1:]
        label = np.where(regions == 1 + sizes.argmax(), label, 0)
    solid = label > 0

    lined = np.array([False] + [part.line for part in parts])
    eye = np.array([False] + [part.eye for part in parts])
    tones = np.array(
        [[(0, 0, 0)] * 4] + [[_tone(part.colour, f) for f in (1, 0.78, 1.3, 0.5)] for part in parts]
    )
    tone = np.zeros(label.shape, int)
    lit = np.roll(label, (1, 1), (0, 1)) != label
    shaded = (np.roll(label, (-2, -1), (0, 1)) != label) & ~eye[np.roll(label, (-2, -1), (0, 1))]
    tone[lit & lined[label] & ~eye[label]] = 2
    tone[shaded & lined[label]] = 1
    for shift, axis in ((1, 0), (-1, 0), (1, 1), (-1, 1)):  # where a part lies over one behind it
        behind = np.roll(label, shift, axis)
        tone[(behind < label) & (behind > 0) & lined[label] & ~eye[label]] = 3
    rgb = tones[label, tone].astype(np.uint8)

    rim = ndimage.binary_dilation(solid) & ~solid
    rgba = np.dstack([rgb, np.where(solid | rim, 255, 0).astype(np.uint8)])
    rgba[rim] = (0, 0, 0, 255)
    rgba[~(solid | rim)] = 0
    icon = Image.fromarray(rgba)
    return icon.crop(icon.getchannel("A").getbbox())


def draw_art(creature: Creature, side: int) -> Image.Image:
    """Shaded art, RGBA, cropped to its box; its longer side is `side` pixels, give or take two."""
    fine = 2
    family = creature.family
    parts = _parts(creature)
    line = max(fine, family.line * side * fine)
    outlines, (width, height) = _fit(parts, side * fine - 2 * line)
    pad = int(np.ceil(line)) + 2
    art = Image.new("RGBA", (width + 2 * pad, height + 2 * pad))
    depth = 0.045 * side * fine
    coat = _coat_mask(family.coat, art.size, side * fine)
    furred = [creature.colours[name] for name in ("body", "limb")]
    for part, points in zip(parts, outlines, strict=True):
        points = points + pad
        low = np.floor(points.min(0) - line - 2).astype(int)
        box = np.ceil(points.max(0) - low + line + 2).astype(int)
        local = [tuple(p) for p in points - low]
        mask = Image.new("L", tuple(int(b) for b in box))
        ImageDraw.Draw(mask).polygon(local, fill=255)
        where = tuple(int(x) for x in low)
        if part.line:
            ring = Image.new("L", mask.size)
            stroke = ImageDraw.Draw(ring)
            stroke.line(
                [*local, *local[:2]], fill=255, width=max(2, round(2 * line)), joint="curve"
            )
            art.paste(_tone(part.colour, family.ink), where, ring)
        art.paste(_tone(part.colour, 1.0), where, mask)
        if coat is not None and part.colour in furred:
            spots = ImageChops.multiply(mask, coat.crop((*where, *(low + box).tolist())))
            art.paste(_tone(family.coat.colour, 1.0), where, spots)
        if part.line:
            reach = int(max(2, min(depth, 0.25 * min(box))))
            art.paste(_tone(part.colour, 1.22), where, _crescent(mask, reach // 2, reach // 2))
            art.paste(_tone(part.colour, 0.78), where, _crescent(mask, -reach // 2, -reach))
    small = art.reduce(fine)
    return small.crop(small.getchannel("A").getbbox())


def _coat_mask(coat: Coat, size: tuple[int, int], side: float) -> Image.Image | None:
    """Where the coat's colour shows on a canvas of `size`, "L"; `side` is its unit of length."""
    if coat.kind == "plain":
        return None
    width, height = size
    y, x = np.mgrid[0:height, 0:width] / side
    along = (x * np.cos(coat.turn) + y * np.sin(coat.turn)) / coat.period
    across = (y * np.cos(coat.turn) - x * np.sin(coat.turn)) / coat.period
    if coat.kind == "bands":
        field = np.cos(2 * np.pi * along + 0.8 * np.sin(2 * np.pi * across / 3))
    elif coat.kind == "dots":
        field = np.cos(2 * np.pi * along) + np.cos(2 * np.pi * across) - 0.5
    elif coat.kind == "net":
        field = -np.abs(np.sin(np.pi * along) * np.sin(np.pi * across)) + 0.25
    else:  # blotches: a few plane waves of one length and random directions
        turns = coat.turn + np.array([0.0, 1.1, 2.0, 2.9, 4.4, 5.3])
        waves = [
            np.cos(2 * np.pi * (x * np.cos(t) + y * np.sin(t)) / coat.period + 9 * t) for t in turns
        ]
        field = sum(waves) - 0.8
    return Image.fromarray((255 * (field > 0)).astype(np.uint8))


def _crescent(mask: Image.Image, dx: int, dy: int) -> Image.Image:
    """The part of `mask` that its copy shifted by (dx, dy) does not cover."""
    moved = Image.new("L", mask.size)
    moved.paste(mask, (dx, dy))
    return ImageChops.subtract(mask, moved)
