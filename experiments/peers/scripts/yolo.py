"""`yolo classify train` of ultralytics, the smallest network, without pretrained weights."""

import shutil

import pandas as pd
from stopwatch import Stopwatch
from ultralytics import YOLO

watch = Stopwatch()
data, out, epochs, seed = watch.data, watch.out, watch.epochs, watch.seed

# it takes a folder a class
table = pd.read_csv(data / "train_labels.csv")
valid = table.sample(frac=0.2, random_state=seed)
train = table.drop(valid.index)
for part, rows in (("train", train), ("val", valid)):
    for name, label in zip(rows["Id"], rows["label"], strict=True):
        folder = out / "images" / part / label
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(data / "Train" / f"{name}.png", folder)

model = YOLO("yolo11n-cls.yaml")
with watch.fit(epochs * len(train)):
    model.train(
        data=out / "images", epochs=epochs, imgsz=64, seed=seed, project=str(out), pretrained=False
    )

with watch.paused():
    files = sorted((data / "Test").glob("*.png"))
    found = [r for file in files for r in model.predict(file, imgsz=64, verbose=False)]
    labels = [r.names[r.probs.top1] for r in found]
    watch.submit([file.stem for file in files], labels)
