"""What lies in a run folder, read for the report: anything may be missing or damaged, and then the report says so.

Nothing outside the folder is read. What is read is data, never trusted as markup: names of files, teachers and domains come from the world.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from alumnus.errors import AlumnusError
from alumnus.evaluation.results import Results

T = TypeVar("T")

MAKES = {  # file -> what makes it
    "config.yaml": "the resolved configuration, written by train",
    "metrics.jsonl": "training curves, written by train",
    "teachers.json": "the teachers, written by train",
    "results.json": "the scores, written by evaluate",
    "gallery.json": "the gallery, written by evaluate",
}
DAMAGED = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    OverflowError,
    RecursionError,
    AlumnusError,
)
PICTURE = re.compile(r"data:image/(?:jpeg|png|webp);base64,[A-Za-z0-9+/]+={0,2}")
LONGEST_CONFIG = 200_000  # characters


@dataclass(frozen=True)
class Shown:
    """An image of the gallery."""

    file_name: str
    domain: str
    label: str
    correct: bool
    image: str  # a data URI of a picture, or "" if there is none


@dataclass(frozen=True)
class Entry:
    """A query and its neighbours, best first."""

    domain: str
    correct: bool
    query: Shown
    neighbours: tuple[Shown, ...]


@dataclass(frozen=True)
class Quarantined:
    """The images that could not be read."""

    rows: tuple[tuple[str, str], ...] = ()  # file name, reason
    reasons: tuple[tuple[str, int], ...] = ()  # kind of reason, how many; most frequent first


@dataclass(frozen=True)
class RunFolder:
    """All that was found."""

    name: str
    config: str | None = None
    metrics: tuple[Mapping[str, float], ...] = ()
    watched: tuple[Mapping[str, float], ...] = ()
    teachers: tuple[Mapping[str, str], ...] = ()
    results: Results | None = None
    gallery: tuple[Entry, ...] = ()
    quarantine: Quarantined = field(default_factory=Quarantined)  # of training
    not_scored: Quarantined = field(default_factory=Quarantined)  # of the evaluation
    provenance: Mapping[str, str] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)  # file -> what is lacking


def read_run(folder: Path) -> RunFolder:
    """Returns what a run folder holds."""
    missing: dict[str, str] = {}

    def read(name: str, parse: Callable[[str], T], otherwise: T) -> T:
        try:
            return parse((folder / name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            if name in MAKES:
                missing[name] = MAKES[name]
        except DAMAGED as error:
            missing[name] = f"damaged: {error}"[:300]
        return otherwise

    return RunFolder(
        name=folder.resolve().name,
        config=read("config.yaml", lambda text: text[:LONGEST_CONFIG], None),
        metrics=read("metrics.jsonl", _metrics, ()),
        watched=read("watch.jsonl", _metrics, ()),
        teachers=read("teachers.json", _teachers, ()),
        results=read("results.json", _results, None),
        gallery=read("gallery.json", _gallery, ()),
        quarantine=read("quarantine.jsonl", _quarantine, Quarantined()),
        not_scored=read("evaluate.quarantine.jsonl", _quarantine, Quarantined()),
        provenance=read("student/alumnus.json", _provenance, {}),
        missing=missing,
    )


def _results(text: str) -> Results | None:
    return Results.from_json(text)


def _metrics(text: str) -> tuple[Mapping[str, float], ...]:
    """Finite numbers only; lines without a step, and a torn last line, are left out."""
    lines = []
    for found in _lines(text):
        numbers = {str(key): float(value) for key, value in found.items() if _is_number(value)}
        if "step" in numbers:
            lines.append(numbers)
    return tuple(lines)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _teachers(text: str) -> tuple[Mapping[str, str], ...]:
    return tuple({str(key): _words(value) for key, value in teacher.items()} for teacher in json.loads(text))


def _words(value: Any) -> str:
    """Lists as words, nothing as nothing."""
    if isinstance(value, list | tuple):
        return ", ".join(_words(item) for item in value)
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _gallery(text: str) -> tuple[Entry, ...]:
    return tuple(
        Entry(
            str(entry["domain"]),
            bool(entry["correct"]),
            _shown(entry["query"]),
            tuple(_shown(near) for near in entry["neighbours"]),
        )
        for entry in json.loads(text)["entries"]
    )


def _shown(found: Mapping[str, Any]) -> Shown:
    image = str(found["image"])
    return Shown(
        file_name=str(found["file_name"]),
        domain=str(found["domain"]),
        label=str(found["label"]),
        correct=bool(found["correct"]),
        image=image if PICTURE.fullmatch(image) else "",
    )


def _quarantine(text: str) -> Quarantined:
    rows = tuple((str(line["file_name"]), str(line["reason"])) for line in _lines(text))
    return Quarantined(rows, tuple(Counter(reason.split(":")[0] for _, reason in rows).most_common()))


def _provenance(text: str) -> Mapping[str, str]:
    """The flat part of the student's provenance; configuration and teachers are shown elsewhere."""
    found = json.loads(text).get("provenance", {})
    return {str(key): _words(value) for key, value in found.items() if isinstance(value, str | int | float)}


def _lines(text: str) -> list[dict[str, Any]]:
    lines = []
    for line in text.splitlines():
        try:
            found = json.loads(line)
        except ValueError:
            continue  # torn by a kill
        if isinstance(found, dict):
            lines.append(found)
    return lines
