"""Run what is not in the results yet, one system at a time, and write the page after every run.

A run has a process and a folder of its own below runs/peers/, which goes when its scores are in
results/bench.csv. One that was interrupted starts over; those on other data, other machines or with
other threads stay in the file beside them.
"""

import json
import os
import platform
import shutil
import signal
import sys
import time
from functools import cache
from pathlib import Path

import pandas as pd
from filelock import FileLock

from experiments.ablations.results import data_name
from experiments.ablations.run import commit
from experiments.peers.environments import python_of, versions_of
from experiments.peers.measure import measured
from experiments.peers.page import bench_page
from experiments.peers.plan import PEERS, jobs
from pokefast.cores import cores
from pokefast.datasets.drawn import embedded
from pokefast.errors import UserError
from pokefast.files import DATA, ROOT, RUNS, atomic_path, cache_dir, read_csv
from pokefast.options import similar
from pokefast.runs import versions
from pokefast.scoring.score import score_submission

__all__ = ["COLUMNS", "command", "main", "read_bench", "run_all"]

COLUMNS = ["peer", "repeat", "epochs", "mark", "seconds", "hidden", "images", "fit_seconds"]
COLUMNS += ["memory", "others", "whole", "versions", "machine", "data", "commit"]
NUMBERS, WHOLE = COLUMNS[1:11], ("repeat", "epochs", "images", "memory")
SCRIPTS = Path(__file__).parent / "scripts"
TASK = "task2"
PATIENCE, SLACK = 4, 300  # a run is ended after so many times what is expected, and seconds


def read_bench(file):
    """The results so far as a data frame with `COLUMNS`; empty where there is no file."""
    there = Path(file).exists()
    return _with_numbers(read_csv(file, COLUMNS) if there else pd.DataFrame(columns=COLUMNS))


def command(job, folder, out):
    """The command line of a run on the competition in `folder`, which writes below `out`."""
    peer = PEERS[job.peer]
    python = python_of(peer.environment) if peer.environment else sys.executable
    line = [python, SCRIPTS / f"{peer.script}.py", Path(folder) / TASK, out]
    line += ["--seed", job.repeat]
    if job.epochs:
        return [*line, "--epochs", job.epochs]
    return [*line, "--marks", ",".join(f"{mark:g}" for mark in job.marks)]


def environment(peer, threads, out):
    """The variables of a run: threads, and a cache of its own, so that it begins as a first one."""
    known = {**os.environ, "PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": str(threads)}
    known |= {"XDG_CACHE_HOME": str(out / "cache"), "YOLO_CONFIG_DIR": str(out / "settings")}
    known |= {"MPLCONFIGDIR": str(cache_dir() / "peers" / "matplotlib"), "MPLBACKEND": "agg"}
    known |= {"YOLO_OFFLINE": "true", "WANDB_MODE": "disabled"}
    if PEERS[peer].environment is None:
        return known | {"PYTHONPATH": str(ROOT)}
    # what pokefast has set for itself is not the others'
    return {k: v for k, v in known.items() if k not in ("GOMP_SPINCOUNT", "KMP_BLOCKTIME")}


def run_job(job, folder, solution, threads, about):
    """The lines of results of a run; raises UserError where it fails."""
    out = RUNS / "peers" / f"{job.peer}-{job.repeat}-{job.epochs or 'marks'}"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    log, line = out / "log.txt", command(job, folder, out)
    env = environment(job.peer, threads, out)
    took = measured(line, log, env, ROOT, PATIENCE * job.expected + SLACK)
    notes = out / "log.jsonl"
    if took.code or not notes.exists():
        said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        raise UserError(f"see {log}: {said[-1] if said else 'no output'}")
    about = about | {"peer": job.peer, "repeat": job.repeat, "epochs": job.epochs}
    about |= {"memory": round(took.memory), "whole": round(took.seconds, 1)}
    about |= {"others": None if took.others is None else round(took.others, 3)}
    about |= {"versions": _versions(job.peer)}
    lines = []
    for note in map(json.loads, notes.read_text(encoding="utf-8").splitlines()):
        line = about | {"seconds": round(note["seconds"], 2), "images": note["images"]}
        line |= {"fit_seconds": note.get("fit_seconds") and round(note["fit_seconds"], 2)}
        line |= {"hidden": _hidden(out / note["file"], solution) if "file" in note else None}
        lines += [line | {"mark": mark} for mark in note["marks"] or [None]]
    shutil.rmtree(out)
    return lines


def _hidden(file, solution):
    """The hidden score of a submission's file."""
    value = score_submission(read_csv(file), solution)
    if value is None:
        raise UserError(f"{file}: its ids are not those of the solution")
    return round(value, 4)


