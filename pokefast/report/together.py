"""Several runs of one competition side by side: the probabilities that each kept.

Imports what a page does; `pokefast.blend` and `pokefast.compare` use it."""

from functools import cached_property

import numpy as np
import pandas as pd

from pokefast.crops.links import merged
from pokefast.errors import UserError
from pokefast.runs import probability_columns
from pokefast.scoring.metrics import choose_metric

__all__ = ["Together"]


class Together:
    """The finished runs of a list of `RunFiles`, whose classes and metric are the same.

    `local` has the images of which every run has a prediction by a model that saw neither them nor
    their near duplicates, and may be empty; `test` those of the submission. Both are data frames of
    Id, truth and group; `probabilities(part)` are [runs, images, classes] in the order of `vocab`.
    Raises UserError for runs that have not finished or do not go together.
    """

    def __init__(self, files):
        self.files = list(files)
        self.names = [each.folder.resolve().name for each in self.files]
        if len(set(self.names)) < len(self.names) or len(self.names) < 2:
            raise UserError(
                'give the folders of two different runs or more; with make, RUNS="runs/a runs/b"'
            )
        first = self.files[0]
        self.vocab = first.run["vocab"]
        for name, files in zip(self.names, self.files, strict=True):
            if files.metrics is None:
                raise UserError(f"{files.folder}: no metrics.json in it; the run has not finished")
            if sorted(files.run["vocab"]) != sorted(self.vocab):
                raise UserError(f"{name} has other classes than {self.names[0]}")
            if files.metrics.get("metric") != first.metrics.get("metric"):
                raise UserError(f"{name} was scored by another metric than {self.names[0]}")
        self.metric = choose_metric(first.metrics.get("metric", "f1_macro"), self.vocab)
        self.tables = [files.probabilities for files in self.files]

    @cached_property
    def local(self):
        """The images that all runs are scored on, with `group` numbers in which the near duplicates
        of any run are together.
        """
        tables = [self._rows(table, "local") for table in self.tables]
        ids = sorted(set.intersection(*(set(table.index) for table in tables)))
        for name, table in zip(self.names, tables, strict=True):
            if (table.loc[ids, "truth"] != tables[0].loc[ids, "truth"]).any():
                raise UserError(f"{name} has other labels than {self.names[0]}")
        rows = pd.DataFrame({"Id": ids, "truth": tables[0].loc[ids, "truth"].to_numpy()})
        return rows.assign(group=merged([table.loc[ids, "group"] for table in tables]))

    @cached_property
    def test(self):
        """The images of the submission."""
        ids = [sorted(self._rows(table, "test").index) for table in self.tables]
        for name, other in zip(self.names, ids, strict=True):
            if other != ids[0]:
                raise UserError(f"{name} has other test images than {self.names[0]}")
        return pd.DataFrame({"Id": ids[0]})

    def probabilities(self, part):
        """Those of the rows of `local` or `test`, whose name `part` is."""
        columns, ids = probability_columns(self.vocab), getattr(self, part)["Id"]
        rows = [self._rows(table, part).loc[ids, columns] for table in self.tables]
        return np.stack([table.to_numpy(float) for table in rows])

    def predicted(self, number):
        """The class that run number `number` says of each image of `local`, by Id."""
        return self._rows(self.tables[number], "local")["predicted"]

    @property
    def truth(self):
        """Class numbers of `local`."""
        return pd.Index(self.vocab).get_indexer(self.local["truth"])

    def _rows(self, table, part):
        return table[table["part"] == part].set_index("Id")
