"""Write a run's model for elsewhere: `python -m pokefast export [--run RUN] [--format onnx]`.

The file runs without torch and without this project; `docs/elsewhere.md` has a script of twenty
lines that uses it.
"""

from pathlib import Path

from pokefast.data.competition import competition_of_run, read_competition
from pokefast.errors import UserError
from pokefast.options import choice, run_cli
from pokefast.prediction.onnx_file import export_onnx
from pokefast.prediction.predictor import load_predictor
from pokefast.runs import newest_run

__all__ = ["main"]


def main(
    run: Path = None,  # a finished run's folder; the newest by default
    format: choice("onnx") = "onnx",  # of the file
    data: Path = None,  # competition folder whose test part checks it; the run's own by default
    out: Path = None,  # the file; RUN/model.onnx by default
):
    """Export the model of a run, once its predictions for the test part are those of the run."""
    run = run or newest_run()
    out = out or run / f"model.{format}"
    if data is None:
        competition = competition_of_run(run)
    else:
        competition = read_competition(data, skip_bad=True, check_images=False)
    if competition is None:
        raise UserError(f"{run}: its data is gone; --data names images to check the file on")
    pictures = list(competition.test["path"])
    predictor = load_predictor(run, device="cpu", precision="fp32")
    print(f"{run}: its graph is written, then compared on {len(pictures)} images", flush=True)
    apart, ties = export_onnx(predictor, out, pictures)
    print(
        f"{out}: {out.stat().st_size / 1e6:.1f} MB; on {len(pictures)} test images its "
        f"probabilities are at most {apart:.1g} off, the classes the same"
        + (f" but for {ties} near ties" if ties else "")
    )


if __name__ == "__main__":
    raise SystemExit(run_cli(main))
