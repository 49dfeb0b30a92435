"""Weights & Biases: one log an epoch, and the scores, images and model at the end; off unless asked
for.

fastai's own `WandbCallback` fails with today's fastcore (it calls `vars` on a number) and logs
every batch. wandb is imported only where it is used, and writes into the run's folder alone.
"""

import os
import shlex
import time
from dataclasses import asdict
from pathlib import Path

import pandas as pd
from fastai.callback.core import Callback
from fastai.learner import Recorder
from torch import nn

from pokefast.errors import UserError
from pokefast.scoring.metrics import choose_metric

__all__ = ["MODES", "WandbCallback", "WandbLog", "check_wandb", "wandb_config"]

MODES = ("off", "offline", "online")
PROJECT = "pokefast"  # WANDB_PROJECT and WANDB_ENTITY are heeded
REACH_SECONDS = 5  # for the server to answer at all
INIT_SECONDS = 30  # for the server to answer when a run begins
FINISH_SECONDS = 120  # for the upload at the end; what is left then stays in the run's folder
STATS_SECONDS = 2  # between W&B's looks at the machine; by its own 15 a short run has one
N_WRONG = 32  # images in the table of the most wrong ones

# fastai's names, and those of the report
METRICS = {"train_loss": "loss", "valid_loss": "eval_loss", "accuracy": "eval_accuracy"}
REPORTS_METRIC = {"f1_macro": "f1_score, macro"}
# which of its values a run's summary holds
BEST = {"loss": "min", "eval_loss": "min", "f1_score": "max", "eval_accuracy": "max"}
# names in the summary, and in metrics.json
SCORES = {"test_f1_score": "f1_macro", "test_accuracy": "accuracy"}


def check_wandb(mode):
    """Raise UserError unless runs can be logged in `mode`; it belongs before any long work.

    Online this asks the server whether the key is right, without a prompt, for 10 seconds at most
    (WANDB_HTTP_TIMEOUT changes that).
    """
    if mode not in MODES:
        raise UserError(f"--wandb {mode}: choose {', '.join(MODES)}")
    if mode != "online":
        return
    import requests  # wandb itself needs it
    import wandb

    otherwise = "or use --wandb offline and upload the run later with `wandb sync`"
    # an explicit option beats WANDB_MODE, with which login would do nothing
    url = wandb.setup(wandb.Settings(mode="online", quiet=True)).settings.base_url
    try:  # wandb's own process would go on trying for minutes
        requests.get(url, timeout=REACH_SECONDS)
    except (requests.ConnectionError, requests.Timeout) as e:
        if not isinstance(e, requests.exceptions.SSLError):  # wandb has other certificates
            raise UserError(
                f"--wandb online: {url} does not answer. Check the network, {otherwise}"
            ) from None
    try:
        key = wandb.login(prompt=False, verify=True)
    except wandb.Error as e:
        raise UserError(f"--wandb online: {e} Check WANDB_API_KEY, {otherwise}") from None
    if not key:
        raise UserError(
            "--wandb online: there is no key. Run `wandb login` once or set WANDB_API_KEY, "
            + otherwise
        )


def wandb_config(learn, o):
    """The run's config: all options `o`, and under the report's names those that it logged."""
    loss = getattr(learn.loss_func, "func", learn.loss_func)  # fastai wraps torch's losses
    dropouts = [m.p for m in learn.model.modules() if isinstance(m, nn.Dropout)]
    return {
        "dropout": max(dropouts, default=0),
        **{k: str(v) if isinstance(v, Path) else v for k, v in asdict(o).items()},
        "learning_rate": o.lr,
        "batch_size": o.bs,
        "loss_function": type(loss).__name__,
        "metric_function": REPORTS_METRIC.get(o.metric, choose_metric(o.metric).title),
        "device": learn.dls.device.type,
        "n_parameters": sum(p.numel() for p in learn.model.parameters()),
        "n_train": learn.dls.train.n,
        "n_valid": learn.dls.valid.n,
        "n_classes": len(learn.dls.vocab),
    }


