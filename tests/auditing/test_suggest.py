"""The three rules, on made-up numbers."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from alumnus.auditing.facts import DomainAudit, Scores, TeacherAudit
from alumnus.auditing.suggest import is_trusted, suggest
from alumnus.evaluation.agreement import Agreement
from alumnus.evaluation.compare import Interval

ERROR = 0.05  # half of every interval
PIXELS = 0.2


def _around(mean: float) -> Interval:
    return Interval(mean, mean - ERROR, mean + ERROR)


def _teacher(
    name: str, *, ms: float = 10.0, domains: tuple[str, ...] | None = None, weight: float = 1.0
) -> TeacherAudit:
    return TeacherAudit(
        name=name,
        source=f"timm/{name}",
        fingerprint="0",
        output="summary",
        size=64,
        licence="MIT",
        warning=None,
        domains=domains,
        weight=weight,
        num_parameters=1,
        multiply_adds=1,
        ms_per_image=ms,
        num_features=8,
        norm=1.0,
        norm_spread=0.1,
        effective_rank=5.0,
        top_variance=0.2,
    )


def _domain(
    name: str,
    recall: Mapping[str, float],
    *,
    same: float = 0.3,
    queries: int = 100,
    images: int = 100,
) -> DomainAudit:
    """Args: recall of each teacher; same is the agreement of every pair."""
    best = max(recall, key=lambda each: recall[each])
    half = (recall[best] + PIXELS) / 2
    pairs = [(a, b) for a in recall for b in recall if list(recall).index(a) < list(recall).index(b)]
    return DomainAudit(
        name,
        split="val",
        num_images=images,
        num_queries=queries,
        num_classes=5 if queries else 0,
        best=best if queries else None,
        pixels=_around(PIXELS) if queries else None,
        scores={
            t: Scores(
                _around(r), _around(r), _around(r - recall[best]), _around(r - PIXELS), _around(r - half)
            )
            for t, r in recall.items()
        }
        if queries
        else {},
        differences={(a, b): _around(recall[a] - recall[b]) for a, b in pairs} if queries else {},
        agreement={pair: Agreement(images, _around(same), _around(same), 0.1) for pair in pairs},
        effective_rank=dict.fromkeys(recall, 5.0),
    )


@pytest.mark.parametrize(
    ("recall", "trusted"),
    [
        (0.80, True),  # the best
        (0.77, True),  # not significantly below it
        (0.60, True),  # below it, above the middle of .5
        (0.47, True),  # not significantly below the middle
        (0.40, False),  # below it
        (0.22, False),  # not above pixels
        (0.10, False),  # below pixels
    ],
)
def test_trust_needs_no_proof_and_distrust_does(recall: float, trusted: bool) -> None:
    """Beside a teacher of .8 and pixels of .2, with intervals of .05 to both sides."""
    domain = _domain("x", {"good": 0.8, "other": recall})
    assert is_trusted(_teacher("other"), domain) == trusted
    assert is_trusted(_teacher("good"), domain)


def test_the_best_is_trusted_where_pixels_are_better() -> None:
    """Somebody has to teach the domain."""
    domain = _domain("x", {"a": 0.1, "b": 0.05})
    assert is_trusted(_teacher("a"), domain)
    assert is_trusted(_teacher("b"), domain)  # not significantly below the best


@pytest.mark.parametrize("queries", [0, 49])
def test_without_evidence_the_recipe_decides(queries: int) -> None:
    """No labels, or fewer than 50 queries: trust and weight stay."""
    domain = _domain("x", {"good": 0.9, "bad": 0.0}, queries=queries)
    assert is_trusted(_teacher("bad"), domain)
    assert not is_trusted(_teacher("bad", domains=("y",)), domain)
    (suggestion, _) = suggest([_teacher("bad", weight=3.0), _teacher("good")], [domain])
    assert (suggestion.is_kept, suggestion.weight) == (True, 3.0)
    assert "no labels to judge it by" in suggestion.reasons[0]


def test_weights_are_shares_of_the_gain_over_pixels() -> None:
    """By hand: on x (.6 - .2) / (.8 - .2) = 2/3, on y the best, on z not trusted: the mean of 2/3 and 1."""
    domains = [
        _domain("x", {"a": 0.6, "b": 0.8}),
        _domain("y", {"a": 0.9, "b": 0.9}),
        _domain("z", {"a": 0.1, "b": 0.9}),
    ]
    a, b = suggest([_teacher("a"), _teacher("b")], domains)
    assert (a.weight, a.domains) == (0.83, ("x", "y"))
    assert (b.weight, b.domains) == (1.0, None)
    assert a.reasons[0] == "not trusted, for its R@1, on z (0.10, b 0.90, pixels 0.20)"
    assert "reaches 83 %" in a.reasons[1]


def test_a_specialist_that_is_good_elsewhere_is_said_to_be() -> None:
    """Trust goes by what was measured, not by the recipe."""
    suggestion, _ = suggest(
        [_teacher("a", domains=("x",)), _teacher("b")],
        [_domain("x", {"a": 0.8, "b": 0.8}), _domain("y", {"a": 0.8, "b": 0.8})],
    )
    assert suggestion.domains is None
    assert "good on y too" in suggestion.reasons[0]


def test_a_teacher_trusted_nowhere_is_left_out() -> None:
    """And says so."""
    _, bad = suggest([_teacher("good"), _teacher("bad")], [_domain("x", {"good": 0.8, "bad": 0.2})])
    assert (bad.is_kept, bad.domains, bad.reasons[-1]) == (
        False,
        (),
        "no domain is left on which to trust it",
    )


def test_of_two_that_say_the_same_the_dearer_is_redundant() -> None:
    """Of equal cost the later one; the reason gives both costs."""
    domain = _domain("x", {"a": 0.8, "b": 0.8}, same=0.95)
    a, b = suggest([_teacher("a", ms=40), _teacher("b", ms=10)], [domain])
    assert (a.is_kept, a.redundant_with, b.is_kept) == (False, "b", True)
    assert "b says the same" in a.reasons[-1]
    assert "10 ms an image instead of 40" in a.reasons[-1]
    a, b = suggest([_teacher("a", ms=10), _teacher("b", ms=10.1)], [domain])
    assert (a.redundant_with, b.redundant_with) == (None, "a")


@pytest.mark.parametrize("cheap", [1.0, 1.115, 1.12, 3.3, 7.45])
def test_times_that_differ_by_noise_do_not_decide(cheap: float) -> None:
    """Wherever they lie: within a factor of 1.25 the recipe's order counts, beyond it the cost."""
    domain = _domain("x", {"a": 0.8, "b": 0.8}, same=0.95)
    for ratio, kept in ((1.005, "a"), (1.2, "a"), (1.3, "b")):
        found = suggest([_teacher("a", ms=cheap * ratio), _teacher("b", ms=cheap)], [domain])
        assert [each.teacher for each in found if each.is_kept] == [kept]


