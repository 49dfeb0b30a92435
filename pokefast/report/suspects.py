"""Images whose label is probably wrong, among those that a run predicted without having seen them.

Source: "Confident Learning: Estimating Uncertainty in Dataset Labels", JAIR 2021; cleanlab, an
extra (`pip install 'pokefast[check]'`).
"""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd

from pokefast.data.competition import competition_of_run
from pokefast.errors import UserError
from pokefast.files import read_own_csv, write_json
from pokefast.images import open_image
from pokefast.report.plots import to_data_uri
from pokefast.runs import probability_columns, read_run

__all__ = ["has_cleanlab", "suspects", "suspects_of_run", "write_suspects"]

FILE = "suspects.json"
SHOWN = 24  # images on the page; the file names all


def has_cleanlab():
    """Whether the extra that finds them is installed."""
    return find_spec("cleanlab") is not None


def suspects(table, vocab):
    """The rows of `table`, a data frame of probabilities.csv, whose truth is probably wrong, the
    least probable first, with the probabilities `p_truth` and `p_predicted`.

    Only the local part counts, which no model had seen. None are found where a class has no image.
    """
    from cleanlab.filter import find_label_issues  # an extra

    local = table[table["part"] == "local"].reset_index(drop=True)
    truth = pd.Index(vocab).get_indexer(local["truth"])
    found = local[probability_columns(vocab)].to_numpy(float)
    rows = np.array([], int)
    if len(np.unique(truth)) == len(vocab):
        found = found / found.sum(1, keepdims=True)  # text has few digits
        rows = find_label_issues(truth, found, return_indices_ranked_by="self_confidence", n_jobs=1)
    predicted = found.argmax(1)
    return local.loc[rows, ["Id", "truth"]].assign(
        predicted=np.asarray(vocab, object)[predicted[rows]],
        p_truth=found[rows, truth[rows]],
        p_predicted=found[rows, predicted[rows]],
    )


def write_suspects(folder, table, vocab, paths):
    """Write suspects.json to a run's folder: `found`, a list of Id, truth, predicted, p_truth and
    p_predicted of the `suspects` among the rows of `table`, the first with their image, `of` how
    many images. `paths` is a series of the images' files by Id, which may lack some. Returns them.
    """
    found = suspects(table, vocab).to_dict("records")
    for item in [item for item in found if item["Id"] in paths.index][:SHOWN]:
        item["image"] = to_data_uri(np.asarray(open_image(paths[item["Id"]], "RGBA")) / 255)
    write_json(Path(folder) / FILE, {"found": found, "of": int((table["part"] == "local").sum())})
    return found


def suspects_of_run(folder):
    """`write_suspects` for the finished run in `folder`, from its files.

    Raises UserError where cleanlab is not installed or the run has not finished.
    """
    if not has_cleanlab():
        raise UserError("--run: wrong labels are found by cleanlab; pip install cleanlab")
    run, file = read_run(folder), Path(folder) / "probabilities.csv"
    if not file.is_file():
        raise UserError(f"{folder}: no probabilities.csv in it; the run has not finished")
    competition = competition_of_run(folder)
    paths = pd.Series(dtype=object)
    if competition is not None:
        paths = competition.train.set_index("Id")["path"]
    return write_suspects(folder, read_own_csv(file), run["vocab"], paths)
