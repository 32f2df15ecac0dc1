"""Heads over several grids."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from alumnus.models.dense_heads import DenseHeadKind, LinearHead, LogDepth, dense_head
from alumnus.types import Grid

GRIDS = (Grid(4, 8, 8), Grid(6, 4, 4))
LEVELS = [torch.randn(3, *grid) for grid in GRIDS]


def test_a_linear_head_is_linear_in_the_joined_levels() -> None:
    """The same as one 1x1 convolution of all levels resized to the finest and laid side by side."""
    head = LinearHead(GRIDS, 2).eval()
    norm = 1 / (1 + 1e-5) ** 0.5  # batch normalisation as it starts
    joined = torch.cat(
        [LEVELS[0], functional.interpolate(LEVELS[1], (8, 8), mode="bilinear", align_corners=False)], 1
    )
    weight = torch.cat([convolution.weight for convolution in head.maps], dim=1)  # type: ignore[misc]
    expected = functional.conv2d(joined * norm, weight, head.maps[0].bias)  # type: ignore[arg-type]
    torch.testing.assert_close(head(LEVELS), expected)


@pytest.mark.parametrize(("kind", "side"), [("linear", 8), ("decoder", 16)])
def test_maps_are_as_fine_as_said(kind: DenseHeadKind, side: int) -> None:
    """The finest grid, or twice that; every level takes part."""
    head = dense_head(GRIDS, 5, kind=kind)
    maps = head(LEVELS)
    assert maps.shape == (3, 5, side, side)
    changed = head([LEVELS[0], LEVELS[1] + torch.randn_like(LEVELS[1])])
    assert not torch.allclose(changed, maps)


@pytest.mark.parametrize("kind", ["linear", "decoder"])
def test_the_scale_of_features_does_not_matter(kind: DenseHeadKind) -> None:
    """In training, where batch normalisation sees the batch; up to its epsilon."""
    head = dense_head(GRIDS, 2, kind=kind)
    torch.testing.assert_close(head(LEVELS), head([50 * level + 3 for level in LEVELS]), rtol=1e-2, atol=1e-3)


def test_depth_keeps_within_that_of_training() -> None:
    """And is the exponential of what the head says."""
    head = LogDepth(dense_head(GRIDS, 1, kind="linear"), center=1.0, spread=0.5, limits=(0.0, 2.0))
    depth = head.depth(torch.tensor([-3.0, 1.0, 9.0]))
    torch.testing.assert_close(depth, torch.tensor([0.0, 1.0, 2.0]).exp())
    assert head(LEVELS).shape == (3, 1, 8, 8)
