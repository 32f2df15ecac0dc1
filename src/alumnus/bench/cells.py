"""One result: a model on a task at a fraction of the labels with a seed. `out/cells/TASK/MODEL/…json`, and its images beside it.

    {"version": 1, "suite", "model", "task", "kind", "category", "fraction", "seed",   null where it does not apply
     "error": null | text,                                           a cell with an error is tried again by the next run
     "primary": "linear/top1", "scores": {metric: [mean, low, high]}, "counts", "details",
     "seconds", "date", "versions", "fingerprints": {"model", "data", "protocol"}}

The images lie in a safetensors file of the same name: `row`, `stratum`, and for each metric `METRIC/part` and, unless it is 1
throughout, `METRIC/whole`, of mean IoU also `METRIC/true`, which older cells lack, or for a metric that is no ratio `METRIC/mean` and
`METRIC/drawn` (see `outcome`). It is written first, so a JSON that is there is complete.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors
import safetensors.numpy

from alumnus.bench.outcome import Drawn, PerImage, Run
from alumnus.bench.suite import Kind
from alumnus.disk import replace_text, sync
from alumnus.errors import ArtifactError
from alumnus.evaluation.arrays import Floats
from alumnus.evaluation.compare import Interval

VERSION = 1


class Key(NamedTuple):
    """Which cell."""

    model: str
    task: str
    fraction: float | None  # of the labels; None: does not apply
    seed: int | None

    def path(self, out: Path) -> Path:
        """Its JSON file."""
        name = "all" if self.fraction is None else f"{_written(self.fraction)}-seed{self.seed}"
        return out / "cells" / self.task / self.model / f"{name}.json"

    def __str__(self) -> str:
        at = "" if self.fraction is None else f" at {100 * self.fraction:g} % seed {self.seed}"
        return f"{self.model} on {self.task}{at}"


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What is known of it."""

    suite: str
    model: str
    task: str
    kind: Kind
    category: str
    fraction: float | None
    seed: int | None
    error: str | None = None
    primary: str = ""
    scores: Mapping[str, Interval] = dataclasses.field(default_factory=dict)
    counts: Mapping[str, int] = dataclasses.field(default_factory=dict)
    details: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    seconds: float  # of this cell alone; encoding is shared and not in it
    date: str
    versions: Mapping[str, str]
    fingerprints: Mapping[str, str]

    @property
    def key(self) -> Key:
        """Its place."""
        return Key(self.model, self.task, self.fraction, self.seed)

    @property
    def score(self) -> Interval:
        """The primary metric."""
        return self.scores[self.primary]


def write_cell(cell: Cell, per_image: Mapping[str, Run], out: Path) -> Path:
    """Writes a cell in one step and returns its path."""
    path = cell.key.path(out)
    path.parent.mkdir(parents=True, exist_ok=True)
    if per_image:
        temporary = path.with_name(f".{path.stem}.safetensors.new")
        safetensors.numpy.save_file(_packed(per_image), temporary)
        sync(temporary)
        os.replace(temporary, images_of(path))
    text = json.dumps({"version": VERSION, **plain(dataclasses.asdict(cell))}, indent=1)
    return replace_text(path, text + "\n")


def read_cell(key: Key, out: Path) -> Cell | None:
    """Returns a cell, or None if there is none, it is of another version or key, or damaged: it is then made again."""
    path = key.path(out)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found.pop("version") != VERSION:
            return None
        found["scores"] = {name: _interval(numbers) for name, numbers in found["scores"].items()}
        cell = Cell(**found)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return cell if cell.key == key and (cell.error is not None or _has_images(path)) else None


def read_images(path: Path, metric: str) -> Run:
    """Returns the images behind a metric of a cell.

    Raises:
        ArtifactError: they are not there, or damaged.
    """
    try:
        found = safetensors.numpy.load_file(images_of(path))
        row = found["row"].astype(np.int64)
        if f"{metric}/drawn" in found:
            return Drawn(row, float(found[f"{metric}/mean"][0]), found[f"{metric}/drawn"].astype(np.float64))
        part = _floats(found[f"{metric}/part"])
        whole = _floats(found[f"{metric}/whole"]) if f"{metric}/whole" in found else np.ones_like(part)
        true = _floats(found[f"{metric}/true"]) if f"{metric}/true" in found else None
        return PerImage(row, found["stratum"].astype(np.int64), part, whole, true)
    except (OSError, KeyError, safetensors.SafetensorError) as error:
        raise ArtifactError(
            f"{images_of(path)} cannot be read ({error!r}); delete {path.name} beside it and run again"
        ) from error


def _written(fraction: float) -> str:
    """Returns it in six digits, or in as many as tell it from every other."""
    short = f"{fraction:g}"
    return short if float(short) == fraction else repr(fraction)


def images_of(path: Path) -> Path:
    """Returns the file with the images of a cell's file."""
    return path.with_suffix(".safetensors")


def plain(value: Any) -> Any:
    """Returns a value as JSON can hold it: NaN is null."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _has_images(path: Path) -> bool:
    """Whether they are there and whole, as far as their header and the length of the file show it."""
    try:
        with safetensors.safe_open(images_of(path), framework="numpy"):
            return True
    except (OSError, safetensors.SafetensorError):
        return False


def _packed(per_image: Mapping[str, Run]) -> dict[str, np.ndarray]:
    packed = {"row": next(iter(per_image.values())).row.astype(np.int64)}
    for metric, found in per_image.items():
        if isinstance(found, Drawn):
            packed[f"{metric}/mean"] = np.array([found.mean], np.float64)
            packed[f"{metric}/drawn"] = np.ascontiguousarray(found.drawn, np.float64)
            continue
        packed["stratum"] = found.stratum.astype(np.int32)
        packed[f"{metric}/part"] = _small(found.part)
        if not (found.whole == 1).all():
            packed[f"{metric}/whole"] = _small(found.whole)
        if found.true is not None:
            packed[f"{metric}/true"] = _small(found.true)
    return packed


def _small(values: Floats) -> np.ndarray:
    """Returns whole numbers below 256 as bytes; most are 0 or 1."""
    small = np.clip(values, 0, 255).astype(np.uint8)
    return small if np.array_equal(small, values) else np.ascontiguousarray(values, np.float32)


def _floats(values: np.ndarray) -> Floats:
    return values.astype(np.float32)


def _interval(found: list[float | None]) -> Interval:
    mean, low, high = (math.nan if number is None else float(number) for number in found)
    return Interval(mean, low, high)
