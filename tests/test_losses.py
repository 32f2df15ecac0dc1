"""Losses: zero where they should be, and equal to the formula written out."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from alumnus.losses import (
    MEDIAN_FACTORS,
    MarginKind,
    angle_relations,
    asymmetric_relations,
    cosine_distance,
    distance_relations,
    feature_distance,
    normalised_softmax,
    relational_distance,
    smooth_l1,
    soft_target_divergence,
    softened_kl,
    softmax_divergence,
    squared_angle,
    squared_mmd,
    with_margin,
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


def test_angles_at_nearly_equal_images_do_not_outweigh_all_others() -> None:
    """Two images a rounding apart, told apart by the teacher: one over their distance was the gradient, 1e6 times that of the others."""
    draw = torch.Generator().manual_seed(0)
    vectors = torch.randn(6, 4, generator=draw)
    vectors[1] = vectors[0] + 1e-6
    near = vectors.clone().requires_grad_()
    angle_relations(near, torch.randn(6, 3, generator=draw)).sum().backward()  # type: ignore[no-untyped-call]
    assert near.grad is not None
    assert near.grad.norm() < 100


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
