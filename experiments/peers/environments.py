"""The peers' environments, in the user's cache folder: made once, each from what a user would
install. They have torch, which takes gigabytes, from one of them.
"""

import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path

from pokefast.errors import UserError
from pokefast.files import cache_dir, write_json

__all__ = ["BASE", "REQUIREMENTS", "python_of"]

BASE = "torch"  # the environment whose packages the others see
REQUIREMENTS = {
    "torch": ("torch", "torchvision", "pandas", "pillow"),  # in this project's versions
    "fastai": ("fastai==2.8.12",),
    "lightning": ("lightning==2.6.6",),
    "ultralytics": ("ultralytics==8.4.190",),
}
COMPLETE = ".complete"
PURELIB = "import sysconfig; print(sysconfig.get_path('purelib'))"
VERSIONS = (
    "import importlib.metadata as m, sys; "
    "print(*(f'{name} {m.version(name)}' for name in sys.argv[1:]), sep=', ')"
)


def python_of(name, folder=None):
    """The interpreter of the environment `name`, made below `folder` (the cache's peers/) where it
    is not there. Raises UserError where pip fails.
    """
    folder = Path(folder or cache_dir() / "peers")
    place, wanted = folder / name, requirements(name)
    python, complete = place / "bin" / "python", place / COMPLETE
    if complete.exists() and json.loads(complete.read_text(encoding="utf-8")) == wanted:
        return python
    base = python_of(BASE, folder) if name != BASE else None
    print(f"making the environment {place} (minutes, once)", flush=True)
    _call(sys.executable, "-m", "venv", str(place))
    if base:
        (Path(_call(python, "-c", PURELIB)) / "base.pth").write_text(_call(base, "-c", PURELIB))
    _call(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *wanted)
    write_json(complete, wanted)
    return python


def requirements(name):
    """What pip installs, as a list; those without a version get this environment's."""
    return [r if "==" in r else f"{r}=={_version(r)}" for r in REQUIREMENTS[name]]


def versions_of(name, python):
    """A text of the versions of what was asked for in the environment `name`, and torch's."""
    packages = [r.split("==")[0] for r in REQUIREMENTS[name]]
    packages += [] if name == BASE else [BASE]
    return _call(python, "-c", VERSIONS, *packages)


def _version(package):
    return importlib.metadata.version(package).split("+")[0]  # +cpu is no registry's


def _call(*line):
    done = subprocess.run([str(word) for word in line], capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise UserError(f"{' '.join(map(str, line[:4]))} failed: {last}")
    return done.stdout.strip()
