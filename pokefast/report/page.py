"""One page for a run, runs/RUN/report.html, a table of all runs, runs/index.html, and a page of
some side by side.

    python -m pokefast report [--run runs/RUN]      # make them anew, open the (newest) run's

Pages and pictures are made from the files in the run's folder alone; a page needs no network.
"""

import base64
import hashlib
import shlex
import time
import webbrowser
from pathlib import Path
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined, UndefinedError
from markupsafe import Markup

from pokefast.errors import UserError
from pokefast.files import IN_CHECKOUT, ROOT, RUNS, atomic_path, command
from pokefast.options import run_cli
from pokefast.report.comparison import (
    MOST,
    image_paths,
    pairs_of,
    recent_pairs,
    summary,
)
from pokefast.report.plots import FIGURES, RunFiles, draw_figures, to_svg
from pokefast.runs import newest_run
from pokefast.scoring.metrics import metric_title

__all__ = [
    "main",
    "render",
    "write_comparison",
    "write_index",
    "write_page",
    "write_report",
]

COLUMNS = ("run", "metric", "macro-F1", "accuracy", "task", "recipe", "epochs", "training")
COLUMNS += ("in all", "parameters", "changed", "finished")  # of the table of runs
CHARTS = ("curves", "confusion", "f1", "class_counts", "reliability")  # as SVG; images stay HTML
TEMPLATES = Path(__file__).with_name("templates")


def write_report(folder):
    """Write report.html from the files of a finished run's folder; returns its path.

    Raises UserError where the run has not finished or a file is damaged.
    """
    files = RunFiles(folder)
    if files.metrics is None:
        raise UserError(f"{folder}: no metrics.json in it; the run has not finished")
    try:
        charts = {name: FIGURES[name](files) for name in CHARTS}
        text = render(
            "run.html",
            charts={k: Markup(to_svg(v, k)) for k, v in charts.items() if v},
            wide=len(files.run["vocab"]) > 12,
            examples=files.examples or {},
            suspects=files.suspects,
            kaggle=files.kaggle,
            name=files.folder.resolve().name,
            run=files.run,
            m=files.metrics,
            score=_metric(files.metrics),
        )
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, UndefinedError) as e:
        reason = f"{type(e).__name__}: {e}"
        raise UserError(f"{folder}: its files do not make a page ({reason})") from e
    return write_page(files.folder / "report.html", text)


def write_index(runs=RUNS):
    """Write index.html with a row for each run below `runs`, the newest first; returns its path.

    Runs of another version, and damaged ones, are only counted. Finished ones can be ticked, to be
    seen side by side; the last few are compared with those before them for that.
    """
    rows, finished, others = [], [], 0
    files = [*Path(runs).glob("*/run.json"), *Path(runs).glob("*/options.json")]  # of older ones
    for folder in {file.parent for file in files}:
        try:
            files = RunFiles(folder)
            row = _index_row(files)
            if row["finished"]:
                finished.append((row["time"], files, _summary(files, row["page"])))
            rows.append(row)
        except (UserError, KeyError, TypeError, ValueError):
            others += 1
    rows.sort(key=lambda row: row["time"], reverse=True)
    columns = list(COLUMNS)
    if {row["metric"] for row in rows} <= {None, "f1_macro"}:  # which has a column of its own
        columns.remove("metric")
        for row in rows:
            del row["cells"][0]
    finished.sort(key=lambda one: one[0])
    data = {
        "most": MOST,
        "command": ('make compare RUNS="', '"') if IN_CHECKOUT else (f"{command('compare')} ", ""),
        "runs": [about for *_, about in finished],
        "pairs": recent_pairs([files for _, files, _ in finished]),
    }
    text = render("index.html", "index.js", columns=columns, rows=rows, others=others, data=data)
    return write_page(Path(runs) / "index.html", text)


def write_comparison(together, rows, file):
    """Write a page of the runs of a `Together`, whose `beside_first` are `rows`; returns its path.

    Links lead to the runs' pages, where these lie beside it.
    """
    beside = [files.folder.resolve().parent == file.resolve().parent for files in together.files]
    runs = [_summary(*each) for each in zip(together.files, beside, strict=True)]
    paths = image_paths(together.files[0])
    data = {"runs": runs, "pairs": pairs_of(together, rows, paths)}
    return write_page(file, render("compare.html", "index.js", data=data))


