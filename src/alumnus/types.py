"""The few values that every part of Alumnus exchanges.

Axes: B images in a batch, n of them that one teacher speaks about, N patches, D width of a feature, S side in pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from torch import Tensor


class Features(NamedTuple):
    """What a network says about images, before any head of ours."""

    summary: Tensor  # (B, D) float32, one vector an image, not normalised
    patches: Tensor | None = None  # (B, N, D) float32, row by row from the top left; None if there is no grid


class Grid(NamedTuple):
    """The shape of a grid of features over a square image."""

    dim: int  # D
    height: int  # cells from top to bottom
    width: int  # cells from left to right


class Target(NamedTuple):
    """One teacher's features for the images of a batch on which that teacher is trusted."""

    features: Features  # over n <= B images
    places: Tensor  # (n,) int64, their positions in the batch, ascending


Targets = Mapping[str, Target]  # teacher name -> Target, in the order of the recipe; n may be 0


class Batch(NamedTuple):
    """One training batch. Images stay uint8 until they are on the device.

    Where several processes train, an objective gets the columns of the global batch, and the images of its own process's share of it.
    """

    image: Tensor  # (B, 3, S, S) uint8, the student's view
    teacher_images: Mapping[
        int, Tensor
    ]  # side in px -> (B, 3, side, side) uint8, same geometry, no photometric change
    row: Tensor  # (B,) int64, rows of the dataset
    key: Tensor  # (B,) int64, of the images' bytes (see data.read)
    view: Tensor  # (B,) int64, view index of each row
    domain: Tensor  # (B,) int64, index into dataset.domains
    label: Tensor  # (B,) int64, index into dataset.classes[domain]; -1 where there is no label
    # Which rows of the global batch `image` is of: what is drawn for each image is drawn for all rows, and then [own].
    own: slice = slice(None)


class Terms(NamedTuple):
    """What an objective returns for one batch."""

    loss: Tensor  # scalar, to be minimised
    report: Mapping[str, Tensor]  # name -> detached scalar, for the log
    per_sample: Tensor  # (B,) detached, what the sampler may observe
    has_loss: Tensor | None = None  # (B,) bool, which images the sampler counts; None: all of them

    @property
    def values(self) -> dict[str, float]:
        """The loss and all that is reported, as plain numbers."""
        return {
            "loss": float(self.loss.detach()),
            **{name: float(each) for name, each in self.report.items()},
        }


class Encode(Protocol):
    """All that an evaluator may know of a model: images in, vectors out."""

    @property
    def name(self) -> str:
        """What the tables call it."""
        ...

    @property
    def size(self) -> int:
        """Side in px of the square images that it wants."""
        ...

    def __call__(self, image: Tensor, /) -> Tensor:
        """Vectors (B, D) float32, not necessarily of unit length, from images (B, 3, size, size) uint8."""
        ...


class DenseEncode(Protocol):
    """All that a dense evaluator may know of a model: images in, grids of vectors out."""

    @property
    def name(self) -> str:
        """What the tables call it."""
        ...

    @property
    def size(self) -> int:
        """Side in px of the square images that it wants; a cell of a grid of height h is size / h px high."""
        ...

    @property
    def grids(self) -> tuple[Grid, ...]:
        """The shapes of its levels, fine to coarse."""
        ...

    def dense(self, image: Tensor, /) -> Tensor:
        """The last grid (B, D, h, w) float32, not normalised, from images (B, 3, size, size) uint8."""
        ...

    def levels(self, image: Tensor, /) -> tuple[Tensor, ...]:
        """All grids, each (B, D, h, w) float32, fine to coarse; the last is that of `dense`, often the only one."""
        ...
