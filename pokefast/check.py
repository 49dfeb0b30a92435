"""Look at images before training: `python -m pokefast check --data folder`.

Counts, sizes and formats, what cannot be used, duplicates, whether test images look like those of
training, and what a split will keep together: a summary in the terminal, one page and a list. After
a run, `--run runs/...`: images whose label is probably wrong.
"""

import os
from contextlib import redirect_stderr
from dataclasses import dataclass
from importlib.util import find_spec
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
from markupsafe import Markup

from pokefast.data.competition import Competition, look_over
from pokefast.data.findings import PARTS, image_table, kept_together, parts_told_apart, repeats
from pokefast.data.grouping import NONE, doubt, split_groups
from pokefast.data.layout import Given, find_layout
from pokefast.errors import UserError
from pokefast.files import RUNS, write_own_csv
from pokefast.images import open_image
from pokefast.names import listed, shown
from pokefast.options import Options, choice, run_cli
from pokefast.report.page import render, write_page, write_report
from pokefast.report.plots import RunFiles, class_counts, to_data_uri, to_svg
from pokefast.report.suspects import suspects_of_run
from pokefast.scoring.likeness import FAR

__all__ = ["Findings", "find", "main"]

MANY = 2000  # images: up to here what takes long is done without being asked for
GROUPS, MEMBERS, IMAGES = 12, 6, 24  # on the page: groups of a kind, images of one, odd images
PIXELS = 96  # longer side of an image there
SOME = 0.55  # lower end of the area under the curve from which on parts are not quite alike
LINES = 20  # names of a kind there, classes in the terminal
ALIKE = "alike in colours and outline, perhaps not the same"  # of groups that are not copies
KINDS = {  # of `repeats`: heading, what it means, words for their number
    "across": (
        "In training and in test",
        "The model may have seen these test images: what it scores on them says little.",
        "groups in training and in test",
    ),
    "labels": (
        "Alike, but labelled differently",
        "Near duplicates in training whose labels differ. Of copies one is wrong, or no model can "
        "tell them.",
        "groups with different labels",
    ),
    "files": (
        "The same file more than once",
        "Byte for byte.",
        "groups of the same file",
    ),
    "near": (
        "Near duplicates",
        "Within one part, with one label: saved again, smaller, mirrored, or the same thing on "
        "another background.",
        "other groups of near duplicates",
    ),
}


@dataclass(frozen=True)
class Findings:
    """What was found in a folder: its `Competition` as far as it can be used, the `image_table`,
    groups of its rows by a key of `KINDS`, what `parts_told_apart` says, sentences on what splits
    keep together, and rows of odd images by what is odd, None where that was not looked for;
    `notes` are lines on what was left out.
    """

    competition: Competition
    images: pd.DataFrame
    groups: dict
    apart: tuple | None
    splits: list
    odd: dict | None
    notes: list


def find(layout, deep="auto"):
    """The `Findings` of a `Layout`. With `deep` "yes" near duplicates on other backgrounds and,
    where cleanvision is installed, odd images are looked for; with "auto" up to `MANY` images.
    """
    competition, notes = look_over(layout), []
    n = len(competition.train) + len(competition.test)
    print(f"looking for near duplicates among {n:,} images", flush=True)
    thorough = deep == "yes" or (deep == "auto" and n <= MANY)
    if not thorough:
        notes.append(
            "near duplicates on other backgrounds, and odd images: --deep yes looks for them, "
            "which takes a minute or two for a thousand images"
        )
    why = doubt(competition) if thorough and len(competition.train) else ""
    if unsure := why not in ("", NONE):
        notes.append(f"near duplicates on other backgrounds: {why}")
    images = image_table(competition, backgrounds=thorough and not unsure)
    splits = []
    if len(competition.train):
        for split in ("auto", "group") if thorough and not why else ("auto",):
            train = split_groups(competition, Options(split=split))
            splits.append(_sentence(split, *kept_together(train)))
    if why:
        splits.append(f"--split group does the same: {why}")
    odd = None
    if thorough and find_spec("cleanvision") is None:
        notes.append("odd images: pip install cleanvision looks for dark and blurred ones")
    elif thorough and n:
        odd, note = _odd(images["path"])
        notes += [note] if note else []
    return Findings(
        competition, images, repeats(images), parts_told_apart(images), splits, odd, notes
    )


