"""The figures of the report that the three competitions come from, once.

Macro-F1; `hidden` is Kaggle's private score, `local` the report's own test part, seconds are those
of a T4 GPU.
"""

__all__ = ["BY_CLASS", "CLASSES", "EXPERIMENTS", "PUBLISHED"]

CLASSES = ("Bug", "Fighting", "Fire", "Grass", "Ground", "Normal", "Poison", "Rock", "Water")

# its best models
PUBLISHED = {
    "task1": {"local": 0.9022, "hidden": 0.8963, "seconds": 3709.7, "epochs": 50},
    "task2": {"local": 0.9966, "hidden": 0.9975, "seconds": 2345.5, "epochs": 49},
    "task3": {"local": 0.4904, "hidden": 0.2965},
}

# its experiments, by the name of the ablations' row that repeats them
EXPERIMENTS = {
    "t1-report-none": {"hidden": 0.22},
    "t1-report": {"hidden": 0.896},
    "t2-stages2": {"hidden": 0.52},
    "t2-stages3": {"hidden": 0.90},
    "t2-stages4": {"hidden": 0.996},
    "t2-epochs70": {"hidden": 0.993},
    "t2-epochs120": {"hidden": 0.997},
    "t2-epochs150": {"hidden": 0.998},
    "t2-early-stop": {"hidden": 0.998},
    "t2-crops-uncropped": {"hidden": 0.19, "local": 0.95},
    "t3-baseline": {"hidden": 0.061},
    "t3-no-augmentation": {"hidden": 0.226},
    "t3-full": {"hidden": 0.297},
    "t3-weighted-ce": {"hidden": 0.250, "local": 0.527},
    "t3-focal": {"hidden": 0.271, "local": 0.429},
    "t3-mixup": {"local": 0.33},
    "t3-cutmix": {"local": 0.33},
    "t3-by-image": {"hidden": 0.297, "local": 0.490},
    "t3-report": {"hidden": 0.297, "local": 0.490},
}

# task 3, F1 of each of CLASSES on its own test part
BY_CLASS = {
    "focal": (0.0909, 0.2857, 0.6087, 0.7500, 0.5000, 0.4815, 0.3636, 0.2353, 0.5484),
    "weighted": (0.2727, 0.2222, 0.6667, 0.8387, 0.6667, 0.4667, 0.5000, 0.4545, 0.6531),
    "sampler": (0.4348, 0.1818, 0.6087, 0.7333, 0.4286, 0.5538, 0.4444, 0.3750, 0.6531),
}  # fmt: skip
