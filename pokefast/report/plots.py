"""A run's figures, from its folder: each is drawn once, by matplotlib, and saved as PNG for the
folder, as SVG for the page.

Without pyplot, so that no window system is ever asked for. Names of classes are data: long ones
are cut, and no text with them is read as mathematics.
"""

import base64
import io
import re
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from matplotlib.ticker import MaxNLocator
from PIL import Image

from pokefast.errors import UserError
from pokefast.files import atomic_path, read_own_csv
from pokefast.runs import read_json, read_run
from pokefast.scoring.metrics import metric_title

__all__ = [
    "ACCENT",
    "FIGURES",
    "GREY",
    "RunFiles",
    "SECOND",
    "class_counts",
    "confusion",
    "curves",
    "draw_figures",
    "f1_bars",
    "from_data_uri",
    "image_rows",
    "most_confused",
    "reliability",
    "save",
    "to_data_uri",
    "to_svg",
]

TEXT, GREY, LINE, CARD = "#1b1f27", "#5d6675", "#e2e5ea", "#ffffff"
ACCENT, SECOND = "#2f62d4", "#cf6a2c"
# the page's variables in the place of colours, so that its figures follow the colour scheme
THEME = {TEXT: "text", GREY: "soft", LINE: "line", CARD: "card", ACCENT: "accent", SECOND: "second"}
WIDTH = 3.8  # inches of a chart: a phone's width, at which its letters stay legible
SIZE = 8  # points, of letters
MOST = 30  # classes that a chart shows
TENTHS = (0, 0.2, 0.4, 0.6, 0.8, 1)
LONGEST = 160  # pixels, longer side of an image in a data URI


class RunFiles:
    """What a run's folder holds, read when it is asked for: `run` (run.json), the data frame
    `probabilities` and, None as long as they are not there, `metrics`, `examples`,
    `suspects`, `kaggle` (JSON) and `history`, a data frame.

    Raises UserError for a damaged file, another folder and a run of another version.
    """

    def __init__(self, folder):
        self.folder = Path(folder)
        self.run = read_run(folder)

    @cached_property
    def metrics(self):
        """A finished run's metrics.json."""
        return self._json("metrics.json")

    @cached_property
    def examples(self):
        """examples.json."""
        return self._json("examples.json")

    @cached_property
    def suspects(self):
        """suspects.json: labels that are probably wrong."""
        return self._json("suspects.json")

    @cached_property
    def kaggle(self):
        """kaggle.json: the public score of its submission."""
        return self._json("kaggle.json")

    @cached_property
    def history(self):
        """history.csv."""
        file = self.folder / "history.csv"
        try:
            return pd.read_csv(file) if file.is_file() else None
        except ValueError as e:  # pandas' parser errors among them
            raise UserError(f"{file}: damaged ({e})") from None

    @cached_property
    def probabilities(self):
        """probabilities.csv, which a run has before its scores; UserError where it is gone."""
        return read_own_csv(self.folder / "probabilities.csv")

    def _json(self, name):
        file = self.folder / name
        return read_json(file) if file.is_file() else None


def draw_figures(folder, names=None):
    """Write NAME.png to a run's folder for those of `names`, keys of `FIGURES`, that its files
    hold, by default for all; returns the paths.

    Raises UserError for one that cannot be drawn when the others are written.
    """
    files, written, failed = RunFiles(folder), [], None
    for name in FIGURES if names is None else names:
        file = files.folder / f"{name}.png"
        try:
            if figure := FIGURES[name](files):
                save(figure, file)
                written.append(file)
        except Exception as e:  # whatever is raised for data that nobody thought of
            failed = (file, e)
    if failed:
        file, e = failed
        raise UserError(f"{file}: it cannot be drawn ({type(e).__name__}: {e})") from e
    return written


def save(figure, file):
    """Write `figure` to `file`, atomically."""
    with atomic_path(file) as temp:
        figure.savefig(temp, dpi="figure", bbox_inches="tight")


