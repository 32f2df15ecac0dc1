"""How the cores of this machine are shared by the step and by the processes that read images.

A step on the CPU can use every core, and whoever reads beside it takes a part of one away; a step on a GPU needs one core to launch its
work, and all others may read. Measured in docs/lab/2026-11-27-readers.md.
"""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path

MOST_WORKERS = (
    16  # a process: each keeps four batches waiting, and 16 read some 15,000 photographs of 256 px a second
)
CGROUP = Path("/sys/fs/cgroup")


def pick_workers(device: str, *, processes: int = 1, cores: int | None = None) -> int:
    """Returns the reading processes of one training process.

    On a GPU all cores but one read. On a CPU half of them do, at least two of them where there are two, at the lowest priority: a
    step keeps its cores, and while it has to wait for a batch the readers have them.

    Args:
        device: "cpu", "cuda" or "auto", where the student's step runs.
        processes: training processes on this machine, which share its cores evenly.
        cores: of the machine; by default those that this process may use.
    """
    mine = max(1, (count_cores() if cores is None else cores) // processes)
    on_gpu = device == "cuda" or (device == "auto" and has_gpu())
    return max(1, min(MOST_WORKERS, mine - 1 if on_gpu else max(min(2, mine), mine // 2)))


def local_processes() -> int:
    """Returns how many training processes torchrun started on this machine; 1 without it."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def has_gpu() -> bool:
    """Whether torch would find one."""
    import torch

    return torch.cuda.is_available()


def count_cores(cgroup: Path = CGROUP) -> int:
    """Returns how many cores this process may use: those of its affinity, and no more than its container's quota."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return max(1, min(cores, _quota(cgroup)))


def _quota(cgroup: Path) -> int:
    """Cores that the container may use at a time, rounded up; a large number where it says nothing."""
    for names in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            words = [word for name in names for word in (cgroup / name).read_text(encoding="ascii").split()]
            quota, period = map(int, words)
        except (OSError, ValueError):  # not there, or "max 100000"
            continue
        if quota > 0 and period > 0:
            return math.ceil(quota / period)
    return 1 << 20
