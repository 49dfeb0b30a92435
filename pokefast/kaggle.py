"""Kaggle, through its own package (an extra): `python -m pokefast kaggle-data --competition slug`,
`kaggle-submit --task task1 --message "..."` and `kaggle-bundle --run runs/...`.

Never run against the service: the tests have a stand-in for it.
"""

import io
import json
import os
import re
import subprocess
import sys
import time
from contextlib import redirect_stdout
from dataclasses import replace
from importlib import metadata, resources
from pathlib import Path
from zipfile import is_zipfile

import numpy as np

from pokefast.data.archive import unpack
from pokefast.data.competition import competition_of_run, read_competition
from pokefast.data.layout import Given, find_layout
from pokefast.errors import UserError
from pokefast.files import HERE, SUBMISSIONS, atomic_folder, read_own_csv, write_json
from pokefast.names import shown
from pokefast.prediction.model_file import DESCRIPTION, WEIGHTS, model_folders
from pokefast.prediction.predictor import load_predictor
from pokefast.report.page import write_report
from pokefast.report.plots import RunFiles
from pokefast.runs import probability_columns, read_run
from pokefast.scoring.submission import make_submission, write_submission

__all__ = ["bundle", "fetch", "predict_competition", "send"]

FROM = ".kaggle.json"  # in a folder of data: of which competition it is
NOTED = "kaggle.json"  # in a run's folder: what came back for its submission
POLL = 15  # seconds between two looks at a submission
# What a notebook may lack or have too old a version of, all of it Python alone; it has torch and
# torchvision, timm, pandas, scikit-learn, matplotlib, safetensors, Jinja2, joblib, rich.
CARRIED = ("fastai", "fastcore", "fasttransform", "fastdownload", "plum-dispatch", "beartype")


def fetch(
    competition: str = None,  # the last part of its address: titanic
    out: Path = Path("data"),  # where its folder goes
):
    """Download a competition's data to a folder of its own, and say what is in it."""
    name = _slug(competition)
    folder, archive = Path(out) / name, Path(out) / f"{name}.zip"
    if not folder.exists():
        if not archive.exists():
            _download(name, archive)
        unpack(archive)
        archive.unlink()
    elif not folder.is_dir() or not any(folder.iterdir()):
        raise UserError(f"{folder}: it is there and holds nothing; move it away")
    write_json(folder / FROM, {"competition": name})
    print(f"{folder}: the data of {name}", flush=True)
    print(find_layout(folder))


def send(
    task: str = None,  # whose newest finished run is submitted: task1, 1, or a name of your own
    message: str = None,  # what the submission is called there
    run: Path = None,  # a run's folder instead of a task
    competition: str = None,  # where the run's data was not fetched by kaggle-data
    wait: int = 600,  # seconds at most for the public score
):
    """Submit a run's predictions, once they are known to be right, and note the score that comes
    back beside the local one.
    """
    if (task is None) == (run is None) or not message:
        raise UserError('give a task or a run, and what to call it: --task task1 --message "..."')
    run = Path(run) if run else _newest(f"task{task}" if task.isdigit() else task)
    name = _slug(competition or _competition_of(run))
    file = _checked(run)
    api = _api()
    before = {item.ref for item in _asked(name, api.competition_submissions, name) or []}
    answer = _asked(name, api.competition_submit, str(file), message, name, quiet=True)
    if answer.message == api.COMPETITION_SUBMIT_UPLOAD_FAILED_MESSAGE:
        raise UserError(f"{name}: {file} could not be sent: {answer.message}")
    print(f"{file}: sent to {name}: {answer.message}", flush=True)
    found = _scored(api, name, before, message, wait)
    if found is None:
        raise UserError(
            f"{name}: no score within {wait} s; the submission is there, or was refused: look at "
            f"its page ({answer.message})"
        )
    if found.error_description:
        raise UserError(f"{name}: the submission is refused: {found.error_description}")
    noted = {"competition": name, "message": message, "public_score": found.public_score}
    write_json(run / NOTED, noted)
    write_report(run)
    m = RunFiles(run).metrics
    local = m[m.get("metric", "f1_macro")]
    print(f"{run.name}: public score {found.public_score}, local {local:.4f}")


