"""Where things live, and writing them so that a reader never sees half a file."""

import json
import os
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

from pokefast.errors import UserError

__all__ = ["ROOT", "DATA", "RUNS", "SUBMISSIONS"]
__all__ += ["atomic_path", "cache_dir", "read_csv", "write_json"]

HERE = Path(__file__).resolve().parents[1]
ROOT = HERE if (HERE / "pyproject.toml").is_file() else Path.cwd()  # installed: where one stands
DATA = ROOT / "data"
RUNS = ROOT / "runs"
SUBMISSIONS = ROOT / "submissions"


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
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=".", suffix=file.suffix)
    os.close(handle)
    try:
        yield Path(name)
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(name, 0o666 & ~umask)
        os.replace(name, file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def write_json(file, value):
    """Write `value` as JSON with sorted keys, atomically."""
    with atomic_path(file) as temp:
        temp.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n", encoding="utf-8")


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
        raise UserError(f"{file}: cannot be read as CSV ({e})") from None
    # a row with a cell too many makes pandas take the first column as an index, without a word
    if not isinstance(df.index, pd.RangeIndex):
        raise UserError(f"{file}: its rows have more cells than its header")
    if columns is not None and list(df.columns) != list(columns):
        found, want = ",".join(map(str, df.columns)), ",".join(columns)
        raise UserError(f"{file}: its columns are '{found}'; expected '{want}'")
    return df
