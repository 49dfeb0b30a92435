"""Threads wait calmly unless the user has said how, and there are no more than may run."""

import os
import subprocess
import sys

import pytest

from pokefast.cores import cores
from pokefast.files import ROOT

SET = "import os; print(*sorted({'GOMP_SPINCOUNT', 'KMP_BLOCKTIME'} & {*os.environ}))"


def python(code, **env):
    """What a Python process prints that runs `code` with these environment variables alone."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("GOMP", "KMP", "OMP"))}
    line = [sys.executable, "-c", code]
    return subprocess.run(
        line, env={**clean, **env}, cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.mark.parametrize("package", ["pokefast", "tasks", "experiments"])
def test_every_program_sets_how_threads_wait_before_it_imports_torch(package):
    code = f"import sys, {package}; assert 'torch' not in sys.modules; {SET}"
    assert python(code) == "GOMP_SPINCOUNT KMP_BLOCKTIME"


@pytest.mark.parametrize("name", ["GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "KMP_BLOCKTIME"])
def test_what_the_user_has_set_stays(name):
    code = f"import os, pokefast; assert os.environ['{name}'] == 'active'; {SET}"
    assert python(code, **{name: "active"}) == ("" if name == "OMP_WAIT_POLICY" else name)


def test_nothing_is_set_where_torch_has_read_it():
    assert python(f"import sys; sys.modules['torch'] = 0; import pokefast; {SET}") == ""


def test_affinity_counts():
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("no affinity here")
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); "
    assert python(code + "from pokefast.cores import cores; print(cores())") == "1"


def test_torch_has_no_more_threads_than_there_are_cores():
    code = "import torch; from pokefast.cores import limit_threads; limit_threads(); "
    code += "print(torch.get_num_threads())"
    assert python(code, LOKY_MAX_CPU_COUNT="1") == "1"
    assert int(python(code)) <= cores()
