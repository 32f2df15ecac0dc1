"""Standardisation: exact whatever the batches, invertible, safe."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from alumnus.teachers.normalize import Standardise, unit_length


def _rows(count: int = 97, width: int = 5) -> Tensor:
    return torch.randn(count, width) * torch.tensor([1.0, 10.0, 0.1, 1e-4, 100.0]) + torch.arange(5.0)


@pytest.mark.parametrize("batch", [1, 2, 13, 97])
def test_any_split_into_batches_gives_the_statistics_of_all_rows(batch: int) -> None:
    """Cumulative mode against torch's mean and deviation over everything."""
    rows = _rows()
    normaliser = Standardise(5)
    for piece in torch.split(rows, batch):
        normaliser.update(piece)
    expected = (rows.double() - rows.double().mean(0)) / rows.double().std(0, correction=0)
    torch.testing.assert_close(normaliser(rows).double(), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(normaliser.mean, rows.double().mean(0), rtol=1e-12, atol=1e-12)


def test_inverse_gives_the_features_back() -> None:
    """Also where a dimension does not vary."""
    rows = _rows()
    rows[:, 2] = 7.3
    normaliser = Standardise(5)
    normaliser.update(rows)
    torch.testing.assert_close(normaliser.inverse(normaliser(rows)), rows)


def test_dimensions_without_variance_become_zero() -> None:
    """Not NaN, and not rounding blown up."""
    rows = torch.cat([torch.full((50, 1), 0.1), torch.randn(50, 2), torch.zeros(50, 1)], dim=1)
    normaliser = Standardise(4)
    for piece in torch.split(rows, 7):
        normaliser.update(piece)
    result = normaliser(rows)
    assert result[:, [0, 3]].abs().max() < 1e-5
    torch.testing.assert_close(result[:, 1:3].std(0, correction=0), torch.ones(2))


@pytest.mark.parametrize("momentum", [None, 0.1])
def test_the_first_batch_is_normalised_by_itself(momentum: float | None) -> None:
    """Running values are corrected for their start."""
    rows = _rows()
    normaliser = Standardise(5, momentum=momentum)
    normaliser.update(rows)
    torch.testing.assert_close(normaliser(rows).mean(0), torch.zeros(5), rtol=0, atol=1e-4)
    torch.testing.assert_close(normaliser(rows).std(0, correction=0), torch.ones(5))


def test_momentum_forgets_old_rows() -> None:
    """After many updates only the new distribution is left; cumulative statistics keep both."""
    fading, lasting = Standardise(1, momentum=0.2), Standardise(1)
    for normaliser in (fading, lasting):
        for _ in range(50):
            normaliser.update(torch.full((8, 1), -5.0))
        for _ in range(50):
            normaliser.update(torch.randn(8, 1) + 5.0)
    assert float(fading.mean) > 4.5
    assert abs(float(lasting.mean)) < 0.5


def test_momentum_is_the_weighted_mean_of_the_batches() -> None:
    """By hand: weights m (1 - m)^k over their sum."""
    batches = [torch.randn(4, 2) for _ in range(3)]
    normaliser = Standardise(2, momentum=0.25)
    for batch in batches:
        normaliser.update(batch)
    weights = torch.tensor([0.75**2, 0.75, 1.0]).double() * 0.25
    means = torch.stack([batch.double().mean(0) for batch in batches])
    expected = (weights[:, None] * means).sum(0) / weights.sum()
    torch.testing.assert_close(normaliser.mean, expected)


def test_nothing_seen_changes_nothing() -> None:
    """Also after an update without rows."""
    normaliser = Standardise(5)
    normaliser.update(torch.zeros(0, 5))
    rows = _rows()
    torch.testing.assert_close(normaliser(rows), rows, rtol=0, atol=0)


def test_state_is_saved() -> None:
    """A resumed run goes on with the same statistics."""
    rows = _rows()
    one, other = Standardise(5), Standardise(5)
    one.update(rows[:50])
    other.load_state_dict(one.state_dict())
    one.update(rows[50:])
    other.update(rows[50:])
    assert torch.equal(one(rows), other(rows))


def test_unit_length() -> None:
    """Rows of length 1, zero rows stay zero."""
    lengths = unit_length(torch.cat([_rows(3), torch.zeros(1, 5)])).norm(dim=-1)
    torch.testing.assert_close(lengths, torch.tensor([1.0, 1.0, 1.0, 0.0]))
