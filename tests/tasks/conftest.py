"""Most runs of these tests draw no pictures, which take longer than their training."""

import pytest


@pytest.fixture(autouse=True)
def no_pictures(request, monkeypatch):
    """Pictures are drawn for tests that are marked so."""
    if not request.node.get_closest_marker("pictures"):
        monkeypatch.setattr("pokefast.steps.write_examples", lambda *_: None)
        monkeypatch.setattr("pokefast.steps.draw_figures", lambda *_: None)
        monkeypatch.setattr("pokefast.steps.write_report", lambda *_: None)
