"""Figures and scenes that teach the foreground finder: composites with known masks.

Every image is drawn: cartoon figures (blobs, limbs, spikes, spots; a dark, tinted or missing
outline) on backgrounds of dead leaves, 1/f noise, gradients, Voronoi cells, strokes and shapes, and
on crops of the two photographs that ship with scikit-learn. No sprite and no competition image
takes part. Sources: dead leaves, "Occlusion models for natural images", IJCV
2001, and "Learning to see by looking at noise", NeurIPS 2021; pasting,
"Cut, paste and learn", ICCV 2017.
"""

import colorsys

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from pokefast.datasets.backgrounds import make_background, one_over_f, sample_photographs
from pokefast.datasets.compose import TYPES, photo_crop
from pokefast.datasets.creatures import make_creatures
from pokefast.datasets.drawing import draw_art

__all__ = ["BACKGROUND", "composite", "draw_background", "draw_figure", "draw_pool"]

FIGURE = 256  # side of a drawn figure in pixels; pasted at 28-80% of the image
BACKGROUND = 240  # side of a drawn background in pixels, cropped to the net's input


def _colour(rng, dull=0.3):
    """A random RGB tuple; `dull` is the chance of grey, white or near-black."""
    if rng.random() < dull:
        v = rng.choice([rng.uniform(0.75, 1), rng.uniform(0.3, 0.8), rng.uniform(0.08, 0.3)])
        rgb = colorsys.hsv_to_rgb(rng.random(), rng.uniform(0, 0.15), v)
    else:
        rgb = colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.25, 1), rng.uniform(0.35, 1))
    return tuple(int(255 * c) for c in rgb)


def _shade(c, f):
    return tuple(int(min(255, max(0, v * f))) for v in c)


def _blob(rng, cx, cy, rx, ry, rough=0.15, n=48):
    """A closed smooth curve around (cx, cy) as points, its radius a short Fourier series."""
    t = np.linspace(0, 2 * np.pi, n, endpoint=False)
    r = 1 + sum(
        rng.normal(0, rough / k) * np.cos(k * t + rng.uniform(0, 2 * np.pi)) for k in range(2, 6)
    )
    a = rng.uniform(0, np.pi) if rng.random() < 0.3 else 0
    x, y = rx * r * np.cos(t), ry * r * np.sin(t)
    x, y = x * np.cos(a) - y * np.sin(a), x * np.sin(a) + y * np.cos(a)
    return np.stack([cx + x, cy + y], 1)


def _limb(rng, x, y, angle, length, w0, w1, bend=1.0, n=12):
    """A tapered, bent strip from (x, y) as points."""
    t = np.linspace(0, 1, n)
    a = angle + bend * rng.normal(0, 0.9) * t + bend * rng.normal(0, 0.3) * np.sin(3 * t)
    px, py = x + np.cumsum(np.cos(a)) * length / n, y + np.cumsum(np.sin(a)) * length / n
    w = w0 + (w1 - w0) * t
    nx, ny = -np.sin(a) * w, np.cos(a) * w
    return np.concatenate([np.stack([px + nx, py + ny], 1), np.stack([px - nx, py - ny], 1)[::-1]])


def _spiky(rng, cx, cy, r, n):
    """A star or tuft around (cx, cy) as points."""
    k = 2 * n
    t = np.linspace(0, 2 * np.pi, k, endpoint=False) + rng.uniform(0, 1)
    rad = np.where(np.arange(k) % 2, r * rng.uniform(0.45, 0.8), r * rng.uniform(0.8, 1.2, k))
    return np.stack([cx + rad * np.cos(t), cy + rad * np.sin(t)], 1)


