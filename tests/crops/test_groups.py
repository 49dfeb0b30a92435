"""Images of one drawn figure end in one group, of two in two, also where the two have the same
colours; bad tables are refused.
"""

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageDraw

from pokefast.crops.alignment import centred_cutout, fit_of_pairs
from pokefast.crops.groups import (
    ALIKE,
    Pairs,
    add_groups,
    describe_images,
    find_pairs,
)
from pokefast.errors import UserError

COLOURS = [("red", "gold"), ("blue", "white"), ("green", "pink"), ("orange", "navy")]


def picture(rng, kind, relative=False):
    """Figure `kind`, or its relative, at a random scale, place and flip on noise."""
    a, b = COLOURS[kind]
    art = Image.new("RGBA", (200, 200))
    draw = ImageDraw.Draw(art)
    if relative:
        draw.ellipse((60, 95, 140, 195), fill=a, outline="black", width=4)
        draw.ellipse((10, 5, 190, 105), fill=a, outline="black", width=4)
        draw.rectangle((70, 120, 130, 170), fill=b, outline="black", width=4)
        draw.polygon([(15, 30), (60, 60), (15, 90)], fill=b, outline="black", width=4)
        draw.ellipse((90, 40, 102, 52), fill="black")
    else:
        draw.ellipse((30, 60, 150, 190), fill=a, outline="black", width=4)
        draw.ellipse((90, 10, 180, 90), fill=b, outline="black", width=4)
        draw.ellipse((130, 40, 142, 52), fill="black")
        draw.polygon([(40, 120), (5, 60), (70, 90)], fill=b, outline="black", width=4)
    side = int(rng.integers(110, 200))
    art = art.resize((side, side), Image.Resampling.LANCZOS)
    if rng.random() < 0.5:
        art = art.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    noise = rng.integers(60, 190, (20, 20, 3)).astype(np.uint8)
    im = Image.fromarray(noise).resize((320, 320), Image.Resampling.BICUBIC).convert("RGBA")
    im.alpha_composite(art, tuple(int(v) for v in rng.integers(0, 320 - side, 2)))
    return im.convert("RGB")


@pytest.fixture(scope="module")
def pictures():
    """4 figures with 1, 2, 3 and 6 images, shuffled."""
    rng = np.random.default_rng(3)
    truth = rng.permutation(np.repeat(np.arange(4), (1, 2, 3, 6)))
    images = [picture(rng, kind) for kind in truth]
    return images, truth


def test_groups_are_the_figures_however_many_images_each_has(pictures):
    images, truth = pictures
    groups = find_pairs(images).groups(["one class"] * len(images))
    assert np.array_equal(groups[:, None] == groups, truth[:, None] == truth)


def test_groups_never_cross_classes_and_do_not_depend_on_order(pictures):
    images, truth = pictures
    labels = np.where(np.arange(len(truth)) % 2, "a", "b")
    groups = find_pairs(images).groups(labels)
    assert all(len(set(labels[groups == g])) == 1 for g in set(groups))
    back = find_pairs(images[::-1]).groups(labels[::-1])[::-1]
    assert np.array_equal(groups[:, None] == groups, back[:, None] == back)


def test_a_relative_of_the_same_colours_is_another_figure():
    rng = np.random.default_rng(5)
    truth = np.repeat(np.arange(4), 3)
    images = [picture(rng, kind % 2, relative=kind > 1) for kind in truth]
    groups = find_pairs(images).groups(["one class"] * len(images))
    assert np.array_equal(groups[:, None] == groups, truth[:, None] == truth)
    histograms, _ = describe_images(images)
    relatives = abs(truth[:, None] - truth) == 2
    assert (histograms @ histograms.T).toarray()[
        relatives
    ].mean() > ALIKE  # by colours they would be one


def test_alignment_finds_flip_and_scale_but_not_another_shape():
    yy, xx = np.mgrid[:160, :160] / 80 - 1
    cutouts = []
    for size, side, turned in ((0.6, 1, 0), (0.35, -1, 0), (0.45, 1, 1)):
        y, x = (xx / size, yy / size) if turned else (yy / size, side * xx / size)
        mask = (x**2 + (2 * y) ** 2 < 1) | ((x - 0.7) ** 2 + (y + 0.3) ** 2 < 0.1)
        rgb = np.where((x > 0.1)[..., None], [200, 30, 30], [240, 220, 60]).astype(np.uint8)
        cutouts.append(centred_cutout(rgb, mask.astype(np.float32)))
    fit = fit_of_pairs(np.stack(cutouts), np.array([[0, 1], [0, 2], [1, 2], [0, 0]]))
    assert min(fit[0], fit[3]) > 0.9
    assert max(fit[1:3]) < 0.7


