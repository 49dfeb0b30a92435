"""The comparison of fine-tuning and new splits run on a small competition, and count right."""

import numpy as np
import pandas as pd
import pytest

from experiments import finetune, splits
from pokefast.datasets.drawn import small_competition
from pokefast.errors import UserError
from pokefast.models.weights import offline_available
from pokefast.scoring.metrics import choose_metric

F1 = choose_metric("f1_macro")
pytestmark = pytest.mark.skipif(
    not offline_available("tf_efficientnet_lite0"), reason="the offline weights are not installed"
)


@pytest.fixture(scope="module")
def rebuild(tmp_path_factory):
    out = tmp_path_factory.mktemp("rebuild")
    small_competition(out, 3, n_per_class=9)
    return out


def test_every_way_is_scored_out_of_fold_and_hidden(rebuild, tmp_path, capsys):
    finetune.main([rebuild], folds=2, epochs=1, size=48, out=tmp_path)
    said = capsys.readouterr().out
    solution = pd.read_csv(rebuild / "solution" / "task3.csv")
    for part, split in (("hidden", "Test"), ("out-of-fold", "Train")):
        table = pd.read_csv(tmp_path / f"{rebuild.name}-{part}.csv")
        mine = solution[solution["split"] == split]
        assert table["species"].value_counts().to_dict() == mine["species"].value_counts().to_dict()
        columns = {w: [f"{w}_{k}" for k in range(9)] for w in finetune.WAYS}
        parts = {w: table[names].to_numpy() for w, names in columns.items()}
        assert all(np.allclose(p.sum(1), 1, atol=1e-4) for p in parts.values())
        assert np.allclose(parts["mean"], (parts["solved"] + parts["tuned"]) / 2, atol=1e-6)
        assert not np.allclose(parts["between"], parts["solved"], atol=1e-3)
        value = F1.value(table["truth"].to_numpy(), parts["solved"])
        assert f"{part.replace('-', ' ')}: solved {value:.4f}" in said


def test_a_difference_is_the_mean_over_the_rebuilds_and_its_interval_holds_it():
    rng = np.random.default_rng(0)
    truth = np.arange(300) % 3
    good, bad = (
        np.eye(3)[np.where(rng.random(300) < p, truth, (truth + 1) % 3)] for p in (0.8, 0.5)
    )
    row = {"truth": truth, "species": np.arange(300) // 3, "solved": bad, "tuned": good}
    swapped = {**row, "solved": good, "tuned": bad}
    value, low, high = finetune.difference([row, row], "solved", "tuned", F1)
    assert value == pytest.approx(F1.value(truth, good) - F1.value(truth, bad))
    assert 0 < low < value < high
    assert finetune.difference([row, swapped], "solved", "tuned", F1)[0] == pytest.approx(0)


def test_new_splits_hold_whole_species_and_a_fifth_of_each_class(rebuild, tmp_path, capsys):
    table = splits.main([rebuild], splits=2, out=tmp_path / "splits.csv")
    assert len(table) == 2 and "2 splits: local - hidden" in capsys.readouterr().out
    assert (table["low"] <= table["local"]).all() and (table["local"] <= table["high"]).all()
    assert len(pd.read_csv(tmp_path / "splits.csv")) == 2
    some = splits.Rebuild(rebuild)
    train, hidden = some.split(0)
    assert sorted([*train, *hidden]) == list(range(len(some.targets)))
    assert not set(some.species[train]) & set(some.species[hidden])
    names = pd.DataFrame({"label": some.targets, "species": some.species})
    each = names.groupby("label")["species"].nunique()
    left = names.iloc[hidden].groupby("label")["species"].nunique()
    assert left.tolist() == [round(n * splits.HIDDEN) for n in each if round(n * splits.HIDDEN)]


@pytest.mark.parametrize("main", [finetune.main, splits.main])
def test_a_folder_without_species_is_refused(rebuild, main, tmp_path):
    (tmp_path / "task3").symlink_to(rebuild / "task3")
    (tmp_path / "solution").mkdir()
    text = (rebuild / "solution" / "task3.csv").read_text().replace("species", "kind", 1)
    (tmp_path / "solution" / "task3.csv").write_text(text)
    with pytest.raises(UserError, match="no column species"):
        main([tmp_path])
