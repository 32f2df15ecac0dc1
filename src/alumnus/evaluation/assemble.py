"""From per-query values to the rows of the table: means, intervals and paired differences of every model.

Axes: Q queries, C columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from alumnus.evaluation.arrays import Floats
from alumnus.evaluation.baselines import ORACLE, oracle_values
from alumnus.evaluation.compare import Interval, Resampled
from alumnus.evaluation.encode import Scored
from alumnus.evaluation.results import KEYS, Difference, ModelScores, Scores
from alumnus.evaluation.retrieval import METRICS, PROTOCOLS, Retrieval


class Cost(NamedTuple):
    """What a model costs."""

    num_parameters: int | None
    ms_per_image: float


def columns(found: Mapping[str, Retrieval], chosen: Mapping[int, str]) -> Floats:
    """Returns the (Q, C) values of every query: for each model, then for the oracle if there is one, the KEYS in order."""
    values = [
        retrieval.ranking(protocol).metric(metric)
        for retrieval in found.values()
        for protocol in PROTOCOLS
        for metric in METRICS
    ]
    if chosen:  # told the domain, the oracle has no merged index: both protocols are its own
        values += [oracle_values(found, chosen, metric) for _ in PROTOCOLS for metric in METRICS]
    return np.stack(values, axis=1)


def model_scores(
    models: Sequence[Scored],
    dims: Mapping[str, int],
    drawn: Resampled,
    *,
    costs: Mapping[str, Cost],
    notes: Mapping[str, str],
    domains: Mapping[int, str],
    chosen: Mapping[int, str],
    knn: Mapping[str, Mapping[str, Interval]],
) -> tuple[ModelScores, ...]:
    """Returns the rows of the table, in the order of the columns of `drawn`.

    Args:
        dims: name -> width of its vectors; those that are no model are made of all teachers.
        costs: of each model.
        notes: name -> what else is to be said of it; by default, of those that are no model, the teachers' names.
        domains: those that have queries.
        chosen: the oracle's model in each domain; empty for no oracle.
        knn: name -> domain -> accuracy.
    """
    by_name = {model.name: model for model in models}
    teachers = [model.name for model in models if model.kind == "teacher"]
    rows = []
    for position, (name, dim) in enumerate(dims.items()):
        parts = [name] if name in by_name else teachers
        rows.append(
            ModelScores(
                name=name,
                kind=by_name[name].kind if name in by_name else "concatenation",
                dim=dim,
                num_parameters=_sum([costs[part].num_parameters for part in parts]),
                ms_per_image=sum(costs[part].ms_per_image for part in parts),
                scores=_scores(drawn, position, domains),
                knn=knn.get(name, {}),
                note=notes.get(name, "" if name in by_name else ", ".join(parts)),
            )
        )
    return (*rows, *([_oracle(drawn, len(rows), costs, domains, chosen)] if chosen else []))


def _oracle(
    drawn: Resampled,
    position: int,
    costs: Mapping[str, Cost],
    domains: Mapping[int, str],
    chosen: Mapping[int, str],
) -> ModelScores:
    return ModelScores(
        name=ORACLE,
        kind="oracle",
        dim=None,
        num_parameters=_sum([costs[name].num_parameters for name in dict.fromkeys(chosen.values())]),
        ms_per_image=None,  # one of several models runs, whichever the domain is
        scores=_scores(drawn, position, domains),
        note="; ".join(f"{domains[d]}: {name}" for d, name in chosen.items()),
    )


def _scores(drawn: Resampled, position: int, domains: Mapping[int, str]) -> dict[str, Scores]:
    first = position * len(KEYS)
    return {
        key: Scores(drawn.macro(column), {name: drawn.of_domain(d, column) for d, name in domains.items()})
        for column, key in enumerate(KEYS, start=first)
    }


def differences(
    scored: Sequence[ModelScores], drawn: Resampled, domains: Mapping[int, str], reference: str
) -> tuple[Difference, ...]:
    """Returns the reference minus each other model, for all KEYS."""
    first = {model.name: position * len(KEYS) for position, model in enumerate(scored)}
    mine = first[reference]
    return tuple(
        Difference(
            other.name,
            key,
            Scores(
                drawn.difference(mine + k, first[other.name] + k),
                {
                    name: drawn.difference(mine + k, first[other.name] + k, domain=d)
                    for d, name in domains.items()
                },
            ),
        )
        for other in scored
        if other.name != reference
        for k, key in enumerate(KEYS)
    )


def _sum(numbers: Sequence[int | None]) -> int | None:
    known = [number for number in numbers if number is not None]
    return sum(known) if len(known) == len(numbers) else None
