"""Two to five runs side by side: `python -m pokefast compare RUN RUN ...`.

Options that differ, scores on the images that all runs predicted unseen, and how far each is from
the first run's, with an interval of the difference; printed, and as a page with curves and images.
"""

from pathlib import Path
from typing import Annotated

from pokefast.errors import UserError
from pokefast.names import listed, shown
from pokefast.options import run_cli
from pokefast.report.comparison import MOST, beside_first, differing
from pokefast.report.page import write_comparison
from pokefast.report.plots import RunFiles
from pokefast.report.together import Together

__all__ = ["main"]


def main(
    runs: Annotated[Path, {"nargs": "*"}],  # folders of finished runs of one competition, 2 to 5
    out: Path = None,  # the page; compare.html beside the first run by default
):
    """Print how runs differ, in options and in scores on the same local images; write a page."""
    if len(runs) > MOST:
        raise UserError(f"{len(runs)} runs: at most {MOST} can be compared")
    together = Together(map(RunFiles, runs))
    for name, values in differing(together.files).items():
        print(f"{name:<16}" + "  ".join(f"{shown(str(v)):<24}" for v in values))
    print(f"{'run':<16}" + "  ".join(f"{shown(name):<24}" for name in together.names))
    rows = beside_first(together)
    if not rows:
        print("no image was predicted by every run without having been seen: no scores to compare")
    else:
        less, first = " (less is better)" if together.metric.lower else "", rows[0]
        about = f"{first['images']} local images in {first['groups']} groups"
        print(f"{together.metric.title}{less} on {about}:")
        print(f"  {first['values'][0]:.4f}  {shown(together.names[0])}")
    for row in rows:
        print(f"  {row['values'][1]:.4f}  {shown(row['of'][1])}{_difference(row)}")
        for key, words in (
            ("better", "right here, wrong in the first"),
            ("worse", "wrong here, right in the first"),
        ):
            if ids := row[key]:
                print(f"          {len(ids)} {words}: {listed([shown(i) for i in ids])}")
    file = out or Path(runs[0]).resolve().parent / "compare.html"
    print(f"page: {write_comparison(together, rows, file)}")


def _difference(row):
    if row["difference"] is None:
        return ""
    ends = [row["low"], row["high"]]
    sure = "" if min(ends) > 0 or max(ends) < 0 else ", which may be chance"
    return "  {:+.4f} to the first run (95%: {:+.4f} to {:+.4f}{})".format(
        row["difference"], *ends, sure
    )


if __name__ == "__main__":
    raise SystemExit(run_cli(main))
