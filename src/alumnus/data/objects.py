"""Objects in images: boxes and their classes, kept flat for all images together.

A list's cell follows the Hugging Face imagefolder: `{"bbox": [[x, y, width, height], …], "categories": ["cat", …]}`; or it is a list with
one struct an object, `[{"bbox": [x, y, width, height], "category": "cat"}, …]`.
"""

from __future__ import annotations

import json
import math
from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from alumnus.data.names import byte_order


class Objects(NamedTuple):
    """The k objects of one image; k may be 0."""

    boxes: NDArray[
        np.float32
    ]  # (k, 4): x, y of the top left corner, width, height, in px of the upright picture
    labels: NDArray[np.int64]  # (k,), index into object_classes


class Found(NamedTuple):
    """The same in words, as a list's cell says it."""

    boxes: list[tuple[float, float, float, float]]
    categories: list[str]


class ObjectRows(Sequence[Objects | None]):
    """The objects of N images; None for an image of which nothing is known, as opposed to one without objects.

    Args:
        starts: (N + 1,) int64; image i has the objects starts[i] to starts[i + 1] - 1.
        known: (N,) bool.
        boxes: (M, 4) float32.
        labels: (M,) int64.
    """

    def __init__(
        self,
        starts: NDArray[np.int64],
        known: NDArray[np.bool_],
        boxes: NDArray[np.float32],
        labels: NDArray[np.int64],
    ) -> None:
        self.starts, self.known, self.boxes, self.labels = starts, known, boxes, labels

    def __len__(self) -> int:
        return len(self.known)

    @overload
    def __getitem__(self, place: int) -> Objects | None: ...
    @overload
    def __getitem__(self, place: slice) -> ObjectRows: ...
    def __getitem__(self, place: int | slice) -> Objects | ObjectRows | None:
        """The objects of one image, or of some."""
        if isinstance(place, slice):
            return self.take(np.arange(len(self))[place])
        if not self.known[place]:  # an IndexError ends an iteration
            return None
        place = int(place) % len(self)
        mine = slice(self.starts[place], self.starts[place + 1])
        return Objects(self.boxes[mine], self.labels[mine])

    def take(self, rows: NDArray[np.int64]) -> ObjectRows:
        """Returns the objects of these images."""
        first, counts = self.starts[rows], np.diff(self.starts)[rows]
        starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        flat = np.repeat(first - starts[:-1], counts) + np.arange(starts[-1])
        return ObjectRows(starts, self.known[rows], self.boxes[flat], self.labels[flat])


class ObjectTable(NamedTuple):
    """The objects of one source."""

    rows: ObjectRows
    classes: tuple[str, ...]  # distinct


class ObjectsBuilder:
    """Objects that arrive in batches.

    Args:
        classes: those that are known before; others are added as they come.
    """

    def __init__(self, classes: Iterable[str] = ()) -> None:
        self._place = {word: place for place, word in enumerate(dict.fromkeys(classes))}
        self._ends, self._known, self._boxes, self._labels = array("q"), bytearray(), array("f"), array("q")

    def add(self, cells: Iterable[Found | None]) -> None:
        """Appends the objects of some images."""
        place = self._place
        for cell in cells:
            for box in cell.boxes if cell else ():
                self._boxes.extend(box)
            if cell:
                self._labels.extend([place.setdefault(word, len(place)) for word in cell.categories])
            self._ends.append(len(self._labels))
            self._known.append(cell is not None)

    def built(self) -> ObjectTable:
        """Returns all."""
        starts = np.concatenate([[0], np.array(self._ends, np.int64)]).astype(np.int64)
        boxes = np.array(self._boxes, np.float32).reshape(-1, 4)
        known = np.frombuffer(bytes(self._known), np.bool_)
        rows = ObjectRows(starts, known, boxes, np.array(self._labels, np.int64))
        return ObjectTable(rows, tuple(self._place))


