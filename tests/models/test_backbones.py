"""Layer groups cover a network in order; weights are found, checked or named as missing."""

import pickle
from zipfile import ZIP_DEFLATED, ZipFile

import pytest
import timm
import torch
from fastai.vision.learner import create_vision_model
from safetensors.torch import save_file
from torchvision import models as tv

from pokefast.errors import UserError
from pokefast.models import backbones
from pokefast.models.backbones import arch_stats, build_backbone, choose_archs, load_weights
from pokefast.models.networks import build
from pokefast.models.transfer import GROUPS, layer_groups, transfer, vision_arch

LITE = "tf_efficientnet_lite0"


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
    model = transfer(arch, 9, "mlp").eval()
    with torch.no_grad():
        assert model(torch.zeros(1, 3, size, size)).shape == (1, 9)
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
    backbone = build_backbone("resnet18")
    net = backbone.net
    layers = [net.layer1, net.layer2, net.layer3, net.layer4]
    for group, layer in zip(backbone.groups()[1:], layers, strict=True):
        assert [id(p) for p in group] == [id(p) for p in layer.parameters()]


@pytest.mark.parametrize("maps", [False, True])
def test_vgg_groups_end_at_its_poolings(maps):
    backbone = build_backbone("vgg16", maps)
    convolutions = [len([p for p in g if p.ndim == 4]) for g in backbone.groups()]
    assert convolutions == [2, 2, 3, 3, 3]


@pytest.mark.parametrize("arch", ["resnet18", "vgg16", LITE, "convnext_atto", "densenet121"])
def test_maps_are_an_eighth_a_sixteenth_and_a_thirty_second(arch):
    backbone = build_backbone(arch, maps=True).eval()
    x = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        maps = backbone.maps(x)
    assert [h.shape[2:] for h in maps] == [(8, 12), (4, 6), (2, 3)]
    assert [h.shape[1] for h in maps] == backbone.channels
    assert all(backbone.groups())
    assert not any(m._forward_hooks for m in backbone.modules())


def test_maps_are_timm_s_and_nothing_follows_them():
    torch.manual_seed(0)
    backbone = build_backbone(LITE, maps=True).eval()
    theirs = timm.create_model(LITE, features_only=True, out_indices=(2, 3, 4)).eval()
    theirs.load_state_dict(backbone.net.state_dict())
    x = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        assert all(torch.equal(a, b) for a, b in zip(backbone.maps(x), theirs(x), strict=True))


@pytest.mark.parametrize("arch", ["vit_tiny_patch16_224", "swin_tiny_patch4_window7_224"])
def test_a_network_without_maps_is_named(arch):
    with pytest.raises(UserError, match=f"--arch {arch}"):
        build_backbone(arch, maps=True)


def test_vectors_are_what_the_library_s_classifier_gets():
    net, backbone = tv.resnet18(weights=None).eval(), build_backbone("resnet18").eval()
    backbone.net.load_state_dict({k: v for k, v in net.state_dict().items() if k[:2] != "fc"})
    x = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.allclose(net.fc(backbone(x)), net(x), atol=1e-5)


