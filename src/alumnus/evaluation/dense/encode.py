"""The models of a dense comparison, each behind the same small face: images in, grids of vectors out.

Axes: B images, S side in px, D width of a cell's vector, h and w cells.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn import functional

from alumnus.errors import ConfigError
from alumnus.models.student import Architecture, Student
from alumnus.types import DenseEncode, Grid

if TYPE_CHECKING:
    from alumnus.teachers.teacher import Teacher


@runtime_checkable
class Tunable(DenseEncode, Protocol):
    """A `DenseEncode` whose network can be trained together with a head."""

    @property
    def module(self) -> nn.Module:
        """The network."""
        ...

    def copied(self) -> Tunable:
        """The same with a network of its own, so that training it leaves the first as it is."""
        ...

    def differentiable(self, image: Tensor, /) -> tuple[Tensor, ...]:
        """What `levels` gives, with gradients, from the same images."""
        ...


class StudentDense:
    """A student's backbone. Its statistics of batches are never touched, also when it is trained."""

    def __init__(self, student: Student, *, name: str = "student") -> None:
        self.student, self.name = student, name
        self.size: int = student.size
        self.grids: tuple[Grid, ...] = _grids(self.levels, self.size)

    @property
    def module(self) -> nn.Module:
        """The backbone, and an assistant's; the embedding head takes no part."""
        first, *others = self.student.networks
        return nn.ModuleList([first, *others]) if others else first

    def copied(self) -> StudentDense:
        """Returns the same with a copy of the student."""
        return StudentDense(copy.deepcopy(self.student), name=self.name)

    def dense(self, image: Tensor, /) -> Tensor:
        """Returns the last grid (B, D, h, w) from images (B, 3, S, S) uint8."""
        return self.levels(image)[-1]

    @torch.inference_mode()
    def levels(self, image: Tensor, /) -> tuple[Tensor, ...]:
        """Returns the grids (B, D, h, w), fine to coarse, from images (B, 3, S, S) uint8."""
        return self.differentiable(image)

    def differentiable(self, image: Tensor, /) -> tuple[Tensor, ...]:
        """Returns the grids with gradients, in eval mode all the same."""
        was_training = self.student.training
        self.student.eval()
        try:
            return self.student.levels(image.to(next(self.student.parameters()).device))
        finally:
            self.student.train(was_training)


class TeacherDense:
    """A teacher's grids. From timm all levels; from elsewhere that of its patches, so load it with output=patches."""

    def __init__(self, teacher: Teacher, *, name: str | None = None) -> None:
        self.teacher, self.name = teacher, name or teacher.name
        self.size: int = teacher.size
        self.grids: tuple[Grid, ...] = _grids(self.levels, self.size)

    def dense(self, image: Tensor, /) -> Tensor:
        """Returns the last grid (B, D, h, w) from images (B, 3, S, S) uint8."""
        return self.levels(image)[-1]

    @torch.inference_mode()
    def levels(self, image: Tensor, /) -> tuple[Tensor, ...]:
        """Returns the grids (B, D, h, w), fine to coarse, from images (B, 3, S, S) uint8."""
        return self.teacher.levels(image.to(self.teacher.device).float() / 255)


class CallableDense:
    """Any function from images (B, 3, S, S) uint8 to a grid (B, D, h, w), or to several, fine to coarse."""

    def __init__(
        self, function: Callable[[Tensor], Tensor | tuple[Tensor, ...]], *, name: str, size: int
    ) -> None:
        self.function, self.name, self.size = function, name, size
        self.grids: tuple[Grid, ...] = _grids(self.levels, size)

    def dense(self, image: Tensor, /) -> Tensor:
        """Returns the last grid that the function returns."""
        return self.levels(image)[-1]

    @torch.inference_mode()
    def levels(self, image: Tensor, /) -> tuple[Tensor, ...]:
        """Returns what the function returns."""
        result = self.function(image)
        return (result,) if isinstance(result, Tensor) else tuple(result)


class PixelDense:
    """The floor: a cell is the raw colours of its 8 x 8 px, 192 numbers in [-0.5, 0.5]."""

    CELL = 8

    def __init__(self, *, size: int = 96, name: str = "8x8 pixels") -> None:
        if size % self.CELL:
            raise ConfigError(f"size={size} is not a multiple of {self.CELL}, the side of a cell in px")
        self.name, self.size = name, size
        side = size // self.CELL
        self.grids: tuple[Grid, ...] = (Grid(3 * self.CELL**2, side, side),)

    def dense(self, image: Tensor, /) -> Tensor:
        """Returns (B, 192, S / 8, S / 8) from images (B, 3, S, S) uint8."""
        return functional.pixel_unshuffle(image.float() / 255 - 0.5, self.CELL)

    def levels(self, image: Tensor, /) -> tuple[Tensor, ...]:
        """Returns the one grid."""
        return (self.dense(image),)


def untrained(model: str, *, size: int, seed: int = 0, name: str | None = None) -> StudentDense:
    """Returns a timm network with the random weights of a seed: what the architecture gives without any training."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        student = Student(Architecture(model=model, size=size, embed_dim=1))
    return StudentDense(student, name=name or f"{model}, untrained")


def _grids(levels: Callable[[Tensor], tuple[Tensor, ...]], size: int) -> tuple[Grid, ...]:
    """Learns the shapes from one grey image."""
    found = levels(torch.full((1, 3, size, size), 128, dtype=torch.uint8))
    wrong = [tuple(grid.shape) for grid in found if grid.ndim != 4]
    if wrong or not found:
        raise ConfigError(f"a level has the shape {wrong or 'of nothing'}; needed are grids (B, D, h, w)")
    return tuple(Grid(*grid.shape[1:]) for grid in found)
