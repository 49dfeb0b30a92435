"""Weights & Biases: one log an epoch, and the scores, pictures and model at the end; off unless
asked for.

fastai's own `WandbCallback` fails with today's fastcore (it calls `vars` on a number) and logs
every batch. wandb is imported only where it is used, and writes into the run's folder alone.
"""

import os
import time
import warnings
from pathlib import Path

import pandas as pd
import torch
from fastai.callback.core import Callback
from fastai.learner import Recorder
from torch import nn

from pokefast.errors import UserError

__all__ = ["MODES", "WandbCallback", "WandbLog", "check_wandb", "wandb_config"]

MODES = ("off", "offline", "online")
PROJECT = "pokefast"  # WANDB_PROJECT and WANDB_ENTITY are heeded
REACH_SECONDS = 5  # for the server to answer at all
INIT_SECONDS = 30  # for the server to answer when a run begins
FINISH_SECONDS = 120  # for the upload at the end; what is left then stays in the run's folder
N_WRONG = 32  # pictures in the table of the most wrong ones

# fastai's names, and those of the report
METRICS = {"train_loss": "loss", "valid_loss": "eval_loss", "accuracy": "eval_accuracy"}
BEST = {"loss": "min", "eval_loss": "min", "f1_score": "max", "eval_accuracy": "max"}
TEST_SCORES = {
    "test_f1_score": "f1_macro",
    "test_f1_score_low": "f1_macro_low",
    "test_f1_score_high": "f1_macro_high",
    "test_accuracy": "accuracy",
}
OPTIONS = {"learning_rate": "lr", "batch_size": "bs"}


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


def wandb_config(learn, options):
    """The run's config: all `options`, and under the report's names those that it logged."""
    o = vars(options)
    loss = getattr(learn.loss_func, "func", learn.loss_func)  # fastai wraps torch's losses
    dropouts = [m.p for m in learn.model.modules() if isinstance(m, nn.Dropout)]
    config = {
        **{k: str(v) if isinstance(v, Path) else v for k, v in o.items()},
        **{name: o[ours] for name, ours in OPTIONS.items() if ours in o},
        "loss_function": type(loss).__name__,
        "metric_function": "f1_score, macro",
        "device": learn.dls.device.type,
        "n_parameters": sum(p.numel() for p in learn.model.parameters()),
        "n_train": learn.dls.train.n,
        "n_valid": learn.dls.valid.n,
        "n_classes": len(learn.dls.vocab),
    }
    return {"dropout": max(dropouts, default=0), **config}


class WandbCallback(Callback):
    """Log each epoch to `wandb_run` in one call, under the report's names.

    loss (of training, fastai's smoothed one), eval_loss, eval_accuracy, f1_score, lr_0 ... by
    parameter group, epoch_seconds, images_per_second (training alone) and, on a GPU,
    gpu_N_memory_used_MB, gpu_N_memory_total_MB and gpu_N_utilization_percent. All but the epoch
    get `prefix`.
    """

    order = Recorder.order + 1  # before early stopping, which ends the fit in after_epoch
    remove_on_fetch = True

    def __init__(self, wandb_run, prefix=""):
        self.wandb_run, self.prefix = wandb_run, prefix

    def before_fit(self):
        """Training is logged, lr_find is not."""
        self.run = not hasattr(self, "lr_finder") and not hasattr(self, "gather_preds")
        self.gpu = {}

    def before_epoch(self):
        """Start the clock."""
        self.start = time.perf_counter()

    def after_train(self):
        """Stop the clock of training; look at the GPU while it is still warm."""
        self.train_seconds = time.perf_counter() - self.start
        self.gpu = gpu_figures(self.dls.device)

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
            **self.gpu,
        }
        named = {f"{self.prefix}{k}": v for k, v in logged.items()}
        self.wandb_run.log({"epoch": self.epoch + 1, **named})


def gpu_figures(device):
    """Memory and utilization of a CUDA `device` by name, from the driver's library; nothing for
    other devices.

    Utilization needs the package nvidia-ml-py and a whole GPU; without them it is left out, and a
    warning says why.
    """
    if device.type != "cuda":
        return {}
    i = torch.cuda.current_device() if device.index is None else device.index
    free, total = (v / 2**20 for v in torch.cuda.mem_get_info(i))
    figures = {f"gpu_{i}_memory_used_MB": total - free, f"gpu_{i}_memory_total_MB": total}
    try:
        figures[f"gpu_{i}_utilization_percent"] = torch.cuda.utilization(i)
    except Exception as e:  # torch passes the driver library's own errors on
        warnings.warn(f"W&B gets no GPU utilization: {e}", stacklevel=2)
    return figures


