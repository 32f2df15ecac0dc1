"""From the numbers of an audit to a suggestion: three rules, each of which needs evidence to take something away.

Trust. A teacher is trusted on a domain unless its R@1 there is significantly below that of the domain's best teacher and, besides,
either not significantly above 8x8 pixels or significantly below the middle between pixels and the best. So the best is always trusted,
noise excludes nobody, and a domain without labels, or with fewer than 50 queries, stays as the recipe has it. A teacher that says the same
of all images is trusted nowhere.

Weight. 1 where a teacher is not significantly below the best, else its gain over pixels as a share of the best teacher's, in [0.1, 1];
of this the mean over the domains on which it is trusted and which have scores. Without any, the recipe's weight.

Redundancy. Teachers are gone through from the cheapest up (of those within a factor of 1.25 of the cheapest left, the first of the recipe
comes next). One is
redundant if a teacher that was kept is trusted wherever it is; agrees with it on each such domain of 50 images or more, with the low
ends of CKA and of the share of common neighbours above the thresholds below; and is on no domain significantly worse.

Significant means that the 95 % interval of the paired difference leaves out 0. Many differences are looked at, so one in forty will
err on either side by chance; and a domain's best teacher is chosen on the queries that are scored, slightly in its favour.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from alumnus.auditing.facts import DomainAudit, Scores, Suggestion, TeacherAudit
from alumnus.auditing.sample import ENOUGH
from alumnus.evaluation.agreement import Agreement
from alumnus.evaluation.compare import Interval

# Of the features of EfficientNet-Lite0 at 64 px on the demo's four domains (84 to 851 images), CKA and shared neighbours were: with its
# logits 0.86 to 0.96 and 0.82 to 0.88; with its features at 72 px 0.75 to 0.82 and 0.52 to 0.64; with MobileNetV2's, also of ImageNet,
# 0.55 to 0.63 and 0.35 to 0.51. The first should be called the same, the last not.
SAME_CKA, SAME_NEIGHBOURS = 0.8, 0.7
SAME_COST = 1.25  # a factor within which times of an image are called equal
LEAST_WEIGHT = 0.1
SAYS_NOTHING = "says the same of all images"


def suggest(teachers: Sequence[TeacherAudit], domains: Sequence[DomainAudit]) -> tuple[Suggestion, ...]:
    """Returns a suggestion about each teacher, in their order."""
    trusted = {t.name: [d.name for d in domains if is_trusted(t, d)] for t in teachers}
    partners = _redundant(teachers, domains, trusted)
    return tuple(_suggestion(t, domains, trusted[t.name], partners.get(t.name), teachers) for t in teachers)


def is_trusted(teacher: TeacherAudit, domain: DomainAudit) -> bool:
    """Returns whether there is no evidence against a teacher on a domain; without scores, whether the recipe trusts it there.

    One that says the same of all images is trusted nowhere.
    """
    if teacher.is_constant:
        return False
    if not decides(domain):
        return teacher.domains is None or domain.name in teacher.domains
    scores = domain.scores[teacher.name]
    is_poor = scores.versus_pixels.low <= 0 or scores.versus_half.high < 0
    return not (scores.versus_best.high < 0 and is_poor)


def decides(domain: DomainAudit) -> bool:
    """Returns whether a domain has scores that may decide something."""
    return domain.num_queries >= ENOUGH and bool(domain.scores)


def _weight(teacher: TeacherAudit, domains: Sequence[DomainAudit], trusted: Sequence[str]) -> float:
    shares = [_share(d.scores[teacher.name], d) for d in domains if d.name in trusted and decides(d)]
    return round(sum(shares) / len(shares), 2) if shares else teacher.weight


def _share(scores: Scores, domain: DomainAudit) -> float:
    """A teacher that is trusted and below the best is above pixels, or the middle between; so the best's gain is above 0."""
    if scores.versus_best.high >= 0 or domain.best is None:
        return 1.0
    gain, best = scores.versus_pixels.mean, domain.scores[domain.best].versus_pixels.mean
    return min(1.0, max(LEAST_WEIGHT, gain / best)) if best > 0 else 1.0


def _redundant(
    teachers: Sequence[TeacherAudit], domains: Sequence[DomainAudit], trusted: Mapping[str, Sequence[str]]
) -> dict[str, str]:
    """Returns redundant teacher -> the kept one that says the same."""
    kept, partners = list[str](), dict[str, str]()
    for name in _by_cost({teacher.name: teacher.ms_per_image for teacher in teachers}):
        partner = next((other for other in kept if _says_the_same(name, other, domains, trusted)), None)
        if partner is None:
            kept.append(name)
        else:
            partners[name] = partner
    return partners


