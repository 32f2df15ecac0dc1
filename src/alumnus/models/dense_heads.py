"""Heads that say something about each place of an image, over the grids of a network.

Both begin with batch normalisation, which makes them indifferent to the scale of the features.

Axes: B images, D width of a level, h and w cells of a level, C outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from alumnus.types import Grid

DenseHeadKind = Literal["linear", "decoder"]
WIDTH = 128  # of the decoder; that of Panoptic FPN's semantic branch


def dense_head(grids: Sequence[Grid], num_outputs: int, *, kind: DenseHeadKind) -> nn.Module:
    """Returns a head from levels of these shapes to maps (B, C, h, w)."""
    return LinearHead(grids, num_outputs) if kind == "linear" else Decoder(grids, num_outputs)


class LinearHead(nn.Module):
    """Batch normalisation and one 1x1 convolution: DINOv2's linear protocol (Oquab et al. 2023, arXiv 2304.07193, section 7.4).

    Several levels are taken as one vector a place, as in their multi-scale variant and in hypercolumns (Hariharan et al. 2015, arXiv
    1411.5752). A 1x1 convolution and bilinear resizing may change places, so each level is mapped to C outputs before it is resized to the
    finest, which is the same sum for a fraction of the work.
    """

    def __init__(self, grids: Sequence[Grid], num_outputs: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.BatchNorm2d(grid.dim) for grid in grids)
        self.maps = nn.ModuleList(
            nn.Conv2d(grid.dim, num_outputs, 1, bias=place == 0) for place, grid in enumerate(grids)
        )
        for convolution in self.maps:
            nn.init.normal_(convolution.weight, std=0.01)  # type: ignore[arg-type]  # as DINOv2's heads start

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """Returns (B, C, h, w), h and w those of the finest level, from levels (B, D, h, w), fine to coarse."""
        parts = zip(levels, self.norms, self.maps, strict=True)
        return _sum_at_finest([convolution(norm(level)) for level, norm, convolution in parts])


class Decoder(nn.Module):
    """A light decoder: levels brought to one width and summed at the finest, two 3x3 convolutions, twice the finest grid.

    The semantic branch of Panoptic FPN (Kirillov et al. 2019, arXiv 1901.02446, section 3), shortened: levels are resized at once, without
    a convolution at each doubling, and batch normalisation takes the place of group normalisation.
    """

    def __init__(self, grids: Sequence[Grid], num_outputs: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.BatchNorm2d(grid.dim) for grid in grids)
        self.maps = nn.ModuleList(nn.Conv2d(grid.dim, WIDTH, 1) for grid in grids)
        self.near = _convolution(WIDTH, WIDTH)
        self.fine = _convolution(WIDTH, WIDTH // 2)
        self.last = nn.Conv2d(WIDTH // 2, num_outputs, 1)

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """Returns (B, C, 2 h, 2 w), h and w those of the finest level, from levels (B, D, h, w), fine to coarse."""
        parts = zip(levels, self.norms, self.maps, strict=True)
        joined = _sum_at_finest([convolution(norm(level)) for level, norm, convolution in parts])
        wide = functional.interpolate(
            self.near(functional.relu(joined)), scale_factor=2, mode="bilinear", align_corners=False
        )
        result: Tensor = self.last(self.fine(wide))
        return result


class LogDepth(nn.Module):
    """A head of one output, read as the logarithm of depth in units of how much it varies."""

    center: Tensor
    spread: Tensor
    limits: Tensor

    def __init__(self, head: nn.Module, *, center: float, spread: float, limits: tuple[float, float]) -> None:
        """Takes the mean, the standard deviation and the least and greatest of log depth in training."""
        super().__init__()
        self.head = head
        self.register_buffer("center", torch.tensor(center))
        self.register_buffer("spread", torch.tensor(max(spread, 1e-3)))  # also where all is equally far
        self.register_buffer("limits", torch.tensor(limits))

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """Returns log depth (B, 1, h, w)."""
        result: Tensor = self.head(levels) * self.spread + self.center
        return result

    def depth(self, logs: Tensor) -> Tensor:
        """Returns depth of log depth of any shape, within that of training."""
        return logs.clamp(self.limits[0], self.limits[1]).exp()


def _sum_at_finest(maps: Sequence[Tensor]) -> Tensor:
    result = maps[0]
    for level in maps[1:]:
        result = result + functional.interpolate(
            level, result.shape[2:], mode="bilinear", align_corners=False
        )
    return result


def _convolution(in_dim: int, out_dim: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(in_dim, out_dim, 3, padding=1, bias=False), nn.BatchNorm2d(out_dim), nn.ReLU()
    )
