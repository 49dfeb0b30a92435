"""How many cores this process may use, and threads that do not burn them while they wait."""

import os
import sys

import joblib

__all__ = ["cores", "limit_threads"]


def cores():
    """The number of cores that this process may use, by its affinity, its cgroup's quota and
    `LOKY_MAX_CPU_COUNT`; a share of them where torchrun has started several.
    """
    return max(1, joblib.cpu_count() // int(os.environ.get("LOCAL_WORLD_SIZE", 1)))


def limit_threads():
    """Let torch, where it is imported, use no more threads than there are `cores`: its own default
    does not know of cgroups. A lower number, as of OMP_NUM_THREADS, stays.
    """
    torch = sys.modules.get("torch")
    if torch is not None and torch.get_num_threads() > cores():
        torch.set_num_threads(cores())
