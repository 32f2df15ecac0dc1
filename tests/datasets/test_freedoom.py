"""Freedoom: the ground plan tells how far a floor is; boxes and depth follow from what the engine says."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest

from alumnus.datasets import freedoom
from alumnus.datasets.dense import tight_box
from alumnus.datasets.freedoom import SPLITS, VIEWS, Thing, View, levels
from alumnus.datasets.freedoom_depth import FARTHEST, SKY, STEP, view_depth
from alumnus.datasets.freedoom_objects import KINDS, visible_things
from alumnus.datasets.freedoom_sectors import NOWHERE, Sector, SectorGrid
from alumnus.errors import MissingExtra


def outline(*corners: tuple[float, float]) -> tuple[tuple[float, float, float, float], ...]:
    """The lines of a polygon."""
    return tuple((*one, *other) for one, other in zip(corners, [*corners[1:], corners[0]], strict=True))


def square(
    left: float, bottom: float, right: float, top: float
) -> tuple[tuple[float, float, float, float], ...]:
    """The lines of a rectangle."""
    return outline((left, bottom), (right, bottom), (right, top), (left, top))


# A room of 400 x 400 with a pit in its middle, and a triangle beside it.
PIT = square(160, 160, 240, 240)
SECTORS = (
    Sector(0.0, 128.0, square(0, 0, 400, 400) + PIT),
    Sector(-64.0, 128.0, PIT),
    Sector(24.0, 60.0, outline((400, 0), (400, 400), (600, 200))),
)


def test_the_grid_knows_which_sector_lies_where() -> None:
    """Holes belong to what is in them; a slanted border falls where it is; outside is nowhere."""
    grid = SectorGrid.of(SECTORS)
    points = np.array(
        [(20, 20), (200, 200), (390, 10), (420, 200), (420, 360), (580, 205), (-30, 20), (9e9, 0)]
    )
    found = grid.at(points[:, 0], points[:, 1])
    assert found.tolist() == [0, 1, 0, 2, 2, 2, NOWHERE, NOWHERE]


def test_the_grid_agrees_with_a_point_by_point_count() -> None:
    """A naive even-odd test on random points away from borders."""
    grid, draw = SectorGrid.of(SECTORS), np.random.default_rng(0)
    for x, y in draw.uniform(-50, 650, (400, 2)):
        inside = [index for index, each in enumerate(SECTORS) if _is_inside(x, y, each.lines)]
        near = min(_distance(x, y, line) for each in SECTORS for line in each.lines)
        if near > 6:
            assert grid.at(np.array([x]), np.array([y])).tolist() == (inside or [NOWHERE])


def test_room_to_stand() -> None:
    """Not beside a wall, not outside, not under a low ceiling."""
    grid = SectorGrid.of(SECTORS)
    assert grid.has_room(60, 60, SECTORS, height=64)
    assert not grid.has_room(10, 60, SECTORS, height=64)
    assert not grid.has_room(-100, 60, SECTORS, height=64)
    assert not grid.has_room(460, 200, SECTORS, height=64)


@pytest.mark.parametrize("angle", [0.0, 30.0, 90.0, 215.0])
def test_the_depth_of_a_floor_is_the_plane_s(angle: float) -> None:
    """On a single plane it is height x focal length / rows below the middle, whatever the direction."""
    sectors = (Sector(-10.0, 500.0, square(-5000, -5000, 5000, 5000)),)
    where = np.ones((20, 30), bool)
    found = SectorGrid.of(sectors).floor_depth(where, sectors, eye=(3, 4, 31), angle=angle, focal=(15, 18))
    assert (found[:10] == 0).all()
    for row in range(10, 20):
        assert np.allclose(found[row], 41 * 18 / (row + 0.5 - 10))


def test_a_pit_is_farther_than_the_floor_around_it() -> None:
    """Looking east over the pit: the ray of each row is followed by hand in steps."""
    grid = SectorGrid.of(SECTORS)
    eye, focal = (60.0, 200.0, 41.0), (50.0, 60.0)
    where = np.ones((100, 100), bool)
    found = grid.floor_depth(where, SECTORS, eye=eye, angle=0.0, focal=focal)[:, 50]
    for row in range(55, 100):
        hit = _walk(eye, (row + 0.5 - 50) / focal[1], 0.5 / focal[0])
        if hit is not None and found[row]:
            assert found[row] == pytest.approx(hit, abs=4.5)
    assert (found[50:] == 0).sum() < 30


def _walk(eye: tuple[float, float, float], down: float, right: float) -> float | None:
    for depth in np.arange(1, 330, 0.25):
        x, y, z = eye[0] + depth, eye[1] - depth * right, eye[2] - depth * down
        number = 1 if 160 < x < 240 and 160 < y < 240 else 0
        if z <= SECTORS[number].floor:
            return float(depth)
    return None


def test_limits_are_shared_by_the_levels_of_a_split() -> None:
    """None, few, and more than there are."""
    assert sum(count for _, _, count in levels(0)) == VIEWS * len(SPLITS) == 1_160
    for limit in (1, 5, 20, 100):
        for wanted in ("train", "val", "test"):
            assert sum(count for _, split, count in levels(limit) if split == wanted) == limit
    assert sum(count for _, split, count in levels(9_999) if split == "val") == 160


def _view(things: list[Thing], labels: np.ndarray, depth: np.ndarray) -> View:
    sectors = (Sector(0.0, 500.0, square(-3000, -3000, 3000, 3000)),)
    pixels = np.full((*labels.shape, 3), 90, np.uint8)
    return View(pixels, labels, depth, things, SectorGrid.of(sectors), sectors, 0.0, 0.0, 41.0, 0.0)


def test_each_surface_gets_its_depth() -> None:
    """Walls from the buffer, floors from the plan, things from their place, sky and the far end not at all."""
    labels, buffer = np.zeros((240, 320), np.uint8), np.full((240, 320), 50, np.uint8)
    labels[180:] = 1  # floor, of which the buffer says nonsense
    buffer[180:] = 193
    labels[100:140, 10:20] = 7
    buffer[:40], buffer[40:60] = SKY, FARTHEST
    depth = view_depth(_view([Thing(7, "Zombieman", 321.0)], labels, buffer))
    assert depth[80, 200] == round(50.5 * STEP)
    assert depth[120, 15] == 321
    assert (depth[:60] == 0).all()
    assert depth[239, 160] == round(41 * 192 / 119.5)
    assert depth[180, 0] == round(41 * 192 / 60.5)


def test_a_thing_behind_the_sky_s_value_is_known() -> None:
    """A thing's own distance goes before the buffer."""
    labels, buffer = np.full((240, 320), 9, np.uint8), np.full((240, 320), SKY, np.uint8)
    assert (view_depth(_view([Thing(9, "DoomImp", 1200.0)], labels, buffer)) == 1200).all()