def main(
    run: Path = None,  # a run's folder; the newest by default
    no_open: bool = False,  # write the pages and print the path alone
):
    """Write the page and pictures of a run and the page of all runs, and open the run's page in a
    browser.
    """
    folder = Path(run) if run else newest_run()
    file = write_report(folder)
    draw_figures(folder)
    write_index(folder.resolve().parent)
    print(file)
    if not no_open:
        try:
            webbrowser.open(file.resolve().as_uri())
        except webbrowser.Error:  # no browser here: the path is printed
            return


def _index_row(files):
    """A run's cells (value to sort by, text, class) for all `COLUMNS` but the first; its page,
    where it has one; its time; the name of the metric that counts.
    """
    run, m = files.run, files.metrics
    file = files.folder / ("run.json" if m is None else "metrics.json")
    at = file.stat().st_mtime
    given = ", ".join(
        f"{k} {_plain(v)}" for k, v in run["given"].items() if k not in ("recipe", "seed")
    )
    scores, numbers, metric = [(-1, "unfinished", "num soft")] * 2, [(-1, "", "num")] * 4, None
    scores += [(-1, "", "num")]
    if m is not None:
        metric, value = (_metric(m)[k] for k in ("name", "value"))
        scores = [(value, f"{metric} {value:.4f}", "num")]
        scores += [(m[k], f"{m[k]:.4f}", "num") for k in ("f1_macro", "accuracy")]
        numbers = [(m["epochs"], m["epochs"], "num")]
        numbers += [(m[k], _seconds(m[k]), "num") for k in ("train_seconds", "total_seconds")]
        numbers += [(m["n_parameters"], f"{m['n_parameters']:,}", "num")]
    when = "" if m is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(at))
    cells = [*scores, *((run[k], run[k], "") for k in ("task", "recipe")), *numbers]
    cells += [(given, given, "soft"), (at, when, "soft")]
    about = dict(name=files.folder.name, cells=cells, time=at, metric=metric)
    return about | dict(page=(files.folder / "report.html").is_file(), finished=m is not None)


def _summary(files, page):
    """A run for the script of a page, where `page` says whether to link to its own."""
    folder = files.folder.resolve()
    link = f"{quote(folder.name)}/report.html" if page else None
    return summary(files, link, shlex.quote(str(_short(folder))))


def _metric(m):
    """What a run's metrics.json says of the metric that counts, macro-F1 in older ones."""
    name = m.get("metric", "f1_macro")
    ends = [m.get(f"{name}_{end}") for end in ("low", "high")]
    found = {"value": m[name], "ends": ends, "apart": m.get(f"{name}_apart")}
    found["submitted"] = m.get("submitted")
    return {"name": name, "title": metric_title(name), **found}


def render(template, script=None, **values):
    """A whole page from a template and its values. Its policy forbids everything from elsewhere,
    and any script but `script`.
    """
    jinja = Environment(
        loader=FileSystemLoader(TEMPLATES, encoding="utf-8"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    jinja.filters |= {"seconds": _seconds, "plain": _plain, "short": _short}
    code = (TEMPLATES / script).read_text(encoding="utf-8") if script else ""
    return jinja.get_template(template).render(
        style=Markup((TEMPLATES / "page.css").read_text(encoding="utf-8")),
        script=Markup(code),
        digest=base64.b64encode(hashlib.sha256(code.encode()).digest()).decode(),
        **values,
    )


def _seconds(value):
    if value < 100:
        return f"{value:.1f} s"
    minutes, seconds = divmod(round(value), 60)
    return f"{minutes}:{seconds:02d} min" if value < 3600 else f"{value / 3600:.1f} h"


def _plain(value):
    return ("no", "yes")[value] if isinstance(value, bool) else "none" if value is None else value


def _short(path):
    path = Path(path)
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) else path


def write_page(file, text):
    """Write a page, whole or not at all; returns its path."""
    with atomic_path(file) as temp:
        temp.write_text(text, encoding="utf-8")
    return file


if __name__ == "__main__":
    raise SystemExit(run_cli(main))
