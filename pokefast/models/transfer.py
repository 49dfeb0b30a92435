"""Heads on pretrained networks, the six layer groups of such a model, and options of both."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Literal

from fastai.callback.channelslast import ChannelsLast
from fastai.callback.mixup import CutMix, MixUp
from fastai.callback.training import BnFreeze
from torch import nn

from pokefast.errors import UserError
from pokefast.models.backbones import (
    arch_names,
    arch_stats,
    build_backbone,
    choose_archs,
    find_backbones,
    load_weights,
)
from pokefast.models.networks import architecture
from pokefast.models.ridge import RidgeBody, RidgeHead
from pokefast.options import Between, Options
from pokefast.scoring.metrics import choose_metric
from pokefast.training.callbacks import (
    AverageWeightsCallback,
    GradualUnfreezeCallback,
    WeightedSamplingCallback,
)
from pokefast.training.stopping import PatienceStopCallback

__all__ = ["AS_IT_IS", "GROUPS", "HEADS", "TransferOptions"]
__all__ += ["freeze_to_group", "layer_groups", "transfer", "transfer_callbacks", "transfer_model"]
__all__ += ["vision_arch"]

GROUPS = ("stem", "layer1", "layer2", "layer3", "layer4", "head")
HEADS = ("ridge", "linear", "mlp")
OPENS = (1 / 3, 2 / 3)  # fractions of the epochs at which one more group opens, if gradually
# Arguments of `vision_learner` for a model that is ready: weights are loaded, loaders normalise,
# and frozen groups keep their BatchNorm (with fastai's `BnFreeze` their statistics too).
AS_IT_IS = {"pretrained": False, "normalize": False, "init": None, "train_bn": False}


@dataclass(frozen=True)
class TransferOptions(Options):
    """Options of a task with a pretrained network, besides those that every task has.

    Raises UserError for combinations that cannot be.
    """

    arch: str = "auto"  # of torchvision or timm, or several: a,b; auto: resnet50, or offline's
    weights: str = "pretrained"  # pretrained, none, or a .safetensors or .pth file
    size: Annotated[int, Between(16, 2048)] = 160  # pixels, side of the square that the model gets
    landmarks: Annotated[int, Between(1)] = 2000  # of ridge: images that colours are held against
    deep_weight: Annotated[float, Between(0)] = 1.0  # of ridge: the network's maps; 0: left out
    colour_weight: Annotated[float, Between(0)] = 1.0  # of ridge: the colours; 0: left out
    train_from: Literal["head", "layer4", "layer3", "layer2", "layer1", "all"] = "layer3"  # on up
    lr_ratio: Annotated[float, Between(0)] = 10.0  # head's rate by the stem's; 0: the report's two
    imbalance: Literal["sampler", "weighted-ce", "focal", "none"] = "sampler"  # for rare classes
    ema: Annotated[float, Between(0, 1)] = 0.0  # decay of the weights' moving average; 0: none
    unfreeze: Literal["none", "gradual"] = "none"  # open layer2 and layer1 later on
    mix: Literal["none", "mixup", "cutmix"] = "none"  # blends of training images
    early_stop: bool = False  # by the validation part's metric; the best epoch is restored
    stop_patience: Annotated[int, Between(1)] = 10  # early stop: epochs without a better one
    stop_start: Annotated[int, Between(0)] = 10  # early stop: epoch from which they count

    def __post_init__(self):
        super().__post_init__()
        if self.mix != "none" and self.imbalance in ("weighted-ce", "focal"):
            raise UserError(f"--mix {self.mix} needs --imbalance sampler or none")

    def resolved(self):
        """With the network that "auto" stands for here; says so where it is not ResNet-50."""
        falls_back = self.recipe != "report"
        arch, weights, notes = choose_archs(self.arch, self.weights, self.size, falls_back)
        for note in notes:
            print(f"NOTE: {note}", flush=True)
        return replace(super().resolved(), arch=arch, weights=weights)

    def for_refit(self):
        """All epochs: no validation part says when to stop."""
        return replace(self, early_stop=False)

    def rates(self):
        """From the stem's to the head's, or the report's: a tenth up to layer2."""
        if self.lr_ratio:
            return slice(self.lr / self.lr_ratio, self.lr)
        return [self.lr / 10] * 3 + [self.lr] * 3