def test_only_what_can_be_seen_is_boxed() -> None:
    """Known kinds, large and light enough; the box is that of the pixels."""
    labels, pixels = np.zeros((240, 320), np.uint8), np.full((240, 320, 3), 120, np.uint8)
    labels[10:30, 10:30], labels[40:60, 10:14], labels[70:90, 10:30], labels[100:120, 10:30] = 3, 4, 5, 6
    pixels[70:90, 10:30] = 20
    things = [Thing(3, "DoomImp", 9), Thing(4, "DoomImp", 9), Thing(5, "DoomImp", 9), Thing(6, "Spectre", 9)]
    assert visible_things(things, labels, pixels) == [tight_box(labels == 3, "imp")]
    assert "Spectre" not in KINDS


def test_without_the_engine_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Rather than an ImportError."""
    monkeypatch.setitem(sys.modules, "vizdoom", None)
    with pytest.raises(MissingExtra, match=r"alumnus\[scenes\]"):
        next(freedoom.views({freedoom.PACKAGE.name: tmp_path}, "MAP01", count=1, seed=0, size=320))


@pytest.mark.data
def test_views_are_the_same_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Picture, labels and depth; nothing is written into the current folder; floors meet walls and things."""
    pytest.importorskip("vizdoom")
    from alumnus.packages import fetch

    folders = {freedoom.PACKAGE.name: fetch(freedoom.PACKAGE)}
    monkeypatch.chdir(tmp_path)
    first, again = (list(freedoom.views(folders, "MAP10", count=6, seed=1, size=320)) for _ in range(2))
    assert len(first) == 6
    assert list(tmp_path.iterdir()) == []
    ratios = []
    for one, other in zip(first, again, strict=True):
        assert np.array_equal(one.pixels, other.pixels)
        assert np.array_equal(view_depth(one), view_depth(other))
        ratios += _steps_at_the_foot_of_walls(one)
    assert 0.9 < float(np.median(ratios)) < 1.1


def _steps_at_the_foot_of_walls(view: View) -> list[float]:
    """Depth of the floor just below a wall, as a share of the wall's own, column by column."""
    depth, found = view_depth(view).astype(float), []
    for column in range(5, 315, 10):
        rows = [
            row
            for row in range(125, 239)
            if view.labels[row, column] == 0 and view.labels[row + 1, column] == 1
        ]
        if rows and depth[rows[-1], column] > 70 and depth[rows[-1] + 1, column]:
            found.append(depth[rows[-1] + 1, column] / depth[rows[-1], column])
    return found


def _is_inside(x: float, y: float, lines: tuple[tuple[float, float, float, float], ...]) -> bool:
    crossings = 0
    for x1, y1, x2, y2 in lines:
        if (y1 > y) != (y2 > y) and x < x1 + (y - y1) / (y2 - y1) * (x2 - x1):
            crossings += 1
    return crossings % 2 == 1


def _distance(x: float, y: float, line: tuple[float, float, float, float]) -> float:
    x1, y1, x2, y2 = line
    along = ((x - x1) * (x2 - x1) + (y - y1) * (y2 - y1)) / ((x2 - x1) ** 2 + (y2 - y1) ** 2)
    along = min(1.0, max(0.0, along))
    return math.hypot(x - x1 - along * (x2 - x1), y - y1 - along * (y2 - y1))