def to_svg(figure, name):
    """`figure` as an <svg> element for a page with the variables of `THEME`: the same text for the
    same figure; `name` tells its ids from those of the page's other figures.
    """
    file = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(file, format="svg", facecolor="none", metadata=nothing)
    width, height = figure.get_size_inches() * 72
    text = re.sub(r"<style.*?</style>", "", file.getvalue(), count=1, flags=re.DOTALL)
    text = re.sub(r'<g id="tip:([^"]*)">', r"<g><title>\1</title>", text)
    text = re.sub(r'(<\w[^>]*?) id="[\w.]+_\d+"', r"\1", text)
    text = re.sub(r'style="[^"]*"', lambda m: re.sub("#[0-9a-f]{6}", _variable, m[0]), text)
    # as wide as its place, but not so narrow that nothing can be read
    root = f'<svg viewBox="0 0 {width:g} {height:g}" style="min-width:{0.9 * width:.0f}px">'
    return root + text[text.index(">", text.index("<svg")) + 1 :].strip()


def class_counts(counts):
    """Bars of `counts`, a dict of images by class; of more than `MOST` classes the rarest."""
    title = f"{sum(counts.values()):,} images in {len(counts):,} classes"
    names = list(counts)
    if len(names) > MOST:
        order = sorted(names, key=counts.get)
        low, high = counts[order[MOST]], counts[order[-1]]
        title += f": the {MOST} rarest,\nthe others have {low:,} to {high:,} images"
        names = order[:MOST]
    most = max(counts.values(), default=0) or 1
    return _bars([(k, counts[k] / most, f"{counts[k]:,}") for k in names], title)


def curves(history):
    """Losses, and scores on the validation part, by epoch; a line for each fold.

    `history` is history.csv as a data frame; what is no number in it is left out.
    """
    figure, (top, bottom) = _chart(3.7, rows=2)
    losses = {"train_loss": ("training", GREY), "valid_loss": ("validation", ACCENT)}
    scores = {"accuracy": ("accuracy", SECOND), "f1_score": ("macro-F1", ACCENT)}
    known = {"fold", "epoch", *losses, *scores}
    scores |= {name: (metric_title(name), TEXT) for name in history if name not in known}
    for ax, title, columns in ((top, "loss", losses), (bottom, "validation scores", scores)):
        for column, (name, color) in columns.items():
            for _, part in history.groupby("fold", dropna=False):
                values = pd.to_numeric(part[column], errors="coerce")
                marker = "o" if len(part) <= 20 else None
                style = dict(color=color, lw=1.5, marker=marker, ms=3, clip_on=False)
                ax.plot(part["epoch"], values, label=name, **style)
                name = "_nolegend_"  # the first fold has it
        ax.grid(axis="y", color=LINE, lw=0.7)
        ax.yaxis.set_major_locator(MaxNLocator(4))
        ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        ax.set_title(title, loc="left", fontsize=SIZE, color=TEXT)
        place = dict(loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0.2, ncols=2)
        ax.legend(**place, frameon=False, fontsize=SIZE, handlelength=1, labelcolor=GREY)
    bottom.set_ylim(top=1.03)
    bottom.set_xlabel("epoch", fontsize=SIZE, color=GREY)
    return figure


def reliability(before, after):
    """How often predictions are right by how sure they are, as `scoring.calibration.reliability`
    gives it before and after calibration.
    """
    figure, (ax,) = _chart(2.6)
    ax.plot((0, 1), (0, 1), color=LINE, lw=1)
    for name, curve, color in (("as trained", before, GREY), ("calibrated", after, ACCENT)):
        style = dict(color=color, lw=1.5, marker="o", ms=3, clip_on=False)
        label = f"{name}, off by {curve['error']:.3f}"
        ax.plot(curve["confidence"], curve["accuracy"], label=label, **style)
    ax.set(xlim=(0, 1), ylim=(0, 1), xticks=TENTHS, yticks=TENTHS)
    ax.grid(color=LINE, lw=0.7)
    ax.set_xlabel("probability of the predicted class", fontsize=SIZE, color=GREY)
    ax.set_title("fraction that is right", loc="left", fontsize=SIZE, color=TEXT)
    ax.legend(loc="upper left", frameon=False, fontsize=SIZE, labelcolor=GREY)
    return figure


def f1_bars(scores, vocab):
    """Bars of F1 by class, best first, from the dict of `scoring.metrics.scores`; of more than
    `MOST` classes the most confused.
    """
    f1, counts, title = (
        scores["per_class_f1"],
        np.asarray(scores["confusion"]),
        "F1 (images) in the test part",
    )
    shown = most_confused(counts)
    if len(shown) < len(vocab):
        others = [f1[k] for i, k in enumerate(vocab) if i not in shown]
        title += f": the {len(shown)} most confused\nof {len(vocab):,} classes, "
        title += f"the others have {min(others):.3f} to {max(others):.3f}"
    rows = [(vocab[i], f1[vocab[i]], f"{f1[vocab[i]]:.3f} ({counts[i].sum():,})") for i in shown]
    return _bars(sorted(rows, key=lambda row: -row[1]), title)


