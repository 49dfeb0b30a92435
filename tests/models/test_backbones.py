"""Layer groups cover a network in order; weights are found, checked or named as missing."""

import pickle

import pytest
import torch
from fastai.vision.learner import create_timm_model, create_vision_model
from safetensors.torch import save_file
from torch import nn

from pokefast.errors import UserError
from pokefast.models import backbones
from pokefast.models.backbones import (
    GROUPS,
    MapPool,
    arch_stats,
    choose_arch,
    fastai_arch,
    layer_groups,
    load_weights,
)

LITE = "tf_efficientnet_lite0"


def build(arch, size=64):
    name = fastai_arch(arch)
    head = nn.Sequential(MapPool(), nn.LazyLinear(9))
    if callable(name):
        model = create_vision_model(name, 9, pretrained=False, custom_head=head, init=None)
    else:
        model, _ = create_timm_model(name, 9, pretrained=False, custom_head=head, init=None)
    with torch.no_grad():
        model.eval()(torch.zeros(1, 3, size, size))
    return model


@pytest.mark.parametrize(
    "arch, size",
    [
        ("resnet18", 64),
        ("resnet50", 64),
        (LITE, 64),
        ("convnext_atto", 64),
        ("vgg16", 64),
        ("vgg16_bn", 64),
        ("mobilenetv3_small_100", 64),
        ("vit_tiny_patch16_224", 224),
    ],
)
def test_six_groups_hold_every_parameter_once_in_order(arch, size):
    model = build(arch, size)
    groups = layer_groups(model)
    assert len(groups) == len(GROUPS) and all(groups)
    found = [id(p) for g in groups for p in g]
    assert sorted(found) == sorted(id(p) for p in model.parameters())
    names = {id(p): n for n, p in model.named_parameters()}
    order = list(names)
    # the first parameter of each group comes after the first of the one before
    starts = [min(order.index(id(p)) for p in g) for g in groups]
    assert starts == sorted(starts)
    assert all(names[id(p)].startswith("1.") for p in groups[-1])


def test_resnet_groups_are_its_layers():
    model = build("resnet18")
    groups = layer_groups(model)
    for group, layer in zip(groups[1:5], model[0][4:8], strict=True):
        assert [id(p) for p in group] == [id(p) for p in layer.parameters()]


def test_the_default_falls_back_where_weights_cannot_be_had(monkeypatch):
    monkeypatch.setattr(backbones, "_reachable", lambda arch: False)
    name, weights, note = choose_arch("auto", "pretrained", fall_back=True)
    assert (name, weights) == (LITE, "pretrained")
    assert "resnet50" in note and LITE in note


def test_the_default_is_resnet50_where_they_can(monkeypatch):
    monkeypatch.setattr(backbones, "_reachable", lambda arch: True)
    assert choose_arch("auto", "pretrained", fall_back=True) == ("resnet50", "pretrained", None)


@pytest.mark.parametrize("arch, fall_back", [("auto", False), ("resnet50", True), ("vgg16", True)])
def test_named_networks_and_the_report_recipe_never_fall_back(arch, fall_back, monkeypatch):
    monkeypatch.setattr(backbones, "_reachable", lambda arch: False)
    with pytest.raises(UserError, match="--weights FILE"):
        choose_arch(arch, "pretrained", fall_back)


def test_an_unknown_network_is_answered_with_similar_ones():
    with pytest.raises(UserError, match="resnet50"):
        choose_arch("resnet51", "pretrained", True)


def test_a_server_that_never_answers_is_given_up_on(monkeypatch):
    def hang(request, timeout):
        assert timeout <= 10
        raise TimeoutError

    monkeypatch.setattr(backbones.urllib.request, "urlopen", hang)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: "/nonexistent")
    backbones._reachable.cache_clear()
    assert not backbones._reachable("resnet50")
    monkeypatch.setattr(backbones.urllib.request, "urlopen", lambda *a, **k: pytest.fail("again"))
    assert not backbones._reachable("resnet50")
    backbones._reachable.cache_clear()


def test_offline_weights_reach_the_body_and_need_their_statistics():
    model = build(LITE)
    before = model[0].model.conv_stem.weight.clone()
    load_weights(model[0], LITE, "pretrained")
    assert not torch.equal(model[0].model.conv_stem.weight, before)
    assert arch_stats(LITE)[0] == (0.5, 0.5, 0.5)
    assert arch_stats("resnet50")[0] == (0.485, 0.456, 0.406)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("arch", ["resnet18", "convnext_atto"])
def test_weights_from_a_file_in_the_library_s_names(arch, suffix, tmp_path):
    name = fastai_arch(arch)
    source = name(weights=None) if callable(name) else backbones.timm.create_model(arch)
    state = {k: torch.full_like(v, 0.5) for k, v in source.state_dict().items()}
    file = tmp_path / f"w{suffix}"
    save_file(state, file) if suffix == ".safetensors" else torch.save(state, file)
    model = build(arch)
    load_weights(model[0], arch, str(file))
    assert all((p == 0.5).all() for p in model[0].parameters())
    with pytest.raises(UserError, match="tensors of resnet34 are missing"):
        load_weights(build("resnet34")[0], "resnet34", str(file))


class Evil:
    def __reduce__(self):
        return print, ("code ran",)


@pytest.mark.parametrize("content", [b"", b"garbage" * 40, pickle.dumps(Evil())])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_damaged_files_and_code_in_them_are_refused(content, suffix, tmp_path, capsys):
    file = tmp_path / f"w{suffix}"
    file.write_bytes(content)
    with pytest.raises(UserError, match="--weights"):
        load_weights(build("resnet18")[0], "resnet18", str(file))
    assert "code ran" not in capsys.readouterr().out


def test_a_missing_file_is_named_before_any_work():
    with pytest.raises(UserError, match="nowhere.pth"):
        choose_arch("resnet18", "nowhere.pth", True)