def main(
    data: Path = None,  # folder or zip of images and labels
    run: Path = None,  # a finished run's folder instead: labels that are probably wrong
    deep: choice("auto", "yes", "no") = "auto",  # look for what takes long; up to 2,000 images
    out: Path = None,  # the page; runs/check-FOLDER.html by default, and a list beside it
    labels: str = None,  # table in that folder; or folders, inner-folders, names
    id: str = None,  # column of that table that names the images
    label: str = None,  # column that holds the class; several with commas: of 0 and 1
    train: str = None,  # folder of training images, in that folder
    test: str = None,  # folder of the images to predict
    sample: str = None,  # sample submission
):
    """Say what there is to know of a folder of images before training, or of a run's labels."""
    if (data is None) == (run is None):
        raise UserError(
            "give a folder of images or a finished run: --data folder or --run runs/..."
        )
    if run is not None:
        _check_run(run)
        return
    layout = find_layout(data, Given(labels, id, label, train, None, test, sample))
    name = layout.root.resolve().name
    page = Path(out or Path(RUNS.name) / f"check-{name}.html")  # in the folder one stands in
    table = page.with_suffix(".csv")
    page.parent.mkdir(parents=True, exist_ok=True)
    if page.is_dir() or not os.access(page.parent, os.W_OK):
        raise UserError(f"{page}: no page can be written there; --out FILE names another place")
    print(layout, flush=True)
    findings = find(layout, deep)
    print("\n".join(_lines(findings)))
    write_own_csv(table, _list(findings))
    write_page(page, _page(findings, name, table.name))
    print(f"page: {page}\nall that was found, as a table: {table}")


def _check_run(run):
    """Print the images of a run whose labels are probably wrong, and write its page anew."""
    found = suspects_of_run(run)
    for item in found:
        print(
            "{Id}: {truth} ({p_truth:.3f}), looks like {predicted} ({p_predicted:.3f})".format(
                **{k: shown(v) if isinstance(v, str) else v for k, v in item.items()}
            )
        )
    page, files = write_report(run), RunFiles(run)
    print(
        f"{len(found):,} of {files.suspects['of']:,} labels may be wrong, says a model that is "
        f"right on {files.metrics['accuracy']:.0%}\npage: {page}"
    )


def _odd(paths):
    """(rows of images by what is odd, None or what went wrong) as cleanvision sees it."""
    from cleanvision import Imagelab  # an extra

    names = ("dark", "light", "blurry", "low_information", "odd_aspect_ratio", "odd_size")
    try:
        with redirect_stderr(StringIO()):  # its progress bars, a line for each image off a terminal
            lab = Imagelab(filepaths=[str(path) for path in paths], verbose=False)
            # in this process: others would have to be started anew where there is no fork
            lab.find_issues({name: {} for name in names}, n_jobs=1, verbose=False)
    except Exception as e:  # it opens images its own way, of any kind
        return (
            None,
            f"odd images: cleanvision stopped ({type(e).__name__}: {' '.join(str(e).split())})",
        )
    row = {str(path): i for i, path in enumerate(paths)}
    odd = {}
    for name in names:
        issues = lab.issues[lab.issues[f"is_{name}_issue"]].sort_values(f"{name}_score")
        odd[name.replace("_", " ")] = [row[path] for path in issues.index]
    return odd, None


