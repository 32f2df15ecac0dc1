"""The files of cells: which are read again, and which count as not there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from alumnus.bench.cells import Cell, Key, images_of, read_cell, read_images, write_cell
from alumnus.bench.outcome import PerImage, interval_of, mean_of


def _write(key: Key, right: float, out: Path) -> Path:
    run = mean_of(np.full(4, right), np.arange(4))
    cell = Cell(
        suite="made",
        **key._asdict(),
        kind="classification",
        category="classification",
        primary="m",
        scores={"m": interval_of([run])},
        seconds=0.0,
        date="",
        versions={},
        fingerprints={},
    )
    return write_cell(cell, {"m": run}, out)


@pytest.mark.parametrize(
    ("fraction", "name"),
    [(0.01, "0.01"), (1.0, "1"), (1e-5, "1e-05"), (0.333333, "0.333333"), (1 / 3, "0.3333333333333333")],
)
def test_names_of_fractions(fraction: float, name: str) -> None:
    """Short where six digits say all."""
    assert Key("a", "t", fraction, 0).path(Path("out")) == Path(f"out/cells/t/a/{name}-seed0.json")


def test_fractions_that_agree_in_six_digits_are_two_cells(tmp_path: Path) -> None:
    """Neither is taken for the other, also where a file of before has the other's name."""
    one, other = Key("a", "t", 0.3333333, 0), Key("a", "t", 0.33333333, 0)
    for key, right in ((one, 0.25), (other, 0.75)):
        _write(key, right, tmp_path)
    for key, right in ((one, 0.25), (other, 0.75)):
        found = read_cell(key, tmp_path)
        assert found is not None
        assert found.score.mean == right
    third = Key("a", "t", 0.333333, 0)
    one.path(tmp_path).rename(third.path(tmp_path))
    images_of(one.path(tmp_path)).rename(images_of(third.path(tmp_path)))
    assert read_cell(third, tmp_path) is None


@pytest.mark.parametrize("length", [0, 4, -1, None])
def test_a_cell_with_damaged_images_counts_as_none(tmp_path: Path, length: int | None) -> None:
    """Cut off anywhere, or gone; whole, they are what was written."""
    key = Key("a", "t", 1.0, 0)
    images = images_of(_write(key, 1.0, tmp_path))
    assert read_cell(key, tmp_path) is not None
    run = read_images(key.path(tmp_path), "m")
    assert isinstance(run, PerImage)
    assert run.part.tolist() == [[1.0]] * 4
    content = images.read_bytes()
    images.unlink()
    if length is not None:
        images.write_bytes(content[:length])
    assert read_cell(key, tmp_path) is None
