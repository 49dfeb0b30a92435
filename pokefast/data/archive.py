"""A zip as it was downloaded, unpacked whole or not at all."""

import json
import os
import shutil
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from pokefast.errors import UserError
from pokefast.files import atomic_folder, cache_dir
from pokefast.names import shown

__all__ = ["unpack"]

MARKER = ".unpacked_from.json"  # in the folder: of which file; a folder with it is complete


def unpack(file):
    """The folder with what the zip `file` holds, archives in it unpacked too: beside it, or in the
    user's cache where that may not be written. It is said; a second call finds it there.

    Raises UserError for a damaged file, names that lead out of the folder, a full disk, and where
    another folder has the name.
    """
    file = Path(file).absolute()
    beside = os.access(file.parent, os.W_OK)
    folder = (file.parent if beside else cache_dir() / "unpacked") / file.stem
    stat = file.stat()
    made = {"file": file.name, "size": stat.st_size, "mtime_ns": stat.st_mtime_ns}
    if folder.exists():
        if (folder / MARKER).is_file() and json.loads((folder / MARKER).read_text()) == made:
            return folder
        raise UserError(
            f"{file}: it would be unpacked to {folder}, where something else is; move that away, "
            "or give it as DATA if it is what the file holds"
        )
    print(f"{file}: unpacked to {folder}", flush=True)
    with atomic_folder(folder) as part:
        part.mkdir()
        try:
            _extract(file, file, part)
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as e:
            raise UserError(f"{file}: the zip cannot be read ({e}); download it again") from None
        (part / MARKER).write_text(json.dumps(made), encoding="utf-8")
    return folder


def _extract(file, source, folder):
    """Write what the zip `source`, `file` itself or a zip in it, holds to `folder`."""
    with zipfile.ZipFile(source) as archive:
        members = [m for m in archive.infolist() if not m.is_dir()]
        size = sum(m.file_size for m in members)
        if size > shutil.disk_usage(folder).free:
            raise UserError(
                f"{file}: {size / 1e9:.1f} GB are needed to unpack it to {folder.parent}"
            )
        for member in members:
            path = PurePosixPath(member.filename)
            if path.is_absolute() or ".." in path.parts or "\\" in member.filename:
                raise UserError(
                    f"{file}: {shown(member.filename)} leads out of the folder; unpack it yourself"
                )
            if path.parts[0] == "__MACOSX":
                continue
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(member) as stream:
                if path.suffix.lower() == ".zip":
                    _extract(file, stream, _folder_of(stream, target))
                else:
                    with open(target, "wb") as out:
                        shutil.copyfileobj(stream, out, 1 << 20)


def _folder_of(stream, target):
    """Where a zip in a zip belongs: in a folder of its name, or beside where it holds such a folder
    or a single file.
    """
    with zipfile.ZipFile(stream) as archive:
        names = [PurePosixPath(m.filename) for m in archive.infolist() if not m.is_dir()]
    stream.seek(0)
    if len(names) == 1 or all(name.parts[0] == target.stem for name in names):
        return target.parent
    target.with_suffix("").mkdir(exist_ok=True)
    return target.with_suffix("")
