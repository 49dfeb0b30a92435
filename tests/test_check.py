"""What make check finds is what was planted, and nothing in a folder stops it."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pokefast import check
from pokefast.data.findings import image_table, parts_told_apart
from pokefast.data.layout import find_layout
from pokefast.errors import UserError
from pokefast.files import read_own_csv, write_own_csv
from pokefast.report.suspects import suspects, write_suspects
from pokefast.runs import probability_table, write_run
from pokefast.scoring.likeness import FAR

EVIL = "<script> & co"


def picture(seed, size=(96, 80)):
    """Blobs that no other seed has."""
    values = np.random.default_rng(seed).integers(0, 200, (5, 5, 3), dtype=np.uint8)
    return Image.fromarray(values).resize(size, Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """(the list, the page's text, the folder) of a check of planted faults."""
    root = tmp_path_factory.mktemp("check") / "<leaves>"
    train, test = root / "train", root / "test"
    for i in range(30):
        file = train / ("oak", EVIL)[i % 2] / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        picture(i).save(file)
    test.mkdir()
    for i in range(100, 120):
        picture(i).save(test / f"{i}.png")
    shutil.copy(train / "oak" / "0.png", train / "oak" / "same.png")
    shutil.copy(train / "oak" / "2.png", train / EVIL / "wrong.png")
    picture(4).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(train / "oak" / "mirror.webp")
    picture(6).resize((48, 40)).save(test / "leak.webp", lossless=True)
    (train / "oak" / "empty.jpg").touch()
    (train / "oak" / "cut.png").write_bytes((train / "oak" / "8.png").read_bytes()[:200])
    (test / "text.png").write_text("no picture")
    page = root.parent / "page.html"
    check.main(data=root, deep="yes", out=page)
    return read_own_csv(page.with_suffix(".csv")), page.read_text(), root


def names(table, kind):
    """Sets of the names in each group of a finding."""
    some = table[table["finding"] == kind]
    return [{path.rsplit("/", 1)[-1] for path in part["path"]} for _, part in some.groupby("group")]


def test_what_was_planted_is_found(found):
    table, _, _ = found
    assert {"6.png", "leak.webp"} in names(table, "in training and in test")
    assert {"2.png", "wrong.png"} in names(table, "alike, but labelled differently")
    same = [{"0.png", "same.png"}, {"2.png", "wrong.png"}]
    assert sorted(names(table, "the same file more than once"), key=min) == same
    assert {"4.png", "mirror.webp"} in names(table, "near duplicates")


def test_what_cannot_be_read_is_named(found):
    table, page, _ = found
    lost = table[table["finding"].str.contains("cannot be read")]
    words = [line.split(" ")[0] for line in lost["Id"]]
    assert sorted(words) == ["oak/cut.png", "oak/empty.jpg", "text.png"]
    assert "an empty file" in page


def test_the_page_has_all_in_itself(found):
    _, page, _ = found
    assert "<script" not in page and "&lt;leaves&gt;" in page and "&lt;script&gt; &amp; co" in page
    assert page.count('src="data:image/png') == page.count("<img") > 8


def test_odd_images_are_named_where_cleanvision_is_installed(found):
    pytest.importorskip("cleanvision")
    assert "odd size" in set(found[0]["finding"])  # the small copy among the test images


def test_look_alikes_that_are_too_unsure_are_not_named(tmp_path, capsys, monkeypatch):
    for i in range(24):
        file = tmp_path / "x" / "ab"[i % 2] / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        picture(i).save(file)
    monkeypatch.setattr(check, "doubt", lambda competition: "it is too unsure")
    check.main(data=tmp_path / "x", deep="yes", out=tmp_path / "page.html")
    said = capsys.readouterr().out
    assert "--split auto keeps nothing together: no two images are copies" in said
    assert said.count("it is too unsure") == 2 and "--split group does the same" in said
    assert read_own_csv(tmp_path / "page.csv").query("finding == 'near duplicates'").empty


def test_a_group_on_the_page_begins_with_what_is_wrong_with_it():
    images = pd.DataFrame({"part": ["training"] * 4 + ["test"], "label": ["a", "a", "a", "b", ""]})
    assert check._varied(images, [0, 1, 2, 3, 4]) == [0, 3, 4, 1, 2]


def test_nothing_in_a_folder_stops_it(tmp_path, capsys):
    for name in ("a/1.png", "b/2.png"):
        (tmp_path / "x" / name).parent.mkdir(parents=True)
        (tmp_path / "x" / name).write_bytes(b"broken")
    check.main(data=tmp_path / "x", deep="yes", out=tmp_path / "page.html")
    assert "2 training images that cannot be read" in capsys.readouterr().out
    with pytest.raises(UserError, match="no page can be written"):
        check.main(data=tmp_path / "x", out=tmp_path)
    with pytest.raises(UserError, match="--data folder or --run"):
        check.main()


def test_parts_that_look_different_are_told_apart(tmp_path):
    root, found = tmp_path, []
    for brightness in (0, 60):
        for i in range(80):
            file = root / ("train/a", "train/b", "test", "test")[i % 4] / f"{i}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            values = np.asarray(picture(i)) // 2 + brightness * (i % 4 > 1)
            Image.fromarray(values.astype(np.uint8)).save(file)
        table = image_table(check.look_over(find_layout(root)), backgrounds=False)
        found.append(parts_told_apart(table))
    (_, low, high), (_, far, _) = found
    assert low < 0.5 < high and far > FAR


def planted(n=400, classes=4, share=0.05, right=0.95):
    """(rows of probabilities.csv, classes, Ids with a wrong label) of a model that is right as
    often as `right`.
    """
    rng, vocab = np.random.default_rng(0), [f"c{i}" for i in range(classes)]
    truth = np.arange(n) % classes
    seen = np.where(rng.random(n) < right, truth, rng.integers(0, classes, n))
    found = rng.dirichlet(np.full(classes, 0.3), n) * 0.3
    found[np.arange(n), seen] += 0.7
    bad = rng.choice(n, int(share * n), replace=False)
    given = truth.copy()
    given[bad] = (truth[bad] + 1) % classes
    items = pd.DataFrame({"Id": np.arange(n).astype(str), "label": [vocab[i] for i in given]})
    return probability_table(items, found, vocab, "local"), vocab, set(bad.astype(str))


def test_planted_wrong_labels_are_found():
    pytest.importorskip("cleanlab")
    table, vocab, bad = planted()
    found = set(suspects(table, vocab)["Id"])
    assert len(found & bad) >= 0.8 * len(bad) and len(found - bad) <= len(table) * 0.08
    lone = table[table["truth"] != vocab[0]]  # a class without an image says nothing of it
    assert suspects(lone, vocab).empty


def test_a_run_says_which_labels_are_probably_wrong(tmp_path, capsys):
    pytest.importorskip("cleanlab")
    table, vocab, bad = planted()
    write_run(tmp_path, {"data": str(tmp_path / "gone"), "vocab": vocab, "options": {}})
    with pytest.raises(UserError, match="has not finished"):
        check.main(run=tmp_path)
    write_own_csv(tmp_path / "probabilities.csv", table)
    file = tmp_path / "x.png"
    picture(0).save(file)
    paths = pd.Series({next(iter(bad)): file})
    write_suspects(tmp_path, table, vocab, paths)
    saved = json.loads((tmp_path / "suspects.json").read_text())
    assert saved["of"] == len(table) and sum("image" in item for item in saved["found"]) <= 1
