"""Losses: zero where they should be, and equal to the formula written out."""

from __future__ import annotations

import math

import pytest
import torch

from alumnus.losses import (
    MarginKind,
    cosine_distance,
    feature_distance,
    normalised_softmax,
    relational_distance,
    smooth_l1,
    softmax_divergence,
    with_margin,
)


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


def test_margins_by_hand() -> None:
    """Of an angle of 60 degrees: cos - 0.2, and the cosine of 90 degrees; other classes stay."""
    cosine, label = torch.tensor([[0.5, 0.1]]), torch.tensor([0])
    assert with_margin(cosine, label, margin=0.2, kind="cosface").tolist()[0] == pytest.approx([0.3, 0.1])
    turned = with_margin(cosine, label, margin=math.pi / 6, kind="arcface").tolist()[0]
    assert turned == pytest.approx([0.0, 0.1], abs=1e-6)


@pytest.mark.parametrize("kind", ["cosface", "arcface"])
def test_a_margin_keeps_the_order_of_cosines_and_never_helps(kind: MarginKind) -> None:
    """From -1 to 1 the changed cosine rises and is below; no margin changes nothing; gradients are finite at both ends."""
    cosine = torch.linspace(-1, 1, 201)[:, None].requires_grad_()
    label = torch.zeros(201, dtype=torch.int64)
    changed = with_margin(cosine, label, margin=0.5, kind=kind)
    assert (changed.diff(dim=0) > 0).all()
    assert (changed < cosine).all()
    (gradient,) = torch.autograd.grad(changed.sum(), cosine)
    assert gradient.isfinite().all()
    assert with_margin(cosine, label, margin=0, kind=kind) is cosine


def test_divergence_by_hand() -> None:
    """Teacher (3/4, 1/4), student (1/2, 1/2): 3/4 log 3/2 + 1/4 log 1/2. Logits of half the size at half the temperature are the same."""
    teacher, student = torch.tensor([[math.log(3), 0.0]]), torch.zeros(1, 2)
    wanted = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert softmax_divergence(student, teacher, temperature=1).item() == pytest.approx(wanted)
    assert softmax_divergence(student, teacher / 2, temperature=0.5).item() == pytest.approx(wanted)
    assert softmax_divergence(teacher, teacher, temperature=0.1).item() == pytest.approx(0, abs=1e-6)


def test_relational_distance_by_hand() -> None:
    """Two vectors at a right angle and twice the same one: off the diagonal the similarities differ by 1, and the mean is 1/2 a row."""
    student, teacher = torch.eye(2), torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    assert relational_distance(student, teacher).tolist() == [0.5, 0.5]
    turned = torch.linalg.qr(torch.randn(2, 2)).Q
    assert torch.allclose(relational_distance(student, student @ turned), torch.zeros(2), atol=1e-6)
