"""Do teachers help or hinder one another? Each model's transfer in each domain, relative to the generalist.

A student of several teachers may lose in one domain what it gains in another. The quantity that shows it is a matrix: for every teacher,
for the student and for its first weights, the score in each domain less that of the generalist, on the same queries. Negative numbers
outside a specialist's own domain are what its training cost it; negative ones in the student's row are interference.

The score is R@1 in the domain's own index, so that taking one domain for another does not come into it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from alumnus.errors import ConfigError, nearest
from alumnus.evaluation.compare import Resampled
from alumnus.evaluation.encode import Kind, Scored
from alumnus.evaluation.results import KEYS, Interference, ModelScores, Scores

KEY = "separate/R@1"
COMPARED: tuple[Kind, ...] = ("student", "initial", "teacher", "other")


class Baseline(NamedTuple):
    """What the others are compared with."""

    name: str
    why: str


def check_generalist(given: str | None, names: Sequence[str]) -> None:
    """Raises a ConfigError if a generalist is named that is not scored."""
    if given is not None and given not in names:
        raise ConfigError(
            f"generalist={given!r} was not scored{nearest(given, names)}; there are {', '.join(names)}"
        )


def choose_baseline(
    models: Sequence[Scored], scored: Sequence[ModelScores], *, given: str | None = None
) -> Baseline | None:
    """Returns the generalist: of several teachers the only one that is trusted everywhere.

    Where there is none, the student's first weights; without those the best teacher; without teachers None.

    Args:
        models: as they were scored, with the domains on which they are trusted.
        scored: their scores.
        given: the generalist's name, if it is known; one of the models.
    """
    if given is not None:
        return Baseline(given, "named as the generalist")
    teachers = [model for model in models if model.kind == "teacher"]
    everywhere = [model.name for model in teachers if model.domains is None]
    if not teachers:
        return None
    if len(everywhere) == 1 and len(teachers) > 1:
        return Baseline(everywhere[0], "the only teacher that is trusted everywhere")
    initial = [model.name for model in models if model.kind == "initial"]
    if initial:
        return Baseline(initial[0], "no single teacher is the generalist")
    of = {model.name: model.scores[KEY].macro.mean for model in scored}
    return Baseline(max((model.name for model in teachers), key=of.__getitem__), "the best teacher")


def interference(
    models: Sequence[Scored],
    scored: Sequence[ModelScores],
    drawn: Resampled,
    domains: Mapping[int, str],
    *,
    generalist: str | None = None,
) -> Interference | None:
    """Returns each model's score less the baseline's, macro and by domain, from the same resamples; None without teachers.

    Args:
        scored: the rows of the table, in the order of the columns of `drawn`, KEYS of each.
        domains: those that have queries.
        generalist: see `choose_baseline`.
    """
    baseline = choose_baseline(models, scored, given=generalist)
    if baseline is None:
        return None
    column = {model.name: place * len(KEYS) + KEYS.index(KEY) for place, model in enumerate(scored)}
    base = column[baseline.name]
    rows = {
        model.name: Scores(
            drawn.difference(column[model.name], base),
            {name: drawn.difference(column[model.name], base, domain=d) for d, name in domains.items()},
        )
        for model in scored
        if model.kind in COMPARED and model.name != baseline.name
    }
    return Interference(baseline.name, baseline.why, KEY, rows)
