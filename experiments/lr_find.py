"""Learning rates worth trying for a task: `make lr-find TASK=2`.

fastai's range test: the rate grows from 1e-7 to 10 over `num_it` batches, the weights are put back.
Printed are the suggestions and the recipe's own rate; the plot goes to runs/.
"""

from dataclasses import replace
from pathlib import Path

from fastai.callback.schedule import minimum, steep, valley
from matplotlib.figure import Figure

from pokefast.errors import UserError
from pokefast.files import RUNS
from pokefast.options import choice, run_cli
from pokefast.report.plots import ACCENT, GREY, save
from pokefast.steps import Clock, decoded, learner_on
from pokefast.task import open_competition
from tasks import TASKS, load_task

__all__ = ["main"]

SUGGESTIONS = {
    valley: "halfway down the longest descent: the one to try first",
    steep: "where the loss falls fastest",
    minimum: "a tenth of where the loss is lowest",
}


def draw(rates, losses, suggestions, own):
    """Smoothed loss by learning rate, with the `suggestions` (name to rate) and the recipe's rate
    `own` marked.
    """
    figure = Figure(figsize=(7, 3.5))
    ax = figure.subplots()
    ax.plot(rates, losses, color=GREY)
    for name, rate in suggestions.items():
        ax.plot(rate, losses[min(range(len(rates)), key=lambda i: abs(rates[i] - rate))], "o")
        ax.lines[-1].set_label(f"{name} {rate:.1e}")
    ax.axvline(own, color=ACCENT, linestyle="--", label=f"recipe {own:.1e}")
    ax.set(xscale="log", xlabel="learning rate", ylabel="loss")
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, fontsize=8)
    return figure


def main(
    task: choice(*TASKS) = "task1",  # its name
    data: Path = None,  # competition folder; the embedded data otherwise
    recipe: str = None,  # whose model, optimizer and batch size; the task's first otherwise
    bs: int = None,  # images a batch; the recipe's otherwise
    num_it: int = 100,  # batches
):
    """Print the learning rates that fastai suggests, and write runs/lr-find-<task>.png.

    Returns the suggestions by name.
    """
    if num_it < 30:  # the first tenth and the last five are left out
        raise UserError(f"--num-it {num_it}: it must be at least 30")
    task = load_task(task)
    o = task.recipe(recipe).resolved()
    o = replace(o, bs=bs or o.bs)
    competition, whole, _ = decoded(
        task, open_competition(data, task.name, o, check_images=False), o
    )
    learn = learner_on(task, competition, whole, Clock(), o, None)
    try:
        with learn.no_bar():
            found = learn.lr_find(num_it=num_it, show_plot=False, suggest_funcs=tuple(SUGGESTIONS))
    except IndexError:  # fastai stops at four times the lowest loss: too few points are left
        n = len(learn.recorder.losses)
        raise UserError(
            f"--num-it {num_it}: the loss exploded after {n} batches, raise it"
        ) from None
    suggestions = found._asdict()
    rates, losses = learn.recorder.lrs, [float(v) for v in learn.recorder.losses]
    file = RUNS / f"lr-find-{task.name}.png"
    save(draw(rates, losses, suggestions, o.lr), file)
    print(f"{task.name}, {o.optimizer}, batch {o.bs}, recipe {o.recipe} with {o.lr:.1e}")
    for func, what in SUGGESTIONS.items():
        print(f"  {func.__name__:<9}{suggestions[func.__name__]:.1e}  {what}")
    print(f"plot: {file}")
    return suggestions


if __name__ == "__main__":
    raise SystemExit(run_cli(main))
