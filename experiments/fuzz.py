"""Generated and damaged input: `make test-fuzz` reads 3,000 images a format and 1,000 tables.

Images are real files and drawn ones in many encodings, whose bytes hypothesis changes. Each is read
as plain Pillow reads it or, where Pillow cannot, refused in one line; where only metadata is
broken, it is read without them. A table is read row by row as Python's csv reads it, or refused by
a message that names it and says what to do. Every format has a process of its own: a traceback, a
crash, a hang, a word on the terminal or too much memory is a fault.
"""

import csv
import faulthandler
import io
import json
import os
import subprocess
import sys
import tempfile
import time
import zlib
from collections import Counter
from contextlib import redirect_stdout
from functools import partial
from itertools import product
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
from hypothesis import HealthCheck, Phase, given, seed, settings
from PIL import Image, ImageOps

from pokefast.data.competition import read_competition
from pokefast.datasets.drawn import small_competition
from pokefast.errors import UserError
from pokefast.files import ROOT, write_json
from pokefast.images import (
    BY_SUFFIX,
    DRAFT,
    FORMATS,
    MAX_PIXELS,
    image_error,
    open_image,
    without_metadata,
)
from pokefast.names import visible
from pokefast.options import run_cli

__all__ = ["main"]

LONGEST = 30  # seconds for one input
MEMORY = 300  # MB that reading one input may take
QUIET = [f"-Wignore::{kind}Warning" for kind in ("Future", "Deprecation")]  # of imports, as in make
PLAIN, ORIENTED = ({}, {"dpi": (72, 72)}), ("PNG", "JPEG", "WEBP", "AVIF")
SAVES = (  # format, modes, ways to save them
    ("PNG", ("RGB", "RGBA", "L", "LA", "P", "1", "I;16"), (*PLAIN, {"transparency": 0})),
    ("JPEG", ("RGB", "L", "CMYK"), (*PLAIN, {"progressive": True}, {"subsampling": 0})),
    ("WEBP", ("RGB", "RGBA"), ({}, {"lossless": True}, {"quality": 5})),
    ("AVIF", ("RGB", "RGBA", "L"), ({}, {"quality": 5})),
    ("GIF", ("RGB", "L", "P", "1"), ({}, {"transparency": 0}, {"interlace": 0})),
    ("BMP", ("RGB", "RGBA", "L", "P", "1"), PLAIN),
    ("TIFF", ("RGB", "RGBA", "L", "LA", "P", "1", "CMYK", "I;16", "F"), PLAIN),
    ("TIFF", ("RGB", "L", "I;16"), ({"compression": "tiff_lzw"}, {"compression": "packbits"})),
    ("TIFF", ("RGB", "L"), ({"compression": "jpeg"}, {"compression": "tiff_deflate"})),
    ("JPEG2000", ("RGB", "RGBA", "L", "LA"), ({}, {"irreversible": True})),
    ("PPM", ("RGB", "L", "1", "I;16"), ({},)),
    ("DIB", ("RGB", "RGBA", "L", "P", "1"), PLAIN),
    ("ICO", ("RGB", "RGBA", "L"), ({}, {"bitmap_format": "bmp"})),
    ("PCX", ("RGB", "L", "P", "1"), ({},)),
    ("QOI", ("RGB", "RGBA"), ({},)),
    ("SGI", ("RGB", "RGBA", "L"), ({}, {"bpc": 2})),
    ("DDS", ("RGB", "RGBA", "L", "LA"), ({}, {"pixel_format": "DXT5"}, {"pixel_format": "BC3"})),
    ("TGA", ("RGB", "RGBA", "L", "LA", "P", "1"), ({}, {"compression": "tga_rle"})),
)
KINDS = (*FORMATS, *BY_SUFFIX.values())


def files_of(format, pictures):
    """Bytes of a format's files, of `pictures` in many modes, half of them held on their side."""
    found = []
    ways = [
        (mode, how)
        for name, modes, hows in SAVES
        if name == format
        for mode, how in product(modes, hows)
    ]
    for (i, picture), (mode, how) in product(enumerate(pictures), ways):
        image = picture.convert("L" if mode == "I;16" else mode)
        if mode == "I;16":
            image = Image.fromarray(np.asarray(image).astype(np.uint16) * 257)
        out, exif = io.BytesIO(), Image.Exif()
        exif[0x0112] = 6
        held = {"exif": exif} if i % 2 and format in ORIENTED else {}
        try:
            image.save(out, format, **how, **held)
        except (OSError, ValueError):  # this mode has no such way
            continue
        found.append(out.getvalue())
    return found


@st.composite
def damaged(draw, files):
    """One of `files` with up to two changes; three PNGs of four have right checksums again."""
    data = bytearray(draw(st.sampled_from(files)))
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(data)) | st.integers(0, min(60, len(data))))
        n = draw(st.integers(0, 8) | st.integers(0, len(data)))
        new = draw(
            st.binary(min_size=1, max_size=4)
            | st.sampled_from([bytes(4), b"\xff" * 4, b"\x7f\xff\xff\xff", b"\x80\0\0\0"])
        )
        kind = draw(st.sampled_from(("write",) * 6 + ("insert", "remove", "repeat", "cut")))
        if kind == "write":
            data[at : at + len(new)] = new
        elif kind == "insert":
            data[at:at] = new
        elif kind == "remove":
            del data[at : at + n]
        elif kind == "repeat":
            data[at:at] = data[at : at + n]
        else:
            del data[at:]
    return (
        sealed(bytes(data)) if data[:4] == b"\x89PNG" and draw(st.integers(0, 3)) else bytes(data)
    )