class WandbLog:
    """A run's log at Weights & Biases, open from `start` to `finish`; with mode "off" nothing
    happens.

    `folder` is the run's folder, which wandb's own files go to; its name is the run's.
    """

    def __init__(self, mode, task, folder):
        self.mode, self.task, self.folder = mode, task, Path(folder)
        self.run, self.fits = None, 0
        check_wandb(mode)

    def start(self, learn, options):
        """Begin the run, or its next fold; returns the callbacks for this fit."""
        if self.mode == "off":
            return []
        if self.run is None:
            self.run = self._init(learn, options)
        self.fits += 1
        prefix = f"fold{self.fits}/" if getattr(options, "folds", 0) else ""
        for name, best in BEST.items():
            self.run.define_metric(prefix + name, step_metric="epoch", summary=best)
        return [WandbCallback(self.run, prefix)]

    def _init(self, learn, options):
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
                group=self.task,
                tags=[self.task, options.recipe],
                config=wandb_config(learn, options),
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
                ),
            )
        except wandb.Error as e:
            self._restore()
            raise UserError(f"--wandb {self.mode}: {e}") from None
        run.define_metric("epoch", hidden=True)
        run.define_metric("*", step_metric="epoch")
        return run

    def results(self, predictions, pictures, scores):
        """Log what is known once the local test part has been scored.

        `predictions` is predictions.csv as a data frame (Id, truth, predicted, the probability of
        each class), `pictures` maps Id to file, `scores` is what `pokefast.scoring.metrics.scores`
        returns.
        """
        if self.run is None:
            return
        import wandb

        vocab = list(scores["per_class_f1"])
        self.run.summary.update(
            {name: scores[ours] for name, ours in TEST_SCORES.items() if ours in scores}
            | {f"test_f1_{name}": value for name, value in scores["per_class_f1"].items()}
        )
        each = wandb.Table(["type", "f1"], [list(i) for i in scores["per_class_f1"].items()])
        logged = {
            "per_class_f1": wandb.plot.bar(each, "type", "f1", title="F1 by type, test part"),
            "confusion_matrix": wandb.plot.confusion_matrix(
                y_true=[vocab.index(name) for name in predictions["truth"]],
                preds=[vocab.index(name) for name in predictions["predicted"]],
                class_names=vocab,
                title="Confusion matrix, test part",
            ),
            "most_wrong": _most_wrong(predictions, pictures, vocab),
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
        names = ("options.json", "metrics.json", "model.*", "fold*/model.*")
        for file in sorted(f for name in names for f in self.folder.glob(name)):
            artifact.add_file(
                str(file),
                name=file.relative_to(self.folder).as_posix(),
                policy="immutable",  # the folder keeps it: no copy is needed
                skip_cache=True,
            )
        self.run.log_artifact(artifact, aliases=["best", "latest"])
        self.run.finish()
        later = f"upload with: wandb sync {self.run.settings.sync_dir}"
        print(f"W&B: {self.run.url if self.mode == 'online' else later}")
        self._restore()
        self.run = None

    def _restore(self):
        """Take back what `_init` set in the environment."""
        for name in self.env:
            os.environ.pop(name, None)


def _most_wrong(predictions, pictures, vocab):
    """A table of the pictures that the model gets wrong, those first to whose true type it gives
    the least probability.
    """
    import wandb

    table = wandb.Table(["picture", "Id", "truth", "predicted", "probability_of_truth", *vocab])
    wrong = predictions[predictions["truth"] != predictions["predicted"]].reset_index(drop=True)
    given = pd.Series([row[row["truth"]] for _, row in wrong.iterrows()], wrong.index, float)
    for i in given.sort_values(kind="stable").index[:N_WRONG]:
        row = wrong.loc[i]
        about = [row["Id"], row["truth"], row["predicted"], float(given[i])]
        picture = wandb.Image(str(pictures[row["Id"]]))
        table.add_data(picture, *about, *(float(row[name]) for name in vocab))
    return table
