"""What the report claims, and what the fast recipes are made of, as rows that anyone can run again.

A row is a call of a task's script: its options stand here as they would be typed. The report's
figures are Kaggle's private score where there is one. Minutes are about what a run takes on one
core of two that are busy; `tells` (1 to 3) weighs them where there is not time for everything.
"""

from typing import NamedTuple

from pokefast.datasets.compose import TYPES

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
    """One run. `report` and `report_local`: macro-F1 that the report has for it, or None."""

    name: str
    table: str
    options: str
    minutes: float
    tells: int = 1
    report: float | None = None
    report_local: float | None = None

    @property
    def task(self):
        """1, 2 or 3."""
        return TABLES[self.table].task


class Table(NamedTuple):
    """Rows that are read together, beside the row named `reference`, which may be another's."""

    task: int
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
SHORT3 = f"--recipe report {LITE0} --size 128 --epochs 12"
NETWORK3 = f"--classifier network {LITE0} --size 128 --epochs 6"

TABLES = {
    "crops": Table(1, "Task 1: crops", "t1-report", "The MLP with each crop, in both recipes."),
    "parts1": Table(
        1,
        "Task 1: parts of the fast recipe",
        "t1-fast",
        "The fast recipe without one part.",
    ),
    "stages": Table(2, "Task 2: stages", "t2-stages4", "The report's recipe for 50 epochs."),
    "epochs": Table(
        2, "Task 2: epochs", "t2-stages4", "The report's recipe, four stages; 50 epochs above."
    ),
    "skew": Table(
        2,
        "Task 2: crops",
        "t2-stages4",
        "The report's recipe for 50 epochs on crops; 50 epochs on whole pictures above.",
    ),
    "parts2": Table(
        2,
        "Task 2: parts of the fast recipe",
        "t2-fast",
        "The fast recipe without one part.",
    ),
    "steps": Table(
        3,
        "Task 3: from the baseline to the whole recipe",
        "t3-full",
        "The report's recipe with EfficientNet-Lite 0, shortened to 12 epochs of 128 pixels.",
    ),
    "imbalance": Table(
        3, "Task 3: class imbalance", "t3-full", "The same; the sampler is the row t3-full."
    ),
    "mix": Table(3, "Task 3: MixUp and CutMix", "t3-full", "The same with blended pictures."),
    "layers": Table(
        3, "Task 3: which layers train", "t3-full", "The same; t3-full trains from layer3 on."
    ),
    "backbones": Table(
        3, "Task 3: backbones", "t3-full", "The same with the other backbones to be had offline."
    ),
    "split": Table(
        3, "Task 3: split", "t3-full", "The same, split by image; t3-full splits by creature."
    ),
    "network3": Table(
        3,
        "Task 3: parts of the network recipe",
        "t3-network",
        "The fast recipe's network, shortened to 6 epochs of 128 pixels, without one of its parts.",
    ),
    "palette3": Table(
        3, "Task 3: parts of the fast recipe", "t3-fast", "The palette without one of its parts."
    ),
    "letter3": Table(
        3,
        "Task 3: the report's recipe to the letter",
        "t3-fast",
        "224 pixels and up to 80 epochs with early stop, as in the report, but with "
        "EfficientNet-Lite 0.",
    ),
}

