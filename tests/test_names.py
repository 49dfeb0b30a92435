"""Names are compared by what a person sees of them, and nothing is taken for two."""

import pytest

from pokefast.names import look_alikes, match_names, one_spelling, shown, visible

COMPOSED, DECOMPOSED = "Pok\u00e9mon", "Poke\u0301mon"


@pytest.mark.parametrize(
    "name",
    [
        "Pok\u00e9mon",
        DECOMPOSED,
        " Pok\u00e9mon ",
        "Pok\u00e9mon\u200b",
        "\ufeffPok\u00e9mon\u00a0",
    ],
)
def test_what_looks_the_same_is_the_same(name):
    assert visible(name) == COMPOSED


@pytest.mark.parametrize("pair", [("a", "b"), ("ab", "a b"), ("a", "A"), ("e", "\u00e9")])
def test_what_looks_different_is_different(pair):
    assert visible(pair[0]) != visible(pair[1])


@pytest.mark.parametrize(
    "name, there, differs",
    [
        (COMPOSED, DECOMPOSED, "code points"),
        (DECOMPOSED, COMPOSED, "code points"),
        ("a", "a\u200b", "invisible"),
        ("a\u00a0b", "a b", "invisible"),
        (" a", "a", "invisible"),
        ("a.png", "a", "suffix"),
        ("a.JPG", "a", "suffix"),
        (DECOMPOSED + ".png", COMPOSED, "suffix"),
        ("A", "a", "upper and lower case"),
        ("A.png", "a", "upper and lower case"),
    ],
)
def test_a_name_is_found_under_another_spelling_and_that_is_said(name, there, differs):
    found, lines = match_names(["other", name], ["other", there])
    assert found == {"other": "other", name: there}
    (line,) = lines
    assert differs in line and ascii(name) in line and line.startswith("1 ")


@pytest.mark.parametrize(
    "names, there, expected",
    [
        (["a", "A"], ["a"], {"a": "a"}),  # a is taken
        (["A"], ["a", "a "], {}),  # which of them?
        (["a.png", "a.jpg"], ["a"], {}),
        (["a", "a.png"], ["a", "a.png"], {"a": "a", "a.png": "a.png"}),
        (["b"], ["a"], {}),
    ],
)
def test_a_name_that_may_mean_two_is_not_guessed(names, there, expected):
    assert match_names(names, there) == (expected, [])


def test_the_commonest_spelling_is_taken():
    names = [COMPOSED, DECOMPOSED, DECOMPOSED, "x", "x ", "X"]
    assert one_spelling(names) == {
        COMPOSED: DECOMPOSED,
        DECOMPOSED: DECOMPOSED,
        "x": "x",
        "x ": "x",
        "X": "X",
    }


def test_look_alikes_are_listed_with_those_of_other_case():
    assert look_alikes(["a", "A", "b", "c", "c\u200b"]) == [["A", "a"], ["c", "c\u200b"]]


def test_what_cannot_be_seen_is_shown():
    assert shown("Mr. Mime") == "Mr. Mime" and shown("\u00e9") == "\u00e9"
    assert shown("a\u200b") == "'a\\u200b'" and shown("a ") == "'a '"
    assert shown("a\nb") == "'a\\nb'" and shown("\x1b[31m") == "'\\x1b[31m'"
