"""`make lr-find`: suggestions in print, the plot in runs/."""

import re

import pytest
from PIL import Image

from experiments import lr_find
from pokefast.errors import UserError


@pytest.mark.parametrize("task", ["task1", "task2"])
def test_it_prints_suggestions_and_draws_them(task, small, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(lr_find, "RUNS", tmp_path)
    found = lr_find.main(task=task, data=small / "task1", bs=16, num_it=60)
    out = capsys.readouterr().out
    for name in ("valley", "steep", "minimum"):
        (printed,) = re.findall(rf"^  {name} +(\S+)", out, re.M)
        assert float(printed) == pytest.approx(found[name], rel=0.05)
        assert 1e-7 <= found[name] <= 10
    assert re.search(r"recipe fast with [\d.]+e-03", out)
    assert min(Image.open(tmp_path / f"lr-find-{task}.png").size) > 200


def test_too_few_batches_are_refused():
    with pytest.raises(UserError, match="--num-it 12: it must be at least 30"):
        lr_find.main(num_it=12)


def test_a_loss_that_explodes_is_named(small, tmp_path, monkeypatch):
    monkeypatch.setattr(lr_find, "RUNS", tmp_path)

    def explode(learn, **kwargs):
        learn.recorder.losses = [1.0, 5.0]
        raise IndexError("list index out of range")

    monkeypatch.setattr("fastai.learner.Learner.lr_find", explode)
    with pytest.raises(UserError, match="--num-it 40: the loss exploded after 2 batches"):
        lr_find.main(data=small / "task1", bs=16, num_it=40)
    assert not list(tmp_path.iterdir())
