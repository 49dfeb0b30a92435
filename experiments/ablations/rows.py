"""What the report claims, and what the fast recipes are made of, as rows that anyone can run again.

A row is a call of a task's script: its options stand here as they would be typed; what the report
had for it is in tasks/published.py. Minutes are about what a run takes on one
core of two that are busy; `tells` (1 to 3) weighs them where there is not time for everything.
"""

from typing import NamedTuple

from tasks.published import BY_CLASS, CLASSES, EXPERIMENTS

__all__ = [
    "BY_NAME",
    "CLAIMS",
    "CLASS_F1",
    "REPORT_CLASS_F1",
    "ROWS",
    "TABLES",
    "Claim",
    "Row",
    "Table",
]


class Row(NamedTuple):
    """One run, with the options as on the command line."""

    name: str
    table: str
    options: str
    minutes: float
    tells: int = 1

    @property
    def task(self):
        """Its task's name."""
        return TABLES[self.table].task

    @property
    def report(self):
        """The report's macro-F1 on the hidden test, or None."""
        return EXPERIMENTS.get(self.name, {}).get("hidden")

    @property
    def report_local(self):
        """The report's macro-F1 on its own test part, or None."""
        return EXPERIMENTS.get(self.name, {}).get("local")


class Table(NamedTuple):
    """Rows that are read together, beside the row named `reference`, which may be another's."""

    task: str
    title: str
    reference: str
    about: str


class Claim(NamedTuple):
    """A statement of the report's (or, `ours`, of this project's) about rows, in ascending order of
    macro-F1; with `no_worse` each is only no worse than the one before.
    """

    text: str
    rows: tuple
    column: str = "hidden"  # or "local", or "gap": the local score of one row flatters
    no_worse: bool = False
    ours: bool = False


REPORT2 = "--recipe report --no-early-stop"
# to the letter this is 224 pixels and up to 80 epochs, half an hour a run: shortened for the tables
LITE0 = "--arch tf_efficientnet_lite0"
LITES = "--arch tf_efficientnet_lite0,tf_efficientnet_lite1,tf_efficientnet_lite2"
SHORT3 = f"--recipe report {LITE0} --size 128 --epochs 12"
TUNED3 = f"{LITE0} --size 128 --epochs 6 --folds 0"

PARTS = {
    "flip": "--no-flip",
    "shift": "--shift-pixels 0",
    "smoothing": "--label-smoothing 0",
    "tta": "--no-tta",
    "decay": "--wd 0",
    "schedule": "--schedule constant",
    "ema": "--ema 0",
}  # of a fast recipe, by the option that leaves it out

TABLES = {
    "crops": Table(
        "task1", "Task 1: crops", "t1-report", "The MLP with each crop, in both recipes."
    ),
    "parts1": Table(
        "task1",
        "Task 1: parts of the fast recipe",
        "t1-fast",
        "The fast recipe without one part.",
    ),
    "stages": Table("task2", "Task 2: stages", "t2-stages4", "The report's recipe for 50 epochs."),
    "epochs": Table(
        "task2",
        "Task 2: epochs",
        "t2-stages4",
        "The report's recipe, four stages.",
    ),
    "skew": Table(
        "task2",
        "Task 2: crops",
        "t2-stages4",
        "The report's recipe for 50 epochs on crops; 50 epochs on whole images above.",
    ),
    "parts2": Table(
        "task2",
        "Task 2: parts of the fast recipe",
        "t2-fast",
        "The fast recipe without one part.",
    ),
    "steps": Table(
        "task3",
        "Task 3: from the baseline to the whole recipe",
        "t3-full",
        "The report's recipe with EfficientNet-Lite 0, shortened to 12 epochs of 128 pixels.",
    ),
    "imbalance": Table(
        "task3", "Task 3: class imbalance", "t3-full", "The same; the sampler is the row t3-full."
    ),
    "mix": Table("task3", "Task 3: MixUp and CutMix", "t3-full", "The same with blended images."),
    "layers": Table(
        "task3", "Task 3: which layers train", "t3-full", "The same; t3-full trains from layer3 on."
    ),
    "backbones": Table(
        "task3",
        "Task 3: backbones",
        "t3-full",
        "The same with other offline backbones.",
    ),
    "split": Table(
        "task3", "Task 3: split", "t3-full", "The same, split by image; t3-full splits by group."
    ),
    "tuning3": Table(
        "task3",
        "Task 3: fine-tuning after the closed form",
        "t3-tuned",
        "The fast recipe with 6 epochs of 128 pixels from the solved head on, one split.",
    ),
    "parts3": Table(
        "task3", "Task 3: parts of the fast recipe", "t3-fast", "The fast recipe without one part."
    ),
    "bodies3": Table(
        "task3",
        "Task 3: several networks under one head",
        "t3-fast",
        "EfficientNet-Lite 0, 1 and 2; the fast recipe has the first.",
    ),
    "letter3": Table(
        "task3",
        "Task 3: the report's recipe to the letter",
        "t3-fast",
        "224 pixels and up to 80 epochs with early stop, as in the report, but with "
        "EfficientNet-Lite 0.",
    ),
}