def confusion(counts, vocab):
    """The confusion matrix `counts` [truth, prediction], coloured by the fraction of the row; of
    more than `MOST` classes the most confused.
    """
    counts = np.asarray(counts)
    shown = most_confused(counts)
    fraction = (counts / counts.sum(1, keepdims=True).clip(1))[np.ix_(shown, shown)]
    part, n = counts[np.ix_(shown, shown)], len(shown)
    side = max(WIDTH, 1.2 + 0.3 * n)
    figure, (ax,) = _chart(side, width=side)
    ax.set(xlim=(-0.5, n - 0.5), ylim=(n - 0.5, -0.5), aspect="equal")
    ax.set_facecolor(to_rgba(ACCENT, 0.05))
    for at in np.arange(n + 1) - 0.5:
        ax.axhline(at, color=CARD, lw=1.5)
        ax.axvline(at, color=CARD, lw=1.5)
    names = [vocab[i] for i in shown]
    for i, j in zip(*np.nonzero(part), strict=True):
        value = float(fraction[i, j])
        tip = f"tip:{names[i]} taken for {names[j]}: {part[i, j]:,}"
        shape = dict(boxstyle="round,pad=0,rounding_size=0.12", lw=0, gid=tip)
        color = to_rgba(ACCENT, 0.04 + 0.96 * value)
        ax.add_patch(FancyBboxPatch((j - 0.46, i - 0.46), 0.92, 0.92, fc=color, **shape))
        ink, weight = CARD if value > 0.6 else TEXT, "bold" if i == j else "normal"
        style = dict(ha="center", va="center", fontsize=SIZE, color=ink, weight=weight)
        ax.text(j, i, f"{part[i, j]}", gid=tip, **style)
    labels = [_cut(name) for name in names]
    turned = dict(rotation=45, ha="left", rotation_mode="anchor")
    ax.xaxis.tick_top()
    ax.set_xticks(range(n), labels, parse_math=False, **turned)
    ax.set_yticks(range(n), labels, parse_math=False)
    title = "predicted class"
    if n < len(vocab):
        title += f": the {n} most confused of {len(vocab):,} classes; "
        title += f"{counts.sum() - part.sum():,} of {counts.sum():,} images are in the other cells"
    ax.set_xlabel(title, loc="left", fontsize=SIZE, color=GREY)
    ax.set_ylabel("true class", fontsize=SIZE, color=GREY)
    return figure


def most_confused(counts, n=MOST):
    """Numbers of the `n` classes with the most errors in their row and column of the confusion
    matrix `counts`, in the order of classes.
    """
    errors = counts.sum(0) + counts.sum(1) - 2 * counts.diagonal()
    return sorted(np.argsort(-errors, kind="stable")[:n].tolist())


def image_rows(rows, columns=8):
    """Rows of images: (title, images, captions), arrays [h, w] or [h, w, 3 or 4], floats in 0..1 or
    uint8; rows without images are left out, and images after `columns`.
    """
    # one pair of axes, in which an image's place is 1 x 1: a pair for each is three times slower
    figure = Figure(dpi=110)
    ax = figure.add_axes((0, 0, 1, 1))
    below = 0
    for title, images, captions in [row for row in rows if len(row[1])]:
        below += 0.25 * bool(title) + 0.04
        ax.text(0.04, below - 0.08, title, fontsize=10, color=TEXT, parse_math=False)
        captions = ["\n".join(map(_cut, c.split("\n"))) for c in captions][:columns]
        below += 0.13 * max(caption.count("\n") + bool(caption) for caption in captions)
        for x, (image, caption) in enumerate(zip(images, captions, strict=False)):
            h, w = 0.46 * np.divide(image.shape[:2], max(image.shape[:2]))
            box = (x + 0.5 - w, x + 0.5 + w, below + 0.5 + h, below + 0.5 - h)
            ax.imshow(image, cmap="gray", interpolation="nearest", aspect="auto", extent=box)
            place = dict(fontsize=7, ha="center", va="bottom", color=TEXT, parse_math=False)
            ax.text(x + 0.5, below + 0.02, caption, **place)
        below += 1
    ax.axis("off")
    ax.set(xlim=(0, columns), ylim=(max(below, 0.1), 0))
    figure.set_size_inches(1.15 * columns, 1.15 * max(below, 0.1))
    return figure


