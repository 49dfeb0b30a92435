"""Run the rows that are not in the results yet, side by side where asked, and write the tables.

A run is `python -m tasks... OPTIONS --seed N` with a folder of its own below runs/ablations/. Its
scores go to results/ablations.csv when it has finished; a row and seed that stands there for the
same options and data is not run again, one that was interrupted starts over.
"""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from experiments.ablations.pages import write_tables
from experiments.ablations.results import add_result, data_name, read_results, record
from experiments.ablations.rows import ROWS
from pokefast.cores import cores
from pokefast.datasets.drawn import embedded
from pokefast.errors import UserError
from pokefast.files import DATA, ROOT, RUNS, read_csv
from pokefast.options import choice, similar
from tasks import TASKS

__all__ = ["choose_rows", "commit", "main", "plan", "run_all"]

POLL_SECONDS = 0.2


def choose_rows(task=None, names=None, rows=ROWS):
    """The rows of `task` (all where None) whose name or table is among `names`, with commas.

    Raises UserError for a name that is neither.
    """
    found = [r for r in rows if task is None or r.task == task]
    if not names:
        return found
    known = {r.name for r in found} | {r.table for r in found}
    asked = [n.strip() for n in names.split(",")]
    for name in asked:
        if name not in known:
            hint = similar(name, known) or f": choose from {', '.join(sorted(known))}"
            raise UserError(f"--rows {name}: there is no such row or table{hint}")
    return [r for r in found if r.name in asked or r.table in asked]


def plan(rows, seeds, done, data, budget=None):
    """(runs to do, runs left out): pairs (row, seed), without those in the results `done`.

    `data` maps a task to its name. All rows come once before any comes again. With a `budget` in
    minutes of one process, the runs that tell most a minute are taken until it is spent.
    """
    keys = zip(done["row"], done["seed"], done["data"], done["options"], strict=True)
    finished = {(row, seed, name, options) for row, seed, name, options in keys}
    wanted = [(r, s) for s in range(seeds) for r in rows]
    open_runs = [(r, s) for r, s in wanted if (r.name, s, data[r.task], r.options) not in finished]
    if budget is None:
        return open_runs, []
    # sorted is stable: rows that tell alike keep the table's order; a second seed tells half
    ranked = sorted(open_runs, key=lambda run: -run[0].tells / run[0].minutes / (1 + run[1]))
    taken, left = [], budget
    for run in ranked:
        if run[0].minutes <= left:
            taken.append(run)
            left -= run[0].minutes
    return taken, [run for run in open_runs if run not in taken]


def command(row, seed, folder, out):
    """The command line of a run on the competition in `folder`, which writes below `out`."""
    options = [*shlex.split(row.options), "--seed", str(seed), "--data", str(folder)]
    return [sys.executable, "-m", f"tasks.{TASKS[row.task]}", *options, "--out", str(out)]


class Progress:
    """How far the runs are, and how long the others will take by what the finished ones took."""

    def __init__(self, runs, jobs):
        self.runs, self.jobs, self.start = runs, jobs, time.monotonic()
        self.expected, self.taken, self.finished = 0.0, 0.0, 0

    def add(self, row, seconds):
        """A run of `row` has ended."""
        self.finished += 1
        self.expected += row.minutes * 60
        self.taken += seconds

    def text(self):
        """Counts and minutes for a line of output."""
        total = sum(row.minutes * 60 for row, _ in self.runs)
        pace = self.taken / self.expected if self.expected else 1.0
        left = (total - self.expected) * pace / self.jobs
        spent = time.monotonic() - self.start
        return f"{self.finished}/{len(self.runs)}, {spent / 60:.0f} min, {left / 60:.0f} min left"


def run_all(runs, jobs, threads, results, folder, work):
    """Run `runs`, `jobs` at a time; returns the names of those that failed."""
    names = {t: data_name(folder, t) for t in {r.task for r, _ in runs}}
    solutions = {t: _solution(folder, t) for t in names}
    version = commit()
    waiting, running, failed = list(runs), [], []
    progress = Progress(runs, jobs)
    print(f"{len(runs)} runs on {folder}, {jobs} at a time: about {progress.text()}", flush=True)
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                running.append(_start(*waiting.pop(0), threads, folder, work))
            time.sleep(POLL_SECONDS)
            for one in [r for r in running if r["process"].poll() is not None]:
                running.remove(one)
                row, seed, out = one["row"], one["seed"], one["out"]
                seconds = time.monotonic() - one["start"]
                progress.add(row, seconds)
                if one["process"].returncode:
                    failed.append(f"{row.name} seed {seed}")
                    said = f"FAILED, see {out / 'log.txt'}: {_last_line(out / 'log.txt')}"
                else:
                    line = record(row, seed, out, solutions[row.task], names[row.task], version)
                    add_result(results, line)
                    said = f"local {line['local']}, hidden {line['hidden']}, {seconds:.0f} s"
                print(f"{row.name} seed {seed}: {said}  [{progress.text()}]", flush=True)
    finally:
        for one in running:  # interrupted: these start over the next time
            one["process"].terminate()
            one["process"].wait()
    return failed


