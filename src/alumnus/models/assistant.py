"""An assistant: a second, smaller network beside a student's first one, whose summary is added to the first one's.

Residual Knowledge Distillation (Gao, Shen, Li, Loy 2020, arXiv 2002.09168) has one: it learns what the first network leaves of a teacher's
features. The two are one student in all that follows: one summary, one embedding, one folder.

    summary = join(f) + assistant.join(g)         f, g: the summaries of the two networks, of widths of their own

A join is an affine layer to one width, where a network is of another; where it is not, the first network's is nothing, and the assistant's
a gain of each dimension. That of the assistant starts at 0, so the assistant says nothing until it has learnt something.

Axes: B images, N patches, D width of the joint summary.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from alumnus.models.backbone import Taps, create_backbone, feature_dim
from alumnus.types import Features, Grid

Learning = Literal["both", "first", "assistant"]


@dataclass(frozen=True)
class AssistantShape:
    """All that is needed to build an empty assistant again."""

    model: str  # timm's name, without weights
    dim: int  # D
    model_args: Mapping[str, Any] = field(default_factory=dict)  # for timm.create_model


class Assistant(nn.Module):
    """The second network, and the layer that brings its summary to the joint width."""

    def __init__(self, shape: AssistantShape, *, size: int) -> None:
        super().__init__()
        self.shape = shape
        self.backbone = create_backbone(shape.model, size=size, model_args=shape.model_args)
        own_dim = feature_dim(self.backbone, size=size)
        self.join = Gain(shape.dim) if own_dim == shape.dim else nn.Linear(own_dim, shape.dim, bias=False)
        nn.init.zeros_(self.join.weight)


class Gain(nn.Module):
    """A factor for each dimension."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        """Returns (B, D) of (B, D)."""
        return x * self.weight


def first_join(first_dim: int, dim: int) -> nn.Module:
    """Returns what brings the first network's summary to the joint width."""
    return nn.Identity() if first_dim == dim else nn.Linear(first_dim, dim)


@contextmanager
def standing_still(*modules: nn.Module) -> Iterator[None]:
    """In the block, modules are in eval mode and what they compute has no gradient."""
    training = [part for module in modules for part in module.modules() if part.training]
    for part in training:
        part.training = False
    try:
        with torch.no_grad():
            yield
    finally:
        for part in training:
            part.training = True


def side_by_side(first: Features, second: Features, *, summary: Tensor) -> Features:
    """Returns a joint summary with the patches of both, (B, N, D_1 + D_2), if they have any."""
    if first.patches is None or second.patches is None:
        return Features(summary)
    return Features(summary, torch.cat([first.patches, second.patches], dim=-1))


def joint_taps(first: Taps, second: Taps) -> Taps:
    """Returns the shapes of what two networks of one family say side by side."""
    grid = stages = None
    if first.grid is not None and second.grid is not None:
        grid = Grid(first.grid.dim + second.grid.dim, first.grid.height, first.grid.width)
    if first.stage_dims is not None and second.stage_dims is not None:
        stages = tuple(a + b for a, b in zip(first.stage_dims, second.stage_dims, strict=True))
    return Taps(grid, stages, first.stage_cells)
