"""Task 3: transfer learning on larger art, scored on creatures that training never showed.

On a fresh machine each of these does all the set-up:

    make task3                                             # embedded data
    make task3 ARGS="--folds 0"                            # one split instead of ten folds
    make task3 ARGS="--recipe report --arch resnet50"      # the report's hyper-parameters
    make task3 ARGS="--split image"                        # the split that flattered the report
    make task3 ARGS="--classifier network"                 # fine-tune instead
    make task3 DATA=data/real/task3                        # a folder in Kaggle's layout

The fast recipe classifies in closed form (`pokefast.models`), in ten folds, unless an option is
given that only a network that trains has: epochs, lr, train-from and the like.
"""

from functools import partial
from pathlib import Path

from fastai.callback.channelslast import ChannelsLast
from fastai.callback.mixup import CutMix, MixUp
from fastai.callback.tracker import ReduceLROnPlateau
from fastai.callback.training import BnFreeze
from fastai.data.block import CategoryBlock, DataBlock
from fastai.data.transforms import ColReader
from fastai.torch_core import set_seed
from fastai.vision.augment import Resize, ResizeMethod
from fastai.vision.data import ImageBlock
from fastai.vision.learner import vision_learner
from fastcore.foundation import L

from pokefast.crops.foreground import CreatureCrop
from pokefast.crops.groups import add_groups
from pokefast.data.augment import NormalizeInPlace, augmentations
from pokefast.data.loader import MemoryDL
from pokefast.data.splits import AllSplitter, FoldSplitter, GroupSplitter
from pokefast.errors import UserError
from pokefast.images import PILImageRGB, PILImageRGBA
from pokefast.models.backbones import (
    GROUPS,
    arch_stats,
    build_head,
    choose_arch,
    fastai_arch,
    freeze_to_group,
    layer_groups,
    load_weights,
    transfer_head,
)
from pokefast.models.colours import CutOut, load_stage_weights, palette_net
from pokefast.models.losses import imbalance_loss
from pokefast.options import changed, check, choice, leave_out, resolve, run_cli
from pokefast.task import Run, open_competition
from pokefast.training.callbacks import (
    AverageWeightsCallback,
    GradualUnfreezeCallback,
    WeightedSamplingCallback,
)
from pokefast.training.learner import make_learner
from pokefast.training.stopping import PatienceStopCallback

TASK = "task3"

COMMON = dict(
    classifier="network",  # main takes the palette where nothing about training is asked for
    seed=0,
    arch="auto",  # resnet50, or the offline network where its weights cannot be had
    weights="pretrained",
    split="creature",
    groups=None,  # found from the pictures
    folds=0,  # main takes PALETTE_FOLDS with the palette
    valid=0.1,
    test=0.1,
    imbalance="sampler",
    mix="none",
    train_from="layer3",
    head_frozen=False,
    unfreeze="none",
    refit=False,
    everything=False,
    skip_bad=False,
    wandb="off",
    precision="auto",
    channels_last=True,
    augment="report",
    flip=True,
    rotate=10,  # degrees
    shift=0.1,  # share of the side
    scale=0.1,  # 0.9 to 1.1
    brightness=0.2,
    contrast=0.2,
    saturation=0.2,
    cutout=True,  # the palette's three
    colour_weight=0.7,
    deep_weight=1.0,
)
RECIPES = dict(
    fast=dict(
        COMMON,
        crop="creature",
        size=160,  # pixels
        epochs=10,
        bs=32,
        lr=1e-3,
        lr_ratio=10,  # between the head's rate and the stem's
        optimizer="adamw",
        wd=0.02,
        schedule="one-cycle",
        pct_start=0.25,
        div=10,
        head="linear",
        dropout=0.2,
        label_smoothing=0.1,
        average=0.9,
        early_stop=False,
        tta=True,
    ),
    report=dict(
        COMMON,
        crop="none",
        size=224,
        epochs=80,  # at most
        bs=32,
        lr=1e-4,
        lr_ratio=0,  # one rate, a tenth of it for layer2 and below where these train
        optimizer="adamw",
        wd=1e-5,
        schedule="plateau",
        head="report",
        dropout=0.5,
        label_smoothing=0,
        average=0,
        early_stop=True,
        tta=False,
    ),
)
EARLY_STOP = dict(patience=10, start=10)  # epochs
# halves the rate in the 6th epoch without a lower loss: torch's patience 5 lets five pass
PLATEAU = dict(monitor="valid_loss", factor=2, patience=6)
# what --without leaves out, by the options that do it
INGREDIENTS = dict(
    cutout=dict(cutout=False),
    colours=dict(colour_weight=0),
    maps=dict(deep_weight=0),
    smoothing=dict(label_smoothing=0),
    average=dict(average=0),
    tta=dict(tta=False),
    rates=dict(lr_ratio=1),
    schedule=dict(schedule="constant"),
)
# what only the palette has, and only a network that trains
PALETTE_OPTIONS = ("cutout", "colour_weight", "deep_weight")
NETWORK_OPTIONS = ("epochs", "bs", "lr", "crop", "imbalance", "augment", "mix", "train_from")
NETWORK_OPTIONS += ("head_frozen", "unfreeze", "no_early_stop")
NETWORK_OPTIONS += ("label_smoothing", "average", "tta", "lr_ratio", "schedule")
PALETTE_FOLDS = 10  # by main's default, where every type has as many creatures
GRADUAL = (1 / 3, 2 / 3)  # shares of the epochs at which the next layer group opens


