"""The images of examples.json are those of the loaders, and explain the predictions given."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from fastai.data.block import CategoryBlock, DataBlock
from fastai.data.transforms import ColReader, Normalize
from fastai.learner import Learner
from fastai.losses import CrossEntropyLossFlat
from fastai.torch_core import TensorImage
from fastai.vision.augment import Resize, ResizeMethod
from fastai.vision.data import ImageBlock
from fasttransform import Transform
from PIL import Image
from torch import nn

from pokefast.data.loader import MemoryDL
from pokefast.images import PILImageRGB
from pokefast.report.examples import most_wrong, write_examples
from pokefast.report.plots import from_data_uri

VOCAB = ["<b>", "dark", "light"]


class Black(Transform):
    """A training augmentation that leaves a mark."""

    split_idx, order = 0, 30

    def encodes(self, x: TensorImage):
        return x * 0


def conv_net():
    return nn.Sequential(nn.Conv2d(3, 3, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def dense_net():
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 12 * 12, 3))


def learner(tmp_path, model):
    """A learner with 12 training, no validation and 12 test images of one colour each, larger than
    the 12 pixels that the model gets.
    """
    levels = np.arange(24) * 10
    for level in levels:
        Image.new("RGB", (40, 20), (int(level),) * 3).save(tmp_path / f"{level}.png")
    table = pd.DataFrame(
        {"Id": [f"id{v}" for v in levels], "label": [VOCAB[i % 3] for i in range(24)]}
    )
    table["path"] = [str(tmp_path / f"{level}.png") for level in levels]
    block = DataBlock(
        blocks=(ImageBlock(PILImageRGB), CategoryBlock(vocab=VOCAB)),
        get_x=ColReader("path"),
        get_y=ColReader("label"),
        splitter=lambda items: (list(range(12)), [0], list(range(12, 24))),
        item_tfms=Resize(12, ResizeMethod.Squish),
        batch_tfms=[Black(), Normalize.from_stats([0.5] * 3, [0.5] * 3)],
    )
    dls = block.dataloaders(table, dl_type=MemoryDL, bs=64, num_workers=0)
    return Learner(dls, model, loss_func=CrossEntropyLossFlat())


def probabilities_of(dl, wrong=None):
    """0.8 for the true class, but for those of `wrong`: item -> probability of the true class."""
    p, wrong = torch.full((dl.n, 3), 0.1), wrong or {}
    for i, true in enumerate(dl.targets.tolist()):
        p[i] = (1 - wrong[i]) / 2 if i in wrong else 0.1
        p[i, true] = wrong.get(i, 0.8)
        if i in wrong:
            p[i, (true + 1) % 3] += 0.01
    return p


def read(folder):
    return json.loads((folder / "examples.json").read_text())


@pytest.mark.parametrize("as_array", [False, True])
def test_examples_are_the_loaders_images_and_the_worst_mistakes(tmp_path, as_array):
    learn = learner(tmp_path, conv_net())
    dl = learn.dls[2]
    p = probabilities_of(dl, {3: 0.2, 7: 0.05})
    write_examples(tmp_path, learn, dl, p.numpy() if as_array else p, VOCAB)
    found = read(tmp_path)
    assert len(found["batch"]) == 12 and {i["class"] for i in found["batch"]} == set(VOCAB)
    assert all((from_data_uri(i["image"]) < 130).all() for i in found["batch"])
    assert [i["class"] for i in found["crops"]] == [VOCAB[i % 3] for i in range(8)]
    for i, crop in enumerate(found["crops"]):
        before, after = from_data_uri(crop["before"]), from_data_uri(crop["after"])
        assert before.shape == (20, 40, 3) and after.shape == (12, 12, 3)
        assert (before == 120 + 10 * i).all() and np.abs(
            after.astype(int) - before[0, 0]
        ).max() <= 1
    assert [w["id"] for w in found["wrong"]] == ["id190", "id150"]
    assert found["wrong"][0]["p_truth"] == pytest.approx(0.05)
    assert (found["wrong"][0]["truth"], found["wrong"][0]["predicted"]) == ("dark", "light")
    right, wrong = found["cams"]
    assert all(i["truth"] == i["predicted"] for i in right["images"]) and len(right["images"]) == 8
    assert {i["truth"] for i in right["images"]} == set(VOCAB)
    assert [i["truth"] for i in wrong["images"]] == ["dark", "<b>"]
    assert from_data_uri(wrong["images"][0]["map"]).shape == (12, 12, 3)


def test_without_mistakes_or_convolutions_there_is_less_to_show(tmp_path):
    learn = learner(tmp_path, dense_net())
    write_examples(tmp_path, learn, learn.dls[2], probabilities_of(learn.dls[2]), VOCAB)
    found = read(tmp_path)
    assert found["wrong"] == [] and found["cams"] == [] and len(found["crops"]) == 8


def test_the_rest_is_written_where_grad_cam_fails(tmp_path):
    learn = learner(tmp_path, nn.Sequential(nn.Conv2d(5, 3, 3), nn.Flatten()))
    with pytest.raises(RuntimeError):
        write_examples(tmp_path, learn, learn.dls[2], probabilities_of(learn.dls[2]), VOCAB)
    assert len(read(tmp_path)["crops"]) == 8


def test_the_most_wrong_are_those_with_the_least_probable_truth():
    p = torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.8, 0.2], [0.3, 0.7]])
    assert most_wrong(p, torch.tensor([0, 1, 1, 1])) == [2, 1]
    assert most_wrong(p.numpy(), [0, 0, 0, 1]) == []
