"""Rows of the table that are made of other models: all teachers side by side, and the specialist oracle.

The oracle knows each query's domain, asks that domain's specialist, and searches that domain's images alone: what a router without errors
would reach. It is the mark for a consolidated student, which is told no domain. A domain without a specialist of its own takes the best
generalist. Where the choice is open it is made by the very queries that are scored, in the oracle's favour.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from alumnus.errors import ConfigError, nearest
from alumnus.evaluation.arrays import Floats, Ids
from alumnus.evaluation.encode import Scored
from alumnus.evaluation.retrieval import Retrieval

CONCATENATION, ORACLE = "all teachers concatenated", "specialist oracle"
REDUCED = "all teachers, PCA"  # see reduction.py


def check_specialists(given: Mapping[str, str], names: Sequence[str], domains: Sequence[str]) -> None:
    """Raises a ConfigError unless `given` maps domains that have queries to names of models that are scored."""
    for domain, name in given.items():
        if domain not in domains:
            raise ConfigError(
                f"specialists: there is no domain {domain!r} with queries{nearest(domain, domains)}; "
                f"there are {', '.join(domains)}"
            )
        if name not in names:
            raise ConfigError(
                f"specialists: {domain} is given to {name!r}, which is not scored{nearest(name, names)}"
            )


def choose_specialists(
    models: Sequence[Scored],
    found: Mapping[str, Retrieval],
    domains: Mapping[int, str],
    *,
    given: Mapping[str, str] | None = None,
) -> dict[int, str]:
    """Returns domain -> name of the model that the oracle asks there; empty if there is no teacher.

    Args:
        models: all that were scored; teachers among them are candidates.
        found: model name -> what it found.
        domains: those that have queries, number -> name.
        given: domain name -> model name, where the specialist is known.
    """
    given = given or {}
    teachers = [model for model in models if model.kind == "teacher"]
    chosen = {}
    for d, domain in domains.items():
        candidates = _candidates(teachers, domain)
        if domain in given:
            chosen[d] = given[domain]
        elif candidates:
            chosen[d] = max(candidates, key=lambda name: _separate_recall(found[name], d))
    return chosen if len(chosen) == len(domains) else {}


def oracle_values(found: Mapping[str, Retrieval], chosen: Mapping[int, str], metric: str) -> Floats:
    """Returns the (Q,) values of the oracle: each query's by its domain's model, in its domain's own index."""
    domain: Ids = next(iter(found.values())).domain
    values = np.zeros(len(domain), np.float32)
    for d, name in chosen.items():
        values = np.where(domain == d, found[name].separate.metric(metric), values)
    return values


def _candidates(teachers: Sequence[Scored], domain: str) -> list[str]:
    """The specialists of a domain; without one, the generalists; without those, every teacher."""
    specialists = [t.name for t in teachers if t.domains is not None and domain in t.domains]
    generalists = [t.name for t in teachers if t.domains is None]
    return specialists or generalists or [t.name for t in teachers]


def _separate_recall(found: Retrieval, domain: int) -> float:
    return float(found.separate.recall[found.domain == domain].mean())
