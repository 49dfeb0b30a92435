"""The versions that are asked for, locked and installed agree."""

import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
WANTED = [
    Requirement(line)
    for lines in (
        PROJECT["project"]["dependencies"],
        *PROJECT["project"]["optional-dependencies"].values(),
    )
    for line in lines
]
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()


def test_the_lock_has_names_and_versions_alone():
    for line in LOCK:
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.!]*", line), line


@pytest.mark.parametrize("wanted", WANTED, ids=lambda r: r.name)
def test_locked_and_installed_versions_are_in_range(wanted):
    locked = dict(line.lower().replace("_", "-").split("==") for line in LOCK)
    assert wanted.specifier.contains(locked[wanted.name])
    assert wanted.specifier.contains(version(wanted.name))


def test_ruff_checks_for_the_oldest_python():
    oldest = PROJECT["project"]["requires-python"].removeprefix(">=")
    assert PROJECT["tool"]["ruff"]["target-version"] == f"py{oldest.replace('.', '')}"