def get_dls(data=None, recipe="fast", fold=None, **options):
    """Loaders of training, validation and test part: pictures [n, 3, size, size] and type numbers.

    `data` is a competition folder, the embedded data by default; `recipe` a name or options that
    are resolved already; `options` are those of `main`; `fold` one of `--folds`, from 0 on.
    """
    o = resolve_arch(resolve(RECIPES, recipe, **options))
    set_seed(o.seed, reproducible=True)
    competition = open_competition(data, TASK, o.skip_bad)
    train = add_groups(competition.train, o.groups, by_image=o.split == "image")
    if o.everything:
        splitter = AllSplitter()
    elif fold is not None:
        splitter = FoldSplitter(fold, o.folds, o.seed)
    else:
        splitter = GroupSplitter(o.valid, o.test, o.seed)
    mean, std = arch_stats(o.arch)
    if o.classifier == "palette":
        image_class, item_tfms = PILImageRGBA, [CutOut(o.size)] if o.cutout else []
        mean, std = [*mean, 0.0], [*std, 1.0]  # alpha stays as it is
    else:
        image_class = PILImageRGB
        item_tfms = [CreatureCrop()] if o.crop == "creature" else []
    augment = o.augment == "report" and o.classifier == "network"
    block = DataBlock(
        blocks=(ImageBlock(image_class), CategoryBlock(vocab=competition.vocab)),
        get_x=ColReader("path"),
        get_y=ColReader("label"),
        splitter=splitter,
        item_tfms=[*item_tfms, Resize(o.size, ResizeMethod.Squish)],
        batch_tfms=[
            *(augmentations(o) if augment else []),
            NormalizeInPlace.from_stats(mean, std),
        ],
    )
    return block.dataloaders(train, dl_type=MemoryDL, bs=o.bs, val_bs=64, path=competition.root)


