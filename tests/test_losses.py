"""Losses: zero where they should be, and equal to the formula written out."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from alumnus.losses import (
    MEDIAN_FACTORS,
    cosine_distance,
    feature_distance,
    normalised_softmax,
    smooth_l1,
    soft_target_divergence,
    squared_mmd,
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


def _unit(count: int, dim: int, seed: int) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return functional.normalize(torch.randn(count, dim, generator=draw), dim=-1)


def _naive_mmd(x: Tensor, y: Tensor, widths: list[float]) -> float:
    """The formula, pair by pair, in double precision."""

    def mean(a: Tensor, b: Tensor) -> float:
        total = 0.0
        for p in a.double():
            for q in b.double():
                total += sum(math.exp(-float((p - q).square().sum()) / (2 * s**2)) for s in widths)
        return total / (len(a) * len(b))

    return max(0.0, mean(x, x) + mean(y, y) - 2 * mean(x, y))


def test_mmd_equals_a_double_loop() -> None:
    """With given widths, some dead and some not, and sets of two sizes."""
    x, y, widths = _unit(6, 5, 0), _unit(4, 5, 1), [0.05, 0.5, 1.0, 2.0]
    assert squared_mmd(x, y, widths=widths).item() == pytest.approx(_naive_mmd(x, y, widths), abs=1e-5)


def test_median_widths_equal_a_double_loop() -> None:
    """Twice a squared width is the median of the squared distances of all different pairs, times each factor."""
    x, y = _unit(5, 4, 2) * 30, _unit(5, 4, 3) * 30 + 4
    both = torch.cat([x, y]).double()
    squares = [float((both[i] - both[j]).square().sum()) for i in range(10) for j in range(i)]
    median = sorted(squares)[(len(squares) - 1) // 2]
    widths = [math.sqrt(median * factor / 2) for factor in MEDIAN_FACTORS]
    assert squared_mmd(x, y).item() == pytest.approx(_naive_mmd(x, y, widths), rel=1e-5)


def test_mmd_of_equal_sets_is_zero_and_of_different_ones_is_not() -> None:
    """Also where all points are one."""
    x, y = _unit(8, 16, 4), _unit(8, 16, 5)
    assert squared_mmd(x, x).item() == pytest.approx(0, abs=1e-6)
    assert squared_mmd(x, y).item() > 0.01
    assert squared_mmd(torch.ones(3, 2), torch.ones(3, 2)).item() == 0


def test_mmd_does_not_see_the_order_of_a_set() -> None:
    """A shuffled set is the same set: 0 against itself, and the same against another."""
    x, y = _unit(16, 8, 6), _unit(16, 8, 7)
    shuffled = x[torch.randperm(16)]
    assert squared_mmd(x, shuffled).item() == pytest.approx(0, abs=1e-6)
    assert squared_mmd(shuffled, y).item() == pytest.approx(squared_mmd(x, y).item(), abs=1e-6)


def test_kernels_that_are_narrow_for_unit_vectors_are_constants() -> None:
    """In 128 dimensions at n = 32 each of the five published widths up to 0.2 gives 2/n = 0.0625 and no gradient; 1 and 2 give one."""
    x, y = _unit(32, 128, 8).requires_grad_(), _unit(32, 128, 9)
    for width in (0.001, 0.01, 0.05, 0.1, 0.2):
        value = squared_mmd(x, y, widths=[width])
        (gradient,) = torch.autograd.grad(value, x)
        assert value.item() == pytest.approx(0.0625, abs=1e-6)
        assert gradient.abs().max() < 1e-6
    for widths in ([1.0], [2.0], None):
        (gradient,) = torch.autograd.grad(squared_mmd(x, y, widths=widths), x)
        assert gradient.abs().max() > 1e-4


def test_mmd_has_a_gradient_where_points_meet() -> None:
    """Equal points have distance 0, whose square root has no slope; the gradient is finite nevertheless."""
    x = _unit(4, 3, 10).requires_grad_()
    y = torch.cat([x.detach()[:2], _unit(2, 3, 11)])
    (gradient,) = torch.autograd.grad(squared_mmd(x, y), x)
    assert bool(gradient.isfinite().all())
    assert gradient.abs().max() > 0


def test_soft_targets_by_hand() -> None:
    """Sum of p log(p / q), over known classes alone; an image of which nothing is known costs nothing and has no gradient."""
    logits = torch.randn(3, 4, requires_grad=True)
    target = torch.randn(3, 4)
    known = torch.tensor([[True] * 4, [True, True, False, False], [False] * 4])
    value = soft_target_divergence(logits, target, known)
    for row, classes in ((0, [0, 1, 2, 3]), (1, [0, 1])):
        p = [math.exp(target[row, c]) for c in classes]
        q = [math.exp(logits.detach()[row, c]) for c in classes]
        wanted = sum(a / sum(p) * math.log(a / sum(p) / (b / sum(q))) for a, b in zip(p, q, strict=True))
        assert value[row].item() == pytest.approx(wanted, abs=1e-5)
    assert value[2].item() == 0
    value.sum().backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert bool(logits.grad.isfinite().all())
    assert logits.grad[1, 2:].abs().max() == 0
    assert logits.grad[2].abs().max() == 0


def test_soft_targets_cost_nothing_when_met() -> None:
    """Also when met but for a constant, which a softmax does not see."""
    target = torch.randn(3, 4)
    value = soft_target_divergence(target + 3, target, torch.ones(3, 4, dtype=torch.bool))
    assert torch.allclose(value, torch.zeros(3), atol=1e-6)