class _Figure:
    """A cartoon figure while it is drawn: a square canvas, its colours, and where body and head
    are.
    """

    def __init__(self, rng):
        self.rng = rng
        self.image = Image.new("RGBA", (FIGURE, FIGURE), (0, 0, 0, 0))
        self.colours = [_colour(rng) for _ in range(rng.integers(2, 6))]
        style = rng.random()
        self.outline = "dark" if style < 0.65 else "tinted" if style < 0.88 else "none"
        self.ink = tuple(int(rng.integers(0, 40)) for _ in range(3))
        self.width = int(round(rng.uniform(1.5, 5)))
        x, y = FIGURE / 2 + rng.normal(0, 10), FIGURE / 2 + rng.normal(0, 10)
        rx, ry = rng.uniform(0.1, 0.26) * FIGURE, rng.uniform(0.1, 0.26) * FIGURE
        self.body, turn = (x, y, rx, ry), rng.uniform(0, 6.3)
        radius = rng.uniform(0.08, 0.2) * FIGURE
        self.head = (x + np.cos(turn) * rx * 1.1, y - abs(np.sin(turn)) * ry * 1.2, radius)

    def colour(self):
        """One of the figure's colours."""
        rng = self.rng
        if rng.random() < 0.85:
            return self.colours[rng.integers(len(self.colours))]
        return _shade(self.colours[0], 0.8)

    def part(self, points, colour=None):
        """Fill the outline `points`, shade and spot it at times, and draw its line."""
        rng, colour = self.rng, colour or self.colour()
        mask = Image.new("L", self.image.size, 0)
        xy = [tuple(map(float, p)) for p in points]
        ImageDraw.Draw(mask).polygon(xy, fill=255)
        self.image.paste(colour, (0, 0), mask)
        if rng.random() < 0.6:  # a shadow or a light: the same shape, moved, inside it
            d = rng.uniform(0.03, 0.12) * FIGURE
            dx, dy = int(rng.normal(0, 1) * d), int(-abs(rng.normal(0, 1)) * d)
            inner = ImageChops.subtract(mask, ImageChops.offset(mask, dx, dy))
            self.image.paste(_shade(colour, rng.choice([0.6, 0.75, 0.85, 1.2])), (0, 0), inner)
        if rng.random() < 0.3:
            self.spots(points, mask)
        if self.outline != "none":
            ink = self.ink if self.outline == "dark" else _shade(colour, rng.uniform(0.2, 0.5))
            draw = ImageDraw.Draw(self.image)
            draw.line([*xy, *xy[:2]], fill=(*ink, 255), width=self.width, joint="curve")

    def spots(self, points, mask):
        """Discs and strokes in another colour on the part `mask`, with or without a rim."""
        rng, spots = self.rng, Image.new("L", self.image.size, 0)
        draw = ImageDraw.Draw(spots)
        for _ in range(rng.integers(1, 7)):
            x, y = rng.uniform(points.min(0), points.max(0))
            if rng.random() < 0.5:
                r = rng.uniform(0.02, 0.09) * FIGURE
                draw.ellipse((x - r, y - r * 0.8, x + r, y + r * 0.8), fill=255)
            else:
                turn, length = rng.uniform(0, 6.3), rng.uniform(0.1, 0.4) * FIGURE
                stroke = _limb(rng, x, y, turn, length, 4, 2)
                draw.polygon([tuple(map(float, p)) for p in stroke], fill=255)
        colour = self.colours[rng.integers(len(self.colours))]
        rim = spots.filter(ImageFilter.MaxFilter(3)) if rng.random() < 0.5 else spots
        self.image.paste(_shade(colour, 0.4), (0, 0), ImageChops.multiply(rim, mask))
        self.image.paste(colour, (0, 0), ImageChops.multiply(spots, mask))

    def draw_behind(self):
        """Tail, wings and far limbs."""
        rng, (x, y, rx, ry) = self.rng, self.body
        for _ in range(rng.integers(0, 4)):
            turn, kind = rng.uniform(0, 6.3), rng.random()
            if kind < 0.6:
                length = rng.uniform(0.25, 0.55) * FIGURE
                points = _limb(rng, x, y, turn, length, rng.uniform(4, 22), rng.uniform(1, 16))
            elif kind < 0.85:
                wide, high = rng.uniform(15, 60), rng.uniform(10, 40)
                points = _blob(rng, x + np.cos(turn) * rx, y + np.sin(turn) * ry, wide, high, 0.3)
            else:
                radius = rng.uniform(0.2, 0.42) * FIGURE
                points = _spiky(rng, x, y, radius, rng.integers(5, 12))
            self.part(points)

    def draw_body(self):
        """The trunk, most times, and limbs before it."""
        rng, (x, y, rx, ry) = self.rng, self.body
        if rng.random() < 0.9:
            if rng.random() < 0.8:
                points = _blob(rng, x, y, rx, ry, rng.choice([0.05, 0.15, 0.3]))
            else:
                points = _spiky(rng, x, y, max(rx, ry), rng.integers(4, 10))
            self.part(points, self.colours[0])
        for _ in range(rng.integers(0, 6)):
            turn, width = rng.uniform(0, 6.3), rng.uniform(3, 16)
            root = x + np.cos(turn) * rx * 0.8, y + np.sin(turn) * ry * 0.8
            length = rng.uniform(0.1, 0.3) * FIGURE
            end = width * rng.uniform(0.1, 1.3)
            self.part(_limb(rng, *root, turn, length, width, end, 0.6))

    def draw_head(self):
        """The head with ears or horns and two eyes."""
        rng, (x, y, r) = self.rng, self.head
        for _ in range(rng.integers(0, 4)):
            turn, length = rng.uniform(-3, 0), rng.uniform(0.05, 0.3) * FIGURE
            root = x + np.cos(turn) * r * 0.6, y + np.sin(turn) * r * 0.6
            widths = rng.uniform(3, 14), rng.uniform(0, 5)
            self.part(_limb(rng, *root, turn, length, *widths, 0.5))
        self.part(_blob(rng, x, y, r, r * rng.uniform(0.7, 1.2), 0.08))
        draw = ImageDraw.Draw(self.image)
        for side in (-1, 1):
            white = rng.uniform(0.12, 0.3) * r
            at = (x + side * r * 0.4, y - 0.1 * r)
            draw.ellipse(_disc(*at, white), fill=(255, 255, 255, 255), outline=(*self.ink, 255))
            draw.ellipse(_disc(*at, white / 2), fill=(*_colour(rng), 255))

    def draw_loose(self):
        """Pieces that touch nothing else."""
        rng = self.rng
        for _ in range(rng.integers(1, 4)):
            at, radii = rng.uniform(30, FIGURE - 30, 2), rng.uniform(6, 24, 2)
            self.part(_blob(rng, *at, *radii))


