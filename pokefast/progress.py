"""How far long work is, and how long it still takes: on a terminal, in a notebook and in a log.

It is said on stderr, as stdout may be a table that another program reads.
"""

import os
import sys
import time

from fastcore.imports import IN_NOTEBOOK
from tqdm import tqdm

__all__ = ["is_terminal", "progress"]

QUIET = 2  # seconds before anything is said


def is_terminal(stream):
    """Whether `stream`, sys.stdout or sys.stderr, goes to a person's terminal, where a progress bar
    can be drawn.
    """
    return stream is not None and stream.isatty()


def progress(steps, n, what):
    """The items of the iterable `steps`, of which there are `n`; where they take more than a moment
    under tqdm's bar or, in a log, with a line each tenth of the work, which is called `what`.
    """
    if os.environ.get("RANK", "0") != "0":  # of torchrun's processes the first says it
        yield from steps
        return
    if is_terminal(sys.stderr) or IN_NOTEBOOK:
        yield from tqdm(steps, what, n, leave=False, file=sys.stderr, delay=QUIET)
        return
    start, tenths = time.monotonic(), 0
    for i, step in enumerate(steps, 1):
        yield step
        seconds = time.monotonic() - start
        if seconds > QUIET and 10 * i // n > tenths:
            tenths = 10 * i // n
            left = tqdm.format_interval(seconds * (n - i) / i)
            print(f"{what}: {tenths}0%, {left} left", file=sys.stderr, flush=True)
