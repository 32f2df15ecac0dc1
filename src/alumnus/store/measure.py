"""What a piece of work takes, measured: seconds, and memory above what was in use before."""

from __future__ import annotations

import gc
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

import torch

T = TypeVar("T")

PROCESS = Path("/proc/self")
KIB = 1024


class Cost(NamedTuple):
    """Of one call."""

    seconds: float
    peak_bytes: int  # most memory in use at once, of the whole process (or of the device), 0 where that cannot be known


def cost_of(work: Callable[[], T], device: torch.device) -> tuple[T, Cost]:
    """Runs some work; returns its result and what it took."""
    _forget_peak(device)
    start = time.perf_counter()
    result = work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return result, Cost(time.perf_counter() - start, _peak(device))


def in_use(device: torch.device) -> int:
    """Bytes of memory in use now: of this process, or of this process on the device; 0 where that cannot be known."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    return _status("VmRSS")


def give_back(device: torch.device) -> None:
    """Returns what was freed to the system, so that the next teacher finds it."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif platform.libc_ver()[0] == "glibc":
        import ctypes

        ctypes.CDLL(None).malloc_trim(0)


def _forget_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif (PROCESS / "clear_refs").exists():
        try:
            (PROCESS / "clear_refs").write_text("5")  # resets VmHWM, see proc(5)
        except OSError:
            return  # not allowed here: the peak is then that of the whole process, which is too much rather than too little


def _peak(device: torch.device) -> int:
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else _status("VmHWM")


def _status(field: str) -> int:
    try:
        lines = (PROCESS / "status").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * KIB for line in lines if line.startswith(f"{field}:")), 0)
