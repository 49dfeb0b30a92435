"""Who is measured, the runs that a table needs, and those of them that are still to do."""

import math
from typing import NamedTuple

__all__ = ["GOAL", "PEERS", "Job", "Peer", "epochs_for", "jobs", "marks", "seconds_to_goal"]

GOAL = 0.95  # hidden macro-F1 whose time is asked for
CLOSE = 1.5  # ratio of two epoch counts between which no other is tried
CHECKPOINTS = 24  # in the longest budget, of systems with a constant rate
BARE_SECONDS = 10.0


class Peer(NamedTuple):
    """A system: its script below scripts/, its environment (this one where None), and whether its
    schedule is for a number of epochs, so that every budget is a run of its own.
    """

    title: str
    script: str
    environment: str | None
    by_epochs: bool = True
    ranked: bool = True
    about: str = ""


PEERS = {
    "torch": Peer(
        "plain PyTorch, as in the report",
        "plain_torch",
        "torch",
        by_epochs=False,
        about="its network with a dense head, batch 16, Adam at a constant 0.001",
    ),
    "fastai": Peer(
        "plain fastai",
        "plain_fastai",
        "fastai",
        about="`ImageDataLoaders.from_df`, `aug_transforms()`, pokefast's network, batch 64, "
        "`fit_one_cycle` up to 0.003",
    ),
    "lightning": Peer(
        "Lightning, torchvision v2",
        "lightning_v2",
        "lightning",
        about="two workers that load and augment, pokefast's network, batch 32, AdamW, one-cycle "
        "up to 0.003",
    ),
    "yolo": Peer(
        "ultralytics, untrained",
        "yolo",
        "ultralytics",
        ranked=False,
        about="`yolo11n-cls.yaml`, 64 pixels, its own defaults; not ranked, as it is meant to "
        "start from pretrained weights, which could not be had here",
    ),
    "pokefast": Peer(
        "pokefast",
        "pokefast_task2",
        None,
        about="task 2 by its fast recipe, images decoded anew; its local test part is not trained "
        "on, 15% of the images, besides the 15% for validation",
    ),
    "bare": Peer(
        "the arithmetic alone",
        "bare",
        None,
        by_epochs=False,
        ranked=False,
        about="steps of pokefast's network and recipe on one batch that is ready",
    ),
}


class Job(NamedTuple):
    """A run to do: of `epochs`, or with submissions at `marks` (seconds of training); `expected` is
    about how many seconds it takes.
    """

    peer: str
    repeat: int
    epochs: int | None
    marks: tuple
    expected: float


def marks(budgets):
    """Seconds of training after which systems with a constant rate predict."""
    step = max(budgets) / CHECKPOINTS
    return tuple(sorted({*budgets, *(step * (i + 1) for i in range(CHECKPOINTS))}))


def epochs_for(peer, budgets, results):
    """{budget: epochs} as a user would choose them, of the budgets for which that is known: those
    that fit by the pace of the run for the budget before, the first's by that of one epoch.
    """
    runs = results[(results["peer"] == peer) & (results["repeat"] == 0)]
    runs, chosen, known = runs.set_index("epochs"), {}, 1
    for budget in sorted(budgets):
        if known not in runs.index:
            break
        run = runs.loc[known]
        ready = run["seconds"] - run["fit_seconds"]  # before the first epoch, and after the last
        known = max(1, math.floor((budget - ready) / (run["fit_seconds"] / known)))
        chosen[budget] = known
    return chosen


def seconds_to_goal(peer, results, repeat=0):
    """(seconds, epochs or None, most epochs of those below that were not enough) of the shortest
    run or earliest checkpoint that has reached GOAL, or None.
    """
    runs = results[(results["peer"] == peer) & (results["repeat"] == repeat)]
    runs = runs.sort_values("epochs" if PEERS[peer].by_epochs else "seconds")
    there = runs[runs["hidden"] >= GOAL]
    if there.empty:
        return None
    first = there.iloc[0]
    if not PEERS[peer].by_epochs:
        return first["seconds"], None, None
    below = runs[runs["epochs"] < first["epochs"]]["epochs"]
    return first["seconds"], int(first["epochs"]), 0 if below.empty else int(below.max())


def jobs(peers, budgets, repeats, results):
    """The runs still to do, those that tell most first; which others follow from what they find is
    known only then.
    """
    found = []
    for repeat in range(repeats):
        done = results[results["repeat"] == repeat]
        found += _of_repeat(peers, budgets, repeat, done, results)
        if repeat == 0 and not found:
            found = [job for name in peers for job in _search(name, results)]
    return found


def _of_repeat(peers, budgets, repeat, done, results):
    found, longest = [], max(budgets)
    by_epochs = [name for name in peers if PEERS[name].by_epochs]
    if repeat == 0:
        for name in by_epochs:
            if not ((done["peer"] == name) & (done["epochs"] == 1)).any():
                found.append(Job(name, 0, 1, (), 30))
    for name in peers:
        if name == "bare" and not (done["peer"] == name).any():
            found.append(Job(name, repeat, None, (min(BARE_SECONDS, longest),), 20))
    for budget in sorted(budgets):
        if budget == longest:
            for name in peers:
                if not PEERS[name].by_epochs and name != "bare":
                    last = done[(done["peer"] == name) & (done["mark"] == longest)]
                    if last.empty:
                        found.append(Job(name, repeat, None, marks(budgets), 1.2 * longest + 15))
        for name in by_epochs:
            epochs = epochs_for(name, budgets, results).get(budget)
            if epochs is None or not ((done["peer"] == name) & (done["epochs"] == epochs)).any():
                found.append(Job(name, repeat, epochs, (), budget + 15))
    return list(dict.fromkeys(found))


def _search(peer, results):
    """A run between the longest that is not enough and the shortest that is, if they are far."""
    reached = seconds_to_goal(peer, results) if PEERS[peer].by_epochs else None
    if reached is None:
        return []
    seconds, enough, below = reached
    if not below or enough - below < 2 or enough <= CLOSE * below:
        return []
    between = round(math.sqrt(enough * below))
    return [Job(peer, 0, between, (), seconds * between / enough + 15)]
