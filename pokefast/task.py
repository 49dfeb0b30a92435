"""One run of a task: its folder, its scores on the local test part, its submission."""

import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from pokefast.data.competition import Competition, read_competition
from pokefast.errors import UserError
from pokefast.files import RUNS, SUBMISSIONS, atomic_path, write_json
from pokefast.images import open_image
from pokefast.options import changed
from pokefast.prediction.predictor import describe_model, save_model
from pokefast.report import plots
from pokefast.report.examples import batch_images, cam_rows, examples
from pokefast.report.gradcam import cam_figure, has_convolutions
from pokefast.report.page import versions, write_index, write_report
from pokefast.report.wandb_log import WandbLog
from pokefast.scoring.interval import f1_interval
from pokefast.scoring.metrics import scores
from pokefast.scoring.submission import check_sample, make_submission, write_submission
from pokefast.training.learner import fit, predict

__all__ = ["Run", "open_competition", "TEST_PART"]

HISTORY = ["epoch", "train_loss", "valid_loss", "accuracy", "f1_score"]
TEST_PART = 2  # number of the local test part among the loaders: training, validation, test


def open_competition(data, task, skip_bad=False):
    """The competition in folder `data`, or the embedded one of `task` ("task1") where that is None,
    made if need be.

    A `Competition` is handed back as it is.
    """
    if isinstance(data, Competition):
        return data
    if data is None:
        from pokefast.datasets.drawn import (
            ensure,  # drawing is not needed for a folder of one's own
        )

        print(f"{task}: the embedded data in data/, drawn first where it is not there", flush=True)
        data = ensure(int(task[-1]))
    return read_competition(data, skip_bad=skip_bad)