@pytest.mark.parametrize(
    "arguments",
    [
        dict(arch="resnet18", head="mlp", dropout=0.5),
        dict(arch="vgg11", head="linear", dropout=0.1),
        dict(arch=LITE, head="ridge", landmarks=7),
    ],
)
def test_vision_learner_makes_the_model_that_is_described(arguments):
    model = transfer(n_out=3, **arguments)
    theirs = create_vision_model(
        vision_arch(model), 3, pretrained=False, init=None, custom_head=model[1]
    )
    again = build(**model.architecture)
    assert list(theirs.state_dict()) == list(again.state_dict())
    again.load_state_dict(theirs.state_dict())
    x = torch.rand(2, 4 if arguments["head"] == "ridge" else 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(theirs.eval()(x), again.eval()(x))


def test_the_default_falls_back_where_weights_cannot_be_had(monkeypatch):
    monkeypatch.setattr(backbones, "_reachable", lambda arch: False)
    name, weights, (note,) = choose_archs("auto", "pretrained", 160, fall_back=True)
    assert (name, weights) == (LITE, "pretrained")
    assert "resnet50" in note and LITE in note


def test_the_default_is_resnet50_where_they_can(monkeypatch):
    monkeypatch.setattr(backbones, "_reachable", lambda arch: True)
    assert choose_archs("auto", "pretrained", 160, fall_back=True) == (
        "resnet50",
        "pretrained",
        [],
    )


@pytest.mark.parametrize("arch, fall_back", [("auto", False), ("resnet50", True), ("vgg16", True)])
def test_named_networks_and_the_report_recipe_never_fall_back(arch, fall_back, monkeypatch):
    monkeypatch.setattr(backbones, "_reachable", lambda arch: False)
    with pytest.raises(UserError, match="--weights FILE"):
        choose_archs(arch, "pretrained", 224, fall_back)


def test_several_networks_are_named_with_commas(monkeypatch):
    monkeypatch.setattr(backbones, "_reachable", lambda arch: False)
    names, _, notes = choose_archs(f"{LITE}, tf_efficientnet_lite1", "pretrained", 160, True)
    assert names == f"{LITE},tf_efficientnet_lite1" and not notes
    with pytest.raises(UserError, match="named twice"):
        choose_archs(f"auto,{LITE}", "pretrained", 160, True)
    with pytest.raises(UserError, match="a file is of one network, --arch names 2"):
        choose_archs("resnet18,resnet34", __file__, 160, True)


def test_an_unknown_network_is_answered_with_similar_ones():
    with pytest.raises(UserError, match="resnet50"):
        choose_archs("resnet51", "pretrained", 224, True)


def test_a_network_of_one_size_takes_no_other():
    assert choose_archs("vit_tiny_patch16_224", "none", 224, True)[0] == "vit_tiny_patch16_224"
    with pytest.raises(UserError, match="--size 160: vit_tiny_patch16_224 takes images of 224"):
        choose_archs("vit_tiny_patch16_224", "none", 160, True)


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
    model = transfer(LITE, 9, "linear")
    before = model[0][0].net.conv_stem.weight.clone()
    load_weights(model, LITE, "pretrained")
    assert not torch.equal(model[0][0].net.conv_stem.weight, before)
    assert arch_stats(LITE)[0] == (0.5, 0.5, 0.5)
    assert arch_stats("resnet50")[0] == (0.485, 0.456, 0.406)


@pytest.mark.parametrize(
    "arch, suffix",
    [("resnet18", ".safetensors"), ("resnet18", ".pth"), ("vgg11", ".pth")]
    + [("convnext_atto", ".safetensors")],
)
def test_weights_from_a_file_in_the_library_s_names(arch, suffix, tmp_path):
    with torch.device("meta"):
        of_timm = arch == "convnext_atto"
        source = timm.create_model(arch) if of_timm else getattr(tv, arch)(weights=None)
    shapes = {k: v.shape for k, v in source.state_dict().items()}
    # VGG's classifier, which is left out, would be half a gigabyte
    shapes |= {k: (1,) for k in shapes if k.startswith("classifier.")}
    state = {k: torch.full(shape, 0.5) for k, shape in shapes.items()}
    file = tmp_path / f"w{suffix}"
    save_file(state, file) if suffix == ".safetensors" else torch.save(state, file)
    for maps in (False, True):
        backbone = build_backbone(arch, maps)
        load_weights(backbone, arch, str(file))
        assert all((p == 0.5).all() for p in backbone.parameters())
    with pytest.raises(UserError, match="tensors of resnet34 are missing"):
        load_weights(build_backbone("resnet34"), "resnet34", str(file))


class Evil:
    def __reduce__(self):
        return print, ("code ran",)


@pytest.mark.parametrize("content", [b"", b"garbage" * 40, pickle.dumps(Evil())])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_damaged_files_and_code_in_them_are_refused(content, suffix, tmp_path, capsys):
    file = tmp_path / f"w{suffix}"
    file.write_bytes(content)
    with pytest.raises(UserError, match="--weights"):
        load_weights(build_backbone("resnet18"), "resnet18", str(file))
    assert "code ran" not in capsys.readouterr().out


def test_weights_that_are_no_numbers_or_take_more_than_their_file_are_refused(tmp_path):
    file, backbone = tmp_path / "w.pth", build_backbone("resnet18")
    state = backbone.net.state_dict()
    torch.save(state | {"conv1.weight": torch.full((64, 3, 7, 7), torch.nan)}, file)
    with pytest.raises(UserError, match="conv1.weight holds values that are no numbers"):
        load_weights(backbone, "resnet18", str(file))
    torch.save({"conv1.weight": torch.zeros(10**6)}, file)
    with ZipFile(file) as zipped, ZipFile(tmp_path / "b.pth", "w", ZIP_DEFLATED) as bomb:
        for name in zipped.namelist():
            bomb.writestr(name, zipped.read(name))
    assert (tmp_path / "b.pth").stat().st_size < 20_000
    with pytest.raises(UserError, match="its parts would take 4,0") as error:
        load_weights(backbone, "resnet18", str(tmp_path / "b.pth"))
    assert "\n" not in str(error.value)


def test_a_missing_file_is_named_before_any_work():
    with pytest.raises(UserError, match="nowhere.pth"):
        choose_archs("resnet18", "nowhere.pth", 224, True)
