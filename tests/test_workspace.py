"""The dashboard's content, without a network: what its panels ask for is what is logged."""

import sys

import pytest

from pokefast import workspace
from pokefast.errors import UserError
from pokefast.report.wandb_log import BEST, SCORES
from pokefast.workspace import main, make_workspace

EACH_EPOCH = {*BEST, "epoch_seconds", "images_per_second"}
AT_THE_END = {*SCORES, "test_f1_score_low", "test_f1_score_high"}


@pytest.fixture
def sections():
    """Panels by section, as they are sent."""
    pytest.importorskip("wandb_workspaces", reason="the extra workspace is not installed")
    view = make_workspace("nobody", "leaves")._to_model()
    assert (view.entity, view.project, view.display_name) == ("nobody", "leaves", "pokefast")
    sent = view.spec.model_dump(by_alias=True)["section"]["panelBankConfig"]["sections"]
    return {s["name"]: [panel["config"] for panel in s["panels"]] for s in sent}


def test_it_has_a_section_for_each_question(sections):
    expected = {"Local score", "Curves by task", "Mistakes", "Time", "GPU"}
    assert {name for name, panels in sections.items() if panels} == expected


def test_its_panels_ask_for_what_is_logged(sections):
    asked = {
        name: {metric for panel in panels for metric in panel.get("metrics") or ()}
        for name, panels in sections.items()
    }
    assert asked["Local score"] == AT_THE_END
    assert asked["Curves by task"] == set(BEST)
    assert asked["Time"] == {"_runtime", *EACH_EPOCH - set(BEST)}
    assert all(name.startswith(("system/gpu.0.", "system/cpu")) for name in asked["GPU"])
    assert {panel["groupBy"] for panel in sections["Curves by task"]} == {"group"}
    assert {panel["xAxis"] for panel in sections["Curves by task"]} == {"epoch"}
    mistakes = str(sections["Mistakes"])
    for name in ("confusion_matrix_table", "per_class_f1_table", "most_wrong", "crops"):
        assert f"'{name}'" in mistakes


def test_what_is_missing_is_named(monkeypatch):
    def no_network(mode):
        raise UserError(f"--wandb {mode}: no network")

    monkeypatch.setattr(workspace, "check_wandb", no_network)
    if "wandb_workspaces" in sys.modules:
        with pytest.raises(UserError, match="--wandb online: no network"):
            main()
    monkeypatch.setitem(sys.modules, "wandb_workspaces.reports.v2", None)
    with pytest.raises(UserError, match="pip install wandb-workspaces"):
        main()
