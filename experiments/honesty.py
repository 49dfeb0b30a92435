"""Does task 3's local score predict the hidden one? `python -m experiments.honesty DATA...`

For each folder of a rebuilt competition (task3/, solution/): frozen EfficientNet-Lite 0 features of
the whole pictures, a linear head, folds. The estimate is macro-F1 out of fold, with the pictures
split by the creatures that `pokefast.crops` finds and, for comparison, by image; the hidden score
is that of the folds' averaged probabilities on the hidden test. Nothing is chosen by either. A
rebuild takes about a minute on one CPU core, most of it for features, which are kept.
"""

from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import timm
import torch
from fastai.vision.augment import Resize, ResizeMethod
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from experiments.rebuild import read_solution
from pokefast.cache import kept_arrays
from pokefast.crops.groups import add_groups
from pokefast.data.competition import read_competition
from pokefast.data.splits import FoldSplitter
from pokefast.errors import UserError
from pokefast.images import PILImageRGB
from pokefast.models.backbones import arch_stats, read_weights
from pokefast.options import run_cli
from pokefast.scoring.metrics import macro_f1
from pokefast.scoring.score import score_submission

__all__ = ["features", "folded", "honesty", "main"]

ARCH = "tf_efficientnet_lite0"
SIZE = 160  # pixels, side of the square that the network sees
BATCH = 32
C = 0.01  # inverse strength of the head's weight penalty, on standardised features


def features(
    paths,  # of n pictures
) -> np.ndarray:  # float32 (n, 1280): average-pooled maps of the frozen network
    "ImageNet features of whole pictures, squeezed to a square; computed once."
    found = kept_arrays("features", f"{ARCH} {SIZE}", paths, lambda p: {"features": _extract(p)})
    return found["features"]


@torch.inference_mode()
def _extract(paths):
    net = timm.create_model(ARCH, num_classes=0).eval()
    own = net.state_dict()
    net.load_state_dict({k: v for k, v in read_weights(ARCH, "pretrained").items() if k in own})
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in arch_stats(ARCH))
    resize, rows = Resize(SIZE, ResizeMethod.Squish), []
    for i in range(0, len(paths), BATCH):
        pictures = [np.asarray(resize(PILImageRGB.create(p))) for p in paths[i : i + BATCH]]
        x = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2) / 255
        rows.append(net((x - mean) / std))
    return torch.cat(rows).numpy()


def folded(train, x, x_hidden, vocab, folds, seed):
    """A linear head for each fold: (predictions out of fold [n], averaged probabilities on the
    hidden test [m, classes]).

    `train` has columns label and group, `x` are its features.
    """
    predicted, hidden = np.empty(len(train), object), np.zeros((len(x_hidden), len(vocab)))
    labels = train["label"].to_numpy()
    for fold in range(folds):
        rows, _, held_out = FoldSplitter(fold, folds, seed)(train)
        head = make_pipeline(
            StandardScaler(), LogisticRegression(C=C, class_weight="balanced", max_iter=1000)
        ).fit(x[rows], labels[rows])
        predicted[held_out] = head.predict(x[held_out])
        hidden += head.predict_proba(x_hidden) / folds
    return predicted, hidden


def honesty(folder, folds=10, seed=0):
    """Macro-F1 of one rebuild as a dict: by_creature, hidden and, by image, by_image and
    hidden_image.

    Raises UserError for a folder without task3/ or solution/.
    """
    folder = Path(folder)
    solution = read_solution(folder, "split")
    competition = read_competition(folder / "task3")
    vocab, test = competition.vocab, competition.test
    x, x_hidden = features(competition.train["path"]), features(test["path"])
    found = {}
    for by_image, local, hidden in (
        (False, "by_creature", "hidden"),
        (True, "by_image", "hidden_image"),
    ):
        groups = range(len(competition.train)) if by_image else None
        train = add_groups(competition.train, groups)
        predicted, probabilities = folded(train, x, x_hidden, vocab, folds, seed)
        labels = [vocab[i] for i in probabilities.argmax(1)]
        submission = pd.DataFrame({"Id": test["Id"], "Category": labels})
        found[local] = macro_f1(list(train["label"]), list(predicted), vocab)
        found[hidden] = score_submission(submission, solution)
        if found[hidden] is None:
            raise UserError(f"{folder}: the ids of solution/ are not those of the test pictures")
    return found


def main(
    data: Annotated[Path, {"nargs": "+"}],  # folders of rebuilds, with task3/ and solution/
    folds: int = 10,  # heads that take turns
    seed: int = 0,  # of the folds
):
    """Print estimate, hidden score and their difference for each folder; mean and spread below.

    Returns these as a data frame.
    """
    if folds < 2:
        raise UserError(f"--folds {folds}: at least 2 take turns")
    rows = []
    for folder in data:
        row = honesty(folder, folds, seed)
        rows.append(
            {
                "rebuild": Path(folder).name,
                "by creature": row["by_creature"],
                "hidden": row["hidden"],
                "difference": row["by_creature"] - row["hidden"],
                "by image": row["by_image"],
                "difference, by image": row["by_image"] - row["hidden_image"],
            }
        )
        print(f"{rows[-1]['rebuild']}: {rows[-1]['difference']:+.3f}", flush=True)
    table = pd.DataFrame(rows).set_index("rebuild")
    print(table.to_string(float_format="{:.3f}".format))
    for name in ("difference", "difference, by image"):
        values = table[name]
        spread = f", standard deviation {values.std():.3f}" if len(values) > 1 else ""
        print(f"{name}: mean {values.mean():+.3f}{spread}, {len(values)} rebuilds")
    return table


if __name__ == "__main__":
    raise SystemExit(run_cli(main))