def test_what_is_better_somewhere_is_not_redundant() -> None:
    """Though it says nearly the same and costs more; nor is the worse one, which costs less."""
    domains = [_domain("x", {"a": 0.8, "b": 0.8}, same=0.95), _domain("y", {"a": 0.9, "b": 0.8}, same=0.95)]
    a, b = suggest([_teacher("a", ms=40), _teacher("b", ms=10)], domains)
    assert (a.redundant_with, b.redundant_with) == (None, None)


def test_agreement_has_to_hold_wherever_it_is_trusted() -> None:
    """One domain on which they differ is enough; a small one says nothing, and without any there is no evidence."""
    same, other = _domain("x", {"a": 0.8, "b": 0.8}, same=0.95), _domain("y", {"a": 0.8, "b": 0.8}, same=0.5)
    small = _domain("z", {"a": 0.8, "b": 0.8}, same=0.5, images=30, queries=30)
    teachers = [_teacher("a"), _teacher("b")]
    assert suggest(teachers, [same, other])[1].is_kept
    assert not suggest(teachers, [same, small])[1].is_kept
    assert suggest(teachers, [small])[1].is_kept


def test_redundancy_needs_no_labels() -> None:
    """Agreement alone tells it."""
    domain = _domain("x", {"a": 0.0, "b": 0.0}, same=0.95, queries=0)
    assert suggest([_teacher("a"), _teacher("b")], [domain])[1].redundant_with == "a"


def test_a_chain_keeps_one() -> None:
    """Whoever is left out is left out for one that is kept."""
    domain = _domain("x", {"a": 0.8, "b": 0.8, "c": 0.8}, same=0.95)
    found = suggest([_teacher("a", ms=90), _teacher("b", ms=30), _teacher("c", ms=10)], [domain])
    assert [each.redundant_with for each in found] == ["c", "c", None]


def test_a_specialist_is_not_the_partner_of_a_generalist() -> None:
    """It would have to be trusted wherever the other is."""
    domains = [
        _domain("x", {"specialist": 0.8, "generalist": 0.8}, same=0.95),
        _domain("y", {"specialist": 0.1, "generalist": 0.8}, same=0.1),
    ]
    cheap, dear = suggest([_teacher("specialist", ms=1), _teacher("generalist", ms=50)], domains)
    assert (cheap.is_kept, cheap.domains, dear.is_kept) == (True, ("x",), True)