def sealed(data):
    """A PNG with the checksum of every chunk."""
    out, at = [data[:8]], 8
    while at < len(data):
        size = int.from_bytes(data[at : at + 4])
        body = data[at + 4 : at + 8 + size]
        out += [data[at : at + 4], body, zlib.crc32(body).to_bytes(4)]
        at += 12 + size
    return b"".join(out)


def plain_pillow(data, formats=FORMATS):
    """(RGBA as plain Pillow reads it, [h, w, 4], whether its alpha can be relied on, whether its
    EXIF block can be read). Pillow compares a transparent grey or colour of other than 8 bits with
    what it made 8 bits of.
    """
    image = Image.open(io.BytesIO(data), formats=formats)
    if image.width * image.height > MAX_PIXELS:
        return None, False, False
    if image.format in ("JPEG", "MPO"):
        image.draft(None, (DRAFT, DRAFT))
    image.load()
    readable = True
    try:
        image = ImageOps.exif_transpose(image)
    except Exception:  # whatever a damaged block leads it to
        readable = False
    alpha = image.mode == "P" or "transparency" not in image.info
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64).clip(0, 65535) >> 8
        image = Image.fromarray(values.astype(np.uint8))
    elif image.mode == "F":
        values = np.nan_to_num(np.asarray(image))
        values = (values * (255 if values.max() <= 1 else 1)).round().clip(0, 255)
        image = Image.fromarray(values.astype(np.uint8))
    return np.asarray(image.convert("RGBA")), alpha, readable


def try_image(data, file):
    """(what becomes of an image, MB of memory that this took at most): "as Pillow", "without
    metadata", "too large" or "refused"; raises AssertionError where it is not what should.
    """
    file.write_bytes(data)
    peak()
    why = image_error(file)
    try:
        found = np.asarray(open_image(file, "RGBA"))
    except UserError as e:
        found, said = None, str(e)
        assert said == f"{file}: {why}" and "\n" not in said, said
        assert any(w in said for w in ("copy it anew", "save it as PNG", "make it smaller")), said
    assert (found is None) == (why is not None)
    used = peak()
    try:
        more = BY_SUFFIX.get(file.suffix)
        expected, alpha, metadata = plain_pillow(data, (more, *FORMATS) if more else FORMATS)
    except Exception as e:  # whatever damaged bytes lead a decoder to
        if found is None:
            return "refused", used
        try:
            expected, alpha, _ = plain_pillow(without_metadata(io.BytesIO(data)))
        except Exception:
            raise AssertionError(f"read, where Pillow says {e!r}") from e
        metadata = False
    if expected is None:
        assert found is None and "pixels: make it smaller" in why
        return "too large", used
    assert found is not None, f"refused ({why}), where Pillow reads {expected.shape}"
    same = slice(None) if alpha else slice(3)
    assert np.array_equal(found[..., same], expected[..., same]), "other pixels than Pillow's"
    return "as Pillow" if metadata else "without metadata", used


ODD = [
    "",
    " ",
    "\u200b",
    "NA",
    "null",
    "=1+1",
    "a/b",
    "..",
    "\x00",
    "\r",
    'a"b',
    "a,b",
    "ﬁ",
    "\ud7ff",
]


@st.composite
def damaged_table(draw, rows):
    """Bytes of a table near `rows`, lists of cells."""
    rows = [list(row) for row in rows]
    for _ in range(draw(st.integers(0, 2))):
        i = draw(st.integers(0, len(rows) - 1))
        cell = draw(st.integers(0, len(rows[i]) - 1)) if rows[i] else 0
        word = draw(st.sampled_from(ODD) | st.text(max_size=4) | st.sampled_from(rows[-1] or [""]))
        change = draw(st.sampled_from(("set", "add", "case", "cell", "lose", "twice", "drop")))
        if change == "set":
            rows[i][cell : cell + 1] = [word]
        elif change == "add":
            rows[i][cell : cell + 1] = [f"{''.join(rows[i][cell : cell + 1])}{word}"]
        elif change == "case":
            rows[i] = [c.upper() for c in rows[i]]
        elif change == "cell":
            rows[i].insert(cell, word)
        elif change == "lose":
            del rows[i][cell:]
        elif change == "twice":
            rows.insert(i, list(rows[i]))
        elif len(rows) > 1:
            del rows[i]
    text = io.StringIO()
    writer = csv.writer(
        text,
        delimiter=draw(st.sampled_from(",,,,,,,,;\t")),
        lineterminator=draw(st.sampled_from(("\n", "\r\n"))),
        quoting=draw(st.sampled_from((csv.QUOTE_MINIMAL, csv.QUOTE_ALL))),
    )
    writer.writerows(rows)
    encoding = draw(st.sampled_from(("utf-8",) * 9 + ("utf-8-sig", "utf-16", "latin-1")))
    data = text.getvalue().encode(encoding, "replace")
    at = draw(st.integers(0, len(data)))
    damage = draw(st.sampled_from((b"",) * 9 + (b"\xff", b"\0", b'"', b"\n\n", b",")))
    return data[:at] + damage + data[at:]


