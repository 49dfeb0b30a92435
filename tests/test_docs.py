"""Documentation agrees with what there is.

`make test-docs` also runs every command and every block of Python of the pages, in a copy of the
project with small data; without it the commands' words are read by the parsers that they go to.
"""

import ast
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from importlib import import_module
from pathlib import Path

import matplotlib
import pytest
from fastcore.script import anno_parser

from pokefast.__main__ import COMMANDS
from pokefast.datasets import drawn
from pokefast.datasets.layout import MARKER
from pokefast.task import read_line
from tasks import TASKS, load_task

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("results/*.md")])
SOURCES = sorted(f for d in ("pokefast", "tasks", "experiments") for f in (ROOT / d).rglob("*.py"))
# where other pages have their figures from
MEASURED = ("results/ablations.md", "results/bench.md", "docs/results.md")

# commands that are not run here, by how they begin, and why
EXEMPT = {
    "make env": "network",
    "make test": "runs this very test",
    "make lint": "part of make test",
    "make ablations": "hours; tests/experiments/test_ablations.py",
    "make bench PEERS=1": "network, and most of an hour; tests/experiments/test_peers.py",
    "make demo": "waits for a browser; tests/test_demo.py",
    'make task2 ARGS="--resume"': "needs a run that was killed; tests/tasks/test_resume.py",
    "make task2 WANDB=online": "network",
    "make kaggle-": "network; tests/test_kaggle.py",
    "make check DATA=data/leaves-2026": "what make kaggle-data fetches",
    "make new NAME=leaves DATA=data/leaves-2026": "the same",
    "python /kaggle/": "a notebook's folders; make test-bundle",
    "cd /kaggle/": "the same",
    "make wandb-workspace": "network; tests/test_workspace.py",
    ".venv/bin/wandb sweep": "network; tests/experiments/test_sweeps.py",
    ".venv/bin/python -m pytest": "tests themselves",
    "torchrun": "several processes; tests/training/test_distributed.py",
    "python leaves.py": "tests/test_new.py",
    "pip install": "network; make test-wheel",
    "python -m pokefast task1": "make test-wheel",
    "python -m pokefast new": "tests/test_new.py",
    "python -m pokefast predict newest leaves/": "tests/test_new.py",
}


def blocks(page, language):
    text = page.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.M | re.DOTALL)


def commands():
    """Every line of a block of shell, without its comment, once."""
    lines = [line for page in PAGES for block in blocks(page, "sh") for line in block.splitlines()]
    return list(dict.fromkeys(filter(None, (re.sub(r"(^|\s+)#.*", "", line) for line in lines))))


def is_exempt(command):
    return any(
        f"{command} ".startswith(start if start[-1] in "-/" else f"{start} ") for start in EXEMPT
    )


RUN = [command for command in commands() if not is_exempt(command)]


