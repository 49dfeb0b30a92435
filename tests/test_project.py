"""The project's own files agree with each other."""

import ast
import re
import subprocess
from graphlib import TopologicalSorter
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


# from the top floor down: a room imports only what stands on a floor below its own
FLOORS = [
    {"experiments"},
    {"tasks"},
    {"pokefast.__main__"},
    {
        "pokefast.blend",
        "pokefast.check",
        "pokefast.compare",
        "pokefast.demo",
        "pokefast.export",
        "pokefast.kaggle",
        "pokefast.task",
        "pokefast.predict",
        "pokefast.new",
        "pokefast.workspace",
    },
    {"pokefast.steps"},
    {"pokefast.prediction"},
    {"pokefast.report", "pokefast.models"},
    {"pokefast.training"},
    {"pokefast.data"},
    {"pokefast.crops"},
    {"pokefast.scoring"},
    {"pokefast.datasets"},
    {"pokefast.runs", "pokefast.names"},
    {"pokefast.cache", "pokefast.images", "pokefast.options"},
    {"pokefast.files"},
    {"pokefast.errors", "pokefast.cores", "pokefast.progress"},
]


def room(module):
    """The room of a module's dotted name, and its floor, 0 being the lowest."""
    for i, rooms in enumerate(reversed(FLOORS)):
        for name in rooms:
            if module == name or module.startswith(name + "."):
                return name, i
    return None


def imports(file):
    """The project's own modules that a file imports, also inside its functions."""
    package = ".".join(file.relative_to(ROOT).parts[:-1])
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom):
            base = f"{package}.{node.module}" if node.level else node.module
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def test_imports_go_down():
    checked = 0
    for folder in ("experiments", "tasks", "pokefast"):
        for file in (ROOT / folder).rglob("*.py"):
            own = room(".".join(file.relative_to(ROOT).with_suffix("").parts))
            if own is None:
                assert file == ROOT / "pokefast" / "__init__.py", f"{file} stands on no floor"
                continue
            for module in imports(file):
                other = room(module)
                if other and other[0] != own[0]:
                    assert other[1] < own[1], f"{file} imports {module}, which is not below it"
                    checked += 1
    assert checked > 50


def test_no_circle_within_a_room():
    modules = {}
    for file in (ROOT / "pokefast").rglob("*.py"):
        name = ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        modules[name] = set(imports(file))
    arrows = {
        name: {
            m for m in modules if m != name and any(i == m or i.startswith(m + ".") for i in found)
        }
        for name, found in modules.items()
    }
    TopologicalSorter(arrows).prepare()  # raises CycleError


def test_a_wheel_holds_every_package_under_one_name():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    folders = {file.parent for file in (ROOT / "pokefast").rglob("__init__.py")}
    found = {".".join(folder.relative_to(ROOT).parts) for folder in folders}
    assert set(project["packages"]) == found | {"pokefast.tasks"}
    data = {f for name in project["package-data"] for f in files_of(project, name)}
    other = {f for f in (ROOT / "pokefast").rglob("*") if f.is_file() and f.suffix != ".py"}
    assert {f for f in other if "__pycache__" not in f.parts} == data


def files_of(project, package):
    """The files that `package-data` names for a package."""
    folder = ROOT.joinpath(*package.split("."))
    return {f for glob in project["package-data"][package] for f in folder.glob(glob)}


def test_every_room_says_what_lives_there():
    for folder in [ROOT / "tasks", *(ROOT / "pokefast").iterdir()]:
        if (folder / "__init__.py").exists():
            text = ast.get_docstring(ast.parse((folder / "__init__.py").read_text()))
            assert text and "mports" in text, folder


def test_functions_are_short():
    for folder in ("experiments", "tasks", "pokefast"):
        for file in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.FunctionDef):
                    lines = node.end_lineno - node.lineno + 1
                    assert lines <= 60, f"{file}: {node.name} has {lines} lines"


def test_the_options_page_is_what_the_scripts_say():
    assert (ROOT / "docs" / "options.md").read_text() == options_page()
