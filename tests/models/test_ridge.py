"""The head is kernel ridge regression, solved; the same model is then fine-tuned."""

from copy import deepcopy

import numpy as np
import pandas as pd
import pytest
import torch
from fastai.callback.training import BnFreeze
from fastai.data.block import CategoryBlock, DataBlock
from fastai.data.transforms import ColReader, ColSplitter
from fastai.vision.data import ImageBlock
from fastai.vision.learner import vision_learner
from PIL import Image
from sklearn.kernel_ridge import KernelRidge
from sklearn.metrics import f1_score
from sklearn.utils.class_weight import compute_sample_weight

from pokefast.data.augment import BatchFlip
from pokefast.data.loader import MemoryDL
from pokefast.errors import UserError
from pokefast.images import PILImageRGBA
from pokefast.models.backbones import load_weights
from pokefast.models.networks import build
from pokefast.models.ridge import BINS, RidgeHead, solve_head
from pokefast.models.transfer import freeze_to_group, layer_groups, transfer, vision_arch
from pokefast.options import Options
from pokefast.training.learner import inputs, make_learner, predict

LITE = "tf_efficientnet_lite0"
N_DEEP, N = 20, 60


class LeftOut(Options):
    """As of a task whose local score is of images without their groups."""

    leave_one_out = True


LEFT_OUT = LeftOut()


def head(landmarks=N, n_out=3):
    return RidgeHead([8, 12], n_out, landmarks, deep_weight=1.0, colour_weight=0.7, gamma=4.0)


@pytest.fixture
def vectors():
    """Vectors of 80 images, of which some are one another's copies, and their three classes."""
    torch.manual_seed(0)
    y = torch.tensor([0] * 36 + [1] * 15 + [2] * 9 + [0, 1] * 10)
    deep = torch.rand(80, N_DEEP) + 0.2 * y[:, None]
    colours = (torch.rand(80, BINS**3) * (torch.rand(80, BINS**3) < 0.02)).pow(2)
    colours = colours / colours.sum(1, keepdim=True)
    x = torch.cat([deep, colours.sqrt()], 1)
    x[5], x[40] = x[4], x[39]
    return x, y


def kernel_ridge(x, y):
    """Logits of all rows of `x`, in float64, by scikit-learn's fit to the first N."""
    d = x.double()[:, :N_DEEP]
    d = (d - d[:N].mean(0)) / d[:N].std(0, unbiased=False)
    c = x.double()[:, N_DEEP:].numpy()
    d = [torch.nn.functional.normalize(part).numpy() for part in d.split([8, 12], 1)]
    kernel = sum(part @ part[:N].T for part in d) / 2 + 0.7 * np.exp(-4 * (1 - c @ c[:N].T)) + 1
    ridge = KernelRidge(alpha=1, kernel="precomputed")
    ridge.fit(kernel[:N], 2 * np.eye(3)[y[:N]] - 1, compute_sample_weight("balanced", y[:N]))
    return 4 * ridge.predict(kernel)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_with_every_image_a_landmark_it_is_kernel_ridge_with_balanced_classes(vectors, dtype):
    x, y = vectors[0].to(dtype), vectors[1]
    solved = head().to(dtype)
    solved.solve(x[:N], y[:N])
    with torch.no_grad():
        found = solved(x)
    assert found.dtype == dtype
    assert found.numpy() == pytest.approx(kernel_ridge(x, y), abs=1e-4)


def test_fewer_landmarks_are_of_every_class_and_nearly_as_good(vectors):
    x, y = vectors
    solved = head(landmarks=30)
    solved.solve(x[:N], y[:N])
    place = {tuple(row.tolist()): i for i, row in enumerate(x[:N, N_DEEP:])}
    chosen = [place[tuple(row.tolist())] for row in solved.landmarks]
    assert np.bincount(y[chosen]) == pytest.approx(np.bincount(y[:N]) / 2, abs=1)
    with torch.no_grad():
        found = solved(x).numpy()
    expected = kernel_ridge(x, y)
    assert np.abs(found - expected).mean() < np.abs(expected).mean() / 5
    assert (found.argmax(1) == expected.argmax(1)).mean() > 0.9
    again = head(landmarks=30)
    again.solve(x[:N], y[:N])
    assert torch.equal(again.landmarks, solved.landmarks)


def test_chunks_change_nothing(vectors, monkeypatch):
    one, many = head(), head()
    one.solve(*vectors)
    monkeypatch.setattr("pokefast.models.ridge.CHUNK", 7)
    many.solve(*vectors)
    assert torch.allclose(one(vectors[0]), many(vectors[0]), atol=1e-5)


