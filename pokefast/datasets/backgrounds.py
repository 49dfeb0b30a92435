"""Backgrounds that behave like photographs: dead leaves, 1/f textures, gradients, real photographs.

Dead leaves (Lee, Mumford, Huang 2001, "Occlusion models for natural images") are opaque discs whose
radii follow a power law; their edges and flat regions are those of photographs. 1/f noise has the
amplitude spectrum of photographs. A good part of all backgrounds is dark, so that a brightness
threshold cannot tell a black outline from what is behind it.
"""

import colorsys

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

__all__ = ["make_background", "one_over_f", "sample_photographs"]

DARK_FRACTION = 0.3  # of the generated backgrounds, scaled to a mean brightness of 8-25%


def one_over_f(
    rng: np.random.Generator, side: int, slope: float, stretch: tuple[float, float] = (1.0, 1.0)
) -> np.ndarray:
    """(side, side) noise in 0..1 whose amplitude spectrum is frequency to the power -slope.

    `stretch` is down and across: 2 and 1 make blots twice as high as wide.
    """
    fy, fx = np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None]
    frequency = np.hypot(stretch[0] * fy, stretch[1] * fx)
    frequency[0, 0] = 1
    spectrum = np.exp(2j * np.pi * rng.random(frequency.shape)) * frequency**-slope
    spectrum[0, 0] = 0
    noise = np.fft.irfft2(spectrum, (side, side))
    return np.clip(0.5 + noise / (5 * noise.std()), 0, 1)


def _colours(rng: np.random.Generator, count: int) -> np.ndarray:
    """(count, 3) colours in 0..1 of one scene: two hues, mostly muted, brightness varying most."""
    hue = rng.choice([30, 45, 90, 120, 205, 215, 230, 345]) + rng.normal(0, 15)
    hues = hue + rng.choice([0, 0, rng.uniform(-120, 120)], count) + rng.normal(0, 9, count)
    saturation = np.clip(rng.beta(2, 4) + rng.normal(0, 0.1, count), 0, 0.9)
    value = np.clip(
        rng.uniform(0.35, 0.75) + rng.normal(0, rng.uniform(0.08, 0.22), count), 0.03, 1
    )
    return np.array(
        [
            colorsys.hsv_to_rgb(h % 360 / 360, s, v)
            for h, s, v in zip(hues, saturation, value, strict=True)
        ]
    )


def gradient(rng: np.random.Generator, side: int) -> np.ndarray:
    """(side, side, 3): a sky-like ramp between three colours, bent by slow noise."""
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[0:side, 0:side] / side - 0.5
    along = (
        x * np.cos(angle)
        + y * np.sin(angle)
        + 0.5
        + rng.uniform(0, 0.6) * (one_over_f(rng, side, 2.0) - 0.5)
    )
    stops, colours = [0, rng.uniform(0.3, 0.7), 1], _colours(rng, 3)
    return np.stack([np.interp(along, stops, colours[:, c]) for c in range(3)], -1)


def texture(rng: np.random.Generator, side: int) -> np.ndarray:
    """(side, side, 3): 1/f noise mapped to the colours of one scene."""
    slope = rng.uniform(0.9, 1.7)
    grey = one_over_f(rng, side, slope)
    colours = _colours(rng, 4)
    colours = colours[np.argsort(colours.sum(1))]
    own = [0.15 * (one_over_f(rng, side, slope) - 0.5) for _ in range(3)]
    return np.stack(
        [np.interp(grey, [0.1, 0.4, 0.6, 0.9], colours[:, c]) + own[c] for c in range(3)], -1
    )


def hills(rng: np.random.Generator, side: int) -> np.ndarray:
    """(side, side, 3): a sky and ridges before one another, each with its own texture."""
    image = gradient(rng, side)
    y = np.arange(side)[:, None] / side
    level = rng.uniform(0.2, 0.5)
    for colour in _colours(rng, int(rng.integers(2, 5))):
        ridge = level + 0.35 * (one_over_f(rng, side, 1.6)[0] - 0.5)
        shading = 0.6 + 0.8 * one_over_f(rng, side, rng.uniform(0.8, 1.4))
        image = np.where((y > ridge)[..., None], colour * shading[..., None], image)
        level += rng.uniform(0.1, 0.25)
    return image


def dead_leaves(rng: np.random.Generator, side: int) -> np.ndarray:
    """(side, side, 3): ellipses or slabs over one another, radii with density r**-3, shaded."""
    image = Image.new("RGB", (side, side))
    draw = ImageDraw.Draw(image)
    count = int(rng.integers(150, 900))
    smallest, largest = 0.012 * side, 0.45 * side
    u = rng.random(count)
    radius = (smallest**-2 + u * (largest**-2 - smallest**-2)) ** -0.5
    radius[:25] = rng.uniform(0.25, 0.45, 25) * side  # covers the canvas first
    x, y = rng.uniform(-0.1, 1.1, (2, count)) * side
    colours = (255 * _colours(rng, count)).astype(int)
    slabs = rng.random() < 0.4
    turn = rng.uniform(0, np.pi)
    for i in range(count):
        a, b = radius[i], radius[i] * rng.uniform(0.4, 1.0)
        if slabs:
            t = turn + rng.normal(0, 0.15)
            u, v = a * np.array([np.cos(t), np.sin(t)]), 0.5 * b * np.array([-np.sin(t), np.cos(t)])
            corners = np.array([u + v, u - v, -u - v, -u + v]) + (x[i], y[i])
            draw.polygon([tuple(p) for p in corners], fill=tuple(colours[i]))
        else:
            draw.ellipse((x[i] - a, y[i] - b, x[i] + a, y[i] + b), fill=tuple(colours[i]))
    if rng.random() < 0.4:  # out of focus
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.004, 0.02) * side))
    shading = 0.7 + 0.6 * one_over_f(rng, side, 1.2)
    return np.asarray(image) / 255 * shading[..., None]


def make_background(rng: np.random.Generator, side: int) -> Image.Image:
    """One background, RGB, side x side pixels."""
    kind = rng.choice(4, p=[0.4, 0.2, 0.15, 0.25])
    image = (dead_leaves, texture, gradient, hills)[kind](rng, side)
    if rng.random() < DARK_FRACTION:
        image = image * (rng.uniform(0.08, 0.25) / max(image.mean(), 1e-3))
    image = image + rng.normal(0, rng.uniform(0, 0.02), image.shape)  # sensor noise
    return Image.fromarray((255 * np.clip(image, 0, 1)).astype(np.uint8))


def sample_photographs() -> list[Image.Image]:
    """The two photographs that scikit-learn ships (CC BY 2.0, credited in NOTICE), RGB."""
    from sklearn.datasets import load_sample_images  # here, as importing it takes a second

    return [Image.fromarray(photo) for photo in load_sample_images().images]
