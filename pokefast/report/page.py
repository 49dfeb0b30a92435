"""One page for a run, runs/RUN/report.html, and a table of all runs, runs/index.html.

    python -m pokefast.report.page [--run runs/RUN]      # write both anew, open the (newest) run's

Pages are made from the files in the run's folder alone and need no network.
"""

import json
import platform
import shlex
import time
import webbrowser
from html import escape
from importlib import metadata
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from pokefast.errors import UserError
from pokefast.files import DATA, ROOT, RUNS, atomic_path
from pokefast.options import run_cli
from pokefast.report import html as page

__all__ = ["write_report", "write_index", "newest_run", "versions", "command", "main"]

# what the published report says of its best models; seconds on a T4 GPU
PUBLISHED = {
    "task1": {"local": 0.9022, "hidden": 0.8963, "seconds": 3709.7, "epochs": 50},
    "task2": {"hidden": 0.9975, "seconds": 2345.0, "epochs": 49},
    "task3": {"local": 0.4904, "hidden": 0.2965},
}
TITLES = {
    "task1": "Task 1: an MLP on cropped creatures",
    "task2": "Task 2: a CNN on whole pictures",
    "task3": "Task 3: transfer learning",
}
PACKAGES = ("pokefast", "fastai", "torch", "torchvision", "timm", "numpy", "pillow", "scikit-learn")
NOT_OPTIONS = ("vocab", "versions", "given")

SORT = """
document.querySelectorAll("thead button").forEach(function (button) {
  button.addEventListener("click", function () {
    var th = button.parentElement, body = document.querySelector("tbody.rows");
    var down = th.getAttribute("aria-sort") !== "descending";
    document.querySelectorAll("th[aria-sort]").forEach(function (other) {
      other.removeAttribute("aria-sort");
    });
    th.setAttribute("aria-sort", down ? "descending" : "ascending");
    var value = function (row) { return row.cells[th.cellIndex].dataset.v; };
    Array.from(body.rows).sort(function (a, b) {
      var x = value(a), y = value(b), order = Number(x) - Number(y);
      if (isNaN(order)) order = x < y ? -1 : x > y ? 1 : 0;
      return down ? -order : order;
    }).forEach(function (row) { body.appendChild(row); });
  });
});
"""


def write_report(folder):
    """Write report.html from the files of a finished run's folder; returns its path.

    Raises UserError where options.json or metrics.json is missing or damaged.
    """
    folder = Path(folder)
    options, metrics = _read_json(folder / "options.json"), _read_json(folder / "metrics.json")
    try:
        text = _report(folder, options, metrics)
    except (KeyError, TypeError, ValueError, IndexError) as e:
        reason = f"{type(e).__name__}: {e}"
        raise UserError(f"{folder}: its files do not make a page ({reason})") from e
    return _write(folder / "report.html", text)


def write_index(runs=RUNS):
    """Write index.html with a row for each finished run below `runs`; returns its path."""
    rows = []
    for file in Path(runs).glob("*/metrics.json"):
        try:
            options, metrics = _read_json(file.parent / "options.json"), _read_json(file)
            rows.append((file.stat().st_mtime, _index_row(file, options, metrics)))
        except (UserError, KeyError, TypeError, ValueError):
            continue  # a run that is being written, or of another version
    rows = [row for _, row in sorted(rows, reverse=True)]
    heads = {
        "run": "",
        "task": "",
        "recipe": "",
        "macro-F1": "num",
        "accuracy": "num",
        "epochs": "num",
        "training": "num",
        "in all": "num",
        "parameters": "num",
        "changed": "",
        "finished": "",
    }
    head = "".join(
        f'<th scope="col" class="{kind}"{" aria-sort=descending" if name == "finished" else ""}>'
        f"<button>{name}</button></th>"
        for name, kind in heads.items()
    )
    body = (
        f'<header><p class="kicker">pokefast</p><h1>Runs</h1><p class="soft">{len(rows)} finished '
        "runs; macro-F1 is that of each run's local test part. Click a heading to sort.</p>"
        "</header>"
        f'<section><div class="scroll"><table class="wide"><thead><tr>{head}</tr></thead>'
        f'<tbody class="rows">{"".join(rows)}</tbody></table></div></section>'
    )
    return _write(Path(runs) / "index.html", page.frame("Runs - pokefast", body, SORT))


def newest_run(runs=RUNS):
    """The folder of the run that finished last; UserError where there is none."""
    found = sorted(Path(runs).glob("*/metrics.json"), key=lambda f: f.stat().st_mtime)
    if not found:
        raise UserError(f"{runs}: there is no finished run in it; make task1 makes one")
    return found[-1].parent


