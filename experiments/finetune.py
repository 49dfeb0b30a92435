"""Is fine-tuning task 3's network worth it? `python -m experiments.finetune DATA...`

For each folder of a rebuilt competition (task3/, solution/): the head as it is solved on the frozen
network, the same network fine-tuned from there, the mean of both's probabilities, and the network
whose weights are halfway between ("Robust fine-tuning of zero-shot models", CVPR 2022). Macro-F1
out of fold, in folds by near-duplicate groups, and on the hidden test by models of all labelled
images; images that surely show the same art are predicted alike. Then the mean differences over the
rebuilds, with intervals over species. Rates and epochs are chosen out of fold on some rebuilds;
others, where nothing was chosen, say what that is worth. `--no-hidden` and `--folds 0` leave a part
out.
"""

from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd

from experiments.rebuild import averaged, open_rebuild
from pokefast.crops.groups import kept_pairs
from pokefast.data.splits import AllSplitter, FoldSplitter
from pokefast.errors import UserError
from pokefast.files import write_own_csv
from pokefast.options import run_cli
from pokefast.scoring.metrics import choose_metric
from pokefast.scoring.paired import drawn_differences
from pokefast.steps import Clock, learner_on
from pokefast.training.learner import fit, predict
from tasks import load_task

__all__ = ["compare", "difference", "main", "probabilities"]

WAYS = ("solved", "tuned", "mean", "between")
DRAWS = 2000  # of the bootstrap


def probabilities(load, o, splitter, part, test=None):
    """(index of the items of the loaders' `part`, {way: their probabilities [n, classes]}), by each
    of the `WAYS`, fine-tuned for options `o`; of the loader `test` instead where that is given.
    """
    learn = load(o, splitter)
    dl = learn.dls.test_dl(test.items).share(test) if test else learn.dls[part]
    task = load_task("task3")
    task.phase_one(learn, o, False)
    start = deepcopy(learn.model.state_dict())
    solved = np.asarray(predict(learn, dl))
    fit(learn, o, o.rates(), validate=False)
    tuned = np.asarray(predict(learn, dl))
    for name, value in learn.model.state_dict().items():
        if value.is_floating_point():
            value.lerp_(start[name].to(value), 0.5)
    between = np.asarray(predict(learn, dl))
    each = solved, tuned, (solved + tuned) / 2, between
    return dl.items.index, dict(zip(WAYS, each, strict=True))


def compare(folder, o, folds, hidden=True):
    """Rows of one rebuild, each a dict: part ("hidden", "out of fold"), truth [n], species [n] and
    the probabilities [n, classes] by every one of the `WAYS`; no folds, no row out of fold.

    Raises UserError for a folder without task3/ or solution/.
    """
    solution, found, whole, test = open_rebuild(folder, o)
    load = partial(learner_on, load_task("task3"), found, whole, Clock())
    parts = []
    if hidden:
        _, by_way = probabilities(load, o, AllSplitter(), 0, test)
        parts.append(("hidden", by_way, found.test, np.arange(len(found.test))))
    if folds:
        each = [probabilities(load, o, FoldSplitter(i, folds, o.seed), 1) for i in range(folds)]
        rows = np.concatenate([index for index, _ in each])
        joined = {way: np.concatenate([by[way] for _, by in each]) for way in WAYS}
        parts.append(("out of fold", joined, found.train, found.train.index.get_indexer(rows)))
    out = []
    for part, by_way, items, order in parts:
        truth = solution.loc[items["Id"].iloc[order]]
        alike = kept_pairs(items["path"]).sure_groups()[order]
        by_way = {way: averaged(p, alike) for way, p in by_way.items()}
        numbers = pd.Index(found.vocab).get_indexer(truth["label"])
        species = truth["species"].to_numpy()
        out.append({"part": part, "truth": numbers, "species": species, **by_way})
    return out


def difference(rows, one, other, metric, level=0.95, seed=0):
    """(mean over `rows` of the score of way `other` less that of `one`, ends of its interval): the
    species of each row are drawn anew, with replacement, for both alike.
    """
    rng, each = np.random.default_rng(seed), []
    for row in rows:
        two = row[one], row[other]
        each.append(drawn_differences(metric, row["truth"], *two, row["species"], DRAWS, rng))
    values, drawn = zip(*each, strict=True)
    tail = 100 * (1 - level) / 2
    return np.mean(values), *np.nanpercentile(np.mean(drawn, 0), [tail, 100 - tail])


def main(
    data: Annotated[Path, {"nargs": "+"}],  # folders of rebuilds, with task3/ and solution/
    folds: int = 3,  # of the score out of fold; 0: none
    hidden: bool = True,  # the score by models of all labelled images
    epochs: int = 6,  # of fine-tuning
    lr: float = 1e-3,  # highest rate, of the head
    train_from: str = "layer3",  # layer group from which on the network is fine-tuned
    augment: bool = True,  # training images
    size: int = 160,  # pixels, side of what the network sees
    out: Path = None,  # folder for the probabilities, a CSV a rebuild and part
):
    """Print the scores of each rebuild, and the mean differences with their intervals below."""
    if folds == 1 or folds < 0:
        raise UserError(f"--folds {folds}: at least 2 take turns; 0 for none")
    given = dict(epochs=epochs, lr=lr, train_from=train_from, augment=augment, size=size)
    o = load_task("task3").recipe(**given).resolved()
    metric, rows = choose_metric("f1_macro"), []
    for folder in data:
        for row in compare(folder, o, folds, hidden):
            rows.append(row)
            name = f"{Path(folder).resolve().name}, {row['part']}"
            values = (f"{way} {metric.value(row['truth'], row[way]):.4f}" for way in WAYS)
            print(f"{name}: {', '.join(values)}", flush=True)
            if out:
                columns = {f"{way}_{k}": p for way in WAYS for k, p in enumerate(row[way].T)}
                out.mkdir(parents=True, exist_ok=True)
                table = pd.DataFrame({"truth": row["truth"], "species": row["species"], **columns})
                write_own_csv(out / f"{name.replace(', ', '-').replace(' ', '-')}.csv", table)
    for part in dict.fromkeys(row["part"] for row in rows):
        for way in WAYS[1:]:
            some = [row for row in rows if row["part"] == part]
            found = difference(some, "solved", way, metric)
            print("{}, {} less solved: {:+.4f} ({:+.4f} to {:+.4f})".format(part, way, *found))


if __name__ == "__main__":
    raise SystemExit(run_cli(main))
