"""The controller of the teachers' weights: each kind against a naive reference, its state, and what it leaves alone."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from alumnus.types import Features, Target
from alumnus.weighting import Weighting, WeightingKind, WeightingSettings, keep_hardest, over_speakers

SHARES = {"faces": 1.0, "keys": 3.0}
DYNAMIC = WeightingSettings()


def _losses(faces: float, keys: float) -> dict[str, Tensor]:
    return {
        name: torch.tensor(float(loss), requires_grad=True)
        for name, loss in (("faces", faces), ("keys", keys))
    }


def test_constant_weights_are_the_shares() -> None:
    """1 and 3 become a quarter and three quarters."""
    assert Weighting("constant", SHARES)(_losses(2, 4)).item() == pytest.approx(0.25 * 2 + 0.75 * 4)


def test_initial_divides_by_the_first_loss_of_each_term() -> None:
    """So the first total is 1, whatever the scales, and then says how far each has come."""
    weighting = Weighting("initial", SHARES)
    assert weighting(_losses(200, 0.01)).item() == pytest.approx(1.0)
    assert weighting(_losses(100, 0.01)).item() == pytest.approx(0.25 * 0.5 + 0.75)


def test_a_term_that_comes_late_begins_then() -> None:
    """A teacher that was silent at first is measured against its own first loss."""
    weighting = Weighting("initial", SHARES)
    weighting({"keys": torch.tensor(4.0)})
    assert weighting(_losses(10, 2)).item() == pytest.approx(0.25 + 0.75 * 0.5)


def test_running_divides_by_the_running_mean() -> None:
    """Of 2, 4 and 6 the mean is 4; the loss of this very step is in it."""
    weighting = Weighting("running", {"faces": 1.0})
    for loss in (2.0, 4.0):
        weighting({"faces": torch.tensor(loss)})
    assert weighting({"faces": torch.tensor(6.0)}).item() == pytest.approx(6 / 4)
    for _ in range(2000):  # older ones fade
        last = weighting({"faces": torch.tensor(50.0)})
    assert last.item() == pytest.approx(1.0, abs=1e-4)


def test_angle_divides_by_the_mean_squared_angle_to_the_mean_direction() -> None:
    """All at once, by a naive loop; a narrow cone weighs more than a wide one."""
    generator = torch.Generator().manual_seed(0)
    wide, narrow = torch.randn(50, 6, generator=generator), torch.randn(50, 6, generator=generator) * 0.1 + 1
    weighting = Weighting("angle", SHARES, dims={"faces": 6, "keys": 6})
    weighting.observe("faces", wide)
    weighting.observe("keys", narrow)
    found = weighting.weights(_losses(1, 1))
    for name, vectors in (("faces", wide), ("keys", narrow)):
        unit = [v / v.norm() for v in vectors.double()]
        mean = sum(unit) / len(unit)
        angles = [math.acos(torch.dot(u, mean / mean.norm()).item()) ** 2 for u in unit]
        share = SHARES[name] / 4
        assert found[name].item() == pytest.approx(share / (sum(angles) / len(angles)), rel=1e-5)
    assert found["keys"] / 3 > found["faces"]


def test_a_few_images_say_nothing_of_how_far_a_teacher_spreads() -> None:
    """One is its own mean direction, at no angle to it; until there are some the weight is the share."""
    weighting = Weighting("angle", SHARES, dims={"faces": 6, "keys": 6})
    weighting.observe("faces", torch.randn(1, 6))
    assert weighting.weights(_losses(1, 1))["faces"].item() == pytest.approx(SHARES["faces"] / 4)


def test_a_teacher_that_does_not_vary_is_bounded() -> None:
    """Of equal vectors the dispersion is rounding, which nothing is divided by."""
    weighting = Weighting("angle", SHARES, dims={"faces": 6, "keys": 6})
    weighting.observe("faces", torch.full((32, 6), 3.0))
    assert weighting.weights(_losses(1, 1))["faces"].item() == pytest.approx(1e4 * SHARES["faces"] / 4)


def test_an_image_counts_by_the_teachers_that_speak_about_it() -> None:
    """Twice as many teachers do not make it twice as hard."""
    shares = {"faces": 0.25, "keys": 0.75}
    places = {"faces": torch.tensor([0, 1]), "keys": torch.tensor([0])}
    targets = {name: Target(Features(torch.zeros(len(p), 2)), p) for name, p in places.items()}
    weighted = torch.tensor([0.25 * 2 + 0.75 * 2, 0.25 * 2, 0.0])
    assert over_speakers(weighted, targets, shares).tolist() == [2, 2, 0]


def test_uncertainty_learns_the_variance_that_fits() -> None:
    """At its best exp(s) is the loss, where the derivative of exp(-s) l + s is zero; at the start it is `constant`."""
    weighting = Weighting("uncertainty", SHARES)
    first = weighting(_losses(2, 4))
    assert first.item() == pytest.approx(3.5)
    optimizer = torch.optim.SGD(weighting.parameters(), lr=0.5)
    for _ in range(200):
        optimizer.zero_grad()
        weighting(_losses(2, 4)).backward()
        optimizer.step()
    assert weighting.log_variance is not None
    assert weighting.log_variance.exp().tolist() == pytest.approx([2, 4], rel=1e-3)


def test_dynamic_begins_with_the_shares_whatever_the_scales() -> None:
    """All terms have kept the whole of their first loss."""
    weights = Weighting(DYNAMIC, SHARES).weights(_losses(200, 0.01))
    assert {name: weight.item() for name, weight in weights.items()} == pytest.approx(
        {"faces": 0.25, "keys": 0.75}
    )


def test_dynamic_weighs_most_what_has_come_least_far() -> None:
    """By hand: of 4 and 2 the mean 3 is 3/4 of the first, of 8 and 0 it is 4, a half: 1/4 x 3/4 against 3/4 x 1/2, so 1/3 and 2/3."""
    weighting = Weighting(DYNAMIC, SHARES)
    weighting(_losses(4, 8))
    found = {name: weight.item() for name, weight in weighting.weights(_losses(2, 0)).items()}
    assert found == pytest.approx({"faces": 1 / 3, "keys": 2 / 3})
    raw = Weighting(WeightingSettings(normalise="none"), SHARES).weights(_losses(6, 1))
    assert {name: weight.item() for name, weight in raw.items()} == pytest.approx(
        {"faces": 2 / 3, "keys": 1 / 3}
    )


def test_dynamic_has_a_floor_and_a_temperature() -> None:
    """Of losses 1 and 0 the second keeps the floor's part of its share; temperature 2 takes roots."""
    for settings, wanted in (
        (WeightingSettings(floor=0.2, normalise="none"), {"faces": 0.05 + 0.8, "keys": 0.15}),
        (WeightingSettings(floor=1, normalise="none"), {"faces": 0.25, "keys": 0.75}),
    ):
        found = Weighting(settings, SHARES).weights(_losses(1, 0))
        assert {name: weight.item() for name, weight in found.items()} == pytest.approx(wanted)
    rooted = Weighting(WeightingSettings(temperature=2, normalise="none"), SHARES).weights(_losses(9, 1))
    assert rooted["faces"].item() == pytest.approx(0.5)