def _disc(x, y, r):
    return (x - r, y - r, x + r, y + r)


def draw_figure(rng):
    """A cartoon figure cropped to its box: RGBA image, longest side at most `FIGURE` pixels."""
    figure = _Figure(rng)
    figure.draw_behind()
    figure.draw_body()
    if rng.random() < 0.75:
        figure.draw_head()
    if rng.random() < 0.12:
        figure.draw_loose()
    image = figure.image
    if rng.random() < 0.3:
        image = image.rotate(rng.uniform(-40, 40), Image.Resampling.BICUBIC)
    if rng.random() < 0.15:  # darker towards the feet: fire, ghosts
        values = np.asarray(image).astype(np.float32)
        down = np.linspace(0, 1, FIGURE, dtype=np.float32)[:, None, None]
        values[..., :3] *= 1 - rng.uniform(0, 0.5) * down
        image = Image.fromarray(values.astype(np.uint8))
    box = image.getbbox()
    return image.crop(box) if box else draw_figure(rng)


def _noise(rng, slope):
    """1/f noise of a background's size in 0..1, stretched along one axis."""
    return one_over_f(rng, BACKGROUND, slope, rng.uniform(0.5, 2, 2))


def _tint(rng, v):
    """Grey values (n x n, 0-1) through a random two- to four-colour ramp: n x n x 3, 0-255."""
    k = rng.integers(2, 5)
    ramp = np.array([_colour(rng) for _ in range(k)], float)
    return np.stack([np.interp(v, np.linspace(0, 1, k), ramp[:, c]) for c in range(3)], -1)


def _shapes(rng, base, kind, n):
    """Shapes drawn over an image: leaves, blades, blocks or rings."""
    im = Image.fromarray(base.astype(np.uint8))
    d = ImageDraw.Draw(im)
    near = np.array(_colour(rng), float)
    spread = rng.uniform(10, 110)
    big = rng.uniform(0.02, 0.4)
    lo = rng.uniform(0, 6.3)
    lines = rng.random() < 0.12
    for _ in range(n):
        x, y = rng.uniform(0, BACKGROUND, 2)
        c = tuple(
            np.clip(
                near + rng.normal(0, spread) * rng.uniform(0.5, 1, 3) + rng.normal(0, 20, 3), 0, 255
            ).astype(int)
        )
        r = BACKGROUND * big * rng.pareto(2.5) * 0.5 + 1.5
        edge = _shade(c, 0.5) if lines else None
        if kind == "leaves":
            p = _blob(rng, x, y, r, r * rng.uniform(0.3, 1), 0.12, 20)
        elif kind == "blades":
            w = rng.uniform(0.5, 5)
            p = _limb(
                rng,
                x,
                y,
                lo + rng.normal(0, 0.4),
                rng.uniform(0.1, 0.8) * BACKGROUND,
                w,
                rng.uniform(0, w),
                0.4,
            )
        elif kind == "blocks":
            w, h = r * rng.uniform(0.3, 2), r * rng.uniform(0.3, 2)
            a = lo + rng.choice([0, np.pi / 2])
            u, v = np.array([np.cos(a), np.sin(a)]), np.array([-np.sin(a), np.cos(a)])
            o = np.array([x, y])
            p = np.array([o, o + u * w, o + u * w + v * h, o + v * h])
        else:
            p = None
            d.ellipse(
                (x - r, y - r, x + r, y + r),
                outline=c,
                width=int(rng.integers(1, 6)),
                fill=c if rng.random() < 0.5 else None,
            )
        if p is not None:
            d.polygon([tuple(map(float, q)) for q in p], fill=c, outline=edge)
    return np.asarray(im).astype(float)


