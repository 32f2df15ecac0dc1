"""At least thirty kinds of broken and odd image files, made from nothing, each with what reading it must give.

Used by the tests of reading and by the end-to-end test. What the machine cannot make (a name that its file system refuses, a file that
the superuser is not allowed to read) is left out of the list.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.data import odd_bad, odd_good

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class OddFile:
    """One file and what reading it must give."""

    name: str  # inside the folder
    good: bool
    size: tuple[int, int] | None = None  # (width, height) in px as read; None where bad
    pixels: Mapping[tuple[int, int], Colour] = field(default_factory=dict)  # (x, y) -> RGB within +-8
    reason: str = ""  # a part of the reason; empty where good


def make_odd_files(folder: Path) -> list[OddFile]:
    """Fills a folder, made if need be, and returns what is in it. A folder scan finds every one of them."""
    folder.mkdir(parents=True, exist_ok=True)
    good = [
        OddFile(each.name, True, size=each.size, pixels=each.pixels)
        for each in odd_good.all_good()
        if _made(folder / each.name, each.make)
    ]
    bad = [
        OddFile(each.name, False, reason=each.reason)
        for each in odd_bad.all_bad()
        if _made(folder / each.name, each.make)
    ]
    return good + bad


def _made(path: Path, make: Callable[[Path], None]) -> bool:
    try:
        make(path)
    except (OSError, NotImplementedError):
        return False
    return True