@architecture
def transfer(
    arch, n_out, head, dropout=0.5, landmarks=0, deep_weight=1.0, colour_weight=1.0, gamma=6.0
):
    """A model (body, head) of the network `arch` with random weights: what `vision_learner` makes
    of its `vision_arch` and head. `arch` names several networks with commas between them, for the
    head "ridge" alone.

    Heads: "mlp", 512 hidden values, ReLU and `dropout` between two dense layers; "linear",
    `dropout` and a dense layer; both take images [n, 3, h, w]. "ridge" takes cut-outs [n, 4, h, w]
    and the last four arguments: see `RidgeBody` and `RidgeHead`.
    """
    backbones = [build_backbone(name, maps=head == "ridge") for name in arch_names(arch)]
    if head == "ridge":
        body = RidgeBody(backbones, [arch_stats(name) for name in arch_names(arch)])
        top = RidgeHead(body.widths, n_out, landmarks, deep_weight, colour_weight, gamma)
    else:
        (body,) = backbones
        width = body.width
        layers = {
            "mlp": [nn.Linear(width, 512), nn.ReLU(), nn.Dropout(dropout), nn.Linear(512, n_out)],
            "linear": [nn.Dropout(dropout), nn.Linear(width, n_out)],
        }
        top = nn.Sequential(*layers[head])
    return nn.Sequential(nn.Sequential(body), top)


def transfer_model(dls, o, head="ridge", dropout=0.5):
    """The `transfer` model that `TransferOptions` ask for, for the classes and the training images
    of `dls`, with the weights of its network.
    """
    model = transfer(
        o.arch,
        len(dls.vocab),
        head,
        dropout,
        landmarks=min(o.landmarks, dls.train.n),
        deep_weight=o.deep_weight,
        colour_weight=o.colour_weight,
    )
    load_weights(model, o.arch, o.weights)
    return model


def transfer_callbacks(dls, o):
    """fastai's callbacks for a fit of such a model as `TransferOptions` ask for it: frozen layers
    keep their BatchNorm, and what the options name is on.
    """
    cbs = [BnFreeze(), ChannelsLast()]
    if o.imbalance == "sampler":
        cbs.append(WeightedSamplingCallback())
    if o.mix != "none":
        cbs.append({"mixup": MixUp, "cutmix": CutMix}[o.mix]())
    if o.unfreeze == "gradual":
        cbs.append(GradualUnfreezeCallback(OPENS, lowest=GROUPS.index("layer1")))
    if o.ema:
        cbs.append(AverageWeightsCallback(o.ema))
    if o.early_stop:
        watched = choose_metric(o.metric, list(dls.vocab))
        rule = dict(patience=o.stop_patience, start=o.stop_start)
        cbs.append(PatienceStopCallback(watched.column, watched.lower, **rule))
    return cbs


def vision_arch(model):
    """The body of a `transfer` model as `vision_learner` takes a network: a function that gives it
    with a pooling layer after it, where fastai cuts (2.8.12 does not hand its argument `cut` on).
    """
    return partial(_with_pool, model[0][0])


def layer_groups(model):
    """Six lists of parameters, in the order of GROUPS, of a `transfer` model."""
    each = zip(*(backbone.groups() for backbone in find_backbones(model)), strict=True)
    groups = [*(sum(parts, []) for parts in each), list(model[1].parameters())]
    sizes = dict(zip(GROUPS, map(len, groups), strict=True))
    assert all(sizes.values()), f"an empty layer group: {sizes}"
    assert sum(sizes.values()) == len(list(model.parameters())), "groups do not cover the model"
    return groups


def freeze_to_group(learn, group):
    """Train `group` and all after it ("all" is every one); frozen ones keep their BatchNorm too.

    The learner needs `train_bn=False` and fastai's `BnFreeze` for that.
    """
    learn.freeze_to(0 if group == "all" else GROUPS.index(group))


def _with_pool(body, pretrained=False):
    return nn.Sequential(body, nn.AdaptiveAvgPool2d(1))