class WandbCallback(Callback):
    """Log each epoch to `wandb_run` in one call, under the report's names.

    loss (of training, fastai's smoothed one), eval_loss, eval_accuracy, f1_score, lr_0 ... by
    parameter group, epoch_seconds and images_per_second (training alone); all but the epoch get
    `prefix`. The machine is W&B's own business, every `STATS_SECONDS`: system.cpu,
    system.proc.memory.rssMB and, for GPU 0, system.gpu.0.gpu (utilization in percent),
    system.gpu.0.memoryAllocatedBytes, system.gpu.0.memoryAllocated (percent),
    system.gpu.0.powerWatts.
    """

    order = Recorder.order + 1  # before early stopping, which ends the fit in after_epoch
    remove_on_fetch = True

    def __init__(self, wandb_run, prefix=""):
        self.wandb_run, self.prefix = wandb_run, prefix

    def before_fit(self):
        """Training is logged, lr_find is not."""
        self.run = not hasattr(self, "lr_finder") and not hasattr(self, "gather_preds")

    def before_epoch(self):
        """Start the clock."""
        self.start = time.perf_counter()

    def after_train(self):
        """Stop the clock of training."""
        self.train_seconds = time.perf_counter() - self.start

    def after_epoch(self):
        """One `log`."""
        dl = self.dls.train
        images = len(dl) * dl.bs if dl.drop_last else dl.n
        names = [METRICS.get(n, n) for n in self.recorder.metric_names[1:]]
        record = dict(zip(names, self.learn.final_record, strict=False))
        lrs = {f"lr_{i}": h["lr"] for i, h in enumerate(self.opt.hypers)}
        logged = {
            **{k: v for k, v in record.items() if v is not None},
            **lrs,
            "epoch_seconds": time.perf_counter() - self.start,
            "images_per_second": images / self.train_seconds,
        }
        named = {f"{self.prefix}{k}": v for k, v in logged.items()}
        self.wandb_run.log({"epoch": self.epoch + 1, **named})


