"""The README's pictures, from short real runs on the embedded data: `make pictures`."""

import shutil
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

from pokefast import compare
from pokefast.files import ROOT
from pokefast.options import run_cli
from pokefast.task import run_task
from tasks import load_task

__all__ = ["main"]

# picture in docs/pictures -> task and picture of its run
PICTURES = {
    "crops.png": ("task1", "crops.png"),
    "confusion.png": ("task1", "confusion.png"),
    "gradcam.png": ("task2", "gradcam.png"),
}


def main(
    out: Path = ROOT / "docs" / "pictures",  # folder for them
    epochs: int = 3,  # of each run: few, so that some predictions are wrong
):
    """Train tasks 1 and 2 on the embedded data and copy the pictures of their runs."""
    out.mkdir(parents=True, exist_ok=True)
    folders = {name: short_run(name, epochs) for name in ("task1", "task2")}
    for name, (task, source) in PICTURES.items():
        shutil.copyfile(folders[task] / source, out / name)
        print(f"{out / name}")
    screenshot(folders["task2"] / "report.html", out / "report.png")
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "compare.html"
        compare.main([short_run("task1", epochs, crop="threshold"), folders["task1"]], out=page)
        screenshot(page, out / "together.png", size=(1000, 1000))


def short_run(name, epochs, **options):
    """The folder of a run of a task's first recipe, with other `options`."""
    task = load_task(name)
    return run_task(task, replace(task.recipe(), epochs=epochs, **options)).folder


def screenshot(page, file, size=(1000, 1250)):
    """A picture of the upper part of a page, by headless Chromium; says so where there is none."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if not chromium:
        print(f"{file}: left as it is, no chromium is installed")
        return
    with tempfile.TemporaryDirectory() as profile:
        flags = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars")
        flags += ("--disable-background-networking", f"--user-data-dir={profile}")
        flags += (f"--window-size={size[0]},{size[1]}", f"--screenshot={file}")
        subprocess.run([chromium, *flags, page.as_uri()], check=True, capture_output=True)
    print(f"{file}")


if __name__ == "__main__":
    raise SystemExit(run_cli(main))
