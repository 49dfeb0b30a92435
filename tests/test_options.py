"""Typed options: what cannot be is refused, and what is not given is the recipe's."""

import argparse
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Literal

import pytest

from pokefast.errors import UserError
from pokefast.options import (
    Between,
    Options,
    add_options,
    changes,
    choice,
    field_help,
    flag,
    parse,
    plain,
    run_cli,
)
from tasks import TASKS, load_task


@dataclass(frozen=True)
class Own(Options):
    """Options of a task."""

    crop: Literal["outline", "none"] = "outline"  # where
    stages: Literal[2, 3] = 3  # how many
    layer1_size: Annotated[int, Between(1)] = 256  # units
    groups: Path | None = None  # a CSV, 100% yours
    bs: Annotated[int, Between(4)] = 16  # images a batch, of this task


RECIPES = {"fast": Own(flip=True), "report": Own(recipe="report", epochs=50)}


def given(*args):
    parser = argparse.ArgumentParser(prog="own")
    add_options(parser, Own, RECIPES)
    return vars(parse(parser, args))


def test_what_is_not_given_is_not_there():
    assert given() == {}
    found = given("--layer1-size", "7", "--no-flip", "--crop", "none", "--stages", "2")
    assert found == {"layer1_size": 7, "flip": False, "crop": "none", "stages": 2}
    assert given("--groups", "x.csv") == {"groups": Path("x.csv")}


@pytest.mark.parametrize(
    "args", [["--epoch", "3"], ["--layer1", "3"], ["--crop", "maybe"], ["--stages", "4"], ["stray"]]
)
def test_abbreviations_and_unknown_options_stop_the_run(args, capsys):
    with pytest.raises(SystemExit) as stop:
        given(*args)
    assert stop.value.code == 2
    assert args[0] in capsys.readouterr().err


def test_an_unknown_option_is_answered_with_the_likely_one(capsys):
    with pytest.raises(SystemExit):
        given("--epoch=3")
    assert "did you mean --epochs?" in capsys.readouterr().err


def test_help_shows_the_comments_and_what_each_recipe_has(capsys):
    with pytest.raises(SystemExit):
        given("--help")
    text = " ".join(capsys.readouterr().out.split())
    assert "passes over the training part, at most (fast 10, report 50)" in text
    assert "a CSV, 100% yours" in text


@pytest.mark.parametrize(
    "values, says",
    [
        (dict(epochs=-1), "--epochs -1: it must be at least 0"),
        (dict(epochs="3"), "--epochs '3': it must be of type int"),
        (dict(flip=3), "--flip 3: it must be of type bool"),
        (dict(crop="maybe"), "--crop maybe: choose outline, none"),
        (dict(bs=2), "--bs 2: it must be at least 4"),
        (dict(valid=1.5), "--valid 1.5: it must be from 0 to 1"),
        (dict(lr=float("nan")), "--lr nan"),
    ],
)
def test_what_cannot_be_is_refused(values, says):
    with pytest.raises(UserError) as error:
        Own(**values)
    assert says in str(error.value)
    with pytest.raises(UserError):
        replace(Own(), **values)


def test_changes_are_what_differs_from_the_recipe():
    o = replace(RECIPES["fast"], bs=8, groups=Path("g.csv"), flip=True)
    assert changes(o, RECIPES["fast"]) == {"bs": 8, "groups": Path("g.csv")}
    assert plain(o)["groups"] == "g.csv"


def test_flags_are_written_as_they_are_typed():
    assert flag("layer1_size") == "--layer1-size" and flag("flip", False) == "--no-flip"


@pytest.mark.parametrize("name", TASKS)
def test_every_option_of_every_task_says_what_it_is(name):
    task = load_task(name)
    cls = type(task.recipe())
    texts = field_help(cls)
    assert [f.name for f in fields(cls) if not texts[f.name]] == []
    names = [f.__name__ for f in task.recipes]
    assert [task.recipe(name).recipe for name in names] == names
    assert names[0] == "fast" and "report" in names
    with pytest.raises(UserError, match=f"--recipe slow: choose {' or '.join(names)}"):
        task.recipe("slow")


def command(
    crop: choice("outline", "none") = None,  # where
    epochs: int = None,  # passes
):
    """A command."""
    command.got = dict(crop=crop, epochs=epochs)
    if epochs == 13:
        raise UserError("thirteen")


def test_a_commands_options_reach_its_main_with_their_types():
    assert run_cli(command, ["--epochs", "7"]) == 0
    assert command.got == {"crop": None, "epochs": 7}
    with pytest.raises(SystemExit):
        run_cli(command, ["--epoch", "7"])


def test_a_user_error_is_one_line_without_a_traceback(capsys):
    assert run_cli(command, ["--epochs", "13"]) == 2
    assert capsys.readouterr().err == "error: thirteen\n"


@pytest.mark.parametrize("name", ["task2", "task3"])
def test_folds_do_not_stop_early_by_the_part_that_scores_them(name):
    with pytest.raises(UserError, match="--no-early-stop"):
        load_task(name).recipe("report", folds=3)