def _by_cost(ms: Mapping[str, float]) -> Iterator[str]:
    """Yields the cheapest first, and of those that cost as much the one that comes first."""
    left = dict(ms)
    while left:
        limit = SAME_COST * min(left.values())
        name = next(name for name, cost in left.items() if cost <= limit)
        yield name
        del left[name]


def _says_the_same(
    name: str, other: str, domains: Sequence[DomainAudit], trusted: Mapping[str, Sequence[str]]
) -> bool:
    if not set(trusted[name]) <= set(trusted[other]):
        return False
    if any(decides(d) and _difference(d, name, other).low > 0 for d in domains):
        return False
    compared = [
        _agreement(d, name, other) for d in domains if d.name in trusted[name] and d.num_images >= ENOUGH
    ]
    return bool(compared) and all(
        a.cka.low >= SAME_CKA and a.mutual_knn.low >= SAME_NEIGHBOURS for a in compared
    )


def _difference(domain: DomainAudit, one: str, other: str) -> Interval:
    """R@1 of one minus other, whichever comes first in the recipe."""
    if (one, other) in domain.differences:
        return domain.differences[one, other]
    mean, low, high = domain.differences[other, one]
    return Interval(-mean, -high, -low)


def _agreement(domain: DomainAudit, one: str, other: str) -> Agreement:
    pair = (one, other) if (one, other) in domain.agreement else (other, one)
    return domain.agreement[pair]


def _suggestion(
    teacher: TeacherAudit,
    domains: Sequence[DomainAudit],
    trusted: Sequence[str],
    partner: str | None,
    teachers: Sequence[TeacherAudit],
) -> Suggestion:
    weight = _weight(teacher, domains, trusted)
    reasons = _exclusions(teacher.name, [d for d in domains if decides(d) and d.name not in trusted])
    reasons += _beyond_recipe(teacher, domains, trusted)
    if teacher.is_constant:
        reasons = [f"{SAYS_NOTHING} (are its weights, output, mean and std those that you mean?)"]
    elif not trusted:
        reasons.append("no domain is left on which to trust it")
    elif partner is not None:
        reasons.append(_repetition(teacher, partner, domains, trusted, teachers))
    else:
        reasons.append(_weighing(weight, domains, trusted))
    return Suggestion(
        teacher=teacher.name,
        is_kept=bool(trusted) and partner is None,
        domains=None if len(trusted) == len(domains) else tuple(trusted),
        weight=weight,
        redundant_with=partner,
        reasons=tuple(reasons),
    )


def _exclusions(name: str, domains: Sequence[DomainAudit]) -> list[str]:
    parts = [
        f"{d.name} ({d.scores[name].recall.mean:.2f}, {d.best} {d.scores[d.best].recall.mean:.2f}, pixels {d.pixels.mean:.2f})"
        for d in domains
        if d.best is not None and d.pixels is not None
    ]
    return [f"not trusted, for its R@1, on {', '.join(parts)}"] if parts else []


def _beyond_recipe(
    teacher: TeacherAudit, domains: Sequence[DomainAudit], trusted: Sequence[str]
) -> list[str]:
    more = [name for name in trusted if teacher.domains is not None and name not in teacher.domains]
    return [f"good on {', '.join(more)} too, beyond what the recipe trusts it on"] if more else []


def _repetition(
    teacher: TeacherAudit,
    partner: str,
    domains: Sequence[DomainAudit],
    trusted: Sequence[str],
    teachers: Sequence[TeacherAudit],
) -> str:
    compared = [
        _agreement(d, teacher.name, partner) for d in domains if d.name in trusted and d.num_images >= ENOUGH
    ]
    cka, shared = min(a.cka.mean for a in compared), min(a.mutual_knn.mean for a in compared)
    other = next(t for t in teachers if t.name == partner)
    return (
        f"redundant: {partner} says the same (CKA {cka:.2f} and {100 * shared:.0f} % of the neighbours in common, or more), "
        f"is nowhere significantly worse, and takes {other.ms_per_image:.2g} ms an image instead of {teacher.ms_per_image:.2g}"
    )


def _weighing(weight: float, domains: Sequence[DomainAudit], trusted: Sequence[str]) -> str:
    if not any(decides(d) for d in domains if d.name in trusted):
        return "its weight stays: there are no labels to judge it by"
    if weight == 1:
        return "weight 1: where it is trusted it is not significantly below the best"
    return f"weight {weight:g}: where it is trusted it reaches {100 * weight:.0f} % of the best teacher's gain over 8x8 pixels"