def test_dynamic_leaves_the_share_of_a_silent_term_to_it() -> None:
    """Before it is heard the others divide what is theirs, and when it comes it begins with its own; no loss at all says nothing."""
    weighting = Weighting(DYNAMIC, {"faces": 1.0, "keys": 1.0, "flags": 2.0})
    early = weighting.weights(_losses(3, 3))
    assert sum(weight.item() for weight in early.values()) == pytest.approx(0.5)
    late = weighting.weights({"flags": torch.tensor(7.0)})
    assert late["flags"].item() == pytest.approx(0.5)
    nothing = Weighting(DYNAMIC, SHARES).weights(_losses(0, 0))
    assert nothing["keys"].item() == pytest.approx(0.75)


@pytest.mark.parametrize("kind", ["constant", "initial", "running", "angle", DYNAMIC])
def test_no_gradient_goes_through_a_weight(kind: WeightingKind | WeightingSettings) -> None:
    """The gradient of a loss is its weight, as if that were a number."""
    weighting, losses = Weighting(kind, SHARES), _losses(2, 4)
    weights = {name: weight.item() for name, weight in weighting.weights(losses).items()}
    weighting.eval()(losses).backward()
    assert {name: loss.grad.item() for name, loss in losses.items() if loss.grad is not None} == weights


@pytest.mark.parametrize("kind", ["constant", "initial", "running", "angle", "uncertainty", DYNAMIC])
def test_all_state_is_in_the_state_dict(kind: WeightingKind | WeightingSettings) -> None:
    """One that was stopped and restored goes on to the same bits."""
    one, other = (Weighting(kind, SHARES, dims={"faces": 4, "keys": 4}) for _ in range(2))
    for step in range(3):
        one.observe("faces", torch.randn(5, 4))
        one(_losses(1 + step, 2))
    other.load_state_dict(one.state_dict())
    vectors = torch.randn(5, 4)
    for each in (one, other):
        each.observe("faces", vectors)
    assert torch.equal(one(_losses(3, 5)), other(_losses(3, 5)))


def test_evaluation_changes_nothing() -> None:
    """Statistics are of training alone."""
    weighting = Weighting("running", SHARES, dims={}).eval()
    before = {name: value.clone() for name, value in weighting.state_dict().items()}
    weighting(_losses(3, 4))
    assert all(torch.equal(before[name], value) for name, value in weighting.state_dict().items())


def test_dropping_by_hand() -> None:
    """Three teachers; the hardest of each image stays whatever is drawn, others by the draw, one that does not speak never."""
    losses = torch.tensor([[3.0, 1.0, 2.0], [1.0, 9.0, 2.0], [1.0, 2.0, 3.0]])
    speaks = torch.tensor([[True, True, True], [True, False, True], [True, True, True]])
    draw = torch.tensor([[0.1, 0.4, 0.6], [0.7, 0.9, 0.1], [0.5, 0.49, 0.0]])
    kept = keep_hardest(losses, speaks, draw, drop=0.5)
    assert kept.tolist() == [[1, 0, 1], [1, 0, 1], [1, 0, 1]]


def test_dropping_nothing_keeps_all_that_speak() -> None:
    """A probability of 0."""
    speaks = torch.tensor([[True, False]])
    assert keep_hardest(torch.ones(1, 2), speaks, torch.zeros(1, 2), drop=0.0).tolist() == [[1, 0]]


def test_an_image_that_no_teacher_knows_keeps_none() -> None:
    """There is no hardest then."""
    assert keep_hardest(torch.ones(1, 2), torch.zeros(1, 2).bool(), torch.ones(1, 2), drop=0.5).sum() == 0


def test_directions_are_normalised_before_they_are_summed() -> None:
    """A vector a thousand times as long counts as one."""
    vectors = torch.randn(20, 5) + 2
    one, other = (Weighting("angle", {"a": 1.0}, dims={"a": 5}) for _ in range(2))
    one.observe("a", vectors)
    other.observe("a", torch.cat([vectors[:1] * 1000, vectors[1:]]))
    a, b = (each.weights({"a": torch.tensor(1.0)})["a"].item() for each in (one, other))
    assert a == pytest.approx(b)
