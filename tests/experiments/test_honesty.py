"""The comparison of estimates sees a leak between pictures of one creature, and keeps features."""

import numpy as np
import pandas as pd
import pytest

from experiments import honesty
from pokefast.datasets.drawn import small_competition
from pokefast.errors import UserError
from pokefast.models.weights import offline_available


@pytest.fixture(scope="module")
def rebuild(tmp_path_factory):
    out = tmp_path_factory.mktemp("honesty")
    small_competition(out, 3, n_per_class=18)
    return out


@pytest.fixture
def species(rebuild, monkeypatch):
    """Groups come from the truth: finding them is tested elsewhere. Species by picture."""
    truth = pd.read_csv(rebuild / "solution" / "task3.csv").set_index("Id")["species"]
    monkeypatch.setattr(
        honesty,
        "add_groups",
        lambda train, groups=None: train.assign(
            group=pd.factorize(truth[train["Id"]])[0] if groups is None else groups
        ),
    )
    return truth


def test_only_the_split_by_creature_sees_through_features_that_know_creatures(
    rebuild, species, monkeypatch, capsys
):
    def knows_creatures(paths):
        seeds = [sum(map(ord, species[p.stem])) * 7919 for p in map(honesty.Path, paths)]
        noise = np.random.default_rng(0).normal(0, 0.1, (len(seeds), 200))
        return np.stack([np.random.default_rng(s).normal(0, 1, 200) for s in seeds]) + noise

    monkeypatch.setattr(honesty, "features", knows_creatures)
    table = honesty.main([rebuild, rebuild], folds=3)
    row = table.iloc[0]
    assert row["by image"] > 0.6 and row["by creature"] < 0.4 and row["hidden"] < 0.4
    assert row["difference"] == row["by creature"] - row["hidden"]
    assert abs(row["difference"]) < 0.3 < row["difference, by image"]
    assert "2 rebuilds" in capsys.readouterr().out


def test_features_are_of_the_network_and_computed_once(rebuild, monkeypatch):
    if not offline_available(honesty.ARCH):
        pytest.skip(f"the package of {honesty.ARCH} is not installed")
    paths = sorted((rebuild / "task3" / "test").glob("*.png"))[:3]
    found = honesty.features(paths)
    assert found.shape == (3, 1280) and found.std(0).max() > 0.1
    monkeypatch.setattr(honesty, "_extract", lambda paths: pytest.fail("computed again"))
    assert np.array_equal(honesty.features(paths), found)


def test_wrong_folders_and_folds_are_named(tmp_path, rebuild):
    with pytest.raises(UserError, match="solution"):
        honesty.main([tmp_path])
    with pytest.raises(UserError, match="--folds 1"):
        honesty.main([rebuild], folds=1)
