"""Runs side by side, as a page shows them: which options differ, curves, and what one has right
that another has wrong.

`runs/index.html` shows the runs that are ticked there, `compare.html` those that
`pokefast.compare` was given: the same script draws both, from the same data.
"""

import base64
import io
from contextlib import suppress

import numpy as np
import pandas as pd

from pokefast.data.competition import competition_of_run
from pokefast.errors import UserError
from pokefast.files import write_json
from pokefast.images import open_image
from pokefast.report.together import Together
from pokefast.runs import read_json
from pokefast.scoring.metrics import METRICS, metric_title
from pokefast.scoring.paired import difference_interval

__all__ = [
    "MOST",
    "beside_first",
    "differing",
    "image_paths",
    "pairs_of",
    "recent_pairs",
    "summary",
]

MOST = 5  # runs side by side
RECENT = 3  # runs that are compared, with as many before them, when the page of all is written
SHOWN, SIDE = 8, 96  # images of a kind, and pixels of their longer side
PAIRS = "compared.json"  # in a run's folder: how it does beside runs that finished before it


def differing(files):
    """{option: its values in the runs, a list of `RunFiles`} of those not the same in all."""
    options = [each.run["options"] for each in files]
    names = dict.fromkeys(name for each in options for name in each)
    values = {name: [each.get(name, "-") for each in options] for name in names}
    return {name: each for name, each in values.items() if any(v != each[0] for v in each)}


def beside_first(together):
    """Rows for JSON, one for each run of a `Together` after the first: their names `of`, the number
    of `images` and `groups` of near duplicates that both are scored on, `values` of the metric,
    `difference` with its interval `low` to `high` (None where there is none), and the ids that only
    this run (`better`) or only the first (`worse`) has right, those first whose probability differs
    most. Empty where the runs share no image that they predicted unseen.
    """
    truth, metric = together.truth, together.metric
    if not len(truth):
        return []
    ids, groups = together.local["Id"], together.local["group"]
    first, *others = together.probabilities("local")
    right, rows, all_rows = first.argmax(1) == truth, [], range(len(truth))
    for name, found in zip(together.names[1:], others, strict=True):
        mine = found.argmax(1) == truth
        gain = pd.Series((found - first)[all_rows, truth], ids)
        ends = difference_interval(metric, truth, first, found, groups) or (None,) * 3
        row = {"of": [together.names[0], name], "images": len(truth), "groups": groups.nunique()}
        row["values"] = [metric.value(truth, p) for p in (first, found)]
        row |= dict(zip(("difference", "low", "high"), ends, strict=True))
        row["better"] = list(gain[mine & ~right].sort_values(ascending=False, kind="stable").index)
        row["worse"] = list(gain[right & ~mine].sort_values(kind="stable").index)
        rows.append(row)
    return rows


def pairs_of(together, rows, paths):
    """The rows of `beside_first` for a page's script: in the place of ids a dict of their number
    `n` and the first few, `shown`: id, truth, what the `wrong` run says and a small `image` as a
    data URI, None where the id is not in `paths`, as `image_paths` gives them.
    """
    truth = together.local.set_index("Id")["truth"]
    says = [together.predicted(i) for i in range(len(together.names))]
    found = []
    for number, row in enumerate(rows, 1):
        row = dict(row)
        for key, wrong in (("better", says[0]), ("worse", says[number])):
            shown = [
                {
                    "id": i,
                    "truth": truth[i],
                    "wrong": wrong[i],
                    "image": _thumbnail(paths[i]) if i in paths else None,
                }
                for i in row[key][:SHOWN]
            ]
            row[key] = {"n": len(row[key]), "shown": shown}
        found.append(row)
    return found


def image_paths(files):
    """{id: path} of a run's labelled images, empty where its data is gone."""
    competition = competition_of_run(files.folder)
    return {} if competition is None else dict(competition.train[["Id", "path"]].to_numpy())


def recent_pairs(finished):
    """Rows as `pairs_of` gives for pairs of runs among `finished`, `RunFiles` in the order in which
    they finished, read from compared.json of the later one, which is written for the last few.

    A pair is of one metric and the same images. No function of one's own is called for it.
    """
    found = []
    for i, files in enumerate(finished):
        file, rows, is_recent = files.folder / PAIRS, [], i >= len(finished) - RECENT
        if file.exists():
            with suppress(UserError):  # damaged: no pairs
                rows = read_json(file)
        elif is_recent and (earlier := _comparable(finished[:i], files)[-RECENT:]):
            paths = image_paths(files)
            rows = [row for other in earlier for row in _pair(other, files, paths)]
            write_json(file, rows)
        if not is_recent:  # hundreds of runs' images would make a page of many megabytes
            bare = [{key: row[key] | {"shown": []} for key in ("better", "worse")} for row in rows]
            rows = [row | without for row, without in zip(rows, bare, strict=True)]
        found += rows
    return found


def _comparable(others, files):
    """Those of `others` that have the metric and the images of a run."""

    def key(each):
        return each.metrics.get("metric"), each.run.get("images")

    metric, images = key(files)
    return [o for o in others if key(o) == (metric, images)] if images and metric in METRICS else []


def _pair(first, second, paths):
    try:
        together = Together([first, second])
        return pairs_of(together, beside_first(together), paths)
    except UserError:  # not of one kind: no pair
        return []


def summary(files, page, folder):
    """A finished run's `RunFiles` as a page's script takes them: name, the link `page` or None, the
    `folder` as a command names it, its own score and interval, options as text, and curves, the
    mean over folds: {title: [[epoch, value], ...]}.
    """
    m, name = files.metrics, files.metrics.get("metric", "f1_macro")
    ends = [m.get(f"{name}_{end}") for end in ("low", "high")]
    about = {"name": files.folder.resolve().name, "page": page, "folder": folder}
    about |= {"metric": metric_title(name), "lower": name in METRICS and METRICS[name].lower}
    score = m[name] if np.isfinite(m[name]) else None
    about |= {"score": score, "ends": ends, "curves": _curves(files.history, name)}
    return about | {"options": {k: str(v) for k, v in files.run["options"].items()}}


def _curves(history, metric):
    if history is None or history.empty:
        return {}
    column = "f1_score" if metric == "f1_macro" else metric
    names = {"train_loss": "training loss", "valid_loss": "validation loss"}
    names[column] = f"validation {metric_title(metric)}"
    columns = [k for k in names if k in history]
    numbers = history[columns].apply(pd.to_numeric, errors="coerce")
    mean = numbers.groupby(pd.to_numeric(history["epoch"])).mean()
    return {
        names[k]: [[int(epoch), round(v, 6)] for epoch, v in mean[k].dropna().items()]
        for k in columns
    }


def _thumbnail(file):
    image = open_image(file)
    image.thumbnail((SIDE, SIDE))
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()
