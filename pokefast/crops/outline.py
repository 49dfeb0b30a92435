"""Find an outlined icon on a photograph.

What is looked for is a connected, thin, pure-black line round few, flat colours. A photograph has
black too, but seldom black that goes round pixels which repeat their neighbours' colour exactly.
Two things are mended then: background black that touches the outline is taken off, and coloured
parts outside the outline (clouds of gas, say) are added. Nothing is learned, so nothing can be
fitted to one set of images but the constants below.
"""

import numpy as np
from scipy import ndimage

__all__ = ["outline_mask"]

LEVELS = (0, 16)  # brightest channel of 255 of an outline: pure black first, then nearly black
MIN_SIDE = 8  # pixels: a smaller outline is no icon
MIN_INSIDE = 16  # pixels an outline must go round
ROUGH_COST = 0.5  # score of a pixel inside that is not flat (flat: +1): minus this
MAX_LENGTH = 0.62  # of the image's shorter side: a longer outline holds background
THICK = 30  # pixels with black all round: more than that is no line
DARK = 24  # brightest channel of what counts as black where the background is black
SPIKE = 24  # pixels of black off the icon's colours that may be a spike or a leg
WINDOW = 6  # pixels round the outline in which parts outside it are looked for
MIN_COLOUR = 8  # pixels of one flat colour before it can make up such a part
MIN_PART = 4  # pixels of a part
SOFT = 12  # levels of 255: a smaller colour step at a part's edge is a gradient's, not drawn

EIGHT = np.ones((3, 3), bool)  # diagonal neighbours count: outlines step diagonally
NEIGHBOURS = [(np.s_[..., 1:, :], np.s_[..., :-1, :]), (np.s_[..., 1:], np.s_[..., :-1])]


def _span(mask):
    """Slices (rows, columns) around the true pixels of `mask`, which has some."""
    return ndimage.find_objects(mask.astype(np.uint8))[0]


def _planes(image):
    """R, G, B, int32 [3, h, w]; colour as one integer, -1 if transparent; brightest channel."""
    has_alpha = "A" in image.getbands() or "transparency" in image.info
    pixels = np.asarray(image.convert("RGBA" if has_alpha else "RGB"))
    rgb = pixels[..., :3].transpose(2, 0, 1).astype(np.int32)
    red, green, blue = rgb
    colour = (red << 16) | (green << 8) | blue
    value = np.maximum(np.maximum(red, green), blue)
    if has_alpha:
        clear = pixels[..., 3] < 128
        colour[clear], value[clear] = -1, 255
    return rgb, colour, value


def _flat(colour):
    """Pixels of exactly the same colour as one of their four neighbours."""
    flat = np.zeros(colour.shape, bool)
    for a, b in NEIGHBOURS:
        same = colour[a] == colour[b]
        flat[a] |= same
        flat[b] |= same
    return flat & (colour >= 0)


def _hull(line):
    """Pixels with `line` on all four sides, or on it: hole filling that small gaps do not spoil."""
    over = np.logical_or.accumulate
    vertical = over(line, 0) & over(line[::-1], 0)[::-1]
    return vertical & over(line, 1) & over(line[:, ::-1], 1)[:, ::-1]


def _outline(black, flat):
    """The line of `black` round most flat colour, (line, hull, slices) or None; and all lines."""
    label, _ = ndimage.label(black, EIGHT)
    best_score, best, lines = 0, None, []
    for i, span in enumerate(ndimage.find_objects(label), 1):
        if min(s.stop - s.start for s in span) < MIN_SIDE:
            continue
        line = label[span] == i
        hull = _hull(line)
        inside = hull & ~black[span]
        n, n_flat = np.count_nonzero(inside), np.count_nonzero(inside & flat[span])
        if n < MIN_INSIDE:
            continue
        lines.append((line, span))
        score = n_flat - ROUGH_COST * (n - n_flat)
        if score > best_score:
            best_score, best = score, (line, hull, span)
    return best, lines


def _closed_outline(lines):
    """Without flat colours: the closed line round most area, as (line, filled, slices), or None."""
    best_area, best = MIN_INSIDE, None
    for line, span in lines:
        filled = ndimage.binary_fill_holes(line)
        area = np.count_nonzero(filled) - np.count_nonzero(line)
        if area >= best_area:
            best_area, best = area, (line, filled, span)
    return best


def _unmerge(line, hull, span, dark, flat):
    """For a line merged with black background: the icon's colours and the black along them."""
    label, n = ndimage.label(hull & ~dark[span])
    size = np.bincount(label.ravel(), minlength=n + 1)
    flats = np.bincount(label[flat[span]], minlength=n + 1)
    good = (flats >= 0.5 * size) | (size <= 3)  # three pixels are an eye or a tooth
    good[0] = False
    colours = good[label]
    group, n = ndimage.label(ndimage.binary_dilation(colours, EIGHT), EIGHT)
    if not n:
        return line, hull, span
    score = np.bincount(group[colours & flat[span]], minlength=n + 1)
    score = score - ROUGH_COST * np.bincount(group[colours & ~flat[span]], minlength=n + 1)
    own = (group == 1 + score[1:].argmax()) & hull & ~(label > 0) & dark[span]
    if not own.any():
        return line, hull, span
    inner = _span(own)
    span = tuple(
        slice(s.start + i.start, s.start + i.stop) for s, i in zip(span, inner, strict=True)
    )
    return own[inner], _hull(own[inner]), span