def joined_objects(parts: Sequence[ObjectTable | int]) -> ObjectTable:
    """Returns the objects of several sources one after another, classes in byte order.

    Args:
        parts: for each source its objects, or the number of its images if nothing is known of their objects.
    """
    tables = [_unknown(part) if isinstance(part, int) else part for part in parts]
    classes = sorted({word for table in tables for word in table.classes}, key=byte_order)
    place = {word: number for number, word in enumerate(classes)}
    labels = [
        np.array([place[word] for word in table.classes], np.int64)[table.rows.labels] for table in tables
    ]
    counts = np.concatenate([np.diff(table.rows.starts) for table in tables])
    rows = ObjectRows(
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        np.concatenate([table.rows.known for table in tables]),
        np.concatenate([table.rows.boxes for table in tables]),
        np.concatenate(labels),
    )
    return ObjectTable(rows, tuple(classes))


def objects_of(cell: object) -> Found | None:
    """Returns the objects that a list's cell names; None for an empty cell. In a CSV the cell holds JSON.

    >>> objects_of({"bbox": [[0, 0, 2, 1]], "categories": ["cat"]})
    Found(boxes=[(0.0, 0.0, 2.0, 1.0)], categories=['cat'])
    >>> objects_of([{"bbox": [0, 0, 2, 1], "category": "cat"}])
    Found(boxes=[(0.0, 0.0, 2.0, 1.0)], categories=['cat'])

    Raises:
        ValueError: if it is anything else.
    """
    if cell is None or cell == "":
        return None
    if isinstance(cell, str):
        cell = _parsed(cell)
    if isinstance(cell, (list, tuple, np.ndarray)):
        cell = _turned(list(cell))
    if not isinstance(cell, Mapping) or "bbox" not in cell:
        raise ValueError(f"{_short(cell)} is no struct of bbox and categories")
    boxes = _listed(cell["bbox"])
    names = _listed(cell.get("categories", cell.get("category")))
    if len(boxes) != len(names):
        raise ValueError(f"{len(boxes)} boxes but {len(names)} categories; give one for each box")
    return Found([box_of(box) for box in boxes], [category_of(name) for name in names])


def box_of(cell: object) -> tuple[float, float, float, float]:
    """Returns a box x, y, width, height in px; ValueError if it is not four numbers with a positive width and height."""
    x, y, width, height = four_numbers(cell)
    if width <= 0 or height <= 0:
        raise ValueError(f"the box {_short(cell)} has no area; a box is x, y, width, height, not two corners")
    return x, y, width, height


def four_numbers(cell: object) -> tuple[float, float, float, float]:
    """Returns the numbers of a box, whether it has an area or not; ValueError if it is anything else."""
    numbers = [each for each in _listed(cell) if isinstance(each, (int, float)) and math.isfinite(each)]
    if len(numbers) != 4 or len(numbers) != len(_listed(cell)):
        raise ValueError(f"{_short(cell)} is no box; a box is x, y, width, height in px")
    x, y, width, height = map(float, numbers)
    return x, y, width, height


def category_of(cell: object) -> str:
    """Returns the name of an object's class; ValueError if it is neither text nor a whole number."""
    if isinstance(cell, bool) or not isinstance(cell, (str, int)) or cell == "":
        raise ValueError(f"{_short(cell)} is no category; give text or whole numbers")
    return str(cell)


def _unknown(count: int) -> ObjectTable:
    nothing = np.zeros(count + 1, np.int64)
    rows = ObjectRows(nothing, np.zeros(count, np.bool_), np.zeros((0, 4), np.float32), np.zeros(0, np.int64))
    return ObjectTable(rows, ())


def _turned(objects: Sequence[object]) -> dict[str, list[object]]:
    """Returns a list of structs as a struct of lists."""
    wrong = [each for each in objects if not isinstance(each, Mapping) or "bbox" not in each]
    if wrong:
        raise ValueError(f"{_short(wrong[0])} is no struct of bbox and categories")
    structs = [each for each in objects if isinstance(each, Mapping)]
    categories = [each.get("category", each.get("categories")) for each in structs]
    return {"bbox": [each["bbox"] for each in structs], "categories": categories}


def _listed(cell: object) -> list[object]:
    if not isinstance(cell, (list, tuple, np.ndarray)):
        raise ValueError(f"{_short(cell)} is no list")
    return list(cell)


def _parsed(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{_short(text)} is no JSON: {error}") from None


def _short(cell: object) -> str:
    text = repr(cell)
    return text if len(text) <= 80 else f"{text[:77]}..."