def _bands(rng, n):
    """Hard-edged bands along the contours of a smooth field, shaded across: folds, stripes."""
    yy, xx = np.mgrid[0:n, 0:n] / n
    t = rng.uniform(0, 6.3)
    v = xx * np.cos(t) + yy * np.sin(t)
    if rng.random() < 0.4:
        v = np.hypot(xx - rng.uniform(-0.5, 1.5), yy - rng.uniform(-0.5, 1.5))
    v = v + rng.choice([0, 0.1, 0.3, 0.8]) * _noise(rng, rng.uniform(2, 3.5))
    v = (v - v.min()) / np.ptp(v) * rng.integers(2, 14)
    k, part = np.floor(v).astype(int), v % 1
    a = _tint(rng, rng.random(k.max() + 2)[k])
    return a * (1 - rng.uniform(0, 0.7) * part ** rng.uniform(0.5, 3))[..., None]


def _solids(rng, base):
    """Large shaded shapes, strewn or in rows, with or without a rim: cups, stones, paper."""
    n = BACKGROUND
    yy, xx = np.mgrid[0:n, 0:n]
    pal = [np.array(_colour(rng), float) for _ in range(rng.integers(1, 5))]
    step, rows = rng.uniform(25, 110), rng.random() < 0.4
    power, aspect, turn = rng.choice([1.0, 2.0, 2.0, 6.0]), rng.uniform(0.4, 1), rng.uniform(0, 3.2)
    size, rim, shade = rng.uniform(0.35, 0.8) * step, rng.random() < 0.4, rng.uniform(0, 0.8)
    for i in range(-1, int(n / step) + 2):
        for j in range(-1, int(n / step) + 2):
            cx, cy = (i + 0.5 * (j % 2)) * step, j * step
            if not rows:
                if rng.random() < 0.5:
                    continue
                cx, cy = cx + rng.normal(0, step), cy + rng.normal(0, step)
            x, y = xx - cx, yy - cy
            x, y = (
                x * np.cos(turn) + y * np.sin(turn),
                (y * np.cos(turn) - x * np.sin(turn)) / aspect,
            )
            r = (np.abs(x / size) ** power + np.abs(y / size) ** power) ** (1 / power)
            c = pal[rng.integers(len(pal))] * rng.uniform(0.7, 1.2)
            side = np.clip(0.5 + 0.5 * (x + y) / size, 0, 1)
            soft = np.clip((1 - r) * size / rng.uniform(0.7, 1.5), 0, 1)[..., None]
            a = np.clip(c * (1 - shade * side)[..., None], 0, 255)
            if rim:
                a = np.where((r > 0.9)[..., None], np.clip(c * 1.4 + 20, 0, 255), a)
            base = base * (1 - soft) + a * soft
            if not rows:
                size, turn = size * rng.uniform(0.7, 1.4), turn + rng.normal(0, 0.5)
    return base


