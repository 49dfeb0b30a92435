"""Pictures for the run folder: matplotlib figures without pyplot, so that no window system is ever
asked for.
"""

import numpy as np
from matplotlib.figure import Figure

from pokefast.files import atomic_path

__all__ = ["save", "class_counts", "image_grid", "crop_pairs", "curves", "confusion"]

ACCENT, SECOND, GREY = "#3d6fd9", "#e07a3f", "#8a8f98"


def save(figure, file):
    """Write `figure` to `file`, atomically."""
    with atomic_path(file) as temp:
        figure.savefig(temp, dpi=110, bbox_inches="tight")


def class_counts(labels):
    """Bars of pictures a class, from a sequence of labels."""
    names, counts = np.unique(np.asarray(labels), return_counts=True)
    figure = Figure(figsize=(6, 3))
    ax = figure.subplots()
    bars = ax.barh(names[::-1], counts[::-1], color=ACCENT)
    ax.bar_label(bars, padding=3, fontsize=8)
    _plain(ax)
    ax.set_title(f"{counts.sum()} pictures in {len(names)} classes", loc="left", fontsize=10)
    return figure


def image_grid(images, titles, columns=8):
    """Images [n, h, w, 3 or 4] in 0..1 with a title each."""
    rows = -(-len(images) // columns)
    figure = Figure(figsize=(columns * 1.1, rows * 1.3))
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for ax in axes:
        ax.axis("off")
    for ax, image, title in zip(axes, images, titles, strict=False):
        ax.imshow(image, interpolation="nearest")
        ax.set_title(title, fontsize=7)
    return figure


def crop_pairs(before, after, titles, columns=8):
    """Pictures above what the model gets of them; lists of arrays [h, w, 3 or 4] in 0..1."""
    figure = Figure(figsize=(columns * 1.1, 2.6))
    axes = figure.subplots(2, columns, squeeze=False)
    for ax in axes.flat:
        ax.axis("off")
    for i, (x, y, title) in enumerate(zip(before[:columns], after, titles, strict=False)):
        axes[0, i].imshow(x, interpolation="nearest")
        axes[0, i].set_title(title, fontsize=7)
        axes[1, i].imshow(y, interpolation="nearest")
    return figure


def curves(history):
    """Losses, and scores on the validation part, by epoch; `history` is history.csv as a data
    frame.
    """
    figure = Figure(figsize=(8, 3))
    left, right = figure.subplots(1, 2)
    epochs = history["epoch"]
    left.plot(epochs, history["train_loss"], color=GREY, label="training")
    left.plot(epochs, history["valid_loss"], color=ACCENT, label="validation")
    right.plot(epochs, history["f1_score"], color=ACCENT, label="macro-F1")
    right.plot(epochs, history["accuracy"], color=SECOND, label="accuracy")
    for ax, title in ((left, "loss"), (right, "validation")):
        _plain(ax)
        ax.set_title(title, loc="left", fontsize=10)
        ax.set_xlabel("epoch")
        ax.legend(frameon=False, fontsize=8)
    figure.tight_layout()
    return figure


def confusion(counts, labels, title=""):
    """Confusion matrix [truth, prediction] with counts, coloured by share of the row."""
    counts = np.asarray(counts)
    share = counts / counts.sum(1, keepdims=True).clip(1)
    figure = Figure(figsize=(0.5 * len(labels) + 1.6, 0.5 * len(labels) + 1.2))
    ax = figure.subplots()
    ax.imshow(share, cmap="Blues", vmin=0, vmax=1)
    ax.set_xticks(range(len(labels)), labels, rotation=45, ha="right")
    ax.set_yticks(range(len(labels)), labels)
    ax.set_xlabel("predicted")
    ax.set_ylabel("true")
    ax.set_title(title, loc="left", fontsize=10)
    for i, j in zip(*np.nonzero(counts), strict=True):
        color = "white" if share[i, j] > 0.5 else "black"
        ax.text(j, i, counts[i, j], ha="center", va="center", fontsize=8, color=color)
    return figure


def _plain(ax):
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(labelsize=8)