def get_learner(dls, recipe="fast", **options):
    """fastai's `vision_learner` on `dls` with the backbone and head of `recipe`, frozen below
    `train_from`, or a Learner with the palette classifier; `options` are those of `main`.
    """
    o = resolve_arch(resolve(RECIPES, recipe, **options))
    set_seed(o.seed, reproducible=True)
    n_classes = len(dls.vocab)
    if o.classifier == "palette":
        stats = map(list, arch_stats(o.arch))
        kernel = dict(colour_weight=o.colour_weight, deep_weight=o.deep_weight)
        model = palette_net(o.arch, n_classes, dls.train.n, *stats, **kernel)
        if o.weights != "none":
            load_stage_weights(model, o.arch, o.weights)
        return make_learner(dls, model, o, splitter=L)
    cbs = [BnFreeze()]
    if o.channels_last:
        cbs.append(ChannelsLast())
    if o.imbalance == "sampler":
        cbs.append(WeightedSamplingCallback())
    if o.mix != "none":
        cbs.append({"mixup": MixUp, "cutmix": CutMix}[o.mix]())
    if o.unfreeze == "gradual":
        cbs.append(GradualUnfreezeCallback(GRADUAL, lowest=GROUPS.index("layer1")))
    if o.average:
        cbs.append(AverageWeightsCallback(o.average))
    if o.schedule == "plateau":
        cbs.append(ReduceLROnPlateau(**PLATEAU))
    if o.early_stop:
        cbs.append(PatienceStopCallback(**EARLY_STOP))
    model_options = dict(arch=o.arch, n_out=n_classes, head=o.head, dropout=o.dropout, size=o.size)
    learn = make_learner(
        dls,
        fastai_arch(o.arch),
        o,
        create=partial(
            vision_learner,
            n_out=n_classes,
            pretrained=False,  # load_weights does it, from wherever they are
            normalize=False,  # get_dls does it
            init=None,
            custom_head=transfer_head(o.head, n_classes, o.dropout),
            train_bn=False,  # frozen groups keep their BatchNorm, with BnFreeze their statistics
        ),
        splitter=layer_groups,
        loss_func=imbalance_loss(o.imbalance, dls.train.targets, n_classes, o.label_smoothing),
        cbs=cbs,
    )
    build_head(learn.model, o.size)
    learn.model.architecture = dict(name="transfer", arguments=model_options)
    load_weights(learn.model[0], o.arch, o.weights)
    freeze_to_group(learn, o.train_from)
    if o.head_frozen:
        learn.model[1].requires_grad_(False)
    return learn


def resolve_arch(o):
    """Options with the network that "auto" stands for here; says so where it is not ResNet-50."""
    arch, weights, note = choose_arch(o.arch, o.weights, fall_back=o.recipe == "fast")
    if note and o.arch == "auto":
        print(f"NOTE: {note}", flush=True)
    return changed(o, arch=arch, weights=weights)


def choose_classifier(given):
    """The options of main's arguments `given`, with the classifier that "auto", the default, stands
    for: the palette in the fast recipe, unless an option asks for a network that trains. The
    palette takes folds, which cost it little, unless the split is given.
    """
    o = resolve(RECIPES, **{k: v for k, v in given.items() if k != "no_early_stop"})
    asked = [k for k in NETWORK_OPTIONS if given.get(k) is not None]
    if given["classifier"] == "palette" and asked:
        flags = ", ".join(f"--{k.replace('_', '-')}" for k in asked)
        raise UserError(f"--classifier palette trains no network: it has no {flags}")
    left_out = [k for k in PALETTE_OPTIONS if given.get(k) is not None]
    if left_out and (asked or o.recipe == "report" or given["classifier"] == "network"):
        raise UserError("--without cutout, colours, maps: only the palette has them, not a network")
    if given["classifier"] == "palette" or (
        given["classifier"] in (None, "auto") and o.recipe == "fast" and not asked
    ):
        single = any(given.get(k) is not None for k in ("folds", "valid", "test"))
        return changed(
            o,
            classifier="palette",
            schedule="closed-form",
            epochs=1,
            tta=False,
            early_stop=False,
            folds=o.folds if single else PALETTE_FOLDS,
        )
    return changed(o, classifier="network")


def learning_rates(o):
    """One rate a layer group: a slice from head to stem, or the report's two."""
    if o.lr_ratio:
        return slice(o.lr / o.lr_ratio, o.lr)
    return [o.lr / 10] * 3 + [o.lr] * 3