def draw_background(rng, photos=()):
    """A background without a figure: uint8 array of BACKGROUND x BACKGROUND x 3."""
    n = BACKGROUND
    k = rng.random()
    if photos and k < 0.3:
        im = photo_crop(rng, photos[rng.integers(len(photos))], n)
        im = im.rotate(90 * int(rng.integers(4)))
        h, s, v = im.convert("HSV").split()
        turn = int(rng.integers(256))
        h = h.point([(t + turn) % 256 for t in range(256)])
        a = np.asarray(Image.merge("HSV", (h, s, v)).convert("RGB")).astype(float)
    else:
        g = rng.random()
        yy, xx = np.mgrid[0:n, 0:n] / n
        if g < 0.35:
            v = _noise(rng, rng.uniform(0.8, 2.5))
        elif g < 0.6:
            t = rng.uniform(0, 6.3)
            v = xx * np.cos(t) + yy * np.sin(t) + rng.uniform(0, 0.4) * _noise(rng, 2)
            v = (v - v.min()) / np.ptp(v)
        elif g < 0.75:
            v = np.hypot(xx - rng.random(), yy - rng.random())
            v = (v - v.min()) / np.ptp(v)
        elif g < 0.9:  # Voronoi cells, each with a value of its own or of a gradient
            m = int(rng.integers(5, 120))
            p = rng.random((m, 2))
            near = ((xx[..., None] - p[:, 0]) ** 2 + (yy[..., None] - p[:, 1]) ** 2).argmin(-1)
            v = np.clip(p[:, 0] + rng.normal(0, 0.15, m), 0, 1)[near]
        else:
            v = np.full((n, n), 0.5)
        if rng.random() < 0.2:
            v = np.floor(v * rng.integers(3, 9)) / 8
        a = _tint(rng, np.clip(v, 0, 1))
        if rng.random() < 0.3:
            a += (_noise(rng, rng.uniform(0, 1.5)) - 0.5)[..., None] * rng.uniform(10, 120)
        if rng.random() < 0.3:
            a = _bands(rng, n)
    a = np.clip(a, 0, 255)
    if rng.random() < (0.3 if k >= 0.3 else 0.05):
        a = _solids(rng, a)
    for kind in ("leaves", "blades", "blocks", "rings"):
        if rng.random() < (0.2 if k >= 0.3 else 0.08):
            a = _shapes(rng, a, kind, int(rng.choice([3, 8, 30, 120, 400])))
    if rng.random() < 0.35:
        im = Image.fromarray(a.astype(np.uint8)).filter(
            ImageFilter.GaussianBlur(rng.uniform(0.5, 4))
        )
        a = np.asarray(im).astype(float)
    if rng.random() < 0.4:
        a = a + (_noise(rng, rng.uniform(0, 1.2)) - 0.5)[..., None] * rng.uniform(5, 60)
    if rng.random() < 0.5:  # dark or washed-out images
        a = 255 * np.clip(a / 255, 0, 1) ** rng.uniform(0.5, 2.5)
    return np.clip(a, 0, 255).astype(np.uint8)


def composite(rng, figure, background, size):
    """Paste at random scale, place, flip: image (size, size, 3) uint8, mask (size, size) 0-1."""
    y, x = rng.integers(0, BACKGROUND - size + 1, 2)
    background = background[y : y + size, x : x + size]
    if rng.random() < 0.5:
        background = background[:, ::-1]
    if rng.random() < 0.5:
        figure = figure.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    s = rng.uniform(0.28, 0.8) * size / max(figure.size)
    w, h = max(2, int(figure.width * s)), max(2, int(figure.height * s))
    figure = figure.resize((w, h), Image.Resampling.LANCZOS)
    image = Image.fromarray(np.ascontiguousarray(background)).convert("RGBA")
    x, y = int(rng.integers(0, size - w + 1)), int(rng.integers(0, size - h + 1))
    image.alpha_composite(figure, (x, y))
    mask = np.zeros((size, size), np.float32)
    mask[y : y + h, x : x + w] = np.asarray(figure)[..., 3] / 255
    return np.asarray(image)[..., :3], mask


def draw_pool(rng, figures: int, backgrounds: int):
    """Figures (RGBA) and backgrounds (uint8 arrays), a quarter of each as in the drawn data."""
    photos, quarter = sample_photographs(), figures // 4
    each = -(-quarter // len(TYPES))  # rounded up
    kinds = make_creatures(dict.fromkeys(TYPES, each), rng) if quarter else {}
    pool = [draw_art(c, FIGURE) for group in kinds.values() for c in group][:quarter]
    pool = [im.crop(im.getbbox()) for im in pool]
    pool += [draw_figure(rng) for _ in range(figures - len(pool))]
    scenes = [np.asarray(make_background(rng, BACKGROUND)) for _ in range(backgrounds // 4)]
    scenes += [draw_background(rng, photos) for _ in range(backgrounds - len(scenes))]
    return pool, scenes
