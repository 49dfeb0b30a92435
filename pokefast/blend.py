"""The mean of several runs' probabilities as one submission: `python -m pokefast blend RUN RUN`.

It reads what every run keeps; nothing is trained or predicted anew.
"""

from pathlib import Path
from typing import Annotated

import numpy as np
from sklearn.model_selection import GroupKFold

from pokefast.data.competition import competition_of_run
from pokefast.errors import UserError
from pokefast.files import SUBMISSIONS
from pokefast.options import run_cli
from pokefast.report.plots import RunFiles
from pokefast.report.together import Together
from pokefast.scoring.interval import score_interval
from pokefast.scoring.submission import make_submission, write_submission

__all__ = ["cross_fitted", "fit_weights", "main"]

STEPS = 500  # of expectation maximisation, which has settled long before
PARTS = 5  # of the groups: weights come from four, and are scored on the fifth


def fit_weights(truth, probabilities):
    """Weights [runs], which sum to 1, of the mixture of `probabilities` [runs, n, classes] with the
    lowest log loss, of class numbers `truth` [n].

    By expectation maximisation, which cannot leave the simplex: Dempster, Laird and Rubin 1977.
    """
    of_truth = probabilities[:, np.arange(len(truth)), truth].clip(1e-15)
    weights = np.full(len(of_truth), 1 / len(of_truth))
    for _ in range(STEPS):
        shares = weights[:, None] * of_truth
        weights = (shares / shares.sum(0)).mean(1)
    return weights


def cross_fitted(truth, probabilities, groups):
    """The mixture [n, classes], each image's weights chosen on images of other groups."""
    found = np.empty(probabilities.shape[1:])
    parts = GroupKFold(min(PARTS, len(np.unique(groups))))
    for others, mine in parts.split(truth, truth, groups):
        weights = fit_weights(truth[others], probabilities[:, others])
        found[mine] = np.tensordot(weights, probabilities[:, mine], 1)
    return found


def main(
    runs: Annotated[Path, {"nargs": "*"}],  # folders of finished runs of one competition
    weights: bool = False,  # choose them for the lowest log loss on the local part; equal otherwise
    out: Path = None,  # the submission; submissions/TASK_blend.csv by default
):
    """Write the mean of the runs' probabilities as a submission, and print its local score."""
    together = Together(map(RunFiles, runs))
    first = together.files[0]
    competition = competition_of_run(first.folder)
    if competition is None:
        raise UserError(f"{first.folder}: its data is gone; the submission's form is read there")
    truth, n = together.truth, len(runs)
    shares = np.full(n, 1 / n)
    if weights:
        if together.local["group"].nunique() < 2:
            raise UserError("--weights: the runs share no local images to choose them on")
        shares = fit_weights(truth, together.probabilities("local"))
        for name, share in zip(together.names, shares, strict=True):
            print(f"  {share:.3f}  {name}")
    print(_local_score(together, truth, weights))
    mean = np.tensordot(shares, together.probabilities("test"), 1)
    mean = mean[:, [together.vocab.index(name) for name in competition.vocab]]
    labels = np.asarray(competition.vocab, object)[mean.argmax(1)]
    fill = competition.train["label"].mode()[0]
    table = make_submission(competition, list(together.test["Id"]), list(labels), fill, mean)
    file = write_submission(out or SUBMISSIONS / f"{first.run['task']}_blend.csv", table)
    print(f"submission: {file} ({len(table)} rows)")


def _local_score(together, truth, weighted):
    """A line with the blend's score on the images that no run's model saw, and its interval."""
    if not len(truth):
        return "no local score: there is no image that every run predicted without having seen it"
    found, groups = together.probabilities("local"), together.local["group"]
    mean = cross_fitted(truth, found, groups) if weighted else found.mean(0)
    metric = together.metric
    ends = score_interval(metric, truth, mean, groups, len(together.test) or None)
    each = ", ".join(f"{metric.value(truth, p):.4f}" for p in found)
    interval = f" (95%: {ends[0]:.3f} to {ends[1]:.3f})" if ends else ""
    return (
        f"local {metric.title} of the blend, {len(truth)} images that every run predicted unseen: "
        f"{metric.value(truth, mean):.4f}{interval}; of the runs {each}"
    )


if __name__ == "__main__":
    raise SystemExit(run_cli(main))
