"""fastai as its documentation writes it, with pokefast's network for task 2."""

import pandas as pd
from fastai.vision.all import (
    F1Score,
    ImageDataLoaders,
    Learner,
    Resize,
    ResizeMethod,
    accuracy,
    aug_transforms,
    get_image_files,
    set_seed,
)
from stopwatch import Stopwatch
from torch import nn

watch = Stopwatch()
data, epochs, seed = watch.data, watch.epochs, watch.seed
set_seed(seed)

dls = ImageDataLoaders.from_df(
    pd.read_csv(data / "train_labels.csv"),
    data,
    folder="Train",
    suff=".png",
    seed=seed,
    item_tfms=Resize(64, ResizeMethod.Squish),
    batch_tfms=aug_transforms(),
)
layers, before = [], 3
for after in (32, 64, 128, 256):
    layers += [nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after)]
    layers += [nn.ReLU(), nn.MaxPool2d(2)]
    before = after
head = [nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(256, dls.c)]
learn = Learner(dls, nn.Sequential(*layers, *head), metrics=[accuracy, F1Score(average="macro")])
with watch.fit(epochs * len(dls.train) * dls.train.bs):
    learn.fit_one_cycle(epochs, 3e-3)

with watch.paused():
    files = get_image_files(data / "Test").sorted()
    found = learn.get_preds(dl=dls.test_dl(files))[0].argmax(1)
    labels = [dls.vocab[i] for i in found]
    watch.submit([file.stem for file in files], labels)
