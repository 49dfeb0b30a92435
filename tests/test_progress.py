"""Long work says how far it is; short work says nothing."""

import io

import pytest

from pokefast import progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_short_work_says_nothing(capsys):
    assert list(progress.progress(iter("abc"), 3, "letters read")) == list("abc")
    assert capsys.readouterr() == ("", "")


def test_a_log_gets_a_line_each_tenth(capsys, monkeypatch):
    monkeypatch.setattr(progress, "QUIET", -1)
    assert list(progress.progress(range(40), 40, "letters read")) == list(range(40))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 10 and lines[3] == "letters read: 40%, 00:00 left"


@pytest.mark.parametrize("place", ["terminal", "notebook"])
def test_a_terminal_and_a_notebook_get_a_bar_that_goes(place, monkeypatch):
    screen = Terminal() if place == "terminal" else io.StringIO()
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setattr(progress, "IN_NOTEBOOK", place == "notebook")
    monkeypatch.setattr(progress, "QUIET", 0)
    assert list(progress.progress(range(40), 40, "letters read")) == list(range(40))
    assert "letters read: " in screen.getvalue() and "| 0/40 [" in screen.getvalue()
    assert screen.getvalue().endswith(" \r")
