"""Classifiers on small pictures in memory, for cfl.py, rkd.py and dmc.py: read, learn from labels, ask; and what scripts keep.

Axes: Q pictures, S side in px, C classes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from alumnus import datasets
from alumnus.data.dataset import open_dataset
from alumnus.data.loader import center_crop_batches
from alumnus.errors import ConfigError
from alumnus.evaluation.compare import Interval, over_runs, paired_difference
from alumnus.models.student import Student

SIZE = 32  # px
BATCH = 64
Extra = Callable[[Tensor, Tensor], Tensor]  # pictures (b, 3, S, S), logits (b, C) -> a further loss, scalar


class Pictures(NamedTuple):
    """Pictures and what they are of."""

    image: Tensor  # (Q, 3, S, S) uint8
    label: NDArray[np.int64]  # (Q,)
    classes: tuple[str, ...]


def folder_of(name: str) -> Path:
    """Returns the folder of a known data set at SIZE."""
    return datasets.get(name, size=SIZE)


def read(name: str, split: str) -> Pictures:
    """Returns one split of a known data set of one domain."""
    data = open_dataset(folder_of(name)).select(split=split)
    batches = center_crop_batches(list(data.paths), [SIZE], batch_size=256, workers=0)
    images = [images[SIZE] for _, images, _ in batches]
    return Pictures(torch.cat(images), data.label, data.classes[0])


def fit(
    student: Student,
    image: Tensor,
    label: NDArray[np.int64],
    *,
    steps: int,
    seed: int,
    lr: float = 1e-3,
    first: int = 0,
    extra: Extra | None = None,
) -> None:
    """Trains a student with a classifier from labels in [first, C): AdamW, cosine, cross-entropy over these; then sets it to eval mode."""
    draw = np.random.default_rng([seed, len(label)])
    target = torch.from_numpy(label)
    optimizer = torch.optim.AdamW(student.parameters(), lr=lr, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, steps))
    student.train()
    for _ in range(steps):
        rows = torch.from_numpy(draw.integers(0, len(label), BATCH))
        logits = student(image[rows]).logits
        assert logits is not None
        loss = functional.cross_entropy(logits[:, first:], target[rows] - first)
        if extra is not None:
            loss = loss + extra(image[rows], logits)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
    student.eval()


@torch.no_grad()
def ask(student: Student, image: Tensor) -> NDArray[np.float32]:
    """Returns logits (Q, C)."""
    found = [student(part).logits for part in image.split(256)]
    return torch.cat([logits for logits in found if logits is not None]).numpy()


def settle(out: Path, settings: Mapping[str, Any]) -> None:
    """Writes into a folder what decides all that is kept in it, so that a smoke run's numbers are never taken for a full run's.

    Args:
        settings: JSON values.

    Raises:
        ConfigError: the folder has settings already, and others; or it holds something, and says no settings.
    """
    path, wanted = out / "settings.json", json.loads(json.dumps(dict(settings)))
    if not path.is_file():
        if out.is_dir() and any(out.iterdir()):
            raise ConfigError(
                f"{out} is not empty and does not say of which settings it is ({path.name} is missing); give another folder"
            )
        _write(path, wanted)
    found = json.loads(path.read_text(encoding="utf-8"))
    names = [name for name in sorted(found.keys() | wanted.keys()) if found.get(name) != wanted.get(name)]
    if names:
        changed = ", ".join(
            f"{name} {found.get(name)!r} there, {wanted.get(name)!r} asked for" for name in names
        )
        raise ConfigError(
            f"{out} is of other settings ({changed}); ask for the same ones, or give another folder"
        )


def kept(path: Path, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Returns what a file holds; makes and writes it if there is none, so that a stopped script goes on where it was.

    Of which settings it is, its folder says: see `settle`.
    """
    if not path.is_file():
        _write(path, make())
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


class Difference(NamedTuple):
    """One arm minus another, twice: over the test pictures, of the mean over seeds, and over seeds."""

    over_images: Interval
    over_seeds: Interval


def minus(ours: Sequence[Sequence[float]], theirs: Sequence[Sequence[float]]) -> Difference:
    """Returns the difference of two arms' values (seeds, Q), paired picture by picture and seed by seed."""
    a, b = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    one = np.zeros(a.shape[1], np.int64)
    over_seeds = over_runs([float(x) for x in (a - b).mean(1)])
    return Difference(paired_difference(a.mean(0), b.mean(0), one), over_seeds)


def shown(found: Interval) -> str:
    """Returns an interval for a table."""
    return f"{found.mean:+.3f} ({found.low:+.3f} to {found.high:+.3f})"


def _write(path: Path, values: Mapping[str, Any]) -> None:
    """Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(values) + "\n", encoding="utf-8")
    temporary.rename(path)
