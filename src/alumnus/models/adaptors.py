"""Adaptors: from the student's features to one teacher's.

- `linear`: one affine layer; `mlp`: affine, LayerNorm, GELU, affine: the projectors of `heads`.
- `ladder`: an `mlp` on every stage of the backbone, summed: UNIC's ladder of projectors (Sariyildiz et al. 2024, arXiv 2408.05088), so
  that a teacher may ask of earlier stages what the last need not carry. Difference: the inner width is twice a stage's own, theirs 768 and
  3,072; what stands for a stage is the mean of its grid where a class token would.
- `transformer`: one block, whose branches start at 1e-4 of their strength, then an affine layer: DUNE's projector (Sariyildiz et al.
  2025, arXiv 2503.14405); for patches alone, since it lets them exchange what they know.

Axes: B images, N patches, D width of the student's last features, D_s of a stage, E of the teacher's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn import functional

from alumnus.errors import ConfigError
from alumnus.models.heads import ProjectorKind, projector

AdaptorKind = Literal["linear", "mlp", "ladder"]
PatchAdaptorKind = Literal["linear", "mlp", "ladder", "transformer"]
LAYER_SCALE = 1e-4  # of DUNE
HEAD_DIM = 64  # of attention, as in every ViT but the tiniest


@dataclass(frozen=True)
class AdaptorShape:
    """All that is needed to build an empty adaptor again."""

    kind: PatchAdaptorKind
    in_dim: int  # D
    out_dim: int  # E
    stage_dims: tuple[int, ...] = ()  # D_s of a ladder, first to last


class Adaptor(nn.Module):
    """Maps the student's last features, and for a ladder those of earlier stages, to a teacher's."""

    def __init__(self, shape: AdaptorShape) -> None:
        super().__init__()
        self.shape = shape
        kind: ProjectorKind = "linear" if shape.kind in ("linear", "transformer") else "mlp"
        self.block = _block(shape.in_dim) if shape.kind == "transformer" else nn.Identity()
        self.last = projector(shape.in_dim, shape.out_dim, kind=kind)
        self.steps = nn.ModuleList(projector(dim, shape.out_dim, kind="mlp") for dim in shape.stage_dims)

    def forward(self, last: Tensor, stages: Sequence[Tensor] = ()) -> Tensor:
        """Returns (B, E) of (B, D), or (B, N, E) of (B, N, D), which a transformer needs.

        Args:
            stages: (B, D_s) or (B, N, D_s), those that a ladder was built for; others take no notice of them.
        """
        result: Tensor = self.last(self.block(last))
        if self.steps:
            for step, stage in zip(self.steps, stages, strict=True):
                result = result + step(stage)
        return result

    @torch.no_grad()
    def fold(self, linear: Tensor, shift: Tensor) -> None:
        """From now on gives `linear` times what it gave, plus `shift`: (E, E) and (E,), by changing its last layers alone."""
        for number, module in enumerate([self.last, *self.steps]):
            layer = module if isinstance(module, nn.Linear) else module[-1]
            weight, bias = layer.weight.double(), layer.bias.double()
            layer.weight.copy_(linear.double() @ weight)
            layer.bias.copy_(linear.double() @ bias + (shift.double() if number == 0 else 0))


def check_square(name: str, grid: tuple[int, int] | None) -> None:
    """Refuses a teacher whose patches, (N, D), are not those of a square grid.

    Raises:
        ConfigError: with their number.
    """
    if grid is not None and math.isqrt(grid[0]) ** 2 != grid[0]:
        raise ConfigError(
            f"the teacher {name!r} gives {grid[0]} patches, which are no square grid: a teacher leaves out what is no patch, such as a "
            "class token; its summary can be used whatever the grid is"
        )


def to_grid(patches: Tensor, *, height: int, width: int) -> Tensor:
    """Returns patches (B, height * width, D) of a square grid (B, N, D).

    A cell is the mean of the area that it covers; where there are fewer cells than asked for, they are interpolated bilinearly.
    """
    side = math.isqrt(patches.shape[1])
    if (side, side) == (height, width):
        return patches
    grid = patches.transpose(1, 2).reshape(len(patches), -1, side, side)
    if side >= max(height, width):
        found = functional.adaptive_avg_pool2d(grid, (height, width))
    else:
        found = functional.interpolate(grid, (height, width), mode="bilinear", align_corners=False)
    return found.flatten(2).transpose(1, 2)


def _block(dim: int) -> nn.Module:
    heads = next(count for count in range(max(1, dim // HEAD_DIM), 0, -1) if dim % count == 0)
    return Block(dim, heads, init_values=LAYER_SCALE)