def bundle(
    run: Path = None,  # a finished run's folder
    out: Path = None,  # the folder; kaggle-RUN by default
):
    """Write a folder that predicts in a notebook without network: wheels, weights, one script."""
    if run is None:
        raise UserError("give a finished run's folder: --run runs/...")
    run, out = Path(run), Path(out or f"kaggle-{Path(run).resolve().name}")
    load_predictor(run, "cpu")  # a run without a model, or with a damaged one, is refused here
    if out.exists():
        raise UserError(f"{out}: it is there already; move it away, or give --out another name")
    script = resources.files("pokefast").joinpath("templates/bundle.txt").read_text("utf-8")
    with atomic_folder(out) as part:
        (part / "wheels").mkdir(parents=True)
        _wheels(part / "wheels")
        for folder in model_folders(run):
            to = part / "run" / folder.resolve().relative_to(run.resolve())
            to.mkdir(parents=True)
            for name in (DESCRIPTION, WEIGHTS):
                (to / name).write_bytes((folder / name).read_bytes())
        options = read_run(run).get("options", {})
        write_json(part / "run" / "layout.json", vars(Given.among(options)))
        (part / "predict.py").write_text(script, encoding="utf-8")
    size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file()) / 1e6
    print(f"{out}: {size:.1f} MB; in a notebook: python {out.name}/predict.py FOLDER_OF_THE_DATA")


def predict_competition(run, data, out):
    """Write the submission `out` for the competition in the folder `data` by the model in a
    bundle's folder `run`. Test images that cannot be read are filled in, and that is said.

    Near duplicates are not averaged: each image is predicted by itself.
    """
    given = json.loads((Path(run) / "layout.json").read_text(encoding="utf-8"))
    competition = read_competition(find_layout(data, Given(**given)), skip_bad=True)
    predictor = load_predictor(run)
    if sorted(predictor.vocab) != competition.vocab:
        raise UserError(f"{data}: its classes are not those of the model")
    order = [predictor.vocab.index(name) for name in competition.vocab]
    found = predictor.probabilities(list(competition.test["path"])).numpy()[:, order]
    labels = np.asarray(competition.vocab, object)[found.argmax(1)]
    fill = competition.train["label"].mode()[0]
    table = make_submission(competition, list(competition.test["Id"]), list(labels), fill, found)
    write_submission(out, table)
    print(f"{out}: {len(table)} rows")


def _slug(competition):
    """The name of a competition that may be given by its address."""
    name = re.sub(r".*/(?:competitions|c)/([^/?]+).*", r"\1", competition or "")
    if not re.fullmatch("[a-z0-9][a-z0-9-]*", name):
        raise UserError(
            f"--competition {competition}: give the last part of its address, such as titanic"
        )
    return name


def _api():
    """Kaggle's API, logged in; UserError where it is not installed or there are no credentials."""
    said = io.StringIO()
    try:
        with redirect_stdout(said):  # its help on credentials is a page long
            from kaggle.api.kaggle_api_extended import KaggleApi

            api = KaggleApi()
            api.authenticate()
    except ImportError:
        raise UserError("Kaggle's package is not installed: pip install kaggle") from None
    except (SystemExit, OSError, ValueError) as e:
        reason = f" ({e})" if isinstance(e, OSError) and str(e) else ""
        raise UserError(
            "Kaggle does not know you: make a token on your account's page there, and put it where "
            f"it says (KAGGLE_API_TOKEN, or ~/.kaggle/){reason}"
        ) from None
    return api


def _asked(name, call, *args, **kwargs):
    """What a call of the API returns; UserError for what the service or the network refuses."""
    from requests import RequestException  # Kaggle's package needs it

    try:
        with redirect_stdout(io.StringIO()):
            return call(*args, **kwargs)
    except (RequestException, OSError, ValueError, SystemExit) as e:
        status = getattr(getattr(e, "response", None), "status_code", None)
        hint = {
            401: "your token is not accepted: make a new one on your account's page",
            403: f"join it first and accept its rules: kaggle.com/competitions/{name}/rules",
            404: "there is no such competition, or it is not open to you",
            429: "too many calls or submissions for now: try later",
        }.get(status, " ".join(str(e).split()) or type(e).__name__)
        raise UserError(f"{name}: {hint}") from None


