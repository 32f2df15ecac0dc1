"""The models of a comparison, each behind the same small face: a name, a size, and images in, vectors out.

A student, its first weights, a raw teacher, a function and a baseline are scored by the same code, because it sees no more than this.

Axes: B images, S side in px, D width of the vector.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from alumnus.models.cost import num_parameters
from alumnus.types import Encode

if TYPE_CHECKING:
    from alumnus.models.student import Student
    from alumnus.teachers.teacher import Teacher

Kind = Literal["student", "initial", "teacher", "concatenation", "oracle", "pixels", "other"]


class Scored(Encode, Protocol):
    """An `Encode` with what the tables say about it."""

    @property
    def kind(self) -> Kind:
        """Its part in the comparison."""
        ...

    @property
    def num_parameters(self) -> int | None:
        """Parameters that run for an image; None if unknown."""
        ...

    @property
    def domains(self) -> tuple[str, ...] | None:
        """The domains that it is trusted on; None is all."""
        ...


class StudentEncode:
    """A student's embedding. The student is put into eval mode for the call and left as it was."""

    def __init__(self, student: Student, *, name: str = "student", kind: Kind = "student") -> None:
        self.student, self.name, self.kind = student, name, kind
        self.size: int = student.size
        # Adaptors to teachers' spaces do not run for an embedding.
        self.num_parameters: int | None = num_parameters(student) - num_parameters(student.spaces)
        self.domains: tuple[str, ...] | None = None

    def __call__(self, image: Tensor, /) -> Tensor:
        """Returns embeddings (B, E) of unit length from images (B, 3, S, S) uint8."""
        device = next(self.student.parameters()).device
        with _eval_mode(self.student), torch.inference_mode():
            embedding: Tensor = self.student(image.to(device).float() / 255).embedding
        return embedding


class TeacherEncode:
    """A teacher's summary, as it was asked for in its specification."""

    def __init__(self, teacher: Teacher, *, name: str | None = None) -> None:
        self.teacher, self.name, self.kind = teacher, name or teacher.name, _TEACHER
        self.size: int = teacher.size
        self.num_parameters: int | None = teacher.num_parameters
        self.domains: tuple[str, ...] | None = teacher.domains

    def __call__(self, image: Tensor, /) -> Tensor:
        """Returns summaries (B, D), not normalised, from images (B, 3, S, S) uint8."""
        with torch.inference_mode():
            return self.teacher(image.to(self.teacher.device).float() / 255).summary


class CallableEncode:
    """Any function from images (B, 3, S, S) uint8 to vectors (B, D); an ONNX session, say."""

    def __init__(
        self,
        function: Callable[[Tensor], Tensor],
        *,
        name: str,
        size: int,
        kind: Kind = "other",
        num_parameters: int | None = None,
        domains: Sequence[str] | None = None,
    ) -> None:
        self.function, self.name, self.size, self.kind, self.num_parameters = (
            function,
            name,
            size,
            kind,
            num_parameters,
        )
        self.domains = None if domains is None else tuple(domains)

    def __call__(self, image: Tensor, /) -> Tensor:
        """Returns what the function returns."""
        with torch.inference_mode():
            return self.function(image)


class PixelEncode:
    """The floor: 8 x 8 mean-pooled pixels less the image's own mean, 192 numbers. A blank image becomes zeros."""

    GRID = 8

    def __init__(self, *, name: str = "8x8 pixels") -> None:
        self.name, self.kind = name, _PIXELS
        self.size = (
            4 * self.GRID
        )  # small, so that reading for this baseline costs nothing, and a multiple of the grid
        self.num_parameters: int | None = 0
        self.domains: tuple[str, ...] | None = None

    def __call__(self, image: Tensor, /) -> Tensor:
        """Returns (B, 192), each of mean 0, from images (B, 3, 32, 32) uint8."""
        pooled = functional.avg_pool2d(image.float(), self.size // self.GRID).flatten(
            1
        )  # sums of integers: exact
        return pooled - pooled.mean(1, keepdim=True)


@contextmanager
def _eval_mode(module: nn.Module) -> Iterator[None]:
    if not module.training:  # walking through all modules takes a millisecond
        yield
        return
    module.eval()
    try:
        yield
    finally:
        module.train()


_TEACHER: Kind = "teacher"
_PIXELS: Kind = "pixels"
