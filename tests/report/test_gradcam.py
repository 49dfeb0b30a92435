"""Grad-CAM finds known evidence and leaves the model as it was."""

import copy

import numpy as np
import pytest
import timm
import torch
import torchvision
from torch import nn

from pokefast.errors import UserError
from pokefast.models.networks import cnn, mlp
from pokefast.report.gradcam import cam_layer, grad_cam, has_convolutions, overlay


def spot_model(head):
    """Class 0 is the amount of channel 0, class 1 that of channel 1."""
    conv = nn.Conv2d(2, 2, 3, padding=1, bias=False)
    with torch.no_grad():
        conv.weight.zero_()
        conv.weight[0, 0], conv.weight[1, 1] = 1 / 9, 1 / 9
    dense = nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        dense.weight.copy_(torch.eye(2))
    return nn.Sequential(conv, nn.ReLU(inplace=True), nn.MaxPool2d(2), head, nn.Flatten(), dense)


def spots():
    """Channel 0 is bright top left, channel 1 bottom right and brighter."""
    x = torch.zeros(2, 2, 32, 32)
    x[:, 0, 4:10, 4:10], x[:, 1, 20:28, 20:28] = 1.0, 2.0
    return x


@pytest.mark.parametrize("head", [nn.AdaptiveAvgPool2d(1), nn.AdaptiveMaxPool2d(1)])
def test_the_map_is_where_the_evidence_is(head):
    model, x = spot_model(head), spots()
    maps = grad_cam(model, x, target=torch.tensor([0, 1]))
    assert maps.shape == (2, 32, 32) and maps.min() == 0
    assert maps.amax((1, 2)).tolist() == pytest.approx([1, 1])
    corner = maps[0, :14, :14].sum() / maps[0].sum(), maps[1, 16:, 16:].sum() / maps[1].sum()
    assert min(corner) == pytest.approx(1)


def test_without_a_target_it_explains_the_prediction():
    model, x = spot_model(nn.AdaptiveAvgPool2d(1)), spots()
    assert torch.equal(grad_cam(model, x), grad_cam(model, x, target=1))
    assert not torch.equal(grad_cam(model, x), grad_cam(model, x, target=0))


def test_evidence_against_a_class_is_not_shown():
    model = spot_model(nn.AdaptiveAvgPool2d(1))
    with torch.no_grad():
        model[-1].weight.neg_()
    assert (grad_cam(model, spots(), target=0) == 0).all()


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_as_it_was(training):
    model = cnn(4, 9).train(training)
    model[1].eval()  # a frozen BatchNorm in a model that trains
    model[4].weight.grad = torch.ones_like(model[4].weight)
    before = copy.deepcopy(model.state_dict())
    modes = [m.training for m in model.modules()]
    with torch.no_grad():
        grad_cam(model, torch.rand(2, 4, 64, 64))
    assert [m.training for m in model.modules()] == modes
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert not any(m._forward_hooks or m._backward_hooks for m in model.modules())
    assert (model[4].weight.grad == 1).all()
    assert all(p.grad is None for p in model.parameters() if p is not model[4].weight)


def test_an_error_leaves_the_model_as_it_was_too():
    model = cnn(4, 9)
    with pytest.raises(RuntimeError):
        grad_cam(model, torch.rand(2, 3, 64, 64))
    assert model.training and not any(m._forward_hooks for m in model.modules())


def test_frozen_models_have_maps_too():
    model = cnn(4, 9).eval()
    x = torch.rand(2, 4, 64, 64)
    maps = grad_cam(model, x)
    for p in model.parameters():
        p.requires_grad_(False)
    assert torch.equal(grad_cam(model, x), maps) and maps.max() == 1
    assert not any(p.requires_grad for p in model.parameters()) and not x.requires_grad


def test_autocast_around_it_changes_nothing():
    model, x = cnn(4, 9).eval(), torch.rand(2, 4, 64, 64)
    plain = grad_cam(model, x)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(grad_cam(model, x), plain)


@pytest.mark.parametrize(
    "model, side",
    [
        (lambda: cnn(4, 9), 8),
        (lambda: cnn(4, 9, head="dense"), 8),
        (lambda: cnn(4, 9, stages=2), 32),
        (lambda: nn.Sequential(nn.Conv2d(4, 3, 1), torchvision.models.resnet18()), 2),
        (lambda: nn.Sequential(nn.Conv2d(4, 3, 1), torchvision.models.vgg16_bn()), 4),
        (lambda: timm.create_model("tf_efficientnet_lite0", in_chans=4), 2),
        (lambda: timm.create_model("mobilenetv3_small_050", in_chans=4), 2),
        (lambda: timm.create_model("convnext_atto", in_chans=4), 2),
    ],
)
def test_the_layer_found_is_the_last_before_pooling(model, side):
    model = model().eval()
    layer = cam_layer(model, torch.rand(1, 4, 64, 64))
    found = []
    handle = layer.register_forward_hook(lambda m, i, out: found.append(out))
    model(torch.rand(1, 4, 64, 64))
    handle.remove()
    assert found[-1].shape[-2:] == (side, side)
    assert not isinstance(layer, (nn.Conv2d, nn.MaxPool2d))


def test_models_and_layers_without_maps_are_refused():
    model = mlp(48, 9)
    with pytest.raises(UserError, match="convolutions"):
        grad_cam(model, torch.rand(2, 3, 4, 4))
    assert not has_convolutions(model) and has_convolutions(cnn(4, 9))
    transformer = timm.create_model("vit_tiny_patch16_224", img_size=32)
    assert not has_convolutions(transformer)
    with pytest.raises(UserError, match="convolutions"):
        grad_cam(transformer, torch.rand(2, 3, 32, 32))
    with pytest.raises(UserError, match="Linear"):
        grad_cam(model, torch.rand(2, 3, 4, 4), layer=model[1])


def test_the_overlay_keeps_the_image_where_there_is_no_evidence():
    maps = np.zeros((1, 4, 4))
    maps[0, 0, 0] = 1
    for channels in (1, 3, 4):
        shown = overlay(np.full((1, 4, 4, channels), 0.5), maps)
        assert shown.shape == (1, 4, 4, 3)
        assert np.allclose(shown[0, 1:], 0.5) and not np.allclose(shown[0, 0, 0], 0.5)
