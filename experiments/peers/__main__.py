"""`make bench PEERS=1 DATA=data/real`."""

from experiments.peers.run import main
from pokefast.options import run_cli

if __name__ == "__main__":
    raise SystemExit(run_cli(main))
