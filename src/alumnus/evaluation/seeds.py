"""Several runs that differ in their seed, as one `Results`: means over runs, with intervals that hold the chance of training.

The bootstrap of one run knows only the chance of the queries. Here every score and every paired difference is one number a run, and the
interval is Student's t over runs. Tables, verdict and report take the outcome like any other.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from alumnus.errors import DataError
from alumnus.evaluation.compare import over_runs
from alumnus.evaluation.results import Difference, Interference, ModelScores, Results, Scores


def combine(runs: Sequence[Results]) -> Results:
    """Returns the results of runs of the same models on the same images, averaged; a single run stays as it is.

    Raises:
        DataError: they do not speak of the same thing; says what differs.
    """
    if not runs:
        raise DataError("there are no results to combine")
    first = runs[0]
    if len(runs) == 1:
        return first
    for run in runs[1:]:
        _check_same(first, run)
    return dataclasses.replace(
        first,
        runs=len(runs),
        resamples=0,
        models=tuple(_model([run.models[i] for run in runs]) for i in range(len(first.models))),
        differences=tuple(
            _difference([run.differences[i] for run in runs]) for i in range(len(first.differences))
        ),
        interference=_interference([run.interference for run in runs]),
    )


def _check_same(first: Results, other: Results) -> None:
    def subject(results: Results) -> dict[str, object]:
        return {
            "data": results.fingerprint,
            "split": (results.split, results.index_split),
            "models": [model.name for model in results.models],
            "domains": [domain.name for domain in results.domains],
            "reference": results.reference,
        }

    one, two = subject(first), subject(other)
    for name in one:
        if one[name] != two[name]:
            raise DataError(f"results of different {name} cannot be averaged: {one[name]} and {two[name]}")


def _model(runs: Sequence[ModelScores]) -> ModelScores:
    first = runs[0]
    times = [run.ms_per_image for run in runs if run.ms_per_image is not None]
    return dataclasses.replace(
        first,
        ms_per_image=sum(times) / len(times) if times else None,
        scores={key: _scores([run.scores[key] for run in runs]) for key in first.scores},
        knn={domain: over_runs([run.knn[domain].mean for run in runs]) for domain in first.knn},
    )


def _difference(runs: Sequence[Difference]) -> Difference:
    return dataclasses.replace(runs[0], scores=_scores([run.scores for run in runs]))


def _interference(runs: Sequence[Interference | None]) -> Interference | None:
    """None where runs have different baselines: each then chose its own best teacher."""
    found = [run for run in runs if run is not None]
    if len(found) < len(runs) or len({run.baseline for run in found}) > 1:
        return None
    rows = {name: _scores([run.rows[name] for run in found]) for name in found[0].rows}
    return dataclasses.replace(found[0], rows=rows)


def _scores(runs: Sequence[Scores]) -> Scores:
    return Scores(
        over_runs([run.macro.mean for run in runs]),
        {domain: over_runs([run.domains[domain].mean for run in runs]) for domain in runs[0].domains},
    )
