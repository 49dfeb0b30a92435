"""Small competitions that the tests share, and folders for their output."""

import os
import shutil

import pytest

os.environ["WANDB_MODE"] = "disabled"  # no test logs anywhere unless it asks

from pokefast.datasets.drawn import small_competition


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    """A folder with small competitions: task1 (task2 is a link to it) and the hidden labels in
    solution/.
    """
    out = tmp_path_factory.mktemp("small")
    small_competition(out, 1, n_per_class=14)
    return out


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """What is kept for later runs lies in a folder of the test session."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def task1(small, tmp_path):
    """A copy of the small task 1 that a test may spoil."""
    return shutil.copytree(small / "task1", tmp_path / "task1")


@pytest.fixture
def sandbox(tmp_path, monkeypatch):
    """Send runs and submissions to a temporary folder."""
    monkeypatch.setattr("pokefast.task.RUNS", tmp_path / "runs")
    monkeypatch.setattr("pokefast.task.SUBMISSIONS", tmp_path / "submissions")
    return tmp_path