def test_no_images_have_no_groups():
    assert find_pairs([]).groups([]).tolist() == []


def test_images_without_a_foreground_are_grouped_by_colour():
    flat = [Image.new("RGB", (320, 320), c) for c in ("red", "blue", "red", "blue")]
    assert find_pairs(flat).groups(["one class"] * 4).tolist() == [0, 1, 0, 1]


def test_files_and_images_are_described_the_same(pictures, tmp_path):
    pictures[0][0].save(tmp_path / "a.png")
    histograms, (file, image) = describe_images([tmp_path / "a.png", pictures[0][0]])
    histograms = histograms.toarray()
    assert np.array_equal(*histograms) and np.array_equal(file, image)
    assert np.allclose((histograms**2).sum(1), 1, atol=1e-4)


def test_wrong_images_and_options_are_named(pictures, tmp_path):
    (tmp_path / "x.png").write_text("no image")
    for file in ("x.png", "none.png"):
        with pytest.raises(UserError, match=file):
            find_pairs([tmp_path / file])


@pytest.fixture
def train(pictures, tmp_path):
    """A table of four images in files."""
    paths = [tmp_path / f"{i}.png" for i in range(4)]
    for path, image in zip(paths, pictures[0], strict=False):
        image.save(path)
    return pd.DataFrame({"Id": list("0123"), "label": list("aabb"), "path": paths})


def test_found_pairs_are_kept_below_the_users_cache(train, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    found = add_groups(train)
    (kept,) = (tmp_path / "cache" / "pokefast" / "kept").iterdir()
    pair = dict(rows=np.array([[0, 1]]), colours=np.ones(1), fit=np.ones(1))
    np.savez(kept, **pair)
    assert add_groups(train)["group"].tolist() == [0, 0, 1, 2]
    assert add_groups(train, range(4))["group"].tolist() == [0, 1, 2, 3]
    kept.write_bytes(b"damaged")
    assert add_groups(train)["group"].tolist() == found["group"].tolist()
    np.savez(kept, **pair)
    train["path"][0].touch()  # another image, it may be
    assert add_groups(train)["group"].tolist() == found["group"].tolist()


def test_a_cache_that_cannot_be_written_is_said_and_does_not_matter(
    train, tmp_path, capsys, monkeypatch
):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file" / "folder"))
    found = add_groups(train)
    assert found["group"].tolist() == find_pairs(train["path"]).groups(train["label"]).tolist()
    assert capsys.readouterr().err.count("\n") == 1


def test_groups_without_labels_are_the_sure_ones(pictures):
    images, truth = pictures
    groups = find_pairs(images).sure_groups()
    same = groups[:, None] == groups
    assert not same[truth[:, None] != truth].any()
    assert same[truth[:, None] == truth].mean() > 0.8


def test_a_chain_of_look_alikes_is_no_group():
    n = 60
    rows = np.stack([np.arange(n - 1), np.arange(1, n)], 1)
    chain = Pairs(n, rows, np.ones(n - 1), np.full(n - 1, 0.9, np.float32))
    assert np.bincount(chain.sure_groups()).max() <= 3


def test_many_look_alikes_cost_no_memory(monkeypatch):
    monkeypatch.setattr("pokefast.crops.groups.LOOKALIKES", 10)
    rows = np.stack([np.arange(19), np.arange(1, 20)], 1)
    twins = np.array([[20, 21]])
    pairs = Pairs(22, np.concatenate([rows, twins]), np.ones(20), np.ones(20, np.float32))
    groups = pairs.sure_groups()
    assert groups[20] == groups[21] and len(set(groups[:20])) == 20


def test_the_silhouette_says_how_sure_groups_are():
    rows = np.array([[0, 1], [2, 3], [1, 2]])
    for between in (0.2, 0.9):  # to a look-alike in another group
        pairs = Pairs(5, rows, np.ones(3), np.array([0.8, 0.8, between]))
        ends = (0.8 - between) / (1 - min(0.8, between))  # of images 1 and 2; 0 and 3 have 0.8
        found = pairs.silhouette(np.array([0, 0, 1, 1, 2]))
        assert found == pytest.approx((0.8 + ends) / 2)
    assert pairs.silhouette(np.arange(5)) == -1
