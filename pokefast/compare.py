"""Two to five runs side by side: `python -m pokefast.compare RUN RUN ...`.

Options that differ, scores on the images that all runs predicted unseen, and how far each is from
the first run's, with an interval of the difference.
"""

from pathlib import Path
from typing import Annotated

from pokefast.errors import UserError
from pokefast.names import listed, shown
from pokefast.options import run_cli
from pokefast.report.together import Together
from pokefast.scoring.paired import difference_interval

__all__ = ["main"]

MOST = 5  # runs


def main(
    runs: Annotated[Path, {"nargs": "+"}],  # folders of finished runs of one competition, 2 to 5
):
    """Print how runs differ: in options, and in scores on the same local images."""
    if len(runs) > MOST:
        raise UserError(f"{len(runs)} runs: at most {MOST} can be compared")
    together = Together(runs)
    for name, value in _differing(together).items():
        print(f"{name:<16}" + "  ".join(f"{shown(str(v)):<24}" for v in value))
    print(f"{'run':<16}" + "  ".join(f"{shown(name):<24}" for name in together.names))
    truth, groups, metric = together.truth, together.local["group"], together.metric
    if not len(truth):
        print("no image was predicted by every run without having been seen: no scores to compare")
        return
    found = together.probabilities("local")
    less = " (less is better)" if metric.lower else ""
    print(f"{metric.title}{less} on {len(truth)} local images in {groups.nunique()} groups:")
    right = [p.argmax(1) == truth for p in found]
    for i, name in enumerate(together.names):
        line = f"  {metric.value(truth, found[i]):.4f}  {shown(name)}"
        if i:
            line += f"  {_difference(difference_interval(metric, truth, *found[[0, i]], groups))}"
        print(line)
        for words, rows in (
            ("right here, wrong in the first", right[i] & ~right[0]),
            ("wrong here, right in the first", ~right[i] & right[0]),
        ):
            if rows.any():
                ids = listed([shown(v) for v in together.local["Id"][rows]])
                print(f"          {rows.sum()} {words}: {ids}")


def _difference(found):
    if found is None:
        return ""
    difference, low, high = found
    sure = "" if low > 0 or high < 0 else ", which may be chance"
    return f"{difference:+.4f} to the first run (95%: {low:+.4f} to {high:+.4f}{sure})"


def _differing(together):
    """Lists of the runs' values of each option that is not the same in all."""
    options = [files.run["options"] for files in together.files]
    names = dict.fromkeys(name for each in options for name in each)
    values = {name: [each.get(name, "-") for each in options] for name in names}
    return {name: each for name, each in values.items() if any(v != each[0] for v in each)}


if __name__ == "__main__":
    raise SystemExit(run_cli(main))
