"""A run's folder: its own, its table of probabilities, its format."""

import json
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest

from pokefast.errors import UserError
from pokefast.files import atomic_path, read_own_csv, write_own_csv
from pokefast.runs import (
    FORMAT,
    new_folder,
    probability_columns,
    probability_table,
    read_run,
    unfinished,
    work_folder,
    write_run,
)


def test_runs_that_start_at_once_get_a_folder_each(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(lambda _: new_folder(tmp_path / "runs", "task1"), range(8)))
    assert len(set(folders)) == 8 and all(f.is_dir() for f in folders)
    assert not any(":" in f.name for f in folders)  # Windows has none


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(UserError, match="runs"):
        new_folder(tmp_path / "runs", "task1")


def test_the_table_holds_what_was_computed_to_the_bit(tmp_path):
    vocab = ["truth", "group", "=Ba$$in", "p_truth"]  # names that a column could have
    rows = np.random.default_rng(0).dirichlet(np.ones(4), 5).astype(np.float32)
    items = pd.DataFrame({"Id": list("abcde"), "label": [vocab[i] for i in (0, 1, 2, 3, 0)]})
    table = probability_table(items, rows, vocab, "local", 2)
    assert table.columns.is_unique
    write_own_csv(tmp_path / "t.csv", table)
    back = read_own_csv(tmp_path / "t.csv")
    assert (back[probability_columns(vocab)].to_numpy(np.float32) == rows).all()
    assert list(back["predicted"]) == [vocab[i] for i in rows.argmax(1)]
    assert set(back["part"]) == {"local"} and set(back["fold"]) == {"2"}
    unlabelled = probability_table(items[["Id"]], rows, vocab, "test")
    assert set(unlabelled["truth"]) == set(unlabelled["group"]) == {""}


def test_files_that_a_killed_call_was_writing_go_when_the_run_ends_well(tmp_path):
    (tmp_path / "fold1").mkdir()
    with pytest.raises(OSError), atomic_path(tmp_path / "fold1" / "x.json") as half:
        raise OSError
    half.touch()  # a kill would have left it
    (tmp_path / "fold1" / ".mine").touch()
    with pytest.raises(RuntimeError), unfinished(tmp_path):
        raise RuntimeError
    assert half.exists() and work_folder(tmp_path).exists()
    with unfinished(tmp_path):
        pass
    assert [f.name for f in tmp_path.rglob("*")] == ["fold1", ".mine"]


def test_another_format_is_refused_in_one_line(tmp_path):
    write_run(tmp_path, {"task": "task1"})
    assert read_run(tmp_path)["format"] == FORMAT
    for text in (json.dumps({"format": FORMAT - 1}), "[]", "{"):
        (tmp_path / "run.json").write_text(text)
        with pytest.raises(UserError) as error:
            read_run(tmp_path)
        assert "run.json" in str(error.value) and "\n" not in str(error.value)
    (tmp_path / "run.json").unlink()
    with pytest.raises(UserError, match="no such file"):
        read_run(tmp_path)


CLEANING = """
import time
from pokefast.runs import stoppable

with stoppable():
    try:
        print("works", flush=True)
        time.sleep(120)
    finally:
        print("cleans up", flush=True)
        time.sleep(120)
"""


def test_a_second_ctrl_c_leaves_at_once():
    line = [sys.executable, "-W", "ignore", "-c", CLEANING]
    process = subprocess.Popen(line, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    for said in ("works", "cleans up"):
        assert process.stdout.readline().strip() == said
        process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 130 and process.stderr.read() == ""