def _download(name, archive):
    """Download a competition's zip, whole or not at all."""
    api = _api()
    print(f"{archive}: being downloaded", flush=True)
    with atomic_folder(archive) as part:  # a file here, alone in a folder for scratch
        scratch = part.parent
        _asked(name, api.competition_download_files, name, path=str(scratch), quiet=True)
        found = [file for file in scratch.iterdir() if file.suffix != ".kaggle-partial"]
        if [file.name for file in found] != [archive.name]:
            there = ", ".join(shown(file.name) for file in found) or "nothing"
            raise UserError(f"{name}: expected {archive.name} from Kaggle, and got {there}")
        if not is_zipfile(part):
            raise UserError(f"{name}: what Kaggle sent is no whole zip; try again")


def _newest(task):
    """The folder of the newest finished run of a task, below the folder that one stands in."""
    found = [
        f.parent for f in Path("runs").glob("*/metrics.json") if f.with_name("run.json").is_file()
    ]
    found = [folder for folder in found if read_run(folder).get("task") == task]
    if not found:
        raise UserError(f"--task {task}: there is no finished run of it in runs/")
    return max(found, key=lambda folder: (folder / "metrics.json").stat().st_mtime)


def _competition_of(run):
    """Of which competition a run's data is, as `fetch` noted it."""
    file = Path(read_run(run)["data"]) / FROM
    if not file.is_file():
        raise UserError(
            f"{run}: its data was not fetched by kaggle-data; --competition says where it goes"
        )
    return json.loads(file.read_text(encoding="utf-8"))["competition"]


def _checked(run):
    """The submission's file of a run: what the run predicted, in the form that is asked for.

    Raises UserError where its data is gone or has changed, and where the file is another run's.
    """
    about, table = read_run(run), run / "probabilities.csv"
    file = run.resolve().parent.parent / SUBMISSIONS.name / f"{about['task']}_submit.csv"
    competition = competition_of_run(run)
    if competition is None:
        raise UserError(f"{run}: its data is gone; the submission is checked against it")
    for needed in (table, file):
        if not needed.is_file():
            raise UserError(f"{needed}: there is no such file; let the run finish")
    table = read_own_csv(table)
    table = table[table["part"] == "test"]
    known = competition.test["Id"].isin(table["Id"])
    competition = replace(  # images that were not read were left out by the run
        competition, test=competition.test[known], bad_test=list(competition.test["Id"][~known])
    )
    expected = make_submission(
        competition,
        list(table["Id"]),
        list(table["predicted"]),
        competition.train["label"].mode()[0],
        table[probability_columns(competition.vocab)].to_numpy(float),
    )
    text = expected.to_csv(index=False)
    if file.read_bytes().decode().replace("\r\n", "\n") != text:
        raise UserError(
            f"{file}: not what {run} predicted; a later run wrote it: --run names that one"
        )
    return file


def _scored(api, name, before, message, wait):
    """The submission that was not among the refs `before`, when it is scored or refused; None when
    that takes more than `wait` seconds.
    """
    end = time.monotonic() + wait
    while True:
        items = _asked(name, api.competition_submissions, name) or []
        for item in items:
            ours = item.ref not in before and item.description == message
            if ours and (item.public_score or item.error_description):
                return item
        if time.monotonic() + POLL > end:
            return None
        time.sleep(POLL)


def _wheels(folder):
    """Put the wheels of this package and of `CARRIED` into a folder."""
    if not (HERE / "pyproject.toml").is_file():
        raise UserError("kaggle-bundle: it makes a wheel of the source; run it in a checkout of it")
    names = [f"{name}=={metadata.version(name)}" for name in CARRIED]
    names.append("fastprogress<1.1")  # 1.1 imports a web framework
    # for whatever Python a notebook has
    plain = ["--only-binary", ":all:", "--implementation", "py", "--abi", "none"]
    plain += ["--platform", "any"]
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    for command in (
        [*pip, "wheel", "--no-deps", "--wheel-dir", str(folder), str(HERE)],
        [*pip, "download", "--no-deps", "--dest", str(folder), *plain, *names],
    ):
        done = subprocess.run(command, capture_output=True, text=True, env=os.environ)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise UserError(f"kaggle-bundle: pip could not make the wheels ({reason})")
