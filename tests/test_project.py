"""The project's own files agree with each other."""

import re
import subprocess
from pathlib import Path

import pytest

from experiments.options_page import options_page

try:
    import tomllib
except ImportError:  # Python 3.10
    tomllib = pytest.importorskip("pip._vendor.tomli")

ROOT = Path(__file__).resolve().parents[1]


def test_environment_yml_has_pyprojects_packages():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    expected = set(project["dependencies"]).union(*project["optional-dependencies"].values())
    text = (ROOT / "environment.yml").read_text()
    found = set(re.findall(r"^      - (.+)$", text, re.M))
    assert found == expected
    assert f"python{project['requires-python']}" in text


def test_help_lists_every_target_that_a_person_types():
    makefile = (ROOT / "Makefile").read_text()
    listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True).stdout
    phony = re.search(r"^\.PHONY: (.+)$", makefile, re.M).group(1).split()
    for target in phony:
        assert re.search(rf"^{target}:.*##", makefile, re.M), f"{target} has no description"
        assert f"make {target} " in listed


def test_no_module_of_the_library_imports_a_task():
    for file in (ROOT / "pokefast").rglob("*.py"):
        assert not re.search(r"^\s*(from|import) (tasks|experiments)\b", file.read_text(), re.M)


def test_the_options_page_is_what_the_scripts_say():
    assert (ROOT / "docs" / "options.md").read_text() == options_page()
