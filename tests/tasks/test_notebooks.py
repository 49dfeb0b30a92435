"""The notebooks run from top to bottom on small data, and are stored without outputs."""

import ast
import os
import re
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from jupyter_client.manager import KernelManager
from nbclient import NotebookClient

from pokefast.datasets.drawn import small_competition

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.fixture(params=NOTEBOOKS, ids=lambda p: p.stem)
def notebook(request):
    return nbformat.read(request.param, as_version=4)


@pytest.fixture(scope="module")
def kernel():
    """One process for all notebooks: importing fastai takes longer than the rest."""
    manager = KernelManager(kernel_name="python3")
    # the test run's own backend would keep the pictures to itself
    env = {k: v for k, v in os.environ.items() if k != "MPLBACKEND"}
    # a person's Jupyter starts in the notebook's folder as well
    manager.start_kernel(cwd=str(ROOT / "notebooks"), env=env)
    yield manager
    manager.shutdown_kernel(now=True)


def script_of(nb):
    """The task's script that a notebook imports: the stem of its file."""
    return re.search(r"from tasks\.(\w+) import", nb_source(nb)).group(1)


def nb_source(nb):
    return "\n".join(cell.source for cell in code_cells(nb))


def code_cells(nb):
    return [cell for cell in nb.cells if cell.cell_type == "code"]


def test_there_are_notebooks():
    assert {p.stem for p in NOTEBOOKS} >= {"task1", "task2", "task3"}


def test_a_notebook_is_stored_without_outputs(notebook):
    nbformat.validate(notebook)
    assert len(code_cells(notebook)) > 5
    for cell in code_cells(notebook):
        assert cell.outputs == [] and cell.execution_count is None


def test_a_notebook_holds_no_copy_of_a_script(notebook):
    kinds = {type(node) for node in ast.walk(ast.parse(nb_source(notebook)))}
    assert not kinds & {ast.FunctionDef, ast.ClassDef, ast.Lambda}
    assert (ROOT / "tasks" / f"{script_of(notebook)}.py").exists()


def small_parameters(nb, small, out):
    """Values for the notebook's parameters cell, as source."""
    if not script_of(nb).startswith("task3"):
        return f"data, epochs = {str(small / 'task1')!r}, 1"
    data = small_competition(out, 3, n_per_class=18)
    truth = pd.read_csv(out / "solution" / "task3.csv").rename(columns={"species": "group"})
    train = set(pd.read_csv(data / "train_labels.csv")["Id"])
    truth.loc[truth["Id"].isin(train), ["Id", "group"]].to_csv(out / "groups.csv", index=False)
    choices = dict(arch="resnet18", weights="none", size=32, bs=16, groups=str(out / "groups.csv"))
    return f"data, epochs, choices = {str(data)!r}, 1, {choices}"


def test_a_notebook_runs_on_small_data(notebook, kernel, small, tmp_path):
    (parameters,) = (c for c in code_cells(notebook) if "parameters" in c.metadata.get("tags", []))
    parameters.source += "\n" + small_parameters(notebook, small, tmp_path)
    notebook.cells.insert(0, nbformat.v4.new_code_cell("%reset -f"))  # nothing of the last one's
    NotebookClient(notebook, km=kernel, timeout=300).execute()
    pictures, text = [], ""
    for cell in code_cells(notebook):
        for output in cell.outputs:
            data = output.get("data", {})
            pictures += [cell.source] if "image/png" in data else []
            text += data.get("text/plain", "")
            assert output.output_type != "error"
    assert "SuggestedLRs" in text
    for call in ("show_batch", "lr_find", "plot_loss", "plot_confusion", "plot_top_losses"):
        assert any(call in source for source in pictures), f"{call} shows no picture"
    if any("image_rows(" in cell.source for cell in code_cells(notebook)):
        assert any("image_rows(" in source for source in pictures)