@pytest.mark.parametrize("chunk", [4096, 20])
@pytest.mark.parametrize("groups", [np.arange(N), np.arange(N) // 3, np.arange(N) * 7 % 5])
def test_left_out_scores_are_those_of_fits_without_the_group(vectors, groups, chunk, monkeypatch):
    monkeypatch.setattr("pokefast.models.ridge.CHUNK", chunk)
    x, y = vectors[0][:N].double(), vectors[1][:N]
    solved = head().double()
    found = solved.solve(x, y, groups).numpy()
    weights = compute_sample_weight("balanced", y)
    with torch.no_grad():
        kernel = (solved.features(x) @ solved.features(x).T + 1).numpy()
    for group in np.unique(groups):
        out = groups == group
        ridge = KernelRidge(alpha=1, kernel="precomputed")
        ridge.fit(kernel[~out][:, ~out], 2 * np.eye(3)[y[~out]] - 1, weights[~out])
        assert found[out] == pytest.approx(4 * ridge.predict(kernel[out][:, ~out]), abs=1e-6)


def test_fewer_images_than_landmarks_are_refused(vectors):
    with pytest.raises(UserError, match="60 images for a head of 61 landmarks"):
        head(landmarks=61).solve(vectors[0][:60], vectors[1][:60])


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    model = transfer(LITE, 3, "ridge", landmarks=24).eval()
    load_weights(model, LITE, "pretrained")
    return model


def test_vectors_are_the_same_of_a_mirror_image_and_pass_through(model):
    x = torch.rand(2, 4, 64, 64)
    with torch.no_grad():
        vectors = model[0](x)
        n_deep = sum(model[0][0].widths)
        assert vectors.shape == (2, n_deep + BINS**3)
        mirrored = model[0](x.flip(-1))
        assert torch.allclose(vectors[:, :n_deep], mirrored[:, :n_deep], atol=1e-4)
        assert torch.equal(model(x), model(vectors))


def test_the_background_is_not_looked_at(model):
    torch.manual_seed(1)
    x = torch.rand(1, 4, 64, 64)
    x[:, 3] = 0
    x[:, 3, 16:48, 16:48] = 1
    other = x.clone()
    other[:, :3] = torch.where(x[:, 3:] == 1, x[:, :3], torch.rand(1, 3, 64, 64))
    with torch.no_grad():
        assert torch.allclose(model[0](x), model[0](other), atol=1e-4)


def test_the_last_pass_is_the_image_s_not_its_mirror_image_s(model):
    """Grad-CAM keeps what the last one gave."""
    x, seen = torch.rand(1, 4, 64, 64), []
    x[:, 3] = 1
    net = model[0][0].backbones[0].net
    hook = net.register_forward_pre_hook(lambda net, inputs: seen.append(inputs[0]))
    model(x)
    hook.remove()
    assert len(seen) == 2 and torch.allclose(seen[-1], x[:, :3], atol=1e-6)


@pytest.fixture
def learn(tmp_path, model):
    """A learner on 48 images of three colours, in phase one."""
    model = deepcopy(model)
    rng = np.random.default_rng(0)
    rows = []
    for i in range(48):
        pixels = rng.integers(0, 256, (32, 32, 4)).astype(np.uint8)
        pixels[..., i % 3] //= 3
        pixels[..., 3] = 0
        pixels[8:24, 8:24, 3] = 255
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
        rows.append({"path": tmp_path / f"{i}.png", "label": "abc"[i % 3], "valid": i >= 24})
    block = DataBlock(
        blocks=(ImageBlock(PILImageRGBA), CategoryBlock),
        get_x=ColReader("path"),
        get_y=ColReader("label"),
        splitter=ColSplitter("valid"),
        batch_tfms=[BatchFlip()],
    )
    dls = block.dataloaders(pd.DataFrame(rows), dl_type=MemoryDL, bs=8, path=tmp_path)
    o = Options(optimizer="adamw", lr=1e-3, wd=0.01, precision="fp32")

    def create(dls, arch, **kwargs):
        fixed = dict(pretrained=False, normalize=False, init=None, train_bn=False)
        return vision_learner(dls, arch, n_out=3, custom_head=model[1], **fixed, **kwargs)

    learn = make_learner(
        dls, vision_arch(model), o, create=create, splitter=layer_groups, cbs=[BnFreeze()]
    )
    learn.model.architecture = model.architecture
    freeze_to_group(learn, "head")
    return learn


def test_fine_tuning_starts_at_the_solved_head_and_leaves_frozen_groups(learn):
    row = solve_head(learn, Options()).row
    assert row[3] > 0.9  # macro-F1: the colours tell the class
    freeze_to_group(learn, "layer3")
    with learn.no_bar():
        assert list(learn.validate()) == pytest.approx(row[1:], abs=1e-4)
    groups = layer_groups(learn.model)
    before = [[p.detach().clone() for p in group] for group in groups]
    buffers = {k: v.clone() for k, v in learn.model.named_buffers()}
    with learn.no_bar(), learn.no_logging():
        learn.fit_one_cycle(1, slice(1e-4, 1e-3))
    rates = [h["lr"] for h in learn.opt.hypers]
    assert rates == sorted(rates) and rates[0] < rates[-1]
    for name, old, new in zip("s1234h", before, groups, strict=True):
        same = [torch.equal(a, b) for a, b in zip(old, new, strict=True)]
        assert all(same) if name in "s12" else not any(same), name
    for name, new in learn.model.named_buffers():
        trained = any(f"blocks.{i}" in name for i in (3, 4, 5, 6)) and "running_" in name
        assert name.endswith("num_batches_tracked") or torch.equal(buffers[name], new) != trained


def test_a_solve_with_groups_left_out_says_what_new_groups_would_get(learn):
    learn.dls.train.items["group"] = np.arange(len(learn.dls.train.items)) // 3
    solved = solve_head(learn, LEFT_OUT)
    assert solved.left_out.shape == (24, 3) and np.allclose(solved.left_out.sum(1), 1)
    truth = np.asarray(learn.dls.train.targets)
    accuracy, f1 = solved.row[2:]
    assert accuracy == pytest.approx((solved.left_out.argmax(1) == truth).mean())
    assert f1 == pytest.approx(f1_score(truth, solved.left_out.argmax(1), average="macro"))
    assert solve_head(learn, Options()).row[3] > 0.9


def test_an_image_is_scored_without_its_part_of_every_class(learn, monkeypatch):
    items = learn.dls.train.items
    items["group"] = np.arange(len(items))
    monkeypatch.setattr(
        "pokefast.models.ridge.left_out_parts", lambda labels, groups: groups % 3 + 3 * (groups % 2)
    )
    some = solve_head(learn, LEFT_OUT)
    vectors, targets = [], []
    for x, y in learn.dls.train.new(shuffle=False, drop_last=False):
        vectors.append(learn.model[0].eval()(x).detach())
        targets.append(y)
    vectors = torch.cat(vectors).as_subclass(torch.Tensor)
    targets = torch.cat(targets).as_subclass(torch.Tensor)
    n = np.arange(len(items))
    logits = learn.model[1].solve(vectors, targets, n % 3 + 3 * (n % 2))
    assert np.allclose(some.left_out, logits.softmax(1), atol=1e-4)


def test_several_networks_share_a_head(learn):
    both = transfer(f"{LITE}, tf_efficientnet_lite1", 3, "ridge", landmarks=24).eval()
    load_weights(both, f"{LITE},tf_efficientnet_lite1", "pretrained")
    x = torch.rand(2, 4, 64, 64)
    with torch.no_grad():
        vectors, first = both[0](x), learn.model[0][0].eval()(x)
    n = learn.model[0][0].widths[0]
    assert torch.allclose(vectors[:, :n], first[:, :n], atol=1e-4)
    assert sum(both[0][0].widths) + BINS**3 == vectors.shape[1] == first.shape[1] + n
    groups = layer_groups(both)
    assert list(map(len, groups[:5])) > list(map(len, layer_groups(learn.model)[:5]))
    again = build(**both.architecture).eval()
    again.load_state_dict(both.state_dict())
    with torch.no_grad():
        assert torch.equal(again(x), both(x))


def test_a_frozen_body_describes_an_image_once_and_a_trained_one_is_given_images(learn):
    solve_head(learn, Options())
    vectors = inputs(learn, learn.dls.valid)
    assert vectors.one_batch()[0].ndim == 2
    fast = predict(learn, learn.dls.valid)
    freeze_to_group(learn, "layer4")
    assert inputs(learn, learn.dls.valid) is learn.dls.valid
    assert torch.allclose(predict(learn, learn.dls.valid), fast, atol=1e-5)


def test_a_solved_model_is_made_again_from_its_description(learn):
    solve_head(learn, Options())
    again = build(**learn.model.architecture).eval()
    again.load_state_dict(learn.model.state_dict())
    x = torch.rand(2, 4, 64, 64)
    with torch.no_grad():
        assert torch.equal(again(x), learn.model.eval()(x))
    assert not any(p.requires_grad for p in again[0].parameters())
