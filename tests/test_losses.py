"""Losses: zero where they should be, and equal to the formula written out."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from alumnus.losses import (
    angle_relations,
    asymmetric_relations,
    cosine_distance,
    distance_relations,
    feature_distance,
    normalised_softmax,
    smooth_l1,
    softened_kl,
    squared_angle,
)

Relations = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


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


def test_softened_kl_is_the_formula() -> None:
    """T^2 sum p log(p / q), image by image; zero for logits that differ by a constant."""
    guess, truth, temperature = torch.randn(4, 5), torch.randn(4, 5) * 3, 3.0
    found = softened_kl(guess, truth, temperature=temperature)
    for i in range(4):
        p = [math.exp(v / temperature) for v in truth[i].tolist()]
        q = [math.exp(v / temperature) for v in guess[i].tolist()]
        p, q = [v / sum(p) for v in p], [v / sum(q) for v in q]
        naive = temperature**2 * sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
        assert found[i].item() == pytest.approx(naive, abs=1e-5)
    assert softened_kl(truth + 7, truth, temperature=2.0).abs().max() < 1e-5


def test_the_gradient_of_softened_kl_hardly_depends_on_the_temperature() -> None:
    """Which is what T^2 is for: at high temperatures it is (h - t) / C of centred logits (Hinton et al., eq. 4)."""
    guess, truth = torch.randn(3, 6, requires_grad=True), torch.randn(3, 6)
    softened_kl(guess, truth, temperature=300.0).sum().backward()  # type: ignore[no-untyped-call]
    centred = guess.detach() - guess.detach().mean(1, keepdim=True) - truth + truth.mean(1, keepdim=True)
    assert guess.grad is not None
    assert torch.allclose(guess.grad, centred / 6, atol=2e-3)


def test_squared_angle_is_the_formula() -> None:
    """acos^2, in [0, pi^2]; flat and finite in value and gradient at 0 and pi."""
    a, b = torch.randn(6, 4, requires_grad=True), torch.randn(6, 4)
    for i, found in enumerate(squared_angle(a, b).tolist()):
        u, v = a[i].tolist(), b[i].tolist()
        cosine = sum(x * y for x, y in zip(u, v, strict=True)) / math.hypot(*u) / math.hypot(*v)
        assert found == pytest.approx(math.acos(cosine) ** 2, abs=1e-5)
    same = a.detach().clone().requires_grad_()
    (squared_angle(same, same.detach()).sum() + squared_angle(same, -same.detach()).sum()).backward()  # type: ignore[no-untyped-call]
    assert same.grad is not None
    assert torch.isfinite(same.grad).all()
    assert squared_angle(b, b).max() < 1e-5


def _distance(x: torch.Tensor, i: int, j: int) -> float:
    return math.dist(x[i].tolist(), x[j].tolist())


def _relative(x: torch.Tensor) -> list[list[float]]:
    n = len(x)
    mean = sum(_distance(x, i, j) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    return [[_distance(x, i, j) / mean for j in range(n)] for i in range(n)]


def _huber(difference: float) -> float:
    return 0.5 * difference**2 if abs(difference) < 1 else abs(difference) - 0.5


def test_distance_relations_are_the_formula() -> None:
    """Eq. 5 to 7 in loops; a turned and scaled copy costs nothing, though its values are others and its width may be."""
    a, b = torch.randn(5, 3), torch.randn(5, 7) * 4
    ours, theirs = _relative(a), _relative(b)
    found = distance_relations(a, b)
    for i in range(5):
        naive = sum(_huber(ours[i][j] - theirs[i][j]) for j in range(5) if j != i) / 4
        assert found[i].item() == pytest.approx(naive, abs=1e-5)
    turned = torch.linalg.qr(torch.randn(7, 7)).Q
    assert distance_relations(b, 3 * b @ turned + 1).max() < 1e-8


def test_angle_relations_are_the_formula() -> None:
    """Eq. 8 and 9 in loops, over triples of three different images."""
    a, b = torch.randn(5, 3), torch.randn(5, 7)

    def cosine(x: torch.Tensor, i: int, j: int, k: int) -> float:
        u, v = x[i] - x[j], x[k] - x[j]
        return float(torch.dot(u, v) / u.norm() / v.norm())

    found = angle_relations(a, b)
    for j in range(5):
        triples = [(i, k) for i in range(5) for k in range(5) if len({i, j, k}) == 3]
        naive = sum(_huber(cosine(a, i, j, k) - cosine(b, i, j, k)) for i, k in triples) / len(triples)
        assert found[j].item() == pytest.approx(naive, abs=1e-5)
    assert angle_relations(b, 3 * b + 1).max() < 1e-8


def test_asymmetric_relations_are_one_sided() -> None:
    """Near pairs may come nearer and far pairs go farther at no cost; the naive loop says the rest."""
    a, b = torch.randn(6, 3), torch.randn(6, 4)
    ours, theirs = _relative(a), _relative(b)
    pairs = sorted(theirs[i][j] for i in range(6) for j in range(6) if i != j)
    median = pairs[(len(pairs) - 1) // 2]
    found = asymmetric_relations(a, b)
    for i in range(6):
        total = 0.0
        for j in range(6):
            excess = ours[i][j] - theirs[i][j] if theirs[i][j] < median else theirs[i][j] - ours[i][j]
            total += _huber(max(0.0, excess)) if j != i else 0.0
        assert found[i].item() == pytest.approx(total / 5, abs=1e-5)

    def clusters(x: float) -> torch.Tensor:  # two pairs, all distances between which are equal
        return torch.tensor([[x, 0, 0], [-x, 0, 0], [0, x, 5], [0, -x, 5]])

    two, tight = clusters(1.0), clusters(0.2)
    assert asymmetric_relations(tight, two).max() < 1e-8
    assert asymmetric_relations(two, tight).min() > 1e-5


@pytest.mark.parametrize("relations", [distance_relations, angle_relations, asymmetric_relations])
def test_relations_of_equal_images_have_a_gradient(relations: Relations) -> None:
    """Two views of one image may give one vector: no NaN from a distance of zero."""
    vectors = torch.randn(1, 4).repeat(5, 1).requires_grad_()
    relations(vectors, torch.randn(5, 3)).sum().backward()  # type: ignore[no-untyped-call]
    assert vectors.grad is not None
    assert torch.isfinite(vectors.grad).all()
