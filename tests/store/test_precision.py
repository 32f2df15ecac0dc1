"""What is kept comes back: exactly, or within the bound that its precision has."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from alumnus.errors import StoreError
from alumnus.store.precision import Precision, loss_of, pack, unpack


def test_float32_comes_back_bit_for_bit() -> None:
    """Also numbers that float16 has not."""
    x = torch.tensor([[1e-30, 3e38, 1 / 3], [0.0, -1.0, 7e-8]])
    assert torch.equal(unpack(pack(x, "float32")), x)


@given(seed=st.integers(0, 10_000), shift=st.floats(-50, 50), spread=st.floats(1e-3, 50))
def test_int8_is_off_by_half_a_step_of_each_channels_own_range(
    seed: int, shift: float, spread: float
) -> None:
    """A channel's range is that of its rows; its error is at most 1/508 of it, and rounding."""
    x = torch.randn(40, 6, generator=torch.Generator().manual_seed(seed)) * spread
    x[:, 0] += shift
    error = (unpack(pack(x, "int8")) - x).abs().amax(0)
    bound = (x.amax(0) - x.amin(0)) / 508
    assert bool((error <= bound * 1.001 + x.abs().amax(0) * 1e-6).all())


def test_a_constant_channel_comes_back_exactly_in_int8() -> None:
    """Its range is nothing, and nothing is divided by it."""
    x = torch.tensor([[3.25, 1.0], [3.25, 2.0]])
    assert torch.equal(unpack(pack(x, "int8"))[:, 0], x[:, 0])


def test_patches_share_the_scale_of_their_channel() -> None:
    """(n, N, D) is kept per channel D, over rows and cells."""
    x = torch.rand(3, 5, 4)
    packed = pack(x, "int8")
    assert packed.values.shape == (3, 5, 4)
    assert packed.scale.shape == (4,)


def test_a_feature_beyond_float16_is_refused() -> None:
    """It would come back as infinite."""
    with pytest.raises(StoreError, match="beyond float16's 65504; precision=int8 or float32"):
        pack(torch.tensor([[1e5]]), "float16")


@pytest.mark.parametrize("precision", ["float32", "float16", "int8"])
def test_nothing_is_kept_as_nothing(precision: Precision) -> None:
    """A shard all of whose images were unreadable has no row."""
    assert unpack(pack(torch.empty(0, 4), precision)).shape == (0, 4)
    assert loss_of(torch.empty(0, 4), torch.empty(0, 4)).cosine_min == 1.0


def test_the_loss_is_worked_out_by_row() -> None:
    """One row turned by 90 degrees, one doubled, one of zeros that stayed so."""
    true = torch.tensor([[1.0, 0.0], [0.0, 2.0], [0.0, 0.0]])
    kept = torch.tensor([[0.0, 1.0], [0.0, 4.0], [0.0, 0.0]])
    loss = loss_of(true, kept)
    assert loss.cosine_min == pytest.approx(0)
    assert loss.cosine_mean == pytest.approx(2 / 3)
    assert loss.error == pytest.approx(2**0.5)
