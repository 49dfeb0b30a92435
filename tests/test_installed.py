"""The project as it is installed: run from another folder, by `python -m pokefast`."""

import ast
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from pokefast import __main__ as commands
from pokefast.runs import read_run

ROOT = Path(__file__).resolve().parents[1]
MORE = "MORE_TESTS" in os.environ
# what is not there, or may not stand in a file's name, on Windows
POSIX = {"fcntl", "grp", "pty", "pwd", "resource", "syslog", "termios", "tty"}
FORBIDDEN = set('<>:"|?*\\')
# as where nothing can be forked
SPAWN = "import multiprocessing\nmultiprocessing.set_start_method('spawn')\n"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder of packages with this one, from a wheel where there is time to make one."""
    folder = tmp_path_factory.mktemp("site")
    if MORE:
        pip = [sys.executable, "-m", "pip", "--quiet", "--quiet"]
        made = tmp_path_factory.mktemp("wheel")
        subprocess.run([*pip, "wheel", "--no-deps", "-w", made, ROOT], check=True)
        (wheel,) = made.glob("*.whl")
        subprocess.run([*pip, "install", "--no-deps", "--target", folder, wheel], check=True)
    else:
        shutil.copytree(ROOT / "pokefast", folder / "pokefast")
        shutil.copytree(ROOT / "tasks", folder / "pokefast" / "tasks")
    (folder / "sitecustomize.py").write_text(SPAWN)
    reader = folder / "pokefast" / "data" / "decoding.py"
    few = reader.read_text().replace("MIN_FORKED, MIN_SPAWNED = 500, 5000", "MIN_SPAWNED = 500")
    reader.write_text(few.replace("MIN_FORKED if forks else ", ""))  # workers for the small data
    return folder


def run(line, site, cwd, **given):
    """The finished process of `python LINE` in the folder `cwd`, where the project is installed."""
    env = {**os.environ, "PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1"}
    env["HOME"] = str(cwd)
    line = [sys.executable, "-P", *shlex.split(line)]
    return subprocess.run(line, cwd=cwd, env=env, capture_output=True, text=True, **given)


def names(folder):
    return {str(file.relative_to(folder)) for file in folder.rglob("*")}


def test_it_trains_from_any_folder_and_writes_there_alone(site, small, tmp_path):
    before = names(site)
    there = tmp_path / "my folder"
    there.mkdir()
    done = run(f"-m pokefast task1 --data '{small / 'task1'}' --epochs 1", site, there)
    assert done.returncode == 0, done.stderr
    assert names(site) == before
    assert {file.name for file in there.iterdir()} <= {"runs", "submissions", ".cache", ".config"}
    assert len(pd.read_csv(there / "submissions" / "task1_submit.csv"))
    (folder,) = (there / "runs").glob("task1-*")
    assert read_run(folder)["command"].startswith("python -m pokefast task1 --data ")
    assert "make compare" not in (there / "runs" / "index.html").read_text()
    assert not [name for name in names(there) if FORBIDDEN & set(name)]
    assert "Warning" not in done.stderr


@pytest.mark.skipif(not MORE, reason="make test-wheel: it trains all three tasks")
def test_every_step_works_where_it_is_installed(site, small, tmp_path):
    def succeeds(line):
        done = run(line, site, tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout

    succeeds("-m pokefast task1 --epochs 2")
    succeeds(f"-m pokefast task2 --data '{small / 'task2'}' --epochs 1")
    succeeds("-m pokefast.tasks.task3_transfer --epochs 0 --arch tf_efficientnet_lite0")
    assert "task3" in succeeds("-m pokefast score")
    first, second = sorted((tmp_path / "runs").glob("task[12]-*"))
    assert (
        succeeds(f"-m pokefast predict {first} {tmp_path}/data/task1/Test --csv").count("\n") > 900
    )
    succeeds(f"-m pokefast export --run {second} --data '{small / 'task2'}'")
    succeeds("-m pokefast new --name icons --data data/task1")
    assert (tmp_path / "icons.py").is_file()
    succeeds("icons.py --epochs 1")


def test_the_commands_are_those_of_make():
    makefile = (ROOT / "Makefile").read_text()
    called = set(re.findall(r"\$\((?:RUN|MODULE)\) pokefast ([a-z0-9-]+)", makefile))
    assert called == {*commands.COMMANDS, "task1", "task2", "task3"}


def test_a_command_that_is_none_lists_those_that_are(capsys):
    assert commands.main(["tsk1"]) == 2 and commands.main([]) == 2
    assert "compare" in (said := capsys.readouterr().err) and "task3" in said
    assert commands.main(["--help"]) == 0


@pytest.mark.skipif(os.name == "nt", reason="no process gets Ctrl-C alone there")
@pytest.mark.parametrize("line", ["task1", "check --data ."])
def test_ctrl_c_while_modules_are_imported_is_no_traceback(line):
    line = [sys.executable, "-X", "importtime", "-m", "pokefast", *line.split()]
    with subprocess.Popen(line, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        said = ""
        for said in process.stderr:
            if re.search(r"\| +numpy\b", said):
                break
        process.send_signal(signal.SIGINT)
        rest = process.communicate()[1]
    assert process.returncode == 130 and "numpy" in said and "Traceback" not in rest


def test_nothing_needs_what_windows_lacks():
    for folder in ("pokefast", "tasks"):
        for file in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Import | ast.ImportFrom):
                    found = {alias.name for alias in node.names} | {getattr(node, "module", "")}
                    assert not POSIX & found, f"{file}:{node.lineno}"
                assert not (isinstance(node, ast.Attribute) and node.attr in ("fork", "SIGKILL"))
