"""Grad-CAM: where in an image the evidence for a class lies.

"Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
Localization", ICCV 2017. Built on fastai's hooks; the package `grad-cam` would bring OpenCV for the
same few lines.
"""

from contextlib import contextmanager

import numpy as np
import torch
import torch.nn.functional as F
from fastai.callback.hook import Hooks, hook_output
from matplotlib import colormaps
from torch import nn

from pokefast.errors import UserError

__all__ = ["grad_cam", "cam_layer", "has_convolutions", "overlay"]

HEAT = "inferno"
OPACITY = 0.75  # of the map where it is 1; 0 where it is 0, so that the image shows


def grad_cam(model, x, layer=None, target=None):
    """Maps [n, h, w] in 0..1 for images `x` [n, c, h, w], on the device of `x`: 1 where the
    evidence for class `target` is strongest, 0 where there is none.

    `layer` is a module of `model` with an output [n, channels, h', w'], by default `cam_layer`'s;
    `target` is one class number or one an image, by default the predicted class. Runs in fp32,
    dropout and BatchNorm as in prediction. The model is left as it was: no hooks, no gradients, the
    mode of each module. Raises UserError for a model without convolutions.
    """
    x = torch.as_tensor(x).as_subclass(torch.Tensor).detach().float()
    layer = cam_layer(model, x[:1]) if layer is None else layer
    x = x.clone().requires_grad_()  # so that frozen layers have gradients of their outputs too
    with _prediction(model, x.device), torch.enable_grad():
        with hook_output(layer, detach=False) as hook:
            logits = model(x)
        activations = hook.stored
        if not isinstance(activations, torch.Tensor) or activations.ndim != 4:
            raise UserError(
                f"Grad-CAM needs a layer with outputs [n, channels, height, width]; "
                f"{type(layer).__name__} gives another"
            )
        target = logits.argmax(1) if target is None else torch.as_tensor(target, device=x.device)
        chosen = logits.gather(1, target.long().reshape(-1, 1).expand(len(x), 1))
        (gradients,) = torch.autograd.grad(chosen.sum(), activations)  # none reach the parameters
    weights = gradients.mean((2, 3), keepdim=True)
    maps = (weights * activations.detach()).sum(1, keepdim=True).relu()
    maps = F.interpolate(maps, x.shape[-2:], mode="bilinear", align_corners=False)[:, 0]
    return maps / maps.amax((1, 2), keepdim=True).clamp_min(torch.finfo(maps.dtype).tiny)


def cam_layer(model, x):
    """The module whose output Grad-CAM looks at: after the last convolution and the BatchNorm and
    activation that follow it, before any pooling. `x` [n, c, h, w] is a batch to run.

    Convolutions of a single pixel, as in squeeze-and-excitation and in heads, and those that cut an
    image into patches, as in vision transformers, do not count.
    """
    calls = []
    modules = [m for m in model.modules() if m is not model]
    hooks = Hooks(modules, lambda m, _, out: calls.append((m, out)), detach=False)
    with hooks, _prediction(model, x.device), torch.no_grad():
        model(x)
    maps = [(m, out.shape[-2:]) for m, out in calls if _is_map(out)]
    sizes = [size for m, size in maps if _is_convolution(m)]
    if not sizes:
        raise UserError(f"Grad-CAM needs convolutions; {type(model).__name__} has none")
    return [m for m, size in maps if size == sizes[-1]][-1]


def has_convolutions(model):
    """Whether Grad-CAM has something to look at."""
    return any(_is_convolution(m) for m in model.modules())


def overlay(images, maps):
    """Images [n, h, w, 1, 3 or 4] in 0..1 with their maps [n, h, w] over them: RGB [n, h, w, 3]."""
    images, maps = np.asarray(images, np.float32), np.asarray(maps, np.float32)
    color = images[..., :3] if images.shape[-1] > 1 else images.repeat(3, -1)
    heat = colormaps[HEAT](maps)[..., :3].astype(np.float32)
    share = OPACITY * maps[..., None]
    return (1 - share) * color + share * heat


def _is_convolution(m):
    patches = isinstance(m, nn.Conv2d) and m.kernel_size == m.stride and max(m.stride) > 1
    return isinstance(m, nn.Conv2d) and not patches


def _is_map(out):
    return isinstance(out, torch.Tensor) and out.ndim == 4 and min(out.shape[-2:]) > 1


@contextmanager
def _prediction(model, device):
    """Evaluation mode without autocast; every module gets its own mode back afterwards."""
    modes = [(m, m.training) for m in model.modules()]
    model.eval()
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        for module, mode in modes:
            module.training = mode
