"""A loop of plain PyTorch as the competition's report has it: images are opened one at a time,
batches of 16, Adam, its network with a dense head, no augmentation.
"""

import pandas as pd
import torch
from PIL import Image
from stopwatch import Stopwatch
from torch import nn
from torch.utils.data import DataLoader, Dataset, random_split
from torchvision import transforms

watch = Stopwatch()
data = watch.data
torch.manual_seed(watch.seed)


class Pictures(Dataset):
    def __init__(self, files, labels):
        self.files, self.labels = files, labels
        self.transform = transforms.Compose(
            [
                transforms.Resize((64, 64)),
                transforms.ToTensor(),
                transforms.Normalize([0.5] * 4, [0.5] * 4),
            ]
        )

    def __len__(self):
        return len(self.files)

    def __getitem__(self, i):
        image = Image.open(self.files[i]).convert("RGBA")
        return self.transform(image), self.labels[i]


class CNN(nn.Module):
    def __init__(self, classes):
        super().__init__()
        layers, before = [], 4
        for after in (32, 64, 128, 256):
            layers += [
                nn.Conv2d(before, after, 3, padding=1),
                nn.BatchNorm2d(after),
                nn.ReLU(),
                nn.MaxPool2d(2),
            ]
            before = after
        self.features = nn.Sequential(*layers)
        self.head = nn.Sequential(
            nn.Flatten(),
            nn.Linear(256 * 4 * 4, 256),
            nn.ReLU(),
            nn.Dropout(0.3),
            nn.Linear(256, classes),
        )

    def forward(self, x):
        return self.head(self.features(x))


def accuracy(model, loader):
    model.eval()
    with torch.no_grad():
        right = sum((model(x).argmax(1) == y).sum().item() for x, y in loader)
    return right / len(loader.dataset)


def predict(model, loader):
    model.eval()
    with torch.no_grad():
        found = torch.cat([model(x).argmax(1) for x, _ in loader])
    return [classes[i] for i in found]


table = pd.read_csv(data / "train_labels.csv")
classes = sorted(table["label"].unique())
files = [data / "Train" / f"{name}.png" for name in table["Id"]]
everything = Pictures(files, [classes.index(label) for label in table["label"]])
n_valid = len(everything) // 5
train, valid = random_split(everything, [len(everything) - n_valid, n_valid])
train_loader = DataLoader(train, batch_size=16, shuffle=True)
valid_loader = DataLoader(valid, batch_size=16)
test_files = sorted((data / "Test").glob("*.png"))
test_loader = DataLoader(Pictures(test_files, [0] * len(test_files)), batch_size=16)
ids = [file.stem for file in test_files]

model = CNN(len(classes))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
criterion = nn.CrossEntropyLoss()
for epoch in range(10_000 if watch.marks else 0):  # watch: the report's 80, or until the last mark
    model.train()
    for x, y in train_loader:
        optimizer.zero_grad()
        criterion(model(x), y).backward()
        optimizer.step()
        if watch.due(len(x)):
            with watch.paused():
                watch.submit(ids, predict(model, test_loader))
                model.train()  # for watch
            if watch.over:
                raise SystemExit  # for watch
    print(f"epoch {epoch}: accuracy {accuracy(model, valid_loader):.4f}", flush=True)
