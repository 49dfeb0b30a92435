"""Figures show what they are given, whatever classes are called and however many there are."""

import re
import time

import numpy as np
import pandas as pd
import pytest
from matplotlib import rcParams

from pokefast.report import plots


def texts(svg):
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg)


def history(folds, epochs, value=0.5):
    columns = ("train_loss", "valid_loss", "accuracy", "f1_score")
    rows = [(f, e, *[value] * 4) for f in folds for e in range(1, epochs + 1)]
    return pd.DataFrame(rows, columns=["fold", "epoch", *columns])


def lines(figure):
    return [line for ax in figure.axes for line in ax.lines if len(line.get_xdata())]


def test_names_are_shown_as_they_are(evil, tmp_path):
    counts = np.full((5, 5), 2)
    scores = {"per_class_f1": dict.fromkeys(evil, 0.5), "confusion": counts}
    figures = {
        "counts": plots.class_counts(dict.fromkeys(evil, 3)),
        "f1": plots.f1_bars(scores, evil),
        "confusion": plots.confusion(counts, evil),
    }
    for name, figure in figures.items():
        svg = plots.to_svg(figure, name)
        assert "<script" not in svg and "<b>" not in svg
        assert {"Ba$$in", "&lt;b&gt;", "truth"} <= set(texts(svg))
        assert any(t.startswith("a rather long") and t.endswith("\u2026") for t in texts(svg))
        plots.save(figure, tmp_path / f"{name}.png")
    plots.save(plots.image_rows([("", [np.ones((4, 4))] * 5, evil)]), tmp_path / "x.png")


@pytest.mark.parametrize("draw", [plots.confusion, plots.class_counts])
def test_a_half_open_formula_is_a_name_too(draw, tmp_path):
    names = [r"$\frac{1}$", "a$b$", r"\$"]
    figure = draw(
        *([np.eye(3, dtype=int), names] if draw is plots.confusion else [dict.fromkeys(names, 1)])
    )
    plots.save(figure, tmp_path / "x.png")
    assert set(names) <= set(texts(plots.to_svg(figure, "x")))


def test_the_same_figure_is_the_same_svg_and_follows_the_page():
    def draw():
        return plots.to_svg(plots.confusion(np.eye(3, dtype=int) * 4, list("abc")), "x")

    before = dict(rcParams)
    svg = draw()
    assert svg == draw() and dict(rcParams) == before
    assert "var(--accent)" in svg and "var(--soft)" in svg and "#2f62d4" not in svg
    assert "<title>a taken for a: 4</title>" in svg and 'id="tip' not in svg
    assert not re.search(r"<style|<metadata|<\?xml|<!DOCTYPE", svg)
    other = plots.to_svg(plots.confusion(np.eye(3, dtype=int) * 4, list("abc")), "y")
    assert not set(re.findall(r' id="([^"]*)"', svg)) & set(re.findall(r' id="([^"]*)"', other))


def test_a_color_that_is_a_name_stays_one():
    assert "#2f62d4" in texts(plots.to_svg(plots.class_counts({"#2f62d4": 1}), "x"))


def test_each_fold_is_a_line_and_what_is_no_number_is_left_out(tmp_path):
    assert len(lines(plots.curves(history([1, 2, 3], 4)))) == 3 * 4
    table = history([np.nan], 3)
    table["valid_loss"] = ["", "nan", "0.25"]
    figure = plots.curves(table)
    drawn = lines(figure)
    assert len(drawn) == 4
    assert np.isfinite(drawn[1].get_ydata()).sum() == 1
    assert "nan" not in texts(plots.to_svg(figure, "x"))
    for value in (np.nan, np.inf, 1e30):
        plots.save(plots.curves(history([np.nan], 2, value)), tmp_path / "x.png")


def test_many_classes_are_cut_to_the_most_confused_and_say_so():
    n = 1300
    names, counts = [f"class {i}" for i in range(n)], np.eye(n, dtype=int) * 5
    worst = list(range(7, n, 43))[:30]
    counts[worst, worst[1:] + worst[:1]] = 3
    start = time.process_time()
    shown = texts(plots.to_svg(plots.confusion(counts, names), "a"))
    each = {name: 0.5 if i in worst else 0.9 for i, name in enumerate(names)}
    f1 = plots.f1_bars({"per_class_f1": each, "confusion": counts}, names)
    bars = texts(plots.to_svg(f1, "b"))
    by_class = plots.class_counts({k: 1300 - i for i, k in enumerate(names)})
    few = texts(plots.to_svg(by_class, "c"))
    assert time.process_time() - start < 15  # 2 on a quiet machine
    assert plots.most_confused(counts) == worst
    assert {f"class {i}" for i in worst} == {t for t in shown if re.fullmatch(r"class \d+", t)}
    assert any(
        "the 30 most confused of 1,300 classes" in t and "6,350 of 6,590" in t for t in shown
    )
    assert {f"class {i}" for i in worst} == {t for t in bars if re.fullmatch(r"class \d+", t)}
    assert any("the others have 0.900 to 0.900" in t for t in bars)
    assert "class 1299" in few and "class 0" not in few
    assert any("the others have 31 to 1,300 images" in t for t in few)
    assert max(map(len, (f1.axes[0].patches, by_class.axes[0].patches))) == 60


def test_empty_classes_and_matrices_are_drawn(tmp_path):
    for counts in (np.zeros((2, 2), int), np.array([[0, 0], [3, 0]])):
        scores = {"per_class_f1": {"a": 0.0, "b": 0.0}, "confusion": counts}
        plots.save(plots.confusion(counts, ["a", "b"]), tmp_path / "x.png")
        plots.save(plots.f1_bars(scores, ["a", "b"]), tmp_path / "x.png")
    plots.save(plots.class_counts({"a": 0}), tmp_path / "x.png")
    plots.save(plots.class_counts({}), tmp_path / "x.png")


def test_images_of_any_channels_keep_their_shape(tmp_path):
    rng = np.random.default_rng(0)
    images = [rng.random(shape) for shape in ((8, 8), (8, 16, 3), (16, 8, 4))]
    figure = plots.image_rows([("title", images, list("abc")), ("none", [], [])])
    assert len(figure.axes) == 1 and len(figure.axes[0].images) == 3
    for shown, image in zip(figure.axes[0].images, images, strict=True):
        x0, x1, y0, y1 = shown.get_extent()
        assert (x1 - x0) / (y0 - y1) == pytest.approx(image.shape[1] / image.shape[0])
    plots.save(figure, tmp_path / "x.png")
    assert len(plots.image_rows([("", [images[0]] * 9, ["x"] * 9)]).axes[0].images) == 8
    plots.save(plots.image_rows([]), tmp_path / "x.png")


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_an_image_comes_back_from_its_data_uri(channels):
    image = np.random.default_rng(0).integers(0, 256, (9, 12, channels)).astype(np.uint8)
    back = plots.from_data_uri(plots.to_data_uri(image / 255))
    assert np.array_equal(back, image.squeeze())
    assert plots.from_data_uri(plots.to_data_uri(np.ones((320, 640, 3)))).shape == (80, 160, 3)