def main(
    budgets: str = "15,60,240",  # seconds of training, with commas
    repeats: int = 1,  # of each, with the seeds 0, 1, ...
    only: str = ",".join(PEERS),  # those of the table that are wanted
    data: Path = None,  # folder of task2/ and solution/; the embedded data otherwise
    threads: int = None,  # of each; all cores otherwise
    minutes: float = None,  # no run is begun that would end later
    results: Path = ROOT / "results",  # folder of bench.csv and bench.md
    dry_run: bool = False,  # make the environments, and only say what would run
):
    """Train pokefast's task 2 and what users would pick instead for the same times, and compare.

    The same call goes on where one was cut short, and runs more repeats beside what is there.
    """
    peers, times = _chosen(only), _times(budgets)
    if repeats < 1:
        raise UserError(f"--repeats {repeats}: it must be at least 1")
    threads = threads or cores()
    if data is None:
        embedded(TASK)
    folder = Path(DATA if data is None else data).resolve()
    name, file = data_name(folder, TASK), Path(results) / "bench.csv"
    for peer in peers:
        _versions(peer)  # makes the environment
    about = {"data": name, "machine": f"{_machine()}, {threads} threads", "commit": commit()}
    if dry_run:
        todo = jobs(peers, times, repeats, _here(read_bench(file), about))
        print("\n".join(f"{j.peer} repeat {j.repeat}: {_what(j)}" for j in todo))
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a plain kill would leave the run
    try:
        todo, failed = run_all(peers, times, repeats, folder, threads, about, file, minutes)
    except KeyboardInterrupt:
        raise UserError("interrupted: what had finished is kept, the same call goes on") from None
    print(f"results: {file}, {file.with_suffix('.md')}")
    if todo:
        print(f"{len(todo)} runs were not begun; the same call goes on")
    if failed:
        raise UserError(f"failed: {', '.join(failed)}; the same call tries again")


def run_all(peers, budgets, repeats, folder, threads, about, file, minutes=None):
    """Run what the results in `file` lack; returns the runs that are left, and the peers of which
    one failed. `about` is what every line of results has of data, machine and commit.
    """
    solution = read_csv(folder / "solution" / f"{TASK}.csv")
    start, failed, finished = time.monotonic(), [], 0
    while True:
        done = _here(read_bench(file), about)
        todo = jobs([p for p in peers if p not in failed], budgets, repeats, done)
        spent = (time.monotonic() - start) / 60
        # epochs that are not known yet are so when the run before them has finished
        ready = [j for j in todo if j.epochs or j.marks]
        ready = [j for j in ready if minutes is None or spent + j.expected / 60 < minutes]
        if not ready:
            return todo, failed
        job, left = ready[0], sum(j.expected for j in todo) / 60
        print(
            f"[{finished} done, {len(todo)} to do, {spent:.0f} min, about {left:.0f} min left] "
            f"{job.peer}, repeat {job.repeat}: {_what(job)}",
            flush=True,
        )
        try:
            lines = run_job(job, folder, solution, threads, about)
        except UserError as e:
            failed.append(job.peer)
            print(f"  FAILED, the others go on: {e}", flush=True)
            continue
        finished += 1
        _add(file, lines, budgets)
        last = lines[-1]
        print(
            f"  hidden {last['hidden']}, {last['seconds']:.0f} s of training, "
            f"{last['images'] / last['seconds']:.0f} images/s, {last['memory']} MB, "
            f"others took {last['others']} cores",
            flush=True,
        )


def _chosen(only):
    names = [name.strip() for name in only.split(",")]
    for name in names:
        if name not in PEERS:
            hint = similar(name, PEERS) or f"; choose from {', '.join(PEERS)}"
            raise UserError(f"--only {name}: there is none of this name{hint}")
    return [name for name in PEERS if name in names]


def _times(budgets):
    try:
        found = sorted({float(word) for word in budgets.split(",")})
    except ValueError:
        raise UserError(f"--budgets {budgets}: give seconds with commas, as 15,60,240") from None
    if found[0] <= 0:
        raise UserError(f"--budgets {budgets}: seconds are more than 0")
    return found


def _what(job):
    if job.epochs:
        return f"{job.epochs} epochs"
    return f"{max(job.marks):g} s" if job.marks else "epochs by the run before it"


def _here(table, about):
    """The results on this data, machine and number of threads."""
    same = (table["data"] == about["data"]) & (table["machine"] == about["machine"])
    return table[same]


def _add(file, lines, budgets):
    """Put a run's lines into the results in place of older ones, and write the page."""
    file.parent.mkdir(parents=True, exist_ok=True)
    new = _with_numbers(pd.DataFrame(lines, columns=COLUMNS))
    with FileLock(file.parent / ".lock"):
        table = read_bench(file)
        same = table["peer"] == new["peer"][0]
        for name in ("repeat", "epochs"):  # of plain PyTorch there are none
            same &= table[name].fillna(0) == new[name].fillna(0)[0]
        old = same & table.index.isin(_here(table, lines[0]).index)
        table = pd.concat([t for t in (table[~old], new) if len(t)], ignore_index=True)
        with atomic_path(file) as temp:
            table.astype(dict.fromkeys(WHOLE, "Int64")).to_csv(temp, index=False)
        page = bench_page(_here(read_bench(file), lines[0]), budgets)
        with atomic_path(file.with_suffix(".md")) as temp:
            temp.write_text(page, encoding="utf-8")


def _with_numbers(table):
    return table.assign(**{name: pd.to_numeric(table[name]) for name in NUMBERS})


@cache
def _versions(peer):
    name = PEERS[peer].environment
    if name is None:
        found = versions()
        return ", ".join(f"{k} {found[k]}" for k in ("torch", "fastai") if k in found)
    return versions_of(name, python_of(name))


def _machine():
    """What the cores call themselves."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        return next(s.partition(":")[2].strip() for s in text.splitlines() if "model name" in s)
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
