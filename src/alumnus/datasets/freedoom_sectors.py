"""The ground plan of a Doom level: which sector lies at a point, and how far a view's floor is.

Why: the engine's depth buffer is right for walls and ceilings, in steps of 7.4 map units, but wrong for floors (the same few values at
whatever height; seen in vizdoom 1.2.4 to 1.3.2). Floors are level in such a game, so their depth follows from the plan exactly.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

CELL = 4.0  # map units
NOWHERE = -1
ELBOW = 24.0  # map units around a player that must be free
MAX_CELLS = 64_000_000


class Sector(NamedTuple):
    """An area of one floor and one ceiling."""

    floor: float  # map units
    ceiling: float
    lines: tuple[tuple[float, float, float, float], ...]  # x1, y1, x2, y2


class SectorGrid:
    """Which sector lies in each square of CELL x CELL map units; NOWHERE outside.

    Args:
        left, bottom: of the grid, in map units.
        number: (rows, columns) int32, index of a sector; rows go north.
    """

    def __init__(self, left: float, bottom: float, number: NDArray[np.int32]) -> None:
        self.left, self.bottom, self.number = left, bottom, number

    @classmethod
    def of(cls, sectors: Sequence[Sector]) -> SectorGrid:
        """Returns the grid of a level."""
        ends = np.array([line for each in sectors for line in each.lines], np.float64).reshape(-1, 4)
        assert len(ends), "a level without lines"
        left, bottom = (float(ends[:, side::2].min()) - CELL for side in (0, 1))
        columns, rows = (
            int((ends[:, side::2].max() - start) / CELL) + 2 for side, start in ((0, left), (1, bottom))
        )
        assert rows * columns <= MAX_CELLS, (rows, columns)
        number = np.full((rows, columns), NOWHERE, np.int32)
        for index, each in enumerate(sectors):
            if each.lines:
                row, column, inside = _inside(np.array(each.lines, np.float64), left, bottom)
                part = number[row : row + inside.shape[0], column : column + inside.shape[1]]
                part[inside] = index
        return cls(left, bottom, number)

    def at(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.int32]:
        """Returns the sector at each of some points of one shape."""
        column = np.floor((x - self.left) / CELL)
        row = np.floor((y - self.bottom) / CELL)
        rows, columns = self.number.shape
        there = (column >= 0) & (column < columns) & (row >= 0) & (row < rows)
        found = self.number[np.where(there, row, 0).astype(int), np.where(there, column, 0).astype(int)]
        return np.where(there, found, NOWHERE)

    def has_room(self, x: float, y: float, sectors: Sequence[Sector], *, height: float) -> bool:
        """Returns whether all that is within ELBOW of a point is inside the level and at least so high."""
        bearings = np.arange(8) * math.pi / 4
        near = self.at(
            np.append(x + ELBOW * np.cos(bearings), x), np.append(y + ELBOW * np.sin(bearings), y)
        ).tolist()
        return all(
            number != NOWHERE and sectors[number].ceiling - sectors[number].floor >= height for number in near
        )

    def floor_depth(
        self,
        where: NDArray[np.bool_],
        sectors: Sequence[Sector],
        *,
        eye: tuple[float, float, float],
        angle: float,
        focal: tuple[float, float],
    ) -> NDArray[np.float64]:
        """Returns how far, along the view's axis, the floor is that is seen in each pixel; 0 where none fits.

        A pixel's line of sight meets the height of each floor once; the floor it shows is the first of those that lie there.

        Args:
            where: (H, W), true for pixels that show a floor; those above the middle are left out, since the view is level.
            eye: x, y, z in map units.
            angle: degrees, anticlockwise from east.
            focal: px across and down.
        """
        height, width = where.shape
        rows, columns = np.nonzero(where)
        down, right = (rows + 0.5 - height / 2) / focal[1], (columns + 0.5 - width / 2) / focal[0]
        is_below = down > 0
        rows, columns, down, right = rows[is_below], columns[is_below], down[is_below], right[is_below]
        cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        nearest = np.full(len(rows), np.inf)
        floors = np.array([each.floor for each in sectors] + [np.nan])  # the last is NOWHERE's
        for level in np.unique(floors[(floors < eye[2])]):
            depth = (eye[2] - level) / down
            x, y = eye[0] + depth * (cosine + right * sine), eye[1] + depth * (sine - right * cosine)
            fits = (floors[self.at(x, y)] == level) & (depth < nearest)
            nearest[fits] = depth[fits]
        found = np.zeros((height, width))
        found[rows, columns] = np.where(np.isfinite(nearest), nearest, 0.0)
        return found


def _inside(lines: NDArray[np.float64], left: float, bottom: float) -> tuple[int, int, NDArray[np.bool_]]:
    """First row and column of the squares around a closed outline, and which of their middles lie inside it.

    Those do that an odd number of lines lies west of, so an outline may have holes and several parts.
    """
    row, column = (int((lines[:, side::2].min() - start) / CELL) for side, start in ((1, bottom), (0, left)))
    rows, columns = (
        int((lines[:, side::2].max() - start) / CELL) + 1 - first
        for side, start, first in ((1, bottom, row), (0, left, column))
    )
    turned = np.zeros((rows, columns + 1), np.uint8)
    middles = bottom + (row + np.arange(rows) + 0.5) * CELL
    for x1, y1, x2, y2 in lines:
        if y1 == y2:
            continue
        (low_y, low_x), (high_y, high_x) = sorted(((y1, x1), (y2, x2)))
        first, last = np.searchsorted(middles, [low_y, high_y])
        crossed = low_x + (middles[first:last] - low_y) * (high_x - low_x) / (high_y - low_y)
        place = np.ceil((crossed - left) / CELL - 0.5).astype(int) - column
        turned[np.arange(first, last), np.clip(place, 0, columns)] ^= 1
    return row, column, np.bitwise_xor.accumulate(turned, axis=1)[:, :columns].astype(bool)
