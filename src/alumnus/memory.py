"""Keeps the C library from giving memory back between batches.

On the CPU every step of training, and every batch that a teacher or student sees, allocates and frees the same large buffers. By default
glibc maps buffers above 32 MiB afresh and returns the top of its heap, so each pays page faults for memory that was there a moment ago.
What that costs depends on the network; `benchmarks/speed/memory.py` measures it. Elsewhere than on Linux with glibc nothing is changed.
"""

from __future__ import annotations

import ctypes
import platform

# Parameters of mallopt(3), from malloc.h.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3
LARGEST, PADDING = 2**31 - 1, 64 << 20  # bytes


def keep_freed_memory() -> bool:
    """Tells glibc to keep what is freed for the next batch, in this process from now on; returns whether it listened."""
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    options = {M_MMAP_THRESHOLD: LARGEST, M_TRIM_THRESHOLD: LARGEST, M_TOP_PAD: PADDING}
    return all(mallopt(option, value) == 1 for option, value in options.items())