def _facts(images):
    """(name, value) of a part's images: what they are."""
    if images.empty:
        return []
    kinds = (images["format"].fillna("?") + " " + images["mode"]).value_counts()
    area = (images["width"] * images["height"]).sort_values(kind="stable")
    low, middle, high = (
        "{width} x {height}".format(**images.loc[area.index[i]]) for i in (0, len(area) // 2, -1)
    )
    size = low if images[["width", "height"]].nunique().max() == 1 else f"{low} to {high}"
    kilobytes = images["bytes"] / 1000
    return [
        ("images", f"{len(images):,}"),
        ("formats", listed([f"{kind} ({n:,})" for kind, n in kinds.items()])),
        ("pixels", size),
        ("median", f"{middle}, {kilobytes.median():,.1f} kB"),
        ("file sizes", f"{kilobytes.min():,.1f} to {kilobytes.max():,.1f} kB"),
    ]


def _apart(apart):
    """(words, sentence) on whether the parts look alike."""
    if apart is None:
        return "not compared", "A part has fewer than 20 images, or there is none for the test."
    auc, low, high = apart
    words = "different" if low > FAR else "somewhat different" if low > SOME else "alike"
    return words, (
        f"A classifier tells the test images from training with an area under the curve of "
        f"{auc:.2f} (95%: {low:.2f} to {high:.2f}; 0.5 is not at all, 1 always), by colours, where "
        "they stand and how sharp images are at 64 pixels."
    )


def _sentence(split, n, images, most):
    """On what a split keeps together: `n` groups of so many images, at most `most` in one."""
    if not n:
        return f"--split {split} keeps nothing together: no two images are copies"
    some = f"{n:,} groups of {images:,} images together, at most {most:,} in one"
    return f"--split {split} keeps {some}"


def _lines(findings):
    """The summary for the terminal."""
    counts = findings.competition.train["label"].value_counts()
    each = [f"{shown(name)} {n:,}" for name, n in counts.items()]
    if len(each) > LINES:
        each = [*each[:3], "...", *each[-3:]]
    lines = [f"classes: {len(counts):,}: {', '.join(each)}"]
    for part in PARTS:
        facts = dict(_facts(findings.images[findings.images["part"] == part]))
        if facts:
            text = "{}: {images} images, {formats}, {pixels} pixels, {file sizes}"
            lines.append(text.format(part, **facts))
    for kind, names in findings.competition.problems.items():
        some = listed([shown(name) for name in names])
        lines.append(f"cannot be used: {len(names):,} {kind}: {some}")
    if not findings.competition.problems:
        lines.append("cannot be used: nothing")
    for kind, (title, *_) in KINDS.items():
        groups = findings.groups[kind]
        some = f"{len(groups):,} groups of {sum(map(len, groups)):,} images" if groups else "none"
        copies = sum(findings.images["copy"].loc[rows].nunique() == 1 for rows in groups)
        some += f", {len(groups) - copies:,} of them {ALIKE}" if copies < len(groups) else ""
        lines.append(f"{title.lower()}: {some}")
    words, sentence = _apart(findings.apart)
    lines.append(f"training and test: {words}. {sentence}")
    lines += findings.splits
    for what, rows in (findings.odd or {}).items():
        if rows:
            ids = listed([shown(name) for name in findings.images["Id"].iloc[rows]])
            lines.append(f"{what}: {len(rows):,} images: {ids}")
    return lines + [f"left out: {note}" for note in findings.notes]


def _list(findings):
    """All findings as a data frame, a row an image: finding, group, part, Id, label, path."""
    rows = []
    for kind, groups in findings.groups.items():
        for number, group in enumerate(groups, 1):
            some = findings.images.loc[group, ["part", "Id", "label", "path"]]
            rows.append(some.assign(finding=KINDS[kind][0].lower(), group=number))
    for what, numbers in (findings.odd or {}).items():
        some = findings.images.loc[numbers, ["part", "Id", "label", "path"]]
        rows.append(some.assign(finding=what, group=""))
    for kind, names in findings.competition.problems.items():
        rows.append(pd.DataFrame({"Id": names}).assign(finding=kind))
    columns = ["finding", "group", "part", "Id", "label", "path"]
    return pd.concat([pd.DataFrame(columns=columns), *rows]).astype(object).fillna("").astype(str)


def _page(findings, name, table):
    """The page as text; `table` is the file beside it."""
    images, competition = findings.images, findings.competition
    counts = competition.train["label"].value_counts().sort_index().to_dict()
    odd = {what: rows for what, rows in (findings.odd or {}).items() if rows}
    return render(
        "check.html",
        name=name,
        table=table,
        layout=str(competition.layout).splitlines(),
        charts={"class_counts": Markup(to_svg(class_counts(counts), "counts"))} if counts else {},
        n_classes=len(counts),
        n_train=len(competition.train),
        n_test=len(competition.test),
        n_problems=sum(map(len, competition.problems.values())),
        problems=competition.problems,
        parts={part: _facts(images[images["part"] == part]) for part in PARTS},
        kinds=KINDS,
        shown={k: _shown(images, groups) for k, groups in findings.groups.items()},
        apart=_apart(findings.apart),
        auc=findings.apart,
        splits=findings.splits,
        odd={
            what: {"n": len(rows), "images": _items(images, rows[:IMAGES])}
            for what, rows in odd.items()
        },
        notes=findings.notes,
        alike=ALIKE,
        lines=LINES,
    )


def _shown(images, groups):
    """The number `n` of groups of rows and, for the page, the first with their first images."""
    first = [
        {
            "images": _items(images, _varied(images, rows)[:MEMBERS]),
            "more": max(0, len(rows) - MEMBERS),
            "copies": images["copy"].loc[rows].nunique() == 1,
        }
        for rows in groups[:GROUPS]
    ]
    copies = sum(images["copy"].loc[rows].nunique() == 1 for rows in groups)
    return {"n": len(groups), "copies": copies, "groups": first}


def _varied(images, rows):
    """`rows` with the first of each part and label before the second of any, as it is these that
    say what is wrong with a group.
    """
    turn = images.loc[rows].groupby(["part", "label"]).cumcount()
    return list(turn.sort_values(kind="stable").index)


def _items(images, rows):
    """Images for the page: Id, where they are from, and themselves."""
    found = []
    for row in images.loc[rows].to_dict("records"):
        small = open_image(row["path"], "RGBA")
        small.thumbnail((PIXELS, PIXELS))
        where = row["part"] if row["part"] == PARTS[1] else row["label"]
        found.append(
            {"Id": row["Id"], "where": where, "image": to_data_uri(np.asarray(small) / 255)}
        )
    return found


if __name__ == "__main__":
    raise SystemExit(run_cli(main))
