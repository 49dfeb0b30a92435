"""Does task 3's interval hold? `python -m experiments.splits DATA...`, on new splits of species.

Every rebuilt competition (task3/, solution/) is split anew, again and again: a fifth of each
class's species becomes the hidden test, with all their images. The images are described once by the
frozen network; the head is solved on every split's labelled images, the local score and its
interval are what `make task3` would print, near duplicates found anew included, and the hidden
score is that of the same head, on the hidden images. Temperatures, which change no class, are left
out.
"""

from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import torch

from experiments.rebuild import averaged, open_rebuild
from pokefast.crops.groups import Pairs, kept_pairs
from pokefast.crops.links import merged
from pokefast.data.splits import AllSplitter, left_out_parts
from pokefast.files import write_own_csv
from pokefast.models.ridge import RidgeHead
from pokefast.options import run_cli
from pokefast.scoring.interval import score_interval
from pokefast.scoring.metrics import choose_metric
from pokefast.steps import Clock, learner_on
from pokefast.training.learner import inputs
from tasks import load_task

__all__ = ["Rebuild", "main"]

HIDDEN = 0.2  # fraction of each class's species, as in a rebuild


class Rebuild:
    """The images of a rebuilt competition, labelled and hidden: their `vectors` [n, d], class
    numbers `targets` [n], `species` [n] and `pairs` that look alike, and a `learn` of task 3.

    Raises UserError for a folder without task3/ or solution/.
    """

    def __init__(self, folder):
        task = load_task("task3")
        self.o = o = task.recipe().resolved()
        solution, found, whole, test = open_rebuild(folder, o)
        self.learn = learner_on(task, found, whole, Clock(), o, AllSplitter())
        parts = self.learn.dls.train, self.learn.dls.test_dl(test.items).share(test)
        loaders = [inputs(self.learn, dl).new(shuffle=False, drop_last=False) for dl in parts]
        self.vectors = torch.cat([x.cpu() for dl in loaders for x, *_ in dl]).float()
        items = pd.concat([dl.items for dl in parts], ignore_index=True)
        truth = solution.loc[items["Id"]]
        self.targets = torch.from_numpy(pd.Index(found.vocab).get_indexer(truth["label"]))
        self.species = truth["species"].to_numpy()
        self.pairs = kept_pairs(items["path"])

    def head(self, n):
        """A head as of `make task3` for `n` labelled images, to be solved."""
        like = self.learn.model[1]
        weights = like.deep_weight, like.colour_weight, like.gamma
        landmarks = min(self.o.landmarks, n)
        return RidgeHead(like.widths, like.linear.out_features, landmarks, *weights)

    def among(self, rows):
        """The `Pairs` of the images `rows`, renumbered."""
        place = np.full(self.pairs.n, -1)
        place[rows] = np.arange(len(rows))
        ends = place[self.pairs.rows]
        inside = (ends >= 0).all(1)
        some = (ends[inside], self.pairs.colours[inside], self.pairs.fit[inside])
        return Pairs(len(rows), *some)

    def split(self, seed):
        """(row numbers of labelled images, of hidden ones) of a new split."""
        rng, hidden = np.random.default_rng(seed), []
        table = pd.DataFrame({"label": self.targets.numpy(), "species": self.species})
        for _, names in table.drop_duplicates().groupby("label")["species"]:
            hidden += list(rng.permutation(names)[: round(len(names) * HIDDEN)])
        is_hidden = np.isin(self.species, hidden)
        return np.flatnonzero(~is_hidden), np.flatnonzero(is_hidden)

    def scores(self, seed, metric):
        """Local and hidden score of one split, and the interval's ends, as a dict."""
        train, hidden = self.split(seed)
        targets = self.targets[train]
        pairs = self.among(train)
        alike = pairs.sure_groups()
        groups = merged([pairs.groups(targets.numpy()), alike])
        head, parts = self.head(len(train)), left_out_parts(targets.numpy(), groups)
        left_out = head.solve(self.vectors[train], targets, parts).softmax(1)
        with torch.no_grad():
            unseen = head(self.vectors[hidden]).softmax(1)
        local = averaged(left_out.numpy(), alike)
        unseen = averaged(unseen.numpy(), self.among(hidden).sure_groups())
        low, high = score_interval(metric, targets.numpy(), local, groups, len(hidden))
        value = metric.value(self.targets[hidden].numpy(), unseen)
        row = {"local": metric.value(targets.numpy(), local), "low": low, "high": high}
        return row | {"hidden": value, "inside": low <= value <= high}


def main(
    data: Annotated[Path, {"nargs": "+"}],  # folders of rebuilds, with task3/ and solution/
    splits: int = 200,  # of each rebuild
    seed: int = 0,  # of the first split; the others follow
    out: Path = None,  # CSV for the rows
):
    """Print how far local and hidden scores lie apart, and how often the interval holds."""
    metric, rows = choose_metric("f1_macro"), []
    for folder in data:
        rebuild = Rebuild(folder)
        for i in range(seed, seed + splits):
            name = Path(folder).resolve().name
            rows.append({"rebuild": name, "seed": i, **rebuild.scores(i, metric)})
    table = pd.DataFrame(rows)
    if out:
        write_own_csv(out, table)
    gap, width = table["local"] - table["hidden"], table["high"] - table["low"]
    print(
        f"{len(table)} splits: local - hidden {gap.mean():+.4f} (standard deviation "
        f"{gap.std():.4f}), hidden inside the interval {table['inside'].mean():.1%}, "
        f"mean width {width.mean():.4f}; hidden {table['hidden'].mean():.4f}"
    )
    return table


if __name__ == "__main__":
    raise SystemExit(run_cli(main))