def anchors(page):
    """The names that GitHub gives a page's headings."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?:|mailto:", link):
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), f"{page.name}: {link}"
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), f"{page.name}: {link}"


def test_every_page_is_linked_from_the_first():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    pages = [f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md")]
    assert [page for page in pages if f"]({page})" not in text] == []
    assert len(text.split()) <= 900


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_of_make_exist(page):
    found = re.findall(r"(?:^|`)make ([a-z][a-z0-9-]*)", page.read_text(encoding="utf-8"), re.M)
    listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True).stdout
    known = set(re.findall(r"^  make (\S+)", listed, re.M)) | {"leaves"}  # one's own task
    assert set(found) <= known, f"{page.name}: {set(found) - known}"


def test_commands_are_run_or_exempt_for_a_reason():
    unused = [start for start in EXEMPT if not any(c.startswith(start) for c in commands())]
    assert unused == [] and len(RUN) > 20


@pytest.mark.parametrize("command", [c for c in RUN if c != "make leaves"])
def test_the_words_of_a_command_are_understood(command):
    """make's own lines are asked for with -n; what they start reads its words, and does no more."""
    words = shlex.split(command)
    if words[0] == "make":
        make = ["make", "-n", "--no-print-directory", "PY=python", *words[1:]]
        said = subprocess.run(make, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        words = shlex.split(said.strip().splitlines()[-1])
    module, *words = words[words.index("-m") + 1 :]
    if module != "pokefast":
        assert anno_parser(import_module(module).main).parse_args(words)
    elif (name := words.pop(0)) in TASKS:
        assert read_line(load_task(name), words)[0]
    else:
        module, function = COMMANDS[name]
        assert anno_parser(getattr(import_module(module), function)).parse_args(words)


@pytest.mark.parametrize("name", ["competitions", "honest-scores", "speed"])
def test_figures_of_a_page_are_those_of_the_results(name):
    """Of three decimals, of which what an example prints has none."""
    measured = "".join((ROOT / page).read_text() for page in MEASURED)
    text = (ROOT / "docs" / f"{name}.md").read_text()
    found = re.findall(r"(?<![\d+-])[01]\.\d{3}(?!\d)", text)
    assert [figure for figure in found if figure not in measured] == []


def test_parts_that_are_to_be_copied_work(small, tmp_path, monkeypatch):
    (tmp_path / "data").symlink_to(small)
    monkeypatch.chdir(tmp_path)
    matplotlib.use("agg")
    for name in ("parts", "honest-scores"):
        known = {}
        for block in blocks(ROOT / "docs" / f"{name}.md", "python"):
            exec(compile(block, name, "exec"), known)
    assert known["low"] < 0.6 < known["high"]


def public(tree):
    """What a module's `__all__` names, and the public methods of its classes."""
    names = set()
    for node in tree.body:
        target = getattr(node, "targets", [getattr(node, "target", None)])[0]
        if getattr(target, "id", "") == "__all__":
            names |= set(ast.literal_eval(node.value))
    for node in tree.body:
        if getattr(node, "name", None) in names:
            yield node
            inner = node.body if isinstance(node, ast.ClassDef) else []
            yield from (m for m in inner if isinstance(m, ast.FunctionDef) and m.name[0] != "_")


def test_public_names_have_a_docstring():
    lacking = []
    for file in SOURCES:
        tree = ast.parse(file.read_text(encoding="utf-8"))
        bare = [node for node in (tree, *public(tree)) if not ast.get_docstring(node)]
        lacking += [f"{file.relative_to(ROOT)}: {getattr(n, 'name', 'the module')}" for n in bare]
    assert lacking == []


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy of the project with small data and what the pages' commands speak of: runs of their
    names, an image, a folder of images, a zip and labels.
    """
    if "MORE_TESTS" not in os.environ:
        pytest.skip("minutes: make test-docs")
    there = tmp_path_factory.mktemp("project") / "pokefast"
    names = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout
    for name in names.splitlines():
        (there / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, there / name)
    (there / ".venv").symlink_to(sys.prefix)
    small_data(there / "data")
    images = sorted((there / "data" / "task1" / "Test").glob("*.png"))
    shutil.copy(images[0], there / "picture.png")
    shutil.copytree(images[0].parent, there / "folder")
    shutil.copytree(there / "data" / "task1", there / "folder", dirs_exist_ok=True)
    shutil.copy(there / "data" / "solution" / "task1.csv", there / "labels.csv")
    with zipfile.ZipFile(there / "leaves.zip", "w") as archive:
        for file in (there / "data" / "task1").rglob("*.*"):
            archive.write(file, file.relative_to(there / "data"))
    for task, *copies in (("task2", "task2-...", "...", "a", "b"), ("task1", "task1-a", "task1-b")):
        call(f'make {task} ARGS="--epochs 1"', there)
        (made,) = (there / "runs").glob(f"{task}-2*")
        for name in copies:
            shutil.copytree(made, there / "runs" / name)
    return there


def small_data(folder):
    """Small competitions that the tasks take for the embedded data."""
    asked = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            drawn, "publish", lambda out, task, settings, build: asked.update({task: settings})
        )
        drawn.make_task12(folder, 0)
        drawn.make_task3(folder, 0)
    for task, settings in asked.items():
        marker = drawn.small_competition(folder, task, n_per_class=14) / MARKER
        made = json.loads(marker.read_text()) | {"settings": settings}
        marker.write_text(json.dumps(made))


def call(command, there):
    """Run a line of a page as a person would, without network, in `python`'s environment."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = os.environ | {"PATH": path, "PY": "python", "WANDB_MODE": "offline", "BROWSER": "true"}
    env |= {"MPLBACKEND": "agg"}
    done = subprocess.run(command, shell=True, cwd=there, env=env, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"


@pytest.mark.parametrize("command", sorted(RUN, key=lambda c: c == "make leaves"))
def test_a_command_works(command, project):
    call(command, project)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_blocks_of_python_work(page, project):
    if page.name in ("elsewhere.md", "parts.md", "honest-scores.md") or not blocks(page, "python"):
        pytest.skip("has none, or another test runs them")
    (project / "block.py").write_text("\n".join(blocks(page, "python")))
    call("python block.py", project)
