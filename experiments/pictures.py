"""The README's pictures, from short real runs on the embedded data: `make pictures`."""

import shutil
from pathlib import Path

from pokefast.files import ROOT
from pokefast.options import run_cli
from tasks import task1_mlp, task2_cnn

__all__ = ["main"]

# picture in docs/pictures -> task and picture of its run
PICTURES = {
    "crops.png": (task1_mlp, "crops.png"),
    "confusion.png": (task1_mlp, "confusion.png"),
    "batch.png": (task2_cnn, "batch.png"),
    "gradcam.png": (task2_cnn, "gradcam.png"),
}


def main(
    out: Path = ROOT / "docs" / "pictures",  # folder for them
    epochs: int = 3,  # of each run: few, so that some predictions are wrong
):
    """Train tasks 1 and 2 on the embedded data and copy the pictures of their runs."""
    out.mkdir(parents=True, exist_ok=True)
    folders = {}
    for task in (task1_mlp, task2_cnn):
        before = set((ROOT / "runs").glob(f"{task.TASK}-*"))
        task.main(epochs=epochs)
        (folders[task],) = set((ROOT / "runs").glob(f"{task.TASK}-*")) - before
    for name, (task, source) in PICTURES.items():
        shutil.copyfile(folders[task] / source, out / name)
        print(f"{out / name}")


if __name__ == "__main__":
    raise SystemExit(run_cli(main))