def versions():
    """Versions of Python, the packages used, and the machine, as a dict of strings."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # run from a checkout that is not installed
            continue
    machine = f"{platform.system()} {platform.machine()}, {torch.get_num_threads()} threads"
    if torch.cuda.is_available():
        machine += f", {torch.cuda.get_device_name(0)}"
    return {**found, "machine": machine}


def command(task, options):
    """The command that repeats a run: what was given, and the seed."""
    given = {**options.get("given", {}), "seed": options["seed"]}
    words = []
    for name, value in given.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            words.append(f"--{flag} {shlex.quote(str(value))}")
    data = options["data"]
    where = "" if Path(data) == DATA / task else f" DATA={shlex.quote(data)}"
    arguments = " ".join(words).replace('"', '\\"').replace("$", "$$")
    return f'make {task}{where} ARGS="{arguments}"'


def main(
    run: Path = None,  # a run's folder; the newest by default
    no_open: bool = False,  # write the pages and print the path alone
):
    """Write the pages of a run and of all runs, and open the run's in a browser."""
    folder = Path(run) if run else newest_run()
    file = write_report(folder)
    write_index(folder.resolve().parent)
    print(file)
    if not no_open:
        try:
            webbrowser.open(file.resolve().as_uri())
        except webbrowser.Error:  # no browser here: the path is printed
            return


def _report(folder, options, metrics):
    task = folder.name.split("-")[0]
    labels = options["vocab"]
    published = PUBLISHED.get(task, {})
    parts = [
        _header(folder, task, options, metrics),
        page.tiles(_tiles(metrics)),
        _beside(published, metrics) if published else "",
        _curves(folder),
        f'<div class="two">{_classes(metrics, labels)}{_confusion(metrics, labels)}</div>',
        *_pictures(folder),
        _section("Run it again", f"<pre>{escape(command(task, options))}</pre>"),
        _options(options),
        _versions(options, metrics),
        '<footer>Made by pokefast. <a href="../index.html">All runs</a></footer>',
    ]
    return page.frame(f"{TITLES.get(task, task)} - {folder.name}", "\n".join(parts))


def _header(folder, task, options, metrics):
    used = "{n_train:,} training, {n_valid:,} validation and {n_test:,} test pictures".format(
        **metrics
    )
    text = (
        f"Recipe <b>{escape(str(options['recipe']))}</b>, {metrics['epochs']} epochs on "
        f"{escape(str(metrics['device']))} in {escape(str(metrics['dtype']))}; {used} of "
        f"{len(options['vocab'])} types from <b>{escape(_short(options['data']))}</b>."
    )
    return (
        f'<header><p class="kicker">{escape(folder.name)}</p>'
        f"<h1>{escape(TITLES.get(task, task))}</h1><p class='soft'>{text}</p></header>"
    )


def _tiles(m):
    score = "macro-F1, local test part"
    if "f1_macro_low" in m:
        score += f"; hidden test's, 95%: {m['f1_macro_low']:.3f} to {m['f1_macro_high']:.3f}"
    return [
        (f"{m['f1_macro']:.4f}", score),
        (f"{m['accuracy']:.4f}", "accuracy"),
        (_seconds(m["train_seconds"]), "training"),
        (_seconds(m["total_seconds"]), "in all"),
        (f"{m['n_parameters']:,}", "parameters"),
    ]


def _beside(published, m):
    rows = [("macro-F1, local test part", f"{m['f1_macro']:.4f}", _score(published.get("local")))]
    hidden = m.get("f1_hidden")
    rows.append(("macro-F1, hidden test", _score(hidden), _score(published.get("hidden"))))
    if "seconds" in published:
        theirs = f"{_seconds(published['seconds'])}, {published['epochs']} epochs, T4 GPU"
        ours = f"{_seconds(m['train_seconds'])}, {m['epochs']} epochs, {m['device']}"
        rows.append(("training time", ours, theirs))
    return _section(
        "Beside the published report",
        page.table(rows, ("", "this run", "the report")),
        "The report's hidden score is Kaggle's private one, on the original pictures: compare it "
        "with this run's only where the data is the same.",
    )


def _curves(folder):
    history = pd.read_csv(folder / "history.csv")
    starts = [i for i, epoch in enumerate(history["epoch"]) if epoch == 1] + [len(history)]

    def lines(name):
        values = pd.to_numeric(history[name], errors="coerce")
        points = list(zip(history["epoch"], values, strict=True))
        return [points[a:b] for a, b in zip(starts, starts[1:], strict=False)]  # a fold each

    loss = [("training", lines("train_loss")), ("validation", lines("valid_loss"))]
    score = [("accuracy", lines("accuracy")), ("macro-F1", lines("f1_score"))]
    return _section(
        "Training",
        f'<div class="charts"><div><h3>loss</h3>{page.line_chart(loss, "epoch")}</div>'
        "<div><h3>scores on the validation part</h3>"
        f"{page.line_chart(score, 'epoch', high=1.0)}</div></div>",
    )


