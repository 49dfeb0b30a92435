"""The commands of the package: `python -m pokefast new --name leaves --data folder`."""

import sys

from pokefast import check, kaggle, new
from pokefast.options import run_cli

__all__ = ["COMMANDS", "main"]

COMMANDS = {
    "check": check.main,
    "kaggle-bundle": kaggle.bundle,
    "kaggle-data": kaggle.fetch,
    "kaggle-submit": kaggle.send,
    "new": new.main,
}


def main(argv):
    """Run the command that the words `argv` name; returns the exit status."""
    if not argv or argv[0] not in COMMANDS:
        print(f"usage: python -m pokefast {'|'.join(COMMANDS)} ...", file=sys.stderr)
        return 2
    return run_cli(COMMANDS[argv[0]], argv[1:])


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