ROWS = [
    Row("t1-report-none", "crops", "--recipe report --crop none", 2, 2, 0.22),
    Row("t1-report", "crops", "--recipe report", 2, 3, 0.896),
    Row("t1-report-outline", "crops", "--recipe report --crop outline", 2, 2),
    Row("t1-fast-none", "crops", "--crop none", 0.5, 2),
    Row("t1-fast-threshold", "crops", "--crop threshold", 0.5, 2),
    Row("t1-fast", "crops", "", 0.5, 3),
    *(
        Row(f"t1-no-{part}", "parts1", f"--without {part}", 0.5)
        for part in ("flip", "shift", "smoothing", "tta", "decay", "schedule")
    ),
    Row("t2-stages2", "stages", f"{REPORT2} --epochs 50 --stages 2", 6, 3, 0.52),
    Row("t2-stages3", "stages", f"{REPORT2} --epochs 50 --stages 3", 6, 3, 0.90),
    Row("t2-stages4", "stages", f"{REPORT2} --epochs 50 --stages 4", 6, 3, 0.996),
    Row("t2-epochs70", "epochs", f"{REPORT2} --epochs 70", 8, 2, 0.993),
    Row("t2-epochs120", "epochs", f"{REPORT2} --epochs 120", 14, 1, 0.997),
    Row("t2-epochs150", "epochs", f"{REPORT2} --epochs 150", 18, 2, 0.998),
    Row("t2-early-stop", "epochs", "--recipe report", 8, 3, 0.998),
    Row("t2-crops", "skew", f"{REPORT2} --epochs 50 --crop outline", 6, 3),
    Row(
        "t2-crops-uncropped",
        "skew",
        f"{REPORT2} --epochs 50 --crop outline --predict-uncropped",
        6,
        3,
        0.19,
        0.95,
    ),
    Row("t2-fast", "parts2", "", 1.5, 3),
    *(
        Row(f"t2-no-{part}", "parts2", f"--without {part}", 1.5)
        for part in ("flip", "shift", "smoothing", "tta", "decay", "schedule", "average")
    ),
    Row("t2-no-global-max", "parts2", "--head report", 1.5, 2),
    Row("t3-baseline", "steps", f"{SHORT3} --epochs 0", 0.5, 3, 0.061),
    Row("t3-no-augmentation", "steps", f"{SHORT3} --augment none", 4, 3, 0.226),
    Row("t3-full", "steps", SHORT3, 4, 3, 0.297),
    Row("t3-weighted-ce", "imbalance", f"{SHORT3} --imbalance weighted-ce", 4, 3, 0.250, 0.527),
    Row("t3-focal", "imbalance", f"{SHORT3} --imbalance focal", 4, 3, 0.271, 0.429),
    Row("t3-unbalanced", "imbalance", f"{SHORT3} --imbalance none", 4, 2),
    Row("t3-mixup", "mix", f"{SHORT3} --mix mixup", 4, 2, None, 0.33),
    Row("t3-cutmix", "mix", f"{SHORT3} --mix cutmix", 4, 2, None, 0.33),
    Row("t3-head-frozen", "layers", f"{SHORT3} --head-frozen", 4, 3),
    Row("t3-head", "layers", f"{SHORT3} --train-from head", 3, 2),
    Row("t3-layer4", "layers", f"{SHORT3} --train-from layer4", 3, 2),
    Row("t3-layer2", "layers", f"{SHORT3} --train-from layer2", 5, 2),
    Row("t3-gradual", "layers", f"{SHORT3} --unfreeze gradual", 5, 2),
    Row("t3-lite1", "backbones", SHORT3.replace("lite0", "lite1"), 5),
    Row("t3-lite2", "backbones", SHORT3.replace("lite0", "lite2"), 7),
    Row("t3-by-image", "split", f"{SHORT3} --split image", 4, 3, 0.297, 0.490),
    Row("t3-network", "network3", NETWORK3, 3, 2),
    Row("t3-network-whole", "network3", f"{NETWORK3} --crop none", 3, 3),
    *(
        Row(f"t3-network-no-{part}", "network3", f"{NETWORK3} --without {part}", 3)
        for part in ("smoothing", "average", "tta", "rates", "schedule")
    ),
    Row("t3-fast", "palette3", LITE0, 3, 3),
    Row("t3-no-colours", "palette3", f"{LITE0} --without colours", 3, 2),
    Row("t3-no-maps", "palette3", f"{LITE0} --without maps", 3, 2),
    Row("t3-no-cutout", "palette3", f"{LITE0} --without cutout", 3, 2),
    Row("t3-report", "letter3", f"--recipe report {LITE0}", 30, 2, 0.297, 0.490),
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
    Claim("A CNN does worse on crops than on whole pictures.", ("t2-crops", "t2-stages4")),
    Claim(
        "A CNN trained on crops fails on whole pictures: 0.19.",
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
# the report's own, of its local test part
REPORT_CLASS_F1 = {
    name: dict(zip(TYPES, values, strict=True))
    for name, values in {
        "focal": (0.0909, 0.2857, 0.6087, 0.7500, 0.5000, 0.4815, 0.3636, 0.2353, 0.5484),
        "weighted cross-entropy": (
            (0.2727, 0.2222, 0.6667, 0.8387, 0.6667, 0.4667, 0.5000, 0.4545, 0.6531)
        ),
        "sampler": (0.4348, 0.1818, 0.6087, 0.7333, 0.4286, 0.5538, 0.4444, 0.3750, 0.6531),
    }.items()
}
