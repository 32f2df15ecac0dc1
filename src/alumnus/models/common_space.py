"""A common space of several networks' features: align each, extract by one module for all, decode back to each.

The blocks of CFL (Luo et al. 2019, arXiv 1906.10546), as in the authors' group's code (KamalEngine, Apache-2.0; written anew): for vectors
affine layers and ReLU, for maps 1x1 convolutions with batch norm to align and to decode and two 3x3 residual blocks to extract.

Axes: n rows, D width of a network's feature, H width of the common space, h and w sides of a map.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

from alumnus.models.heads import module_key, per_teacher

Kind = Literal["vector", "map"]


class CommonSpace(nn.Module):
    """Features of a student and of teachers into one space, and those of the teachers back."""

    def __init__(
        self, student_dim: int, teacher_dims: Mapping[str, int], *, hidden_dim: int, kind: Kind
    ) -> None:
        super().__init__()
        align = _align_vector if kind == "vector" else _align_map
        decode = _decode_vector if kind == "vector" else _decode_map
        self.align_student = align(student_dim, hidden_dim)
        self.align = per_teacher(teacher_dims, lambda name: align(teacher_dims[name], hidden_dim))
        self.decode = per_teacher(teacher_dims, lambda name: decode(hidden_dim, teacher_dims[name]))
        self.extract: nn.Module = (
            nn.Sequential(nn.Linear(hidden_dim, hidden_dim), nn.ReLU(), nn.Linear(hidden_dim, hidden_dim))
            if kind == "vector"
            else nn.Sequential(_Residual(hidden_dim), _Residual(hidden_dim))
        )

    def of_student(self, feature: Tensor) -> Tensor:
        """Returns (n, H) or (n, H, h, w) of the student's features (n, D) or (n, D, h, w)."""
        common: Tensor = self.extract(self.align_student(feature))
        return common

    def of_teacher(self, name: str, feature: Tensor) -> Tensor:
        """Returns (n, H) or (n, H, h, w) of a teacher's features (n, D) or (n, D, h, w)."""
        common: Tensor = self.extract(self.align[module_key(name)](feature))
        return common

    def reconstruct(self, name: str, common: Tensor) -> Tensor:
        """Returns a teacher's features (n, D) or (n, D, h, w) as they can be told from (n, H) or (n, H, h, w)."""
        feature: Tensor = self.decode[module_key(name)](common)
        return feature


class _Residual(nn.Module):
    """Two 3x3 convolutions beside an identity."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv2d(dim, dim, 3, padding=1, bias=False) for _ in range(2))
        self.first_norm, self.second_norm = (nn.BatchNorm2d(dim) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """(n, H, h, w) of the same shape."""
        inner = functional.relu(self.first_norm(self.first(x)))
        return functional.relu(x + self.second_norm(self.second(inner)))


def _align_vector(in_dim: int, out_dim: int) -> nn.Module:
    return nn.Sequential(nn.Linear(in_dim, out_dim), nn.ReLU())


def _align_map(in_dim: int, out_dim: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(in_dim, out_dim, 1, bias=False), nn.BatchNorm2d(out_dim), nn.ReLU())


def _decode_vector(in_dim: int, out_dim: int) -> nn.Module:
    return nn.Sequential(nn.Linear(in_dim, out_dim), nn.ReLU(), nn.Linear(out_dim, out_dim))


def _decode_map(in_dim: int, out_dim: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(in_dim, out_dim, 1, bias=False),
        nn.BatchNorm2d(out_dim),
        nn.ReLU(),
        nn.Conv2d(out_dim, out_dim, 1),
    )