def main(
    data: Path = None,  # competition folder in Kaggle's layout; the embedded data otherwise
    recipe: choice(*RECIPES) = "fast",  # whose hyper-parameters
    classifier: choice("auto", "palette", "network") = None,  # auto, above: palette if fast
    arch: str = None,  # auto, or a name of torchvision's ResNets or timm
    weights: str = None,  # pretrained, none, or a .safetensors or .pth file
    epochs: int = None,  # passes over the training part, at most; 0: untrained head
    bs: int = None,  # pictures a batch
    lr: float = None,  # (highest) learning rate, of the head
    size: int = None,  # pixels, side of the square that the model gets
    crop: choice("creature", "none") = None,  # where the creature is
    split: choice("creature", "image") = None,  # what keeps together; by image the score flatters
    groups: Path = None,  # CSV (Id,group) of pictures that show the same creature
    folds: int = None,  # models that take turns in the local test and are averaged; palette: 10
    valid: float = None,  # share of pictures for validation, without folds
    test: float = None,  # share of pictures for the local test, without folds
    imbalance: choice("sampler", "weighted-ce", "focal", "none") = None,  # what rare types get
    augment: choice("report", "none") = None,  # flips, turns, shifts, scale and colour
    mix: choice("none", "mixup", "cutmix") = None,  # blends of training pictures
    train_from: choice(*reversed(GROUPS[1:]), "all") = None,  # lowest layer group that trains
    head_frozen: bool = None,  # never train the new head: what the report's code did
    unfreeze: choice("none", "gradual") = None,  # open layer2 and layer1 later on
    no_early_stop: bool = None,  # run all epochs
    refit: bool = None,  # submit a model that was trained once more, on everything
    precision: choice("auto", "fp32", "bf16", "fp16") = None,  # of the forward pass
    wandb: choice("off", "offline", "online") = None,  # log to Weights & Biases
    without: str = None,  # parts of the recipe to leave out; docs/options.md has their names
    skip_bad: bool = None,  # go on without bad rows and pictures
    seed: int = None,  # of split, weights and batches
    out: Path = None,  # where runs/ and submissions/ are; this repository otherwise
) -> float:
    """Train, score on creatures never seen, write submissions/task3_submit.csv and a folder below
    runs/.

    Returns macro-F1 on the local test part or, with folds, on all of them together.
    """
    early_stop = False if no_early_stop else None
    given = {k: v for k, v in locals().items() if k not in ("data", "out", "without")}
    o = choose_classifier(leave_out(INGREDIENTS, without, given))
    check(main, o)
    if o.mix != "none" and o.imbalance in ("weighted-ce", "focal"):
        raise UserError(f"--mix {o.mix} needs plain cross-entropy: --imbalance sampler or none")
    if o.folds == 1:
        raise UserError("--folds 1: at least 2 take turns; 0 is a single split")
    if o.folds and o.early_stop:
        raise UserError(f"--folds {o.folds} needs --no-early-stop: it would choose by the score")
    o = resolve_arch(o)
    run = Run(TASK, o, data, out)
    shared = changed(o, everything=True, early_stop=False)
    # decoded once for all that train on parts of it
    whole = get_dls(run.competition, shared).train if o.folds or o.refit else None
    if o.folds and "folds" not in o.given:
        fewest = int(whole.items.groupby("label")["group"].nunique().min())
        run.options = o = changed(o, folds=max(2, min(o.folds, fewest)))
    learners = []
    for fold in range(o.folds) if o.folds else [None]:
        dls = run.share(get_dls(run.competition, o, fold), whole)
        run.note_groups(dls, flatters=o.split == "image")
        learn = get_learner(dls, o)
        run.fit(learn, learning_rates(o))
        learners.append(learn)
    run.evaluate(*learners)
    if o.refit:
        dls = run.share(get_dls(run.competition, shared), whole)
        learners = [get_learner(dls, shared)]
        run.refit(learners[0], learning_rates(o))
    run.submit(*learners)
    return run.finish(*learners)


if __name__ == "__main__":
    raise SystemExit(run_cli(main))