class WandbLog:
    """A run's log at Weights & Biases, open from `start` to `finish`; with mode "off" nothing
    happens.

    `folder` is the run's folder, which wandb's own files go to; its name is the run's. `task`
    ("task1") groups runs, and tags them beside the recipe. Raises UserError as `check_wandb` does.
    """

    def __init__(self, mode, task, folder):
        self.mode, self.task, self.folder = mode, task, Path(folder)
        self.run = None
        check_wandb(mode)

    def start(self, learn, o, fold=""):
        """Begin the run with options `o`, or its next fold; returns the callbacks for this fit."""
        if self.mode == "off":
            return []
        if self.run is None:
            self.run = self._init(learn, o)
        prefix = f"fold{fold}/" if o.folds else ""
        metric = choose_metric(o.metric, list(learn.dls.vocab))
        own = {METRICS.get(metric.column, metric.column): "min" if metric.lower else "max"}
        for name, best in (own | BEST).items():
            self.run.define_metric(prefix + name, step_metric="epoch", summary=best)
        return [WandbCallback(self.run, prefix)]

    def _init(self, learn, o):
        import wandb

        self.folder.mkdir(parents=True, exist_ok=True)
        own = self.folder / "wandb"
        # the only way to keep its caches out of the home folder; one that is set already stays
        self.env = {"WANDB_CACHE_DIR": own / "cache", "WANDB_DATA_DIR": own / "data"}
        self.env = {k: str(v) for k, v in self.env.items() if k not in os.environ}
        os.environ.update(self.env)
        try:
            run = wandb.init(
                project=os.environ.get("WANDB_PROJECT") or PROJECT,
                name=self.folder.name,
                id=self.folder.name,  # a run that goes on after a kill goes on there too
                resume="allow" if self.mode == "online" else None,  # offline there is none
                group=self.task,
                tags=[self.task, o.recipe],
                config=wandb_config(learn, o),
                dir=self.folder,
                mode=self.mode,
                save_code=False,
                settings=wandb.Settings(
                    console="off",  # it would wrap stdout and stderr
                    quiet=self.mode == "online",
                    silent=self.mode == "offline",
                    reinit="create_new",  # a notebook's own run is none of our business
                    symlink=False,
                    init_timeout=INIT_SECONDS,
                    finish_timeout=FINISH_SECONDS,
                    x_stats_sampling_interval=STATS_SECONDS,
                ),
            )
        except wandb.Error as e:
            self._restore()
            raise UserError(f"--wandb {self.mode}: {e}") from None
        run.define_metric("epoch", hidden=True)
        run.define_metric("*", step_metric="epoch")
        return run

    def results(self, probabilities, images, scores):
        """Log what is known once the local test part has been scored.

        `probabilities` is probabilities.csv as a data frame, of which the rows of part "local"
        count; `images` maps Id to file; `scores` is what `pokefast.scoring.metrics.scores` returns,
        with `metric`, the name of the one that counts, its value and, where there is an interval,
        its ends below that name with _low and _high.
        """
        if self.run is None:
            return
        import wandb

        vocab = list(scores["per_class_f1"])
        local = probabilities[probabilities["part"] == "local"]
        metric = scores.get("metric", "f1_macro")
        own = next((name for name, key in SCORES.items() if key == metric), f"test_{metric}")
        names = SCORES | {f"{own}{end}": f"{metric}{end}" for end in ("", "_low", "_high")}
        self.run.summary.update(
            {name: scores[key] for name, key in names.items() if key in scores}
            | {f"test_f1_{name}": value for name, value in scores["per_class_f1"].items()}
        )
        each = wandb.Table(["class", "f1"], [list(i) for i in scores["per_class_f1"].items()])
        logged = {
            "per_class_f1": wandb.plot.bar(each, "class", "f1", title="F1 by class, test part"),
            "confusion_matrix": wandb.plot.confusion_matrix(
                y_true=[vocab.index(name) for name in local["truth"]],
                preds=[vocab.index(name) for name in local["predicted"]],
                class_names=vocab,
                title="Confusion matrix, test part",
            ),
            "most_wrong": _most_wrong(local, images, vocab),
        }
        if (self.folder / "crops.png").exists():
            logged["crops"] = wandb.Image(str(self.folder / "crops.png"))
        self.run.log(logged)

    def finish(self, metadata):
        """Log the model in the run's folder as an artifact with `metadata`, and end the run."""
        if self.run is None:
            return
        import wandb

        artifact = wandb.Artifact(f"{self.task}-model", type="model", metadata=metadata)
        names = ("run.json", "metrics.json", "model.*", "fold*/model.*")
        for file in sorted(f for name in names for f in self.folder.glob(name)):
            artifact.add_file(
                str(file),
                name=file.relative_to(self.folder).as_posix(),
                policy="immutable",  # the folder keeps it: no copy is needed
                skip_cache=True,
            )
        self.run.log_artifact(artifact, aliases=["best", "latest"])
        self.run.finish()
        later = f"upload with: wandb sync {shlex.quote(str(self.run.settings.sync_dir))}"
        print(f"W&B: {self.run.url if self.mode == 'online' else later}")
        self._restore()
        self.run = None

    def _restore(self):
        """Take back what `_init` set in the environment."""
        for name in self.env:
            os.environ.pop(name, None)


def _most_wrong(local, images, vocab):
    """A table of the images that the model gets wrong, those first to whose true class it gives the
    least probability.
    """
    import wandb

    table = wandb.Table(["image", "Id", "truth", "predicted", "probability_of_truth", *vocab])
    wrong = local[local["truth"] != local["predicted"]].reset_index(drop=True)
    given = pd.Series([row[f"p_{row['truth']}"] for _, row in wrong.iterrows()], wrong.index, float)
    for i in given.sort_values(kind="stable").index[:N_WRONG]:
        row = wrong.loc[i]
        about = [row["Id"], row["truth"], row["predicted"], float(given[i])]
        image = wandb.Image(str(images[row["Id"]]))
        table.add_data(image, *about, *(float(row[f"p_{name}"]) for name in vocab))
    return table
