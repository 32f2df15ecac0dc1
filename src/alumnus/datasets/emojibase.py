"""What emoji mean, by Unicode character: name, keywords and group, from npm's `emojibase-data` (MIT; after Unicode's CLDR)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from alumnus.errors import DataError
from alumnus.packages import Package

PACKAGE = Package(
    "npm",
    "emojibase-data",
    "17.0.0",
    "d01d0e2ca4e22cb402679532155342c71e2e871f25c32223c013b8b166ebdf5a",
    "MIT",
)
GROUPS = (
    "smileys and emotion",
    "people and body",
    "component",
    "animals and nature",
    "food and drink",
    "travel and places",
    "activities",
    "objects",
    "symbols",
    "flags",
)  # by Unicode's number
PRESENTATION = "fe0f"  # asks for the coloured drawing; sets write it or leave it out


class Meaning(NamedTuple):
    """What is known of one emoji."""

    name: str  # "bear"
    keywords: tuple[str, ...]  # ("animal", "face"), may be none
    group: str  # one of GROUPS, "" for what belongs to none

    @property
    def caption(self) -> str:
        """Name and keywords, such as "bear: animal, face"."""
        return f"{self.name}: {', '.join(self.keywords)}" if self.keywords else self.name


def read_meanings(folder: Path) -> Mapping[str, Meaning]:
    """Returns the English meanings by code points, spelt as `plain` does.

    Raises:
        DataError: the package holds no table of emoji.
    """
    path = folder / "en" / "data.json"
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        return {plain(row["hexcode"]): _meaning(row) for row in rows}
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise DataError(f"{path} is no table of emoji that can be read: {error!r}") from error


def plain(code: str) -> str:
    """Returns code points in one spelling: small letters, joined by -, without the request for a coloured drawing.

    >>> plain("2764-FE0F-200D-1F525")
    '2764-200d-1f525'
    """
    return "-".join(point for point in code.lower().split("-") if point != PRESENTATION)


def _meaning(row: Mapping[str, object]) -> Meaning:
    group, tags = row.get("group"), row.get("tags", ())
    assert isinstance(tags, (list, tuple)), tags
    return Meaning(str(row["label"]), tuple(map(str, tags)), GROUPS[group] if isinstance(group, int) else "")
