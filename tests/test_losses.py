"""Losses: zero where they should be, and equal to the formula written out."""

from __future__ import annotations

import math

import pytest
import torch

from alumnus.losses import cosine_distance, feature_distance, normalised_softmax, smooth_l1


def test_distances_are_zero_when_student_equals_teacher() -> None:
    """Identical features cost nothing."""
    x = torch.randn(5, 7)
    for distance in (cosine_distance, smooth_l1, feature_distance):
        assert torch.allclose(distance(x, x), torch.zeros(5), atol=1e-6)


def test_cosine_distance_of_opposite_and_orthogonal_vectors() -> None:
    """1 for orthogonal vectors, 2 for opposite ones, whatever their length."""
    a = torch.tensor([[1.0, 0.0], [3.0, 0.0]])
    b = torch.tensor([[0.0, 5.0], [-0.1, 0.0]])
    assert torch.allclose(cosine_distance(a, b), torch.tensor([1.0, 2.0]))


def test_smooth_l1_is_quadratic_below_one_and_linear_above() -> None:
    """Differences of 0.5 and 3 cost 0.125 and 2.5; the mean over the two dimensions is 1.3125."""
    assert smooth_l1(torch.tensor([[0.5, 3.0]]), torch.zeros(1, 2)).item() == pytest.approx(1.3125)


def test_normalised_softmax_by_hand() -> None:
    """-log of the softmax of 16 cos."""
    cosine = torch.tensor([[1.0, 0.5]])
    wanted = -math.log(math.exp(16) / (math.exp(16) + math.exp(8)))
    assert normalised_softmax(cosine, torch.tensor([0]), scale=16).item() == pytest.approx(wanted, rel=1e-3)
