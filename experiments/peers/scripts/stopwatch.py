"""What a peer's script is measured with; it needs nothing but Python.

Lines of a script that name `watch` are the measurement's, not the user's. The clock runs from the
making of a `Stopwatch`, after the imports, and stands still while test images are predicted.
"""

import argparse
import csv
import json
import time
from contextlib import contextmanager
from pathlib import Path

__all__ = ["Stopwatch"]


class Stopwatch:
    """Reads `DATA OUT --epochs N --seed N --marks SECONDS,...` from the command line; what is
    noted goes to OUT/log.jsonl, a line a submission.
    """

    def __init__(self):
        parser = argparse.ArgumentParser()
        parser.add_argument("data", type=Path)  # a competition folder
        parser.add_argument("out", type=Path)
        parser.add_argument("--epochs", type=int, default=1)
        parser.add_argument("--seed", type=int, default=0)
        parser.add_argument("--marks", default="")  # of training, after which to submit
        args = parser.parse_args()
        self.data, self.out, self.epochs, self.seed = args.data, args.out, args.epochs, args.seed
        self.marks = [float(mark) for mark in args.marks.split(",") if mark]
        self.images, self.fit_seconds, self.away = 0, None, 0.0
        self.start, self.stopped = time.time(), None

    @property
    def seconds(self):
        """Of training, until now."""
        return (self.stopped or time.time()) - self.start - self.away

    def due(self, images):
        """Note a batch of so many training images; whether a mark has been passed."""
        self.images += images
        return bool(self.marks) and self.seconds >= self.marks[0]

    @property
    def over(self):
        """Whether the last mark has been passed."""
        return not self.marks

    @contextmanager
    def fit(self, images):
        """The block trains on so many images in all, and does nothing else."""
        start = self.seconds
        yield
        self.fit_seconds, self.images = self.seconds - start, images

    @contextmanager
    def paused(self):
        """The block is not of training."""
        self.stopped = time.time()
        yield
        self.away += time.time() - self.stopped
        self.stopped = None

    def submit(self, ids, labels, seconds=None):
        """Write a submission, inside `paused`; `seconds` of training, if another clock has them."""
        seconds = self.seconds if seconds is None else seconds
        name = f"after-{seconds:.2f}.csv"
        with open(self.out / name, "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("Id", "label"), *zip(ids, labels, strict=True)])
        passed = [mark for mark in self.marks if mark <= seconds]
        self.marks = self.marks[len(passed) :]
        self.note(seconds=seconds, marks=passed, file=name, fit_seconds=self.fit_seconds)

    def note(self, **what):
        """Append a line to the log, with the images that were trained on."""
        with open(self.out / "log.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps({"images": self.images, **what}) + "\n")
