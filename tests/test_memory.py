"""Memory that was freed is there for the next batch: no page fault for each of its pages again."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from alumnus.memory import keep_freed_memory

FAULTS = """
import resource, sys
import torch
from alumnus.memory import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
for batch in range(20):
    if batch == 10:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(16 << 20)  # 64 MiB
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
def test_what_was_freed_is_used_again() -> None:
    """In ten batches of 64 MiB; in a process of its own, for the setting stays."""
    faults = {
        mode: int(
            subprocess.run(
                [sys.executable, "-c", FAULTS, mode], check=True, capture_output=True, text=True
            ).stdout
        )
        for mode in ("keep", "return")
    }
    assert faults["return"] > 100  # huge pages need few of them
    assert faults["keep"] < faults["return"] / 10


def test_elsewhere_nothing_is_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    """And it says so."""
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert not keep_freed_memory()
