"""What a known data set is: its description, and its pictures before they are drawn.

A file of this folder that has an `INFO` is a data set; its `entries` lists the pictures, in order of preference where several are near
copies of each other. Fetching, drawing, splits and writing are the same for all and stand in `build`. A data set of a dense task
(detection, segmentation, depth) has `scenes` instead, which gives finished pictures with their splits; `dense` writes them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from alumnus.packages import Package

Kind = Literal["photo", "drawn", "rendered"]  # what claims on it may be about
Task = Literal["classification", "retrieval", "detection", "segmentation", "depth"]
DENSE: tuple[Task, ...] = ("detection", "segmentation", "depth")
Folders = Mapping[str, Path]  # name of a package -> where its content lies


class Picture(Protocol):
    """Draws one picture, in whatever process: a small value that can be sent there."""

    def __call__(self, size: int, /) -> Image.Image:
        """The picture with its longer side `size` px, or any size if it is no vector drawing; may be transparent."""
        ...


@dataclass(frozen=True)
class Entry:
    """One picture to be drawn, and what is known of it."""

    label: str  # class
    style: str  # who drew it: a set, theme, deck, source or font
    picture: Picture
    family: str = ""  # pictures of one class and one family are near copies; "" for no family
    official_split: str | None = None  # the publisher's own split, where there is one
    split: str | None = None  # where the data set decides it itself, and not a hash of the class
    text: str | None = None  # caption


class Box(NamedTuple):
    """One object of a scene: whole px of the picture, at least one each way."""

    x: int  # of the left edge
    y: int  # of the upper edge
    width: int
    height: int
    category: str


@dataclass(frozen=True, eq=False)
class Scene:
    """One finished picture of a dense data set, and what is known of each of its pixels."""

    name: str  # of its files, without ending: letters, digits, - _ and /
    style: str  # what it was taken from: a map, a subject, a photo
    split: str
    image: Image.Image  # RGB, W x H px
    objects: Sequence[Box] | None = None
    mask: NDArray[np.uint8] | None = None  # (H, W), index into mask_classes; 255 where nothing is known
    depth: NDArray[np.uint16] | None = None  # (H, W), in depth_unit; 0 where it is not known


@dataclass(frozen=True, kw_only=True)
class DatasetInfo:
    """Where a data set comes from and what it is."""

    name: str
    title: str  # one line
    kind: Kind
    task: Task = "retrieval"
    packages: tuple[Package, ...]
    classes: int  # about; 0 where there are none, as in depth
    images: int  # about, all splits
    notes: str  # what to mind when numbers on it are read
    size: int = 112  # px, the usual side of its pictures
    version: int = 1  # of the rules in its file; another one makes another folder
    needs: Mapping[str, str] | None = None  # optional package -> extra that brings it
    class_splits: Mapping[str, str] | None = None  # class -> split, where a hash would leave a split empty
    limit_per_class: int = 0  # the usual one; 0 for none
    near_copy: float = (
        0.0  # mean difference of thumbnails (0-255) below which two are near copies; 0: equal pixels
    )
    object_classes: tuple[str, ...] = ()  # of boxes
    mask_classes: tuple[str, ...] = ()  # name of each index of a mask
    depth_unit: str = "mm"

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """Rows of a table: field and value."""
        yield "name", self.name
        yield "title", self.title
        yield "kind", self.kind
        yield "task", self.task
        if self.classes:
            yield "classes", f"about {self.classes:,}"
        yield "images", f"about {self.images:,}"
        if self.limit_per_class:
            yield "limit_per_class", f"{self.limit_per_class:,} unless told otherwise"
        for package in self.packages:
            yield "package", f"{package} ({package.licence})"
        yield "notes", self.notes
