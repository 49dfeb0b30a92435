"""Task 1: an MLP on creatures cropped by their outline, 64x64 pixels, nine types.

On a fresh machine each of these does all the set-up:

    make task1                                     # embedded data
    make task1 ARGS="--recipe report"              # the report's hyper-parameters, 50 epochs
    make task1 ARGS="--crop none --epochs 3"       # what the whole picture would give
    make task1 DATA=data/real/task1                # a folder in Kaggle's layout
"""

from pathlib import Path

from fastai.data.block import CategoryBlock, DataBlock
from fastai.data.transforms import ColReader
from fastai.torch_core import set_seed
from fastai.vision.augment import Resize, ResizeMethod
from fastai.vision.data import ImageBlock
from fastcore.foundation import L

from pokefast.crops.transforms import crop_transform
from pokefast.data.augment import NormalizeInPlace, augmentations
from pokefast.data.loader import MemoryDL
from pokefast.data.splits import AllSplitter, StratifiedSplitter
from pokefast.images import PILImageRGB, ToGrey
from pokefast.models.networks import mlp
from pokefast.options import changed, check, choice, leave_out, resolve, run_cli
from pokefast.task import Run, open_competition
from pokefast.training.callbacks import WeightedSamplingCallback
from pokefast.training.learner import make_learner

TASK = "task1"
SIZE = 64  # pixels, side of the square that the model gets

COMMON = dict(
    seed=0,
    grey=False,
    layer1_size=256,
    layer2_size=128,
    dropout=0.2,
    valid=0.15,
    test=0.15,
    sampler=False,
    refit=False,
    everything=False,
    skip_bad=False,
    wandb="off",
    precision="auto",
)
RECIPES = dict(
    fast=dict(
        COMMON,
        crop="outline",  # its box is right in 99 of 100 pictures, the threshold's in 3 of 4
        epochs=10,
        bs=64,  # 128 is a third faster and 0.001 worse
        lr=2e-3,  # twice that is no better
        optimizer="adamw",
        wd=0.05,  # ten times that is 0.001 worse
        schedule="one-cycle",  # in 10 epochs what steps need 50 for
        pct_start=0.25,
        div=10,
        flip=True,  # the icons face both ways
        shift_pixels=3,  # without: 0.0025 worse; a share of 0.08 and scale 0.1: 0.02 worse
        rotate=0,  # the icons are never turned
        shift=0,
        scale=0,
        brightness=0,  # 0.2 is 0.002 worse: the palette tells the type
        contrast=0,
        label_smoothing=0.1,  # without: 0.0015 worse
        tta=True,  # without: 0.0005 worse
    ),
    report=dict(
        COMMON,
        crop="threshold",
        epochs=50,
        bs=16,
        lr=1e-3,
        optimizer="adam",
        wd=0,
        schedule="step",
        step_size=5,  # epochs
        gamma=0.1,
        flip=True,
        rotate=15,  # degrees
        shift_pixels=0,
        shift=0,
        scale=0,
        brightness=0.2,
        contrast=0.2,
        label_smoothing=0,
        tta=False,
    ),
)

# what --without leaves out, by the options that do it
INGREDIENTS = dict(
    flip=dict(flip=False),
    shift=dict(shift_pixels=0),
    smoothing=dict(label_smoothing=0),
    tta=dict(tta=False),
    decay=dict(wd=0),
    schedule=dict(schedule="constant"),
)


def get_dls(data=None, recipe="fast", **options):
    """Loaders of training, validation and test part: pictures [n, 3 (1 where grey), 64, 64] and
    type numbers [n].

    `data` is a competition folder, the embedded data by default; `recipe` a name or options that
    are resolved already; `options` are those of `main`.
    """
    o = resolve(RECIPES, recipe, **options)
    set_seed(o.seed, reproducible=True)
    competition = open_competition(data, TASK, o.skip_bad)
    block = DataBlock(
        blocks=(ImageBlock(PILImageRGB), CategoryBlock(vocab=competition.vocab)),
        get_x=ColReader("path"),
        get_y=ColReader("label"),
        splitter=AllSplitter() if o.everything else StratifiedSplitter(o.valid, o.test, o.seed),
        item_tfms=[
            *L(crop_transform(o.crop)),
            *([ToGrey()] if o.grey else []),
            Resize(SIZE, ResizeMethod.Squish),
        ],
        batch_tfms=[*augmentations(o), NormalizeInPlace.from_stats([0.5], [0.5])],
    )
    return block.dataloaders(
        competition.train, dl_type=MemoryDL, bs=o.bs, val_bs=256, path=competition.root
    )


def get_learner(dls, recipe="fast", **options):
    """A Learner with the MLP of `recipe` on `dls`; `options` are those of `main`."""
    o = resolve(RECIPES, recipe, **options)
    set_seed(o.seed, reproducible=True)
    channels = 1 if o.grey else 3
    model = mlp(channels * SIZE**2, len(dls.vocab), (o.layer1_size, o.layer2_size), o.dropout)
    return make_learner(dls, model, o, cbs=[WeightedSamplingCallback()] if o.sampler else [])


def main(
    data: Path = None,  # competition folder in Kaggle's layout; the embedded data otherwise
    recipe: choice(*RECIPES) = "fast",  # whose hyper-parameters
    epochs: int = None,  # passes over the training part
    bs: int = None,  # pictures a batch
    lr: float = None,  # (highest) learning rate
    crop: choice("outline", "threshold", "none") = None,  # where the creature is
    grey: bool = None,  # one channel instead of three
    layer1_size: int = None,  # units of the first hidden layer
    layer2_size: int = None,  # units of the second
    dropout: float = None,  # after each hidden layer
    sampler: bool = None,  # draw training pictures by 1 / count of their class
    valid: float = None,  # share of pictures for validation
    test: float = None,  # share of pictures for the local test
    refit: bool = None,  # submit a model that was trained once more, on everything
    precision: choice("auto", "fp32", "bf16", "fp16") = None,  # of the forward pass
    without: str = None,  # parts of the recipe to leave out; docs/options.md has their names
    skip_bad: bool = None,  # go on without bad rows and pictures
    wandb: choice("off", "offline", "online") = None,  # log to Weights & Biases
    seed: int = None,  # of split, weights and batches
    out: Path = None,  # where runs/ and submissions/ are; this repository otherwise
) -> float:
    """Train, score on the local test part, write submissions/task1_submit.csv and a folder below
    runs/.

    Returns macro-F1 on the local test part.
    """
    given = {k: v for k, v in locals().items() if k not in ("data", "out", "without")}
    o = resolve(RECIPES, **leave_out(INGREDIENTS, without, given))
    check(main, o)
    run = Run(TASK, o, data, out)
    dls = get_dls(run.competition, o)
    learn = get_learner(dls, o)
    run.fit(learn)
    run.evaluate(learn)
    if o.refit:
        o = changed(o, everything=True)
        learn = get_learner(get_dls(run.competition, o), o)
        run.refit(learn)
    run.submit(learn)
    return run.finish(learn)


if __name__ == "__main__":
    raise SystemExit(run_cli(main))
