"""Explicit options beat the recipe; what cannot be is refused with what to do."""

import sys
from typing import Annotated

import pytest

from pokefast.errors import UserError
from pokefast.options import changed, check, leave_out, resolve, run_cli

RECIPES = {
    "fast": {"epochs": 10, "crop": "outline", "flip": True},
    "report": {"epochs": 50, "crop": "none", "flip": False},
}


def test_the_recipe_fills_what_is_not_given():
    o = resolve(RECIPES, "report", epochs=None, crop="outline")
    given = {"crop": "outline"}
    assert vars(o) == {"recipe": "report", "epochs": 50, "flip": False, **given, "given": given}


def test_an_explicit_false_beats_the_recipe():
    assert resolve(RECIPES, flip=False).flip is False


def test_resolved_options_are_taken_as_they_are():
    o = resolve(RECIPES, epochs=3)
    assert resolve(RECIPES, o) == o
    given = {"epochs": 3, "crop": "none"}
    assert resolve(RECIPES, o, crop="none") == changed(o, crop="none", given=given)
    assert o.given == {"epochs": 3}


@pytest.mark.parametrize(
    "given, says",
    [
        ({"recipe": "best"}, "--recipe best: choose fast or report"),
        ({"epoch": 3}, "did you mean epochs?"),
        ({"epochs": -1}, "--epochs -1: it must be at least 0"),
    ],
)
def test_what_cannot_be_is_refused(given, says):
    with pytest.raises(UserError) as error:
        resolve(RECIPES, **given)
    assert says in str(error.value)


def command(
    crop: Annotated[str, {"choices": ["outline", "none"]}] = None,  # where
    epochs: int = None,  # passes
    layer1_size: int = None,  # units
    grey: bool = None,  # one channel
):
    """A command."""
    command.got = dict(crop=crop, epochs=epochs, layer1_size=layer1_size, grey=grey)
    if epochs == 13:
        raise UserError("thirteen")


def call(monkeypatch, *args):
    monkeypatch.setattr(sys, "argv", ["command", *args])
    return run_cli(command)


def test_options_reach_main_with_their_types(monkeypatch):
    assert call(monkeypatch, "--layer1-size", "7", "--grey") == 0
    assert command.got == {"crop": None, "epochs": None, "layer1_size": 7, "grey": True}
    assert call(monkeypatch) == 0
    assert set(command.got.values()) == {None}


@pytest.mark.parametrize(
    "args", [["--epoch", "3"], ["--layer1", "3"], ["--crop", "maybe"], ["stray"]]
)
def test_abbreviations_and_unknown_options_stop_the_run(args, monkeypatch, capsys):
    command.got = None
    with pytest.raises(SystemExit) as stop:
        call(monkeypatch, *args)
    assert stop.value.code == 2 and command.got is None
    assert args[0] in capsys.readouterr().err


def test_an_unknown_option_is_answered_with_the_likely_one(monkeypatch, capsys):
    with pytest.raises(SystemExit):
        call(monkeypatch, "--epoch=3")
    assert "did you mean --epochs?" in capsys.readouterr().err


def test_a_user_error_is_one_line_without_a_traceback(monkeypatch, capsys):
    assert call(monkeypatch, "--epochs", "13") == 2
    assert capsys.readouterr().err == "error: thirteen\n"


def test_choices_are_checked_for_python_calls_too():
    o = resolve({"fast": {"crop": None}}, crop="maybe")
    with pytest.raises(UserError, match="--crop maybe: choose outline, none"):
        check(command, o)


PARTS = {"flip": {"flip": False}, "crop": {"crop": "none"}}


def test_parts_are_left_out():
    assert leave_out(PARTS, "flip,crop", {"epochs": 3}) == {
        "epochs": 3,
        "flip": False,
        "crop": "none",
    }
    assert leave_out(PARTS, None, {"epochs": 3, "flip": None}) == {"epochs": 3, "flip": None}


@pytest.mark.parametrize(
    "names, given, says",
    [
        ("flips", {}, "--without flips: there is no such ingredient; did you mean flip?"),
        ("colours", {}, "there is no such ingredient: choose from flip, crop"),
        ("flip,crop", {"crop": "outline"}, "--without flip,crop sets --crop: give one of them"),
    ],
)
def test_parts_that_cannot_be_left_out(names, given, says):
    with pytest.raises(UserError, match=says):
        leave_out(PARTS, names, given)
