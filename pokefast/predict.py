"""Use a trained model: `python -m pokefast.predict RUN picture.png folder/ [--json | --csv]`."""

from pokefast.options import run_cli
from pokefast.prediction.predictor import load_predictor, main

__all__ = ["load_predictor", "main"]

if __name__ == "__main__":
    raise SystemExit(run_cli(main))
