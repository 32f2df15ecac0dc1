"""What a known data set is: its description, and its pictures before they are drawn.

A file of this folder that has an `INFO` is a data set; its `entries` lists the pictures, in order of preference where several are near
copies of each other. Fetching, drawing, splits and writing are the same for all and stand in `build`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from PIL import Image

from alumnus.packages import Package

Kind = Literal["photo", "drawn", "rendered"]  # what claims on it may be about
Task = Literal["classification", "retrieval", "detection", "segmentation", "depth"]
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


@dataclass(frozen=True, kw_only=True)
class DatasetInfo:
    """Where a data set comes from and what it is."""

    name: str
    title: str  # one line
    kind: Kind
    task: Task = "retrieval"
    packages: tuple[Package, ...]
    classes: int  # about
    images: int  # about, all splits
    notes: str  # what to mind when numbers on it are read
    version: int = 1  # of the rules in its file; another one makes another folder
    needs: Mapping[str, str] | None = None  # optional package -> extra that brings it
    class_splits: Mapping[str, str] | None = None  # class -> split, where a hash would leave a split empty
    limit_per_class: int = 0  # the usual one; 0 for none
    near_copy: float = (
        0.0  # mean difference of thumbnails (0-255) below which two are near copies; 0: equal pixels
    )

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """Rows of a table: field and value."""
        yield "name", self.name
        yield "title", self.title
        yield "kind", self.kind
        yield "task", self.task
        yield "classes", f"about {self.classes:,}"
        yield "images", f"about {self.images:,}"
        if self.limit_per_class:
            yield "limit_per_class", f"{self.limit_per_class:,} unless told otherwise"
        for package in self.packages:
            yield "package", f"{package} ({package.licence})"
        yield "notes", self.notes
