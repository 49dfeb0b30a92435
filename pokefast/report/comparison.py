"""Runs side by side, as a page shows them: which options differ, curves, and what one has right
that another has wrong.

`runs/index.html` shows the runs that are ticked there, `compare.html` those that
`pokefast.compare` was given: the same script draws both, from the same data.
"""

import numpy as np
import pandas as pd

from pokefast.data.competition import competition_of_run
from pokefast.errors import UserError
from pokefast.files import write_json
from pokefast.images import open_image
from pokefast.report.plots import to_data_uri
from pokefast.report.together import Together
from pokefast.runs import read_json
from pokefast.scoring.metrics import METRICS, metric_title
from pokefast.scoring.paired import difference_interval

__all__ = [
    "MOST",
    "beside_first",
    "differing",
    "disagreements",
    "pairs_of",
    "recent_pairs",
    "summary",
]

MOST = 5  # runs side by side
RECENT = 3  # earlier runs that a finished one is compared with at once: some 0.2 s each
SHOWN = 12  # images of a kind
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


def pairs_of(rows):
    """Rows of `beside_first` as a page's script takes them: numbers in place of ids."""
    keys = ("of", "images", "difference", "low", "high")
    counts = [{key: len(row[key]) for key in ("better", "worse")} for row in rows]
    return [{k: row[k] for k in keys} | n for row, n in zip(rows, counts, strict=True)]


def recent_pairs(finished):
    """Rows as `pairs_of` gives for pairs of runs among `finished`, `RunFiles` in the order in which
    they finished, read from compared.json of the later one, which is written for the last few.

    A pair is of one metric and the same images. No function of one's own is called for it.
    """
    found = []
    for i, files in enumerate(finished):
        file, rows = files.folder / PAIRS, []
        if file.exists():
            rows = read_json(file)
        elif i >= len(finished) - RECENT and (key := _comparable(files)):
            earlier = [other for other in finished[:i] if _comparable(other) == key]
            rows = [row for other in earlier[-RECENT:] for row in _pair(other, files)]
            if rows:
                write_json(file, rows)
        found += rows
    return found


def _comparable(files):
    """What two runs must share to be compared, or None."""
    metric = files.metrics.get("metric")
    images = files.run.get("images")
    return (metric, images) if metric in METRICS and images else None


def _pair(first, second):
    try:
        return pairs_of(beside_first(Together([first, second])))
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


def disagreements(together, rows):
    """Images for a page: (title, number of all, list of at most `SHOWN`: image as a data URI or
    None, id, truth, and what the first run and the other predict) for both kinds of each of the
    `rows` of `beside_first`; images come from the first run's data, where it is still there.
    """
    competition = competition_of_run(together.files[0].folder)
    paths = {} if competition is None else competition.train.set_index("Id")["path"]
    local = together.local.set_index("Id")["truth"]
    said = [table.set_index("Id")["predicted"] for table in map(_local, together.tables)]
    found = []
    for number, row in enumerate(rows, 1):
        first, name = row["of"]
        for key, title in (("better", (name, first)), ("worse", (first, name))):
            shown = [
                {
                    "id": i,
                    "image": _thumbnail(paths[i]) if i in paths else None,
                    "truth": local[i],
                    "wrong": said[0 if key == "better" else number][i],
                }
                for i in row[key][:SHOWN]
            ]
            found.append({"right": title[0], "wrong": title[1], "n": len(row[key]), "shown": shown})
    return found


def _thumbnail(file):
    return to_data_uri(np.asarray(open_image(file)) / 255)


def _local(table):
    return table[table["part"] == "local"]