ROWS = [
    Row("t1-report-none", "crops", "--recipe report --crop none", 2, 2),
    Row("t1-report", "crops", "--recipe report", 2, 3),
    Row("t1-report-outline", "crops", "--recipe report --crop outline", 2, 2),
    Row("t1-fast-none", "crops", "--crop none", 0.5, 2),
    Row("t1-fast-threshold", "crops", "--crop threshold", 0.5, 2),
    Row("t1-fast", "crops", "", 0.5, 3),
    *(
        Row(f"t1-no-{part}", "parts1", options, 0.5)
        for part, options in PARTS.items()
        if part != "ema"
    ),
    Row("t2-stages2", "stages", f"{REPORT2} --epochs 50 --stages 2", 6, 3),
    Row("t2-stages3", "stages", f"{REPORT2} --epochs 50 --stages 3", 6, 3),
    Row("t2-stages4", "stages", f"{REPORT2} --epochs 50 --stages 4", 6, 3),
    Row("t2-epochs70", "epochs", f"{REPORT2} --epochs 70", 8, 2),
    Row("t2-epochs120", "epochs", f"{REPORT2} --epochs 120", 14, 1),
    Row("t2-epochs150", "epochs", f"{REPORT2} --epochs 150", 18, 2),
    Row("t2-early-stop", "epochs", "--recipe report", 8, 3),
    Row("t2-crops", "skew", f"{REPORT2} --epochs 50 --crop outline", 6, 3),
    Row(
        "t2-crops-uncropped",
        "skew",
        f"{REPORT2} --epochs 50 --crop outline --predict-uncropped",
        6,
        3,
    ),
    Row("t2-fast", "parts2", "", 1.5, 3),
    *(Row(f"t2-no-{part}", "parts2", options, 1.5) for part, options in PARTS.items()),
    Row("t2-no-global-max", "parts2", "--head dense", 1.5, 2),
    Row("t3-baseline", "steps", f"{SHORT3} --epochs 0", 0.5, 3),
    Row("t3-no-augmentation", "steps", f"{SHORT3} --no-augment", 4, 3),
    Row("t3-full", "steps", SHORT3, 4, 3),
    Row("t3-weighted-ce", "imbalance", f"{SHORT3} --imbalance weighted-ce", 4, 3),
    Row("t3-focal", "imbalance", f"{SHORT3} --imbalance focal", 4, 3),
    Row("t3-unbalanced", "imbalance", f"{SHORT3} --imbalance none", 4, 2),
    Row("t3-mixup", "mix", f"{SHORT3} --mix mixup", 4, 2),
    Row("t3-cutmix", "mix", f"{SHORT3} --mix cutmix", 4, 2),
    Row("t3-head-frozen", "layers", f"{SHORT3} --head-frozen", 4, 3),
    Row("t3-head", "layers", f"{SHORT3} --train-from head", 3, 2),
    Row("t3-layer4", "layers", f"{SHORT3} --train-from layer4", 3, 2),
    Row("t3-layer2", "layers", f"{SHORT3} --train-from layer2", 5, 2),
    Row("t3-gradual", "layers", f"{SHORT3} --unfreeze gradual", 5, 2),
    Row("t3-lite1", "backbones", SHORT3.replace("lite0", "lite1"), 5),
    Row("t3-lite2", "backbones", SHORT3.replace("lite0", "lite2"), 7),
    Row("t3-by-image", "split", f"{SHORT3} --split image", 4, 3),
    Row("t3-tuned", "tuning3", TUNED3, 3, 2),
    Row("t3-tuned-solved", "tuning3", f"{TUNED3} --epochs 0", 1, 2),
    Row("t3-tuned-layer4", "tuning3", f"{TUNED3} --train-from layer4", 3, 2),
    Row("t3-tuned-one-rate", "tuning3", f"{TUNED3} --lr-ratio 1", 3),
    Row("t3-tuned-no-ema", "tuning3", f"{TUNED3} --ema 0", 3),
    Row("t3-fast", "parts3", LITE0, 3, 3),
    Row("t3-no-colours", "parts3", f"{LITE0} --colour-weight 0", 3, 2),
    Row("t3-no-maps", "parts3", f"{LITE0} --deep-weight 0", 3, 2),
    Row("t3-no-cutout", "parts3", f"{LITE0} --crop none", 3, 2),
    Row("t3-networks", "bodies3", LITES, 5, 3),
    Row("t3-report", "letter3", f"--recipe report {LITE0}", 30, 2),
]

