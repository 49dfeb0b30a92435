"""The project's dashboard at Weights & Biases: `make wandb-workspace`.

Its content is made by the names that `report.wandb_log` logs under, and tested without a network.
It was never seen in a browser.
"""

import os

from pokefast.errors import UserError
from pokefast.options import run_cli
from pokefast.report.wandb_log import PROJECT, check_wandb

__all__ = ["main", "make_workspace"]

NAME = "pokefast"
SCORE = ("test_f1_score", "test_f1_score_low", "test_f1_score_high")
# panels of curves: title, name of what is logged
CURVES = {
    "macro-F1, validation": "f1_score",
    "accuracy, validation": "eval_accuracy",
    "loss, validation": "eval_loss",
    "loss, training": "loss",
}
# W&B's own of GPU 0, and of machines without one
GPU = {
    "GPU in use, percent": "system/gpu.0.gpu",
    "GPU memory, percent": "system/gpu.0.memoryAllocated",
    "GPU power, watts": "system/gpu.0.powerWatts",
    "CPU in use, percent": "system/cpu",
}


def make_workspace(entity, project=PROJECT):
    """The dashboard as a `wandb_workspaces` object, which nothing was done with yet: sections for
    the local score with its interval, curves by task, mistakes, time and GPU.

    Curves are means of each task's runs with their range; a panel of its own has those of folds.
    Raises UserError where the extra `workspace` is not installed.
    """
    try:
        import wandb_workspaces.reports.v2 as wr
        import wandb_workspaces.workspaces as ws
    except ImportError as e:
        reason = f"{e.name} is not installed"
        raise UserError(f"{reason}; pip install wandb-workspaces, the extra `workspace`") from None
    by_task = dict(x="epoch", groupby="Group", groupby_rangefunc="minmax")
    curves = [wr.LinePlot(title=title, y=[name], **by_task) for title, name in CURVES.items()]
    folds = wr.LinePlot(title="macro-F1 of folds", metric_regex=r"fold\d+/f1_score", **by_task)
    score = "macro-F1 on the local test part, and its 95% interval's ends"
    seconds = {"seconds an epoch": "epoch_seconds", "images a second": "images_per_second"}
    clock = "RelativeTime(Process)"
    sections = {
        "Local score": [
            wr.BarPlot(title=score, metrics=list(SCORE)),
            wr.BarPlot(title="accuracy", metrics=["test_accuracy"]),
        ],
        "Curves by task": [*curves, folds],
        "Mistakes": [
            _chart(wr, "confusion_matrix", "confusion_matrix/v1", "Actual Predicted nPredictions"),
            _chart(wr, "per_class_f1", "bar/v0", "label value", label="class", value="f1"),
            wr.WeavePanelSummaryTable(table_name="most_wrong"),
            wr.MediaBrowser(title="what the model gets", media_keys=["crops"]),
        ],
        "Time": [
            wr.BarPlot(title="seconds, whole run", metrics=[clock]),
            *(wr.LinePlot(title=k, x="epoch", y=[name]) for k, name in seconds.items()),
        ],
        "GPU": [wr.LinePlot(title=title, x=clock, y=[name]) for title, name in GPU.items()],
    }
    columns = ["config:recipe", *(f"summary:{name}" for name in SCORE), "summary:test_accuracy"]
    return ws.Workspace(
        entity=entity,
        project=project,
        name=NAME,
        sections=[ws.Section(name=k, panels=v, is_open=True) for k, v in sections.items()],
        settings=ws.WorkspaceSettings(x_axis="epoch"),
        runset_settings=ws.RunsetSettings(pinned_columns=["run:displayName", *columns]),
    )


def main(
    entity: str = None,  # user or team; WANDB_ENTITY, or the key's own, by default
    project: str = None,  # WANDB_PROJECT, or pokefast, by default
):
    """Make the dashboard online, as a new view of the project; prints its address."""
    project = project or os.environ.get("WANDB_PROJECT") or PROJECT
    make_workspace("nobody", project)  # what can be wrong with it is said before the network is
    check_wandb("online")
    import wandb

    try:
        entity = entity or os.environ.get("WANDB_ENTITY") or wandb.Api().default_entity
        make_workspace(entity, project).save()
    except (wandb.Error, ValueError) as e:  # W&B's of an entity or project that is none
        raise UserError(f"W&B: {e}") from None


def _chart(wr, key, kind, fields, **columns):
    """One of W&B's own charts of the table that was logged as `key`."""
    return wr.CustomChart(
        query={"summaryTable": {"tableKey": f"{key}_table"}},
        chart_name=f"wandb/{kind}",
        chart_fields={name: columns.get(name, name) for name in fields.split()},
    )


if __name__ == "__main__":
    raise SystemExit(run_cli(main))
