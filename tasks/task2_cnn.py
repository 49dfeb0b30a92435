"""Task 2: a CNN of four stages on whole RGBA pictures, 64x64 pixels, nine types.

On a fresh machine each of these does all the set-up:

    make task2                                               # embedded data
    make task2 ARGS="--epochs 3"                             # the same in a minute
    make task2 ARGS="--recipe report"                        # the report's, with its early stop
    make task2 ARGS="--recipe report --no-early-stop --epochs 50 --stages 3"
    make task2 ARGS="--crop outline --predict-uncropped"     # why the report saw 0.19
    make task2 DATA=data/real/task2                          # a folder in Kaggle's layout
"""

from pathlib import Path

from fastai.callback.channelslast import ChannelsLast
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
from pokefast.images import PILImageRGBA
from pokefast.models.networks import cnn
from pokefast.options import changed, check, choice, leave_out, resolve, run_cli
from pokefast.task import Run, open_competition
from pokefast.training.callbacks import AverageWeightsCallback, WeightedSamplingCallback
from pokefast.training.learner import make_learner
from pokefast.training.stopping import PlateauStopCallback

TASK = "task2"
SIZE = 64  # pixels, side of the square that the model gets
MEAN, STD = [0.5, 0.5, 0.5, 0.0], [0.5, 0.5, 0.5, 1.0]  # alpha stays as it is

COMMON = dict(
    seed=0,
    crop="none",
    predict_uncropped=False,
    stages=4,
    valid=0.15,
    test=0.15,
    sampler=False,
    refit=False,
    everything=False,
    skip_bad=False,
    wandb="off",
)
RECIPES = dict(
    fast=dict(
        COMMON,
        head="ours",  # it does not care where the creature stands
        epochs=12,  # 8 make two more mistakes in a thousand on darker photographs
        bs=32,  # 64 makes about one more mistake in a thousand
        lr=6e-3,
        optimizer="adamw",
        wd=0.05,
        schedule="one-cycle",  # in 12 epochs what a constant rate needs 50 for
        pct_start=0.25,
        div=10,
        average=0.9,  # of every fifth step in the second half: sometimes one mistake less
        early_stop=False,
        flip=True,  # the icons face both ways
        shift_pixels=4,  # twice that is no better
        label_smoothing=0.1,
        tta=True,
        precision="auto",
        channels_last=True,
    ),
    report=dict(
        COMMON,
        head="report",
        epochs=80,  # at most
        bs=16,
        lr=1e-3,
        optimizer="adam",
        wd=0,
        schedule="constant",
        average=0,
        early_stop=True,
        flip=False,
        shift_pixels=0,
        label_smoothing=0,
        tta=False,
        precision="auto",
        channels_last=True,
    ),
)
EARLY_STOP = dict(window=5, tolerance=0.02)  # epochs, (max - min) / max of validation macro-F1

# what --without leaves out, by the options that do it
INGREDIENTS = dict(
    flip=dict(flip=False),
    shift=dict(shift_pixels=0),
    smoothing=dict(label_smoothing=0),
    tta=dict(tta=False),
    decay=dict(wd=0),
    schedule=dict(schedule="constant"),
    average=dict(average=0),
)


def get_dls(data=None, recipe="fast", **options):
    """Loaders of training, validation and test part: pictures [n, 4, 64, 64] and type numbers [n].

    `data` is a competition folder, the embedded data by default; `recipe` a name or options that
    are resolved already; `options` are those of `main`.
    """
    o = resolve(RECIPES, recipe, **options)
    set_seed(o.seed, reproducible=True)
    competition = open_competition(data, TASK, o.skip_bad)
    block = DataBlock(
        blocks=(ImageBlock(PILImageRGBA), CategoryBlock(vocab=competition.vocab)),
        get_x=ColReader("path"),
        get_y=ColReader("label"),
        splitter=AllSplitter() if o.everything else StratifiedSplitter(o.valid, o.test, o.seed),
        item_tfms=[*L(crop_transform(o.crop)), Resize(SIZE, ResizeMethod.Squish)],
        batch_tfms=[*augmentations(o), NormalizeInPlace.from_stats(MEAN, STD)],
    )
    return block.dataloaders(
        competition.train, dl_type=MemoryDL, bs=o.bs, val_bs=256, path=competition.root
    )


def get_learner(dls, recipe="fast", **options):
    """A Learner with the CNN of `recipe` on `dls`; `options` are those of `main`."""
    o = resolve(RECIPES, recipe, **options)
    set_seed(o.seed, reproducible=True)
    model = cnn(4, len(dls.vocab), o.stages, o.head, SIZE)
    cbs = [ChannelsLast()] if o.channels_last else []
    if o.sampler:
        cbs.append(WeightedSamplingCallback())
    if o.average:
        cbs.append(AverageWeightsCallback(o.average))
    if o.early_stop:
        cbs.append(PlateauStopCallback(**EARLY_STOP))
    return make_learner(dls, model, o, cbs=cbs)


def main(
    data: Path = None,  # competition folder in Kaggle's layout; the embedded data otherwise
    recipe: choice(*RECIPES) = "fast",  # whose hyper-parameters
    epochs: int = None,  # passes over the training part, at most
    bs: int = None,  # pictures a batch
    lr: float = None,  # (highest) learning rate
    stages: choice(2, 3, 4) = None,  # convolution, BatchNorm, ReLU, max-pool each
    head: choice("report", "ours") = None,  # dense layers, or global maximum
    crop: choice("outline", "threshold", "none") = None,  # where the creature is
    predict_uncropped: bool = None,  # predict whole pictures all the same
    no_early_stop: bool = None,  # run all epochs; the best one is restored all the same
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
    """Train, score on the local test part, write submissions/task2_submit.csv and a folder below
    runs/.

    Returns macro-F1 on the local test part.
    """
    early_stop = False if no_early_stop else None
    given = {
        k: v for k, v in locals().items() if k not in ("data", "out", "without", "no_early_stop")
    }
    o = resolve(RECIPES, **leave_out(INGREDIENTS, without, given))
    check(main, o)
    run = Run(TASK, o, data, out)
    dls = get_dls(run.competition, o)
    learn = get_learner(dls, o)
    run.fit(learn)
    if o.predict_uncropped:
        learn.dls = get_dls(run.competition, changed(o, crop="none"))
    run.evaluate(learn)
    if o.refit:
        o = changed(o, everything=True, early_stop=False)
        learn = get_learner(get_dls(run.competition, o), o)
        run.refit(learn)
    run.submit(learn)
    return run.finish(learn)


if __name__ == "__main__":
    raise SystemExit(run_cli(main))
