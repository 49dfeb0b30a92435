"""One run of a task: its folder, its scores on the local test part, its submission."""

import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from safetensors.torch import save_file

from pokefast import plots
from pokefast.competition import Competition, read_competition
from pokefast.files import RUNS, SUBMISSIONS, atomic_path, write_json
from pokefast.images import open_image
from pokefast.metrics import scores
from pokefast.options import changed
from pokefast.submission import check_sample, make_submission, write_submission
from pokefast.train import fit, predict

__all__ = ["Run", "open_competition", "TEST_PART"]

TEST_PART = 2  # number of the local test part among the loaders: training, validation, test


def open_competition(data, task, skip_bad=False):
    """The competition in folder `data`, or the embedded one of `task` ("task1") where that is None,
    made if need be.

    A `Competition` is handed back as it is.
    """
    if isinstance(data, Competition):
        return data
    if data is None:
        from pokefast.synth import ensure  # drawing is not needed for a folder of one's own

        data = ensure(int(task[-1]))
    return read_competition(data, skip_bad=skip_bad)


@dataclass
class Run:
    """A task's run. Use in this order: `fit`, `evaluate`, `submit`, `finish`.

    `task` names the run ("task1"), `options` is the namespace of all of them. The folder,
    runs/<task>-<time>, is made by the first thing written to it.
    """

    task: str
    options: object
    data: object = None
    folder: Path = None
    submission_file: Path = None
    start: float = field(default_factory=time.perf_counter)
    metrics: dict = field(default_factory=dict)

    def __post_init__(self):
        self.folder = Path(self.folder) if self.folder else _new_folder(self.task)
        self.submission_file = self.submission_file or SUBMISSIONS / f"{self.task}_submit.csv"
        self.competition = self.timed("prepare_seconds", self._read)

    def _read(self):
        o = self.options
        competition = open_competition(self.data, self.task, o.skip_bad)
        if competition.sample is not None:
            check_sample(competition)  # before any long work
        return competition

    def timed(self, name, function, *args, **kwargs):
        """Call `function` and add the seconds that it took to metric `name`."""
        start = time.perf_counter()
        result = function(*args, **kwargs)
        self.metrics[name] = self.metrics.get(name, 0.0) + time.perf_counter() - start
        return result

    def prepare(self, dls):
        """Decode and crop the pictures of all parts now: it is timed apart from training."""
        self.timed("prepare_seconds", lambda: [dl.prepare() for dl in dls.loaders])
        sizes = [dl.n for dl in dls.loaders]
        self.metrics |= dict(zip(("n_train", "n_valid", "n_test"), sizes, strict=True))
        print(
            "{}: {} training, {} validation, {} test pictures, prepared in {:.1f} s".format(
                self.task, *sizes, self.metrics["prepare_seconds"]
            )
        )

    def fit(self, learn, cbs=()):
        """Train, and keep the history of epochs in history.csv."""
        o = self.options
        self.prepare(learn.dls)
        self.metrics["epochs"] = self.timed("train_seconds", fit, learn, o, cbs=cbs)
        names = list(learn.recorder.metric_names)
        rows = [[i + 1, *row] for i, row in enumerate(learn.recorder.values)]
        self.history = pd.DataFrame(rows, columns=names[: len(rows[0])])
        self.folder.mkdir(parents=True, exist_ok=True)
        self._table("history.csv", self.history)
        self.metrics |= {
            "device": learn.dls.device.type,
            "dtype": str(learn.precision.dtype).removeprefix("torch."),
            "n_parameters": sum(p.numel() for p in learn.model.parameters()),
        }

    def refit(self, learn):
        """Train another model on everything for as many epochs, without validation."""
        print(f"{self.task}: once more on all {learn.dls.train.n} labelled pictures")
        self.timed("prepare_seconds", learn.dls.train.prepare)
        o = changed(self.options, epochs=self.metrics["epochs"])
        self.timed("train_seconds", fit, learn, o, validate=False)

    def evaluate(self, learn):
        """Score the local test part, which nothing has seen before, and draw the pictures."""
        dl, vocab = learn.dls[TEST_PART], list(learn.dls.vocab)
        probabilities = predict(learn, dl, self.options.tta)
        truth, predicted = dl.targets.numpy(), probabilities.argmax(1).numpy()
        self.metrics |= scores([vocab[i] for i in truth], [vocab[i] for i in predicted], vocab)
        self._draw(learn, vocab)
        print(self.report())

    def submit(self, learn):
        """Predict the competition's test pictures and write the submission."""
        competition, vocab = self.competition, list(learn.dls.vocab)
        dl = learn.dls.test_dl(competition.test)
        self.timed("prepare_seconds", dl.prepare)
        labels = [vocab[i] for i in predict(learn, dl, self.options.tta).argmax(1)]
        fill = competition.train["label"].mode()[0]
        table = make_submission(competition, list(competition.test["Id"]), labels, fill)
        write_submission(self.submission_file, table)
        if competition.bad_test:
            print(f"{len(competition.bad_test)} unreadable test pictures got the label {fill}")
        print(f"submission: {_short(self.submission_file)} ({len(table)} rows)")
        return table

    def finish(self, learn):
        """Write weights, options and metrics; returns macro-F1 on the local test part."""
        with atomic_path(self.folder / "model.safetensors") as temp:
            save_file({k: v.contiguous().cpu() for k, v in learn.model.state_dict().items()}, temp)
        options = {k: str(v) if isinstance(v, Path) else v for k, v in vars(self.options).items()}
        options["data"] = str(self.competition.root)
        write_json(self.folder / "options.json", {**options, "vocab": list(learn.dls.vocab)})
        self.metrics["total_seconds"] = time.perf_counter() - self.start
        write_json(self.folder / "metrics.json", self.metrics)
        m = self.metrics
        print(
            f"run: {_short(self.folder)}  prepared in {m['prepare_seconds']:.1f} s, trained in "
            f"{m['train_seconds']:.1f} s, {m['total_seconds']:.1f} s in all"
        )
        return m["f1_macro"]

    def report(self):
        """The scores as lines of text: macro-F1, accuracy, F1 a class."""
        m = self.metrics
        each = "\n".join(f"  {name:<12}{value:.3f}" for name, value in m["per_class_f1"].items())
        return (
            f"local test part, {m['n_test']} pictures: macro-F1 {m['f1_macro']:.4f}, "
            f"accuracy {m['accuracy']:.4f}\n{each}"
        )

    def _table(self, name, df):
        with atomic_path(self.folder / name) as temp:
            df.to_csv(temp, index=False)

    def _draw(self, learn, vocab):
        dls, m = learn.dls, self.metrics
        save = lambda figure, name: plots.save(figure, self.folder / f"{name}.png")  # noqa: E731
        save(plots.class_counts(self.competition.train["label"]), "class_counts")
        save(plots.curves(self.history), "curves")
        title = f"macro-F1 {m['f1_macro']:.4f}, local test part"
        save(plots.confusion(m["confusion"], vocab, title), "confusion")
        images, labels = _shown(dls.train, 32, vocab)
        save(plots.image_grid(images, labels), "batch")
        rows = dls[TEST_PART].items
        before = [np.asarray(open_image(p)) / 255 for p in rows["path"][:8]]
        after, labels = _shown(dls[TEST_PART], 8, vocab)
        save(plots.crop_pairs(before, after, labels), "crops")


def _shown(dl, n, vocab):
    """The first `n` pictures of a batch as the model gets them, as arrays [h, w, channels] in 0..1,
    and their labels.
    """
    x, y = dl.decode(dl.one_batch())
    images = x[:n].float().clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy()
    return images, [vocab[i] for i in y[:n]]


def _new_folder(task):
    """A name that is not taken: two runs may start within the same second."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    names = (f"{task}-{stamp}{suffix}" for suffix in ("", *(f"-{i}" for i in range(2, 1000))))
    return next(RUNS / name for name in names if not (RUNS / name).exists())


def _short(path):
    """`path` relative to the folder one is in, where it lies below it."""
    path = Path(path).absolute()
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