def seen(cell):
    """A cell as names are compared, most liberally."""
    return visible(cell).removesuffix(".png").casefold()


def try_table(data, root):
    """(what becomes of train_labels.csv, MB): "read" or "refused"; raises AssertionError where it
    is not what should.
    """
    (root / "train_labels.csv").write_bytes(data)
    peak()
    try:
        with redirect_stdout(io.StringIO()):
            found = read_competition(root, check_images=False).train
    except UserError as e:
        assert str(root) in str(e), e
        assert any(w in str(e) for w in ("Mend", "save", "give", "needs two", " --")), e
        return "refused", peak()
    lines = io.StringIO(data.decode("utf-8-sig"), newline="")
    _, *rows = [{*map(seen, row)} for row in csv.reader(lines) if row]
    assert len(rows) == len(found), f"{len(rows) - len(found)} rows were lost"
    for i, label in zip(found["Id"], found["label"], strict=True):
        assert any({seen(i), seen(label)} <= row for row in rows), f"{i}, {label}: no row has them"
    return "read", peak()


def peak():
    """MB of memory that this process has had at most since the last call, as Linux counts them."""
    status = Path("/proc/self/status").read_text()
    Path("/proc/self/clear_refs").write_text("5")
    return int(status.split("VmHWM:")[1].split()[0]) / 1000


def run_part(name, count, number, folder):
    """Try `count` inputs of one kind; prints nothing unless something is wrong, and leaves what was
    found in results.json of `folder`, the last input beside it.
    """
    folder = Path(folder)
    root = small_competition(folder, 1, n_per_class=2)
    if name == "tables":
        rows = list(csv.reader((root / "train_labels.csv").open()))
        inputs, attempt = damaged_table(rows), partial(try_table, root=root)
    else:
        pictures = [Image.open(f) for f in sorted((root / "Train").glob("*.png"))[:4]]
        inputs = damaged(files_of(name, [picture.convert("RGBA") for picture in pictures]))
        attempt = partial(try_image, file=folder / f"input.{name.lower()}")
    found, slowest, most = Counter(), 0.0, 0.0
    peak()
    idle = peak()

    @seed(number)
    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(inputs)
    def check(data):
        nonlocal slowest, most
        faulthandler.dump_traceback_later(LONGEST, exit=True)
        start = time.perf_counter()
        what, used = attempt(data)
        slowest, most = max(slowest, time.perf_counter() - start), max(most, used - idle)
        faulthandler.cancel_dump_traceback_later()
        assert used - idle < MEMORY, f"{used - idle:.0f} MB above idle"
        found[what] += 1

    check()
    write_json(folder / "results.json", {"found": found, "seconds": slowest, "mb": most})


def main(
    images: int = 3000,  # of each format
    tables: int = 1000,
    seed: int = 0,  # of what is drawn
    only: str = "",  # formats, or "tables", with commas between them
):
    """Print what became of the inputs of each kind; raises UserError where one was a fault."""
    kinds = only.split(",") if only else [*KINDS, "tables"]
    if unknown := set(kinds) - {*KINDS, "tables"}:
        raise UserError(
            f"--only {only}: {', '.join(unknown)} is none of {', '.join(KINDS)}, tables"
        )
    faults, total = [], Counter()
    for kind in kinds:
        with tempfile.TemporaryDirectory() as folder:
            count = tables if kind == "tables" else images
            call = f"run_part({kind!r}, {count}, {seed}, {folder!r})"
            done = subprocess.run(
                [sys.executable, *QUIET, "-c", f"from experiments.fuzz import run_part; {call}"],
                cwd=ROOT,
                env={**os.environ, "HYPOTHESIS_STORAGE_DIRECTORY": folder},
                capture_output=True,
                text=True,
            )
            said = "\n".join(line[:300] for line in f"{done.stdout}{done.stderr}".splitlines())
            if done.returncode or said:
                faults.append(kind)
                print(f"{kind}: FAULT, status {done.returncode}\n{said[-3000:]}", flush=True)
                continue
            results = json.loads((Path(folder) / "results.json").read_text())
        found = Counter(results["found"])
        total += found
        print(f"{kind}: {_shares(found)}; at most {results['seconds']:.1f} s and "
              f"{results['mb']:.0f} MB above idle", flush=True)  # fmt: skip
    print(f"in all: {_shares(total)}")
    if faults:
        raise UserError(f"faults in {', '.join(faults)}")


def _shares(found):
    n = found.total()
    return f"{n} inputs, " + ", ".join(f"{k} {v / n:.1%}" for k, v in sorted(found.items()))


if __name__ == "__main__":
    raise SystemExit(run_cli(main))
