"""Rotations that spread variance: exact matrices where there are some, equal variances at any width."""

from __future__ import annotations

import pytest
import torch

from alumnus.teachers.hadamard import equalised, flat_rotation, hadamard, hartley

# Powers of two, Paley's first (12, 20, 60) and second (28, 36, 76) construction, products of them, and widths of common networks.
MADE = (1, 2, 4, 8, 12, 20, 28, 36, 60, 76, 96, 144, 192, 384, 512, 576, 640, 768, 960, 1152, 1280, 1536)


@pytest.mark.parametrize("size", MADE)
def test_a_hadamard_matrix_has_signs_and_orthogonal_rows(size: int) -> None:
    """H H^T = n I, exactly, and every entry is 1 or -1."""
    found = hadamard(size)
    assert found is not None
    assert torch.equal(found.abs(), torch.ones(size, size, dtype=torch.float64))
    assert torch.equal(found @ found.T, size * torch.eye(size, dtype=torch.float64))


@pytest.mark.parametrize("size", [0, 3, 5, 6, 7, 10, 14, 92])
def test_where_there_is_none_nothing_is_made_up(size: int) -> None:
    """There is none for numbers that are no multiple of 4; the one for 92 (found in 1961) is of another construction."""
    assert hadamard(size) is None


@pytest.mark.parametrize("size", [1, 3, 6, 7, 92])
def test_hartleys_matrix_is_orthogonal_and_nearly_flat(size: int) -> None:
    """No entry is above root 2 of the typical one."""
    found = hartley(size)
    torch.testing.assert_close(found @ found.T, torch.eye(size, dtype=torch.float64), rtol=0, atol=1e-12)
    assert found.abs().max() <= (2 / size) ** 0.5 + 1e-12


@pytest.mark.parametrize("size", [1, 2, 3, 6, 7, 12, 50, 92])
def test_equalised_variances_are_equal_and_the_rotation_stays_one(size: int) -> None:
    """From any rotation and any covariance: also from none, and of a rank below the width."""
    rows = torch.randn(size // 2 + 2, size, dtype=torch.float64) * torch.logspace(-3, 2, size).double()
    covariance = torch.cov(rows.T, correction=0).reshape(size, size)
    for start in (torch.eye(size, dtype=torch.float64), flat_rotation(size)):
        rotation = equalised(start, covariance)
        identity = torch.eye(size, dtype=torch.float64)
        torch.testing.assert_close(rotation @ rotation.T, identity, rtol=0, atol=1e-12)
        variance = (rotation @ covariance @ rotation.T).diagonal()
        torch.testing.assert_close(variance, variance.mean().expand(size), rtol=1e-10, atol=0)


def test_what_is_equal_already_is_not_turned() -> None:
    """After a Hadamard matrix in the directions of the covariance the variances are equal."""
    covariance = torch.diag(torch.tensor([1.0, 2.0, 30.0, 400.0], dtype=torch.float64))
    start = flat_rotation(4)
    assert torch.equal(equalised(start, covariance), start)
    assert torch.equal(equalised(start, torch.zeros(4, 4, dtype=torch.float64)), start)
