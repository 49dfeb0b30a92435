"""Where things live, and writing them so that a reader never sees half a file."""

import json
import os
import re
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

from pokefast.errors import UserError

__all__ = ["HALF", "IN_CHECKOUT", "ROOT", "DATA", "RUNS", "SUBMISSIONS"]
__all__ += ["as_written", "atomic_folder", "atomic_path", "cache_dir", "command", "no_formula"]
__all__ += ["read_csv", "read_own_csv", "write_json", "write_own_csv"]

HERE = Path(__file__).resolve().parents[1]
IN_CHECKOUT = (HERE / "pyproject.toml").is_file()  # not installed
ROOT = HERE if IN_CHECKOUT else Path.cwd()  # of what is written: where one stands
DATA = ROOT / "data"
RUNS = ROOT / "runs"
SUBMISSIONS = ROOT / "submissions"
HALF = ".half-"  # how the name of a file begins that is being written
# what a spreadsheet takes for a formula, in full width too, after any apostrophes
FORMULA = re.compile(r"'*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")


def command(name):
    """How the command `name` is called here: by make in a checkout, as that does the set-up."""
    return f"make {name}" if IN_CHECKOUT else f"python -m pokefast {name}"


def cache_dir():
    """Where things are kept that can be computed again: $XDG_CACHE_HOME/pokefast, or
    ~/.cache/pokefast.
    """
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pokefast"


@contextmanager
def atomic_path(file):
    """Yield a temporary path beside `file` that becomes `file` when the block ends without an
    error.

    fastcore's `atomic_save` does the same but leaves the file readable by its owner alone.
    """
    file = Path(file)
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=HALF, suffix=file.suffix)
    os.close(handle)
    try:
        yield Path(name)
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(name, 0o666 & ~umask)
        os.replace(name, file)
    except BaseException as e:
        Path(name).unlink(missing_ok=True)
        if isinstance(e, OSError) and not e.filename:  # as of a full disk
            e.filename = str(file)
        raise


@contextmanager
def atomic_folder(folder):
    """Yield a path for a folder, or a file, that gets the name `folder` when the block ends without
    an error. It stands alone in a folder for scratch beside that, which goes in any case.
    """
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(
        prefix=f".{folder.name}-", suffix=".part", dir=folder.parent
    ) as work:
        part = Path(work) / folder.name
        yield part
        os.rename(part, folder)


def write_json(file, value):
    """Write `value` as JSON with sorted keys, atomically."""
    with atomic_path(file) as temp:
        temp.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def no_formula(cell):
    """A cell of a table for spreadsheets: an apostrophe stands before text that they would take for
    a formula. Numbers stay numbers.

    See https://owasp.org/www-community/attacks/CSV_Injection; `as_written` undoes it.
    """
    return f"'{cell}" if isinstance(cell, str) and FORMULA.match(cell) else cell


def as_written(cell):
    """The text that `no_formula` made `cell` of."""
    return cell[1:] if cell[:1] == "'" and FORMULA.match(cell) else cell


def write_own_csv(file, table):
    """Write a data frame as CSV for people, none of whose cells is a formula, atomically;
    `read_own_csv` gives back its text.
    """
    text = table.select_dtypes(exclude="number").columns
    safe = table.assign(**{name: table[name].map(no_formula) for name in text})
    with atomic_path(file) as temp:
        safe.rename(columns=no_formula).to_csv(temp, index=False)


def read_own_csv(file):
    """What `write_own_csv` wrote, every cell as text."""
    return read_csv(file).map(as_written).rename(columns=as_written)


def read_csv(file, columns=None):
    """Read a CSV of strings, every cell kept as it stands; `columns`, where given, are the exact
    ones expected.

    Raises UserError where the file is missing, is no CSV or has other columns.
    """
    file = Path(file)
    try:
        # "NA" is a label like any other; utf-8-sig because spreadsheets write a byte order mark
        df = pd.read_csv(file, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"{file}: there is no such file") from None
    except (OSError, ValueError) as e:  # pandas' parser and decoding errors are ValueErrors
        reason = " ".join(str(getattr(e, "strerror", None) or e).split())
        raise UserError(
            f"{file}: cannot be read as CSV ({reason}); save it as CSV in UTF-8, with commas"
        ) from None
    # a row with a cell too many makes pandas take the first column as an index, without a word
    if not isinstance(df.index, pd.RangeIndex):
        raise UserError(f"{file}: its rows have more cells than its header; give each a name")
    if columns is not None and list(df.columns) != list(columns):
        found, want = ",".join(map(str, df.columns)), ",".join(columns)
        raise UserError(f"{file}: its columns are {found!r}; expected '{want}', with commas")
    if len(df.columns) == 1 and (mark := re.search("[;\t|]", df.columns[0])):
        raise UserError(f"{file}: its cells stand between {mark[0]!r}; save it with commas")
    return df
