"""What is computed from image files, kept as files from one run to the next: groups of near
duplicates, and decoded images, which are mapped into memory, so that several processes share their
pages.

A file's name says what was computed of which images; it gets that name when it is complete, so a
reader sees a whole file or none, and of two writers the later one's is kept, which is the same.
What cannot be kept costs a line, not the run.
"""

import errno
import hashlib
import json
import os
import shutil
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from pokefast.errors import UserError
from pokefast.files import HALF, atomic_path, cache_dir

__all__ = ["LIMIT", "files_key", "kept_arrays", "kept_images", "new_images"]

LIMIT = 8 << 30  # bytes of all files, of which those that were not used for longest go first
STALE = 24 * 3600  # seconds after which a file without its final name is one of a killed run
_UNKEPT = {}  # by name: key and arrays of the last call that was not to keep them


def files_key(paths, what):
    """A name for what is computed of the files `paths` in a way that the text `what` describes.

    It changes with a file's name, size or times. Raises UserError naming a file that is not there.
    """
    digest = hashlib.sha256(f"{what}\n".encode())
    for path in paths:
        try:
            stat = os.stat(path)
        except OSError as e:
            raise UserError(f"{path}: cannot be read ({e})") from None
        # the last time changes with the rights to read it, too
        about = f"{os.path.abspath(path)} {stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns}\n"
        digest.update(about.encode(errors="surrogateescape"))
    return digest.hexdigest()[:32]


def kept_arrays(name, version, paths, make, keep=True):
    """The dict of arrays that `make(paths)` gives for image files, kept for the next run.

    `version`, any text, changes with the method. Without `keep` they are kept for this process
    alone. Raises UserError naming a file that cannot be read.
    """
    key = files_key(paths, version)
    if not keep:
        if _UNKEPT.get(name, [None])[0] != key:
            _UNKEPT[name] = key, make(list(paths))
        return _UNKEPT[name][1]
    file = _folder() / f"{name}-{key}.npz"
    # not there, or damaged
    with suppress(OSError, ValueError, EOFError, BadZipFile), np.load(file) as found:
        _used(file)
        return dict(found)
    arrays = make(list(paths))
    try:
        _make_room(sum(array.nbytes for array in arrays.values()))
        with atomic_path(file) as temp, open(temp, "wb") as stream:
            np.savez(stream, **arrays)
    except (OSError, ValueError) as e:
        _note(f"the next run makes {name} again: {file} ({_reason(e)})")
    return arrays


def kept_images(key, shape):
    """(the uint8 array of `shape` that is kept as `key`, mapped copy-on-write, and the dict that
    was kept beside it); None where it is not there or is damaged.
    """
    file = _folder() / f"{key}.npy"
    try:
        array = np.load(file, mmap_mode="c")
        if array.shape != shape or array.dtype != np.uint8:
            raise ValueError(f"it holds {array.shape}")
        with open(file, "rb") as stream:
            stream.seek(array.offset + array.nbytes)
            beside = json.loads(stream.read())
        _used(file)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, EOFError) as e:  # NumPy's of a file that was cut off
        _note(f"{file} is passed by ({_reason(e)})")
        return None
    return array, beside


@contextmanager
def new_images(key, shape):
    """Yield a uint8 array of `shape` and a dict for JSON, both to fill, which are kept as `key`
    when the block ends without an error.

    The array is None where there is no room for it or the folder may not be written.
    """
    temp, array, beside = None, None, {}
    try:
        temp = _make_file(shape)
        array = np.load(temp, mmap_mode="r+")
    except (OSError, ValueError) as e:
        _note(f"decoded images are not kept in {_folder()} ({_reason(e)})")
    try:
        yield array, beside
        if array is not None:
            array.flush()
            _finish(temp, key, beside)
    finally:
        if temp is not None:
            with suppress(OSError):
                temp.unlink(missing_ok=True)


def _folder():
    return cache_dir() / "kept"


def _used(file):
    """Say that a file was used now, where it is ours to say."""
    with suppress(OSError):
        os.utime(file)


def _make_file(shape):
    """A new .npy file of bytes, with room for all of them, which others have made way for."""
    size = int(np.prod(shape))
    _make_room(size)
    # a mapped file on a full disk ends the process, so the room is taken beforehand
    if shutil.disk_usage(_folder()).free < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    handle, name = tempfile.mkstemp(dir=_folder(), prefix=HALF, suffix=".npy")
    try:
        with open(handle, "wb") as stream:
            header = {"descr": "|u1", "fortran_order": False, "shape": tuple(map(int, shape))}
            np.lib.format.write_array_header_1_0(stream, header)
            stream.truncate(stream.tell() + size)
            if hasattr(os, "posix_fallocate"):  # quotas count too
                os.posix_fallocate(handle, 0, stream.tell() + size)
    except OSError:
        Path(name).unlink()
        raise
    return Path(name)


def _make_room(size):
    """Remove files of killed runs and, while they and `size` bytes more are above the limit, those
    that were not used for longest.
    """
    if size > LIMIT:
        raise ValueError(f"{size >> 20} MB are more than the limit of {LIMIT >> 20}")
    _folder().mkdir(parents=True, exist_ok=True)
    files = []
    for file in _folder().iterdir():
        with suppress(OSError):  # another process was quicker
            stat = file.stat()
            if file.name[0] == "." and time.time() - stat.st_mtime > STALE:
                file.unlink()
            else:
                files.append((stat.st_mtime, stat.st_size, file))
    left = LIMIT - size - sum(n for _, n, _ in files)
    for _, n, file in sorted(f for f in files if f[2].name[0] != "."):
        if left >= 0:
            break
        with suppress(OSError):  # of Windows, where it is in use
            file.unlink()
            left += n


def _finish(temp, key, beside):
    """Give an array's file its name, after what is kept beside the array."""
    try:
        with open(temp, "ab") as stream:
            stream.write(json.dumps(beside).encode())
        os.replace(temp, _folder() / f"{key}.npy")
    except OSError as e:
        _note(f"decoded images are not kept in {_folder()} ({_reason(e)})")


def _note(text):
    print(f"NOTE: {text}", file=sys.stderr, flush=True)  # stdout may be a table


def _reason(e):
    return getattr(e, "strerror", None) or str(e)