def main(
    task: choice(*TASKS) = None,  # all otherwise
    rows: str = None,  # names of rows or tables, with commas; all otherwise
    seeds: int = 1,  # runs of each row, with the seeds 0, 1, ...
    data: Path = None,  # folder of task1/, task2/, task3/ and solution/; see below
    budget: float = None,  # minutes: the rows that tell most a minute
    jobs: int = 1,  # runs side by side, which share the cores
    results: Path = ROOT / "results",  # folder of ablations.csv, ablations.md and the figures
    dry_run: bool = False,  # only say what would run
):
    """Run the ablations that are not in the results yet, and write their tables.

    The data are data/real where `make real-data` has made it, otherwise the embedded ones.
    """
    for name, value in (("jobs", jobs), ("seeds", seeds)):
        if value < 1:
            raise UserError(f"--{name} {value}: it must be at least 1")
    chosen = choose_rows(task, rows)
    tasks = {r.task for r in chosen}
    folder = _data_folder(data, sorted(tasks))
    file = Path(results) / "ablations.csv"
    names = {t: data_name(folder, t) for t in tasks}
    budget = budget and budget * jobs
    runs, left_out = plan(chosen, seeds, read_results(file), names, budget)
    there = len(chosen) * seeds - len(runs) - len(left_out)
    if there:
        print(f"{there} of {len(chosen) * seeds} runs are in {file} already")
    if left_out:
        print("left out: " + ", ".join(f"{r.name} seed {s}" for r, s in left_out))
    if dry_run:
        print("\n".join(f"{r.minutes:5.1f} min  {r.name} seed {s}: {r.options}" for r, s in runs))
        return
    threads = max(1, cores() // jobs)
    # a plain kill would leave the runs behind, which write on where the next call starts over
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        failed = run_all(runs, jobs, threads, file, folder, RUNS / "ablations") if runs else []
    except KeyboardInterrupt:
        raise UserError("interrupted: what had finished is kept, the same call goes on") from None
    if file.exists():
        write_tables(read_results(file), Path(results), left_out)
        print(f"results: {file}, {file.with_suffix('.md')}")
    if failed:
        raise UserError(f"{len(failed)} of {len(runs)} runs failed: {', '.join(failed)}")


def _data_folder(data, tasks):
    if data is not None:
        return Path(data)
    if (DATA / "real").is_dir():
        return DATA / "real"
    for task in tasks:
        embedded(task)
    return DATA


def _solution(folder, task):
    file = Path(folder) / "solution" / f"{task}.csv"
    if not file.is_file():
        print(f"NOTE: no {file}: the hidden score stays empty", flush=True)
        return None
    return read_csv(file)


def _start(row, seed, threads, folder, work):
    out = work / f"{Path(folder).name}-{row.name}-{seed}"
    if out.exists():
        shutil.rmtree(out)
    out.mkdir(parents=True)
    env = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONWARNINGS": "ignore"}
    with open(out / "log.txt", "w", encoding="utf-8") as log:
        process = subprocess.Popen(
            command(row, seed, Path(folder) / row.task, out),
            cwd=ROOT,
            env=env,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    return dict(row=row, seed=seed, out=out, process=process, start=time.monotonic())


def commit():
    """The checkout's short commit, with + where files differ from it; empty without git."""
    try:
        git = lambda *a: subprocess.check_output(["git", *a], cwd=ROOT, text=True).strip()  # noqa: E731
        dirty = git("status", "--porcelain", "--", "pokefast", "tasks")
        return git("rev-parse", "--short", "HEAD") + ("+" if dirty else "")
    except (OSError, subprocess.CalledProcessError):
        return ""


def _last_line(file):
    lines = file.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else "no output"