def _count(ordered, values):
    """How often each of `values` is in the sorted array `ordered`."""
    return np.searchsorted(ordered, values, "right") - np.searchsorted(ordered, values, "left")


def _among(colour, values):
    """Where `colour` is one of the sorted `values` (numpy.isin is slower at this size)."""
    if not values.size:
        return np.zeros(colour.shape, bool)
    return values[np.searchsorted(values[:-1], colour)] == colour


def _parts(rgb, colour, black, flat, hull, everywhere, at_edge):
    """Parts outside the outline: patches of flat colours found nowhere else, with drawn edges."""
    values, counts = np.unique(colour[flat & ~hull & ~black], return_counts=True)
    values = values[counts >= MIN_COLOUR]
    if values.size:
        here = _count(np.sort(colour, None), values)
        values = values[here >= 0.95 * _count(everywhere, values)]
    if not values.size:
        return None
    part = _among(colour, values) & ~hull
    rest = ~(part | hull)
    soft = np.zeros(part.shape, bool)
    for a, b in NEIGHBOURS:
        alike = (np.abs(rgb[a] - rgb[b]) <= SOFT).all(0)
        soft[a] |= alike & part[a] & rest[b]
        soft[b] |= alike & part[b] & rest[a]
    label, n = ndimage.label(part, EIGHT)
    size, softs, cut = (np.bincount(label[m], minlength=n + 1) for m in (part, soft, at_edge))
    good = (size >= MIN_PART) & (softs <= 0.1 * size) & (cut == 0)
    good[0] = False
    return good[label] if good.any() else None


def _silhouette(rgb, colour, black, flat, outline):
    """The filled mask [h, w] of the icon with this outline, parts outside it included."""
    line, hull, span = outline
    shape = black.shape
    starts = [max(0, s.start - WINDOW) for s in span]
    stops = [min(n, s.stop + WINDOW) for s, n in zip(span, shape, strict=True)]
    window = tuple(map(slice, starts, stops))
    within = tuple(slice(s.start - a, s.stop - a) for s, a in zip(span, starts, strict=True))
    everywhere = np.sort(colour, None)
    rgb, colour = rgb[(slice(None), *window)], colour[window]
    black, flat = black[window], flat[window]
    wide = np.zeros((2, *black.shape), bool)
    wide[(0, *within)], wide[(1, *within)] = line, hull
    line, hull = wide
    at_edge = np.ones(black.shape, bool)  # where the window ends and the image does not
    ends = zip(starts, stops, shape, strict=True)
    at_edge[tuple(slice(int(a > 0), b - a - int(b < n)) for a, b, n in ends)] = False

    inside = hull & ~black
    values, counts = np.unique(colour[inside], return_counts=True)
    values = values[(counts >= 2) & (counts >= 0.5 * _count(everywhere, values))]
    own = _among(colour, values) & hull  # pixels of the icon's colours
    has_colours = 2 * np.count_nonzero(own) >= np.count_nonzero(inside)
    body = line | hull
    part = _parts(rgb, colour, black, flat, hull, everywhere, at_edge)
    if part is not None:
        body |= part
        # The dilation joins parts up to two pixels away.
        label, _ = ndimage.label(ndimage.binary_dilation(body))
        body &= label == label[hull][0]
        own |= body & part
    if has_colours:
        far = body & black & ~ndimage.binary_dilation(own, EIGHT)
        if np.count_nonzero(far) > SPIKE:
            label, _ = ndimage.label(far, EIGHT)
            too_big = np.bincount(label.ravel()) > SPIKE
            too_big[0] = False
            body = (body & black & ~too_big[label]) | own
    filled = ndimage.binary_fill_holes((body & black) | own)
    # A gap in the outline lets the filling leak; the hull does not leak, but fills every notch.
    if np.count_nonzero(filled) < 0.85 * np.count_nonzero(body):
        filled = body
    mask = np.zeros(shape, bool)
    mask[window] = filled
    return mask


def outline_mask(image):
    """The icon's filled outline in `image` (PIL, any mode and size), bool [h, w]; None where no
    outline is plausible.

    The constants are for icons at their native size (12 to 40 pixels wide, outline one pixel).
    """
    rgb, colour, value = _planes(image)
    flat = _flat(colour)
    lines = []
    for level in LEVELS:
        black = value <= level
        outline, found = _outline(black, flat) if black.any() else (None, [])
        lines = lines or [(found, black)]
        if outline is not None:
            break
    else:
        found, black = lines[0]
        outline = _closed_outline(found)
        if outline is None:
            return None
    line, hull, span = outline
    too_long = max(s.stop - s.start for s in span) > MAX_LENGTH * min(black.shape)
    too_thick = np.count_nonzero(ndimage.binary_erosion(line, EIGHT)) > THICK
    if too_long or too_thick:
        outline = _unmerge(line, hull, span, value <= DARK, flat)
    return _silhouette(rgb, colour, black, flat, outline)
