"""Lightning with torchvision's v2 transforms and pokefast's network for task 2."""

import lightning as L
import pandas as pd
import torch
from PIL import Image
from stopwatch import Stopwatch
from torch import nn
from torch.utils.data import DataLoader, Dataset, Subset
from torchvision.transforms import v2

watch = Stopwatch()
data, epochs, seed = watch.data, watch.epochs, watch.seed
L.seed_everything(seed)

to_tensor = [v2.Resize((64, 64)), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]
normalize = v2.Normalize([0.5] * 4, [0.5] * 4)
shift = v2.RandomAffine(0, translate=(4 / 64, 4 / 64))
augmented = v2.Compose([*to_tensor, v2.RandomHorizontalFlip(), shift, normalize])
plain = v2.Compose([*to_tensor, normalize])


class Pictures(Dataset):
    def __init__(self, files, labels, transform):
        self.files, self.labels, self.transform = files, labels, transform

    def __len__(self):
        return len(self.files)

    def __getitem__(self, i):
        image = Image.open(self.files[i]).convert("RGBA")
        return self.transform(image), self.labels[i]


class Net(L.LightningModule):
    def __init__(self, classes):
        super().__init__()
        layers, before = [], 4
        for after in (32, 64, 128, 256):
            layers += [nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after)]
            layers += [nn.ReLU(), nn.MaxPool2d(2)]
            before = after
        head = [nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(256, classes)]
        self.model = nn.Sequential(*layers, *head)
        self.loss = nn.CrossEntropyLoss()

    def forward(self, x):
        return self.model(x)

    def training_step(self, batch, _):
        x, y = batch
        return self.loss(self(x), y)

    def validation_step(self, batch, _):
        x, y = batch
        self.log("accuracy", (self(x).argmax(1) == y).float().mean())

    def predict_step(self, batch, _):
        return self(batch[0]).argmax(1)

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.parameters(), lr=3e-3)
        steps = self.trainer.estimated_stepping_batches
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }


table = pd.read_csv(data / "train_labels.csv")
classes = sorted(table["label"].unique())
files = [data / "Train" / f"{name}.png" for name in table["Id"]]
labels = [classes.index(label) for label in table["label"]]
parts = [Pictures(files, labels, transform) for transform in (augmented, plain)]
order, n_valid = torch.randperm(len(files)).tolist(), len(files) // 5
train, valid = Subset(parts[0], order[n_valid:]), Subset(parts[1], order[:n_valid])
test_files = sorted((data / "Test").glob("*.png"))
test = Pictures(test_files, [0] * len(test_files), plain)
workers = dict(num_workers=2, persistent_workers=True)
train_loader = DataLoader(train, batch_size=32, shuffle=True, drop_last=True, **workers)
valid_loader = DataLoader(valid, batch_size=256, **workers)

model = Net(len(classes))
trainer = L.Trainer(
    max_epochs=epochs, logger=False, enable_checkpointing=False, enable_progress_bar=False
)
with watch.fit(epochs * len(train_loader) * 32):
    trainer.fit(model, train_loader, valid_loader)

with watch.paused():
    found = torch.cat(trainer.predict(model, DataLoader(test, batch_size=256)))
    labels = [classes[i] for i in found]
    watch.submit([file.stem for file in test_files], labels)
