"""Tell images' classes: `python -m pokefast predict RUN picture.png folder/ [--json | --csv]`.

RUN is a run's folder, "newest", or a model.onnx of `pokefast.export`. From Python:
`load_predictor("runs/RUN")("picture.png").label`.
"""

import sys
from csv import writer
from json import dumps
from pathlib import Path
from typing import Annotated

from pokefast.errors import UserError
from pokefast.files import no_formula
from pokefast.images import IMAGE_SUFFIXES
from pokefast.names import shown
from pokefast.options import run_cli
from pokefast.prediction.onnx_file import open_predictor
from pokefast.prediction.pipeline import UnreadableError
from pokefast.prediction.predictor import load_predictor
from pokefast.runs import NEWEST, newest_run

__all__ = ["find_pictures", "load_predictor", "main"]


def find_pictures(paths):
    """The image files that `paths` name: files as they are, folders with all their images,
    subfolders included, in order of name.

    Raises UserError for a path that is not there, for a folder without images, and for a second
    run, as a pattern gives where a shell puts its matches in its place.
    """
    found = []
    for path in map(Path, paths):
        if (path / "run.json").is_file():
            raise UserError(f"{path}: a run where pictures belong; give one run, then pictures")
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if _is_picture(p))
            if not inside:
                suffixes = ", ".join(IMAGE_SUFFIXES)
                raise UserError(f"{path}: there are no pictures in this folder ({suffixes})")
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            raise UserError(f"{path}: there is no such file or folder")
    return found


def _is_picture(path):
    return path.suffix.lower() in IMAGE_SUFFIXES and path.is_file() and path.name[0] != "."


def main(
    run: Path,  # a finished run's folder, or newest, or a model.onnx
    pictures: Annotated[str, {"nargs": "+"}],  # picture files, and folders of them
    json: bool = False,  # a JSON list instead of a table
    csv: bool = False,  # CSV instead of a table
):
    """Print the class and the probabilities of every picture.

    Pictures that cannot be read are named at the end, after the predictions of the others; the exit
    status is then 2.
    """
    if json and csv:
        raise UserError("--json --csv: choose one of them")
    files = [str(p) for p in find_pictures(pictures)]
    if str(run) == NEWEST:
        run = newest_run()
        print(f"predicted by {run}", file=sys.stderr)
    predictor = open_predictor(run)
    vocab, bad = predictor.vocab, None
    try:
        rows = predictor.probabilities(files)
    except UnreadableError as e:
        bad, files = e, [file for file in files if file not in e.bad]
        rows = predictor.probabilities(files)
    rows = rows.tolist()
    best = [vocab[row.index(max(row))] for row in rows]
    table = [["picture", "class", *vocab]]
    table += [[file, label, *row] for file, label, row in zip(files, best, rows, strict=True)]
    if csv:
        writer(sys.stdout, lineterminator="\n").writerows([map(_cell, row) for row in table])
    elif json:
        shown = [
            {
                "picture": file,
                "class": label,
                "probability": max(row),
                "probabilities": dict(zip(vocab, row, strict=True)),
            }
            for file, label, *row in table[1:]
        ]
        print(dumps(shown, indent=1))
    else:
        print_table(table)
    if bad:
        sys.stdout.flush()
        raise bad


def _cell(value):
    """A cell of the CSV; bytes of a file's name that are no UTF-8 stand as escapes."""
    if not isinstance(value, str):
        return value
    return no_formula(value.encode(errors="backslashreplace").decode())


def print_table(rows):
    """Rows of names (picture, class) and numbers, the first row all names, in aligned columns."""
    rows = [[shown(v) if isinstance(v, str) else f"{v:.3f}" for v in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = enumerate(zip(row, widths, strict=True))
        print("  ".join(v.ljust(width) if i < 2 else v.rjust(width) for i, (v, width) in cells))


if __name__ == "__main__":
    raise SystemExit(run_cli(main))
