"""Adaptors map features to a teacher's; what is folded in changes only their last layers."""

from __future__ import annotations

import pytest
import torch

from alumnus.models.adaptors import Adaptor, AdaptorShape, PatchAdaptorKind, to_grid

KINDS: tuple[PatchAdaptorKind, ...] = ("linear", "mlp", "ladder", "transformer")


def _adaptor(kind: PatchAdaptorKind) -> Adaptor:
    return Adaptor(AdaptorShape(kind, 8, 3, (4, 6) if kind == "ladder" else ()))


@pytest.mark.parametrize("kind", KINDS)
def test_it_maps_patches(kind: PatchAdaptorKind) -> None:
    """(2, 5, 8) -> (2, 5, 3)."""
    stages = [torch.randn(2, 5, 4), torch.randn(2, 5, 6)]
    assert _adaptor(kind)(torch.randn(2, 5, 8), stages).shape == (2, 5, 3)


@pytest.mark.parametrize("kind", KINDS)
def test_folding_is_applying_afterwards(kind: PatchAdaptorKind) -> None:
    """A matrix and a shift, once, whatever the adaptor is a sum of."""
    adaptor, last = _adaptor(kind), torch.randn(2, 5, 8)
    stages = [torch.randn(2, 5, 4), torch.randn(2, 5, 6)]
    linear, shift = torch.randn(3, 3), torch.randn(3)
    wanted = adaptor(last, stages) @ linear.T + shift
    adaptor.fold(linear, shift)
    assert torch.allclose(adaptor(last, stages), wanted, atol=1e-5)


def test_a_ladder_listens_to_every_stage_and_others_to_none() -> None:
    """Each stage moves its output; one stage too few is an error."""
    last, stages = torch.randn(2, 8), [torch.randn(2, 4), torch.randn(2, 6)]
    ladder, mlp = _adaptor("ladder"), _adaptor("mlp")
    for place in range(2):
        moved = [stage + (number == place) for number, stage in enumerate(stages)]
        assert not torch.allclose(ladder(last, moved), ladder(last, stages))
        assert torch.equal(mlp(last, moved), mlp(last, stages))
    with pytest.raises(ValueError, match="zip"):
        ladder(last, stages[:1])


def test_a_transformer_starts_as_its_affine_layer_and_mixes_patches() -> None:
    """LayerScale holds its branches at 1e-4 of their strength; a patch hears of another."""
    adaptor, patches = _adaptor("transformer").double(), torch.randn(1, 4, 8, dtype=torch.float64)
    assert torch.allclose(adaptor(patches), adaptor.last(patches), atol=1e-2)
    other = patches.clone()
    other[0, 3] *= -1
    assert not torch.equal(adaptor(other)[0, 0], adaptor(patches)[0, 0])


def test_grids_are_averaged_or_interpolated() -> None:
    """A constant stays one; an equal grid is left alone; the order is row by row; means are of areas."""
    rising = torch.arange(16.0).view(1, 16, 1)
    assert to_grid(rising, height=4, width=4) is rising
    assert to_grid(rising, height=2, width=2).flatten().tolist() == [2.5, 4.5, 10.5, 12.5]
    wide = to_grid(rising, height=8, width=8)
    assert wide.shape == (1, 64, 1)
    assert wide[0, :, 0].view(8, 8)[0].diff().min() >= 0
    assert torch.equal(to_grid(torch.ones(2, 9, 3), height=5, width=5), torch.ones(2, 25, 3))