def _classes(m, labels):
    f1 = m["per_class_f1"]
    support = dict(zip(labels, np.asarray(m["confusion"]).sum(1).tolist(), strict=True))
    rows = sorted(((f1[k], k) for k in labels), reverse=True)
    return _section(
        "F1 of each type",
        page.bars([(k, v, f"{v:.3f} ({support[k]})") for v, k in rows]),
        "On the local test part; in brackets, how many pictures are of that type.",
    )


def _confusion(m, labels):
    return _section(
        "Confusion matrix",
        page.confusion_table(m["confusion"], labels),
        "Rows are the true types, columns the predicted ones; colour is the share of the row.",
    )


def _pictures(folder):
    file = folder / "examples.json"
    if not file.is_file():
        return []
    found = _read_json(file)
    crops = [([c["before"], c["after"]], c["label"], "", "") for c in found["crops"]]
    wrong = [
        (
            [w["picture"]],
            f"{w['truth']} \u2192 {w['predicted']}",
            f"{w['p_truth']:.1%} \u2192 {w['p_predicted']:.1%}",
            "",
        )
        for w in found["wrong"]
    ]
    parts = [
        _section(
            "What the model gets",
            page.figure_grid(crops),
            "Pictures of the test part as they are, and as the model sees them.",
        ),
        _section(
            "The most wrong pictures",
            page.figure_grid(wrong) if wrong else "<p>None: every test picture is right.</p>",
            "True type \u2192 predicted type, each with the probability that the model gave it; "
            "the least probable truths first.",
        ),
    ]
    if found["cams"]:
        rows = "".join(
            f"<h3>{escape(row['title'])}</h3>"
            + page.figure_grid(
                [([p["picture"], p["map"]], p["title"], "", "") for p in row["pictures"]]
            )
            for row in found["cams"]
        )
        note = "Grad-CAM: bright is where the evidence for the predicted type lies."
        parts.append(_section("What the model looked at", rows, note))
    return parts


def _options(options):
    given = options.get("given", {})
    rows = [(k, _plain(v)) for k, v in sorted(options.items()) if k not in NOT_OPTIONS]
    return _section(
        "Options", page.facts(rows, given), "Coloured: given; all others are the recipe's."
    )


def _versions(options, metrics):
    rows = list(options.get("versions", {}).items())
    times = [(k.replace("_", " "), _seconds(v)) for k, v in metrics.items() if "_seconds" in k]
    return _section("Versions and times", page.facts(rows + sorted(times)))


def _index_row(file, options, m):
    folder, finished = file.parent, file.stat().st_mtime
    given = {k: v for k, v in options.get("given", {}).items() if k not in ("recipe", "seed")}
    link = escape(folder.name)
    if (folder / "report.html").is_file():
        link = f'<a href="{escape(folder.name)}/report.html">{link}</a>'
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(finished))
    cells = [
        (folder.name, link, ""),
        *((v, escape(str(v)), "") for v in (folder.name.split("-")[0], options["recipe"])),
        (m["f1_macro"], f"<b>{m['f1_macro']:.4f}</b>", "num"),
        (m["accuracy"], f"{m['accuracy']:.4f}", "num"),
        (m["epochs"], f"{m['epochs']}", "num"),
        (m["train_seconds"], _seconds(m["train_seconds"]), "num"),
        (m["total_seconds"], _seconds(m["total_seconds"]), "num"),
        (m["n_parameters"], f"{m['n_parameters']:,}", "num"),
        (str(given), escape(", ".join(f"{k} {_plain(v)}" for k, v in given.items())), "soft"),
        (finished, when, "soft"),
    ]
    return "".join(
        ["<tr>"]
        + [f'<td class="{c}" data-v="{escape(str(v))}">{text}</td>' for v, text, c in cells]
        + ["</tr>"]
    )


def _section(title, content, note=""):
    note = f'<p class="note">{escape(note)}</p>' if note else ""
    return f"<section><h2>{escape(title)}</h2>{note}{content}</section>"


def _seconds(value):
    if value < 100:
        return f"{value:.1f} s"
    minutes, seconds = divmod(round(value), 60)
    return f"{minutes}:{seconds:02d} min" if value < 3600 else f"{value / 3600:.1f} h"


def _score(value):
    return "not known" if value is None else f"{value:.4f}"


def _plain(value):
    return ("no", "yes")[value] if isinstance(value, bool) else str(value)


def _short(path):
    path = Path(path)
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


def _read_json(file):
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{file}: there is no such file; the run has not finished") from None
    except ValueError as e:
        raise UserError(f"{file}: damaged ({e})") from None


def _write(file, text):
    with atomic_path(file) as temp:
        temp.write_text(text, encoding="utf-8")
    return file


if __name__ == "__main__":
    raise SystemExit(run_cli(main))