@dataclass
class Run:
    """A task's run. Use in this order: `fit`, `evaluate`, `submit`, `finish`.

    `task` names the run ("task1"), `options` is the namespace of all of them. The folder,
    runs/<task>-<time> in `out` or this repository, is made by the first thing written to it.
    """

    task: str
    options: object
    data: object = None
    out: Path = None
    folder: Path = None
    submission_file: Path = None
    start: float = field(default_factory=time.perf_counter)
    metrics: dict = field(default_factory=dict)
    history: pd.DataFrame = None
    n_fits: int = 0
    flatters: bool = False  # whether a creature may be on both sides of the split

    def __post_init__(self):
        runs, submissions = RUNS, SUBMISSIONS
        if self.out:
            if Path(self.out).exists() and not Path(self.out).is_dir():
                raise UserError(f"--out {self.out}: it is a file; give a folder")
            runs, submissions = Path(self.out) / "runs", Path(self.out) / "submissions"
        self.folder = Path(self.folder) if self.folder else _new_folder(runs, self.task)
        self.submission_file = self.submission_file or submissions / f"{self.task}_submit.csv"
        self.wandb = WandbLog(self.options.wandb, self.task, self.folder)
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

    def share(self, dls, whole=None):
        """Let the loaders `dls` take their pictures from the loader `whole`, if there is one, which
        is decoded for the first of them; returns them.
        """
        if whole is not None:
            self.timed("prepare_seconds", lambda: [dl.share(whole) for dl in dls.loaders])
        return dls

    def prepare(self, dls):
        """Decode and crop the pictures of all parts now: it is timed apart from training."""
        self.timed("prepare_seconds", lambda: [dl.prepare() for dl in dls.loaders])
        sizes = [dl.n for dl in dls.loaders]
        further = "n_train" in self.metrics  # a fold after the first
        self.metrics |= dict(zip(("n_train", "n_valid", "n_test"), sizes, strict=True))
        if further:
            return
        print(
            "{}: {} training, {} validation, {} test pictures, prepared in {:.1f} s".format(
                self.task, *sizes, self.metrics["prepare_seconds"]
            )
        )

    def fit(self, learn, lr=None, cbs=()):
        """Train, and keep the history of epochs in history.csv; `lr` as `fit`'s."""
        o = self.options
        describe_model(learn, o)  # raises before training what saving would raise after it
        self.prepare(learn.dls)
        cbs = [*cbs, *self.wandb.start(learn, o)]
        if folds := getattr(o, "folds", 0):
            self.n_fits += 1
            print(f"fold {self.n_fits} of {folds}", end="  ", flush=True)
        epochs = self.timed("train_seconds", fit, learn, o, lr, cbs=cbs)
        self.metrics["epochs"] = max(epochs, self.metrics.get("epochs", 0))
        values = learn.recorder.values if epochs else []
        rows = [[i + 1, *row] for i, row in enumerate(values)]
        history = pd.DataFrame(rows, columns=HISTORY)
        if self.history is not None:  # a further fold
            history = pd.concat([self.history, history], ignore_index=True)
        self.history = history
        self.folder.mkdir(parents=True, exist_ok=True)
        self._table("history.csv", self.history)
        self.metrics |= {
            "device": learn.dls.device.type,
            "dtype": str(learn.precision.dtype).removeprefix("torch."),
            "arch": getattr(o, "arch", None),
            "n_parameters": sum(p.numel() for p in learn.model.parameters()),
        }

    def note_groups(self, dls, flatters):
        """Say how many creatures were found, or that the score will flatter; once a run."""
        if "n_groups" in self.metrics:
            return
        self.flatters = flatters
        items = pd.concat([dl.items for dl in dls.loaders]).drop_duplicates("Id")
        sizes = items["group"].value_counts()
        self.metrics["n_groups"] = len(sizes)
        if flatters:
            print(
                f"{self.task}: split by image: a creature may be on both sides of the split, and "
                "the local score will flatter; --split creature gives one that holds"
            )
        else:
            print(
                f"{self.task}: {len(sizes)} creatures found in {len(items)} pictures, "
                f"{sizes.median():.0f} pictures each (at most {sizes.max()})"
            )

    def refit(self, learn, lr=None):
        """Train another model on everything for as many epochs, without validation."""
        print(f"{self.task}: once more on all {learn.dls.train.n} labelled pictures")
        self.timed("prepare_seconds", learn.dls.train.prepare)
        o = changed(self.options, epochs=self.metrics["epochs"])
        self.timed("train_seconds", fit, learn, o, lr, validate=False)

    def evaluate(self, *learners):
        """Score the local test part, which nothing has seen before, and draw the pictures.

        With a learner for each fold, the test parts of all of them are scored together.
        """
        learn, vocab = learners[0], list(learners[0].dls.vocab)
        dls = [one.dls[TEST_PART] for one in learners]
        parts = [predict(*pair, self.options.tta) for pair in zip(learners, dls, strict=True)]
        table = pd.concat([_predictions(*pair) for pair in zip(dls, parts, strict=True)])
        truth, predicted = list(table["truth"]), list(table["predicted"])
        self.metrics |= scores(truth, predicted, vocab) | {"n_test": len(table)}
        if "group" in table and not self.flatters:
            n_hidden = len(self.competition.test) + len(self.competition.bad_test)
            low, high = f1_interval(truth, predicted, table["group"], vocab, n_hidden)
            self.metrics |= {"f1_macro_low": low, "f1_macro_high": high}
        self._table("predictions.csv", table)
        self._draw(learn, vocab)
        self._explain(learn, dls[0], parts[0], vocab)
        pictures = self.competition.train.set_index("Id")["path"]
        self.wandb.results(table, pictures, self.metrics)
        print(self.report())

    def submit(self, *learners):
        """Predict the competition's test pictures and write the submission; with a learner for
        each fold, by the mean of their probabilities.
        """
        competition, vocab = self.competition, list(learners[0].dls.vocab)
        dl = learners[0].dls.test_dl(competition.test)
        self.timed("prepare_seconds", dl.prepare)
        mean = sum(predict(learn, dl, self.options.tta) for learn in learners)
        labels = [vocab[i] for i in mean.argmax(1)]
        fill = competition.train["label"].mode()[0]
        table = make_submission(competition, list(competition.test["Id"]), labels, fill)
        write_submission(self.submission_file, table)
        if competition.bad_test:
            print(f"{len(competition.bad_test)} unreadable test pictures got the label {fill}")
        print(f"submission: {_short(self.submission_file)} ({len(table)} rows)")
        return table

    def finish(self, *learners):
        """Write weights, options and metrics; returns macro-F1 on the local test part.

        The model of a single learner lies in the run folder, those of folds in fold1/, fold2/, ...
        """
        learn = learners[0]
        for i, one in enumerate(learners, 1):
            folder = self.folder if len(learners) == 1 else self.folder / f"fold{i}"
            folder.mkdir(exist_ok=True)
            save_model(folder, one, self.options)
        options = {k: str(v) if isinstance(v, Path) else v for k, v in vars(self.options).items()}
        options["data"] = str(self.competition.root)
        options |= {"vocab": list(learn.dls.vocab), "versions": versions()}
        write_json(self.folder / "options.json", options)
        self.metrics["total_seconds"] = time.perf_counter() - self.start
        write_json(self.folder / "metrics.json", self.metrics)
        page = write_report(self.folder)
        write_index(self.folder.parent)
        self.wandb.finish({k: self.metrics[k] for k in ("f1_macro", "accuracy", "epochs")})
        m = self.metrics
        print(
            f"run: {_short(self.folder)}  prepared in {m['prepare_seconds']:.1f} s, trained in "
            f"{m['train_seconds']:.1f} s, {m['total_seconds']:.1f} s in all\nlook: {_short(page)}"
        )
        return m["f1_macro"]

    def report(self):
        """The scores as lines of text: macro-F1, accuracy, F1 a class."""
        m = self.metrics
        each = "\n".join(f"  {name:<12}{value:.3f}" for name, value in m["per_class_f1"].items())
        interval = ""
        if "f1_macro_low" in m:
            interval = (
                f"\nthe hidden test's should be between {m['f1_macro_low']:.3f} and "
                f"{m['f1_macro_high']:.3f} (95%, bootstrap over local and hidden creatures)"
            )
        return (
            f"local test part, {m['n_test']} pictures: macro-F1 {m['f1_macro']:.4f}, "
            f"accuracy {m['accuracy']:.4f}{interval}\n{each}"
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

    def _explain(self, learn, dl, probabilities, vocab):
        """Grad-CAM of right and wrong predictions, every prediction, and pictures for the page."""
        cams = []
        if has_convolutions(learn.model):
            cams = cam_rows(learn.model, dl, probabilities, vocab)
            plots.save(cam_figure(cams), self.folder / "gradcam.png")
        write_json(self.folder / "examples.json", examples(dl, probabilities, vocab, cams))


def _predictions(dl, probabilities):
    """Id, (group,) truth, prediction and the probability of each class, a row a picture."""
    vocab = list(dl.vocab)
    table = dl.items[[c for c in ("Id", "group") if c in dl.items]].reset_index(drop=True)
    table["truth"] = [vocab[i] for i in dl.targets]
    table["predicted"] = [vocab[i] for i in probabilities.argmax(1)]
    return table.join(pd.DataFrame(probabilities.numpy(), columns=vocab))


def _shown(dl, n, vocab):
    """The first `n` pictures of a batch as the model gets them, as arrays [h, w, channels] in 0..1,
    and their labels.
    """
    x, y = dl.one_batch()
    return batch_images(dl, (x[:n], y[:n])), [vocab[i] for i in y[:n]]


def _new_folder(runs, task):
    """A name that is not taken: two runs may start within the same second."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    names = (f"{task}-{stamp}{suffix}" for suffix in ("", *(f"-{i}" for i in range(2, 1000))))
    return next(runs / name for name in names if not (runs / name).exists())


def _short(path):
    """`path` relative to the folder one is in, where it lies below it."""
    path = Path(path).absolute()
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
