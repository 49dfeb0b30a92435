"""`make ablations TASK=2 ROWS=stages SEEDS=3`."""

from experiments.ablations.run import main
from pokefast.options import run_cli

if __name__ == "__main__":
    raise SystemExit(run_cli(main))