BY_NAME = {row.name: row for row in ROWS}

CLAIMS = [
    Claim("Cropping makes the MLP: 0.22 to 0.896.", ("t1-report-none", "t1-report")),
    Claim("More stages are better: 0.52, 0.90, 0.99.", ("t2-stages2", "t2-stages3", "t2-stages4")),
    Claim(
        "50 epochs are enough: they are no worse than 120.",
        ("t2-epochs120", "t2-stages4"),
        no_worse=True,
    ),
    Claim("A CNN does worse on crops than on whole images.", ("t2-crops", "t2-stages4")),
    Claim(
        "A CNN trained on crops fails on whole images: 0.19.",
        ("t2-crops-uncropped", "t2-stages4"),
    ),
    Claim(
        "Training helps, and augmentation on top of it: 0.061, 0.226, 0.297.",
        ("t3-baseline", "t3-no-augmentation", "t3-full"),
    ),
    Claim(
        "On the hidden test the sampler beats focal loss, and that weighted cross-entropy.",
        ("t3-weighted-ce", "t3-focal", "t3-full"),
    ),
    Claim(
        "Locally weighted cross-entropy beats the sampler, and that focal loss.",
        ("t3-focal", "t3-full", "t3-weighted-ce"),
        "local",
    ),
    Claim("MixUp is worse than none.", ("t3-mixup", "t3-full")),
    Claim("CutMix is worse than none.", ("t3-cutmix", "t3-full")),
    Claim("Opening layer2 and layer1 later on makes it worse.", ("t3-gradual", "t3-full")),
    Claim("Split by image, the local score flatters: 0.49 to 0.297.", ("t3-by-image",), "gap"),
    Claim("A trained head is better than a frozen one.", ("t3-head-frozen", "t3-full"), ours=True),
]

CLASS_F1 = ("imbalance",)  # tables that show F1 by class
REPORT_CLASS_F1 = {name: dict(zip(CLASSES, f1, strict=True)) for name, f1 in BY_CLASS.items()}