def to_data_uri(image):
    """An array [h, w, 1, 3 or 4] in 0..1 as a PNG in a data URI, at most `LONGEST` px."""
    values = (np.asarray(image) * 255).round().astype(np.uint8)
    picture = Image.fromarray(values[..., 0] if values.shape[-1] == 1 else values)
    picture.thumbnail((LONGEST, LONGEST))
    file = io.BytesIO()
    picture.save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def from_data_uri(uri):
    """The image of `to_data_uri` as an array of uint8."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))


def _reliability(files):
    if found := (files.metrics or {}).get("calibration"):
        return reliability(found["before"], found["after"])


def _batch(files):
    if shown := (files.examples or {}).get("batch"):
        parts = [shown[i : i + 8] for i in range(0, len(shown), 8)]
        return image_rows([("", _images(p, "image"), [i["class"] for i in p]) for p in parts])


def _crops(files):
    if shown := (files.examples or {}).get("crops"):
        before = ("images", _images(shown, "before"), [i["class"] for i in shown])
        after = ("what the model gets", _images(shown, "after"), [""] * len(shown))
        return image_rows([before, after])


def _gradcam(files):
    rows = (files.examples or {}).get("cams", [])
    parts = [(r["title"], _images(r["images"], "map"), map(_verdict, r["images"])) for r in rows]
    return image_rows(parts) if parts else None


def _images(items, key):
    return [from_data_uri(item[key]) for item in items]


def _verdict(item):
    """A right image's class, or "truth > predicted" in two lines."""
    right = item["truth"] == item["predicted"]
    return item["truth"] if right else f"{item['truth']}\n\u2192 {item['predicted']}"


# a figure's name -> what draws it from a run's files, or gives None where they do not hold it
FIGURES = {
    "class_counts": lambda f: class_counts(f.run["n_train_by_class"]),
    "curves": lambda f: None if f.history is None or f.history.empty else curves(f.history),
    "f1": lambda f: f.metrics and f1_bars(f.metrics, f.run["vocab"]),
    "confusion": lambda f: f.metrics and confusion(f.metrics["confusion"], f.run["vocab"]),
    "reliability": _reliability,
    "batch": _batch,
    "crops": _crops,
    "gradcam": _gradcam,
}


def _chart(height, rows=1, width=WIDTH):
    """A figure with axes below each other, without frame and tick marks."""
    figure = Figure(figsize=(width, height), dpi=200, layout="constrained")
    axes = figure.subplots(rows, 1, sharex=True, squeeze=False)[:, 0]
    for ax in axes:
        ax.set_facecolor("none")
        ax.spines[:].set_visible(False)
        ax.tick_params(length=0, labelsize=SIZE, labelcolor=GREY)
    return figure, axes


def _bars(rows, title):
    """Rows of (class, fraction in 0..1, text beside it) as horizontal bars."""
    figure, (ax,) = _chart(0.3 + 0.24 * len(rows) + 0.15 * title.count("\n"))
    ax.barh(range(len(rows)), 1, height=0.45, color=to_rgba(ACCENT, 0.14))
    ax.barh(range(len(rows)), [length for _, length, _ in rows], height=0.45, color=ACCENT)
    for y, (_, _, text) in enumerate(rows):
        ax.text(1.03, y, text, va="center", fontsize=SIZE, color=TEXT)
    ax.set_yticks(range(len(rows)), [_cut(name) for name, *_ in rows], parse_math=False)
    ax.set(xticks=[], xlim=(0, 1), ylim=(len(rows) - 0.4, -0.6))
    ax.set_title(title, loc="left", fontsize=SIZE, color=GREY)
    return figure


def _cut(name, longest=20):
    """A name on one line, in at most `longest` letters."""
    name = " ".join(str(name).split())
    return name if len(name) <= longest else name[: longest - 1] + "\u2026"


def _variable(color):
    return f"var(--{THEME[color[0]]})" if color[0] in THEME else color[0]
