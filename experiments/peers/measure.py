"""A process that is waited for, with the memory it took and what else the machine did meanwhile."""

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

__all__ = ["Measured", "measured"]

POLL_SECONDS = 1.0
MB = 2**20


class Measured(NamedTuple):
    """`memory` is the peak of the process and those that it started, MB, of shared pages its share;
    `others` is how many cores were busy with other processes, None where /proc does not say.
    """

    code: int
    seconds: float
    memory: float
    others: float | None


def measured(line, log, env, cwd, timeout):
    """Run a command line, whose output goes to the file `log`, and return what it took.

    It is ended, with what it started, after `timeout` seconds or where the caller is interrupted.
    """
    start, busy, peak = time.monotonic(), _busy_seconds(), 0
    with open(log, "w", encoding="utf-8") as file:
        process = subprocess.Popen(
            [str(word) for word in line],
            stdout=file,
            stderr=subprocess.STDOUT,
            env=env,
            cwd=cwd,
            start_new_session=True,  # by which those that it starts are found
        )
        try:
            while True:
                pid, status, usage = os.wait4(process.pid, os.WNOHANG)
                if pid:
                    break
                # ru_maxrss would begin with the caller's memory, which a fork has had
                peak = max(peak, _session_bytes(process.pid), _most_bytes(process.pid))
                if time.monotonic() - start > timeout:
                    os.killpg(process.pid, signal.SIGKILL)
                time.sleep(POLL_SECONDS if time.monotonic() - start > 5 else 0.1)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds, own = time.monotonic() - start, usage.ru_utime + usage.ru_stime
    others = None if busy is None else max(0.0, (_busy_seconds() - busy - own) / seconds)
    return Measured(process.returncode, seconds, peak / MB, others)


def _busy_seconds():
    """Of all cores since the machine started, without those that waited; None without /proc."""
    try:
        words = Path("/proc/stat").read_text().split("\n")[0].split()[1:]
    except OSError:
        return None
    user, nice, system, _idle, _wait, irq, soft = map(int, words[:7])
    return (user + nice + system + irq + soft) / os.sysconf("SC_CLK_TCK")


def _most_bytes(pid):
    """The most memory that a process has had until now."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
        return int(text.partition("VmHWM:")[2].split()[0]) * 1024
    except (OSError, IndexError):  # it has ended, or there is no /proc
        return 0


def _session_bytes(session):
    """Memory of the processes of a session now, a page that several share counted once."""
    total = 0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(fields[3]) == session:
                text = (folder / "smaps_rollup").read_text()
                total += int(text.partition("\nPss:")[2].split()[0]) * 1024
        except (OSError, ValueError, IndexError):  # it has ended meanwhile
            continue
    return total
