"""The sweeps' files, without a network: each value of each must be one that its script takes."""

import itertools

import pytest
import yaml
from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

from pokefast.files import ROOT
from pokefast.report.wandb_log import BEST, SCORES
from pokefast.task import read_line
from tasks import TASKS, load_task

FILES = sorted((ROOT / "sweeps").glob("*.yaml"))
KEYS = {"project", "name", "program", "command", "method", "metric", "parameters", "run_cap"}
KEYS |= {"early_terminate"}


def load(file):
    return yaml.safe_load(file.read_text(encoding="utf-8"))


def values(parameter):
    """Those that a sweep may choose; the ends of a range."""
    if "value" in parameter:
        return [parameter["value"]]
    return parameter.get("values") or [parameter["min"], parameter["max"]]


def assignments(sweep):
    """All assignments of a grid; of another method one for each value, beside the first ones."""
    choices = {k: values(p) for k, p in sweep["parameters"].items()}
    if sweep["method"] == "grid":
        rows = itertools.product(*choices.values())
        yield from (dict(zip(choices, row, strict=True)) for row in rows)
        return
    first = {k: v[0] for k, v in choices.items()}
    yield from ({**first, k: v} for k, options in choices.items() for v in options)


def arguments(sweep, assignment):
    """The command line after `python -m`, as W&B's agent makes it, without the program's name."""
    args = create_sweep_command_args({"args": {k: {"value": v} for k, v in assignment.items()}})
    line = []
    for part in create_sweep_command(sweep["command"]):
        line += args[part[2:-1]] if part.startswith("${args") else [part]
    return line[line.index("-m") + 1 :]


def test_there_are_sweeps_for_all_tasks():
    assert {load(f)["program"].split("/")[1][:5] for f in FILES} == {"task1", "task2", "task3"}


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.name)
def test_sweep_names_what_exists(file):
    sweep = load(file)
    assert set(sweep) <= KEYS
    assert (ROOT / sweep["program"]).is_file()
    assert sweep["program"] == sweep["command"][3].replace(".", "/") + ".py"
    assert sweep["metric"]["name"] in {**BEST, **SCORES}
    # a sweep that chose by the test part would make its score flatter
    assert sweep["metric"]["name"] not in SCORES
    if sweep["method"] == "grid":
        assert all({"value", "values"} & set(p) for p in sweep["parameters"].values())
    else:
        assert sweep["method"] in ("bayes", "random") and sweep["run_cap"] > 0
    for parameter in sweep["parameters"].values():
        if "distribution" in parameter:
            assert parameter["distribution"] in ("log_uniform_values", "uniform")
            assert 0 < parameter["min"] < parameter["max"]


def options_of(sweep, line):
    """A task's options from the words behind `python -m`; exits on an unknown option or choice."""
    module, *words = line
    task = load_task(next(name for name, file in TASKS.items() if module == f"tasks.{file}"))
    return read_line(task, words)[0]


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.name)
def test_scripts_take_every_value(file):
    sweep = load(file)
    for assignment in assignments(sweep):
        o = options_of(sweep, arguments(sweep, assignment))
        for name, value in assignment.items():
            if value is not False:  # a flag that is left out
                field = name.replace("-", "_")
                off = field.startswith("no_")
                assert getattr(o, field.removeprefix("no_")) == (not value if off else value)


def test_unknown_value_is_noticed():
    sweep = load(FILES[0])
    sweep["parameters"]["recipe"] = {"values": ["slow"]}
    with pytest.raises(SystemExit):
        options_of(sweep, arguments(sweep, {"recipe": "slow"}))
