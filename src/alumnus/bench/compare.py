"""Two models, task by task: who is better, on how many tasks, and whether that is more than chance.

On a task the difference of the primary metric is taken on the same test images and the same labels, with a 95 % interval by paired
bootstrap over images and, where there are several, seeds. A model wins a task only if the interval excludes 0. Over tasks a sign
test asks how often the means alone would fall so unevenly if neither were better; it takes the tasks for independent, which those
that share pictures are not quite.

Axes: n runs (seeds).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from alumnus.bench.cells import Cell, Key, read_images
from alumnus.bench.outcome import difference_of
from alumnus.bench.suite import Suite
from alumnus.errors import DataError
from alumnus.evaluation.compare import RESAMPLES, Interval

IMAGES = ("num_train", "num_index", "num_bad")  # counts that are equal where two cells are of the same images


@dataclass(frozen=True)
class Match:
    """One task at one fraction."""

    task: str
    category: str
    metric: str
    runs: int
    one: float
    other: float
    difference: Interval  # one minus other; above 0 is in favour of one

    @property
    def winner(self) -> int:
        """1 if the first is better, -1 if the other is, 0 if that is not told apart."""
        return self.difference.sign


@dataclass(frozen=True)
class Round:
    """All tasks at one fraction of the labels; retrieval, which uses none, is in every round."""

    fraction: float | None  # None: no task learns from labels
    matches: tuple[Match, ...]
    missing: tuple[str, ...]  # tasks that one of them has no score of
    not_comparable: tuple[str, ...] = ()  # tasks whose cells are of different images

    @property
    def wins(self) -> int:
        """Tasks on which the first model is better."""
        return sum(match.winner > 0 for match in self.matches)

    @property
    def losses(self) -> int:
        """Tasks on which the other model is better."""
        return sum(match.winner < 0 for match in self.matches)

    @property
    def p_value(self) -> float:
        """Of the sign test on the mean differences."""
        means = [match.difference.mean for match in self.matches]
        return sign_test(sum(mean > 0 for mean in means), sum(mean < 0 for mean in means))


@dataclass(frozen=True)
class Comparison:
    """Two models."""

    one: str
    other: str
    rounds: tuple[Round, ...]

    def sentence(self, place: Round) -> str:
        """Returns a round in words."""
        n = len(place.matches)
        labels = "" if place.fraction is None else f"With {100 * place.fraction:g} % of the labels: "
        level = n - place.wins - place.losses
        word = (
            f"more than chance (sign test, p = {place.p_value:.3g})"
            if place.p_value < 0.05
            else f"what chance alone often does (sign test, p = {place.p_value:.2g})"
        )
        ahead = sum(match.difference.mean > 0 for match in place.matches)
        unlike = (
            f" Not comparable, for their cells are of different images: {', '.join(place.not_comparable)}; "
            "delete the cells with a num_bad and run again."
            if place.not_comparable
            else ""
        )
        return (
            f"{labels}{self.one} is better on {place.wins} of {n} tasks, {self.other} on {place.losses}, {level} are not told apart. "
            f"Its mean is higher on {ahead} of {n}: {word}.{unlike}"
        )


def compare_models(
    suite: Suite,
    cells: Sequence[Cell],
    one: str,
    other: str,
    out: Path,
    *,
    fractions: Sequence[float],
    resamples: int = RESAMPLES,
) -> Comparison:
    """Returns the comparison of two models by the cells of a folder, at each fraction.

    Raises:
        ArtifactError: the images of a cell are damaged.
    """
    by_key = {cell.key: cell for cell in cells if cell.error is None and math.isfinite(cell.score.mean)}
    rounds = [_round(suite, by_key, one, other, out, fraction, resamples) for fraction in fractions]
    return Comparison(one, other, tuple(rounds))


def sign_test(wins: int, losses: int) -> float:
    """Returns the two-sided p of so uneven a split of wins and losses, ties left out, if both were equally likely.

    >>> sign_test(5, 1), sign_test(3, 3), sign_test(0, 0)
    (0.21875, 1.0, 1.0)
    """
    n = wins + losses
    tail = sum(math.comb(n, k) for k in range(min(wins, losses) + 1))
    return float(min(1.0, 2 * tail / 2**n))


def _round(
    suite: Suite, cells: Mapping[Key, Cell], one: str, other: str, out: Path, fraction: float, resamples: int
) -> Round:
    matches, missing, unlike = list[Match](), list[str](), list[str]()
    for task in suite.tasks:
        at = None if task.task == "retrieval" else fraction
        mine, theirs = (_runs(cells, name, task.name, at) for name in (one, other))
        shared = [seed for seed in mine if seed in theirs]
        if not shared:
            missing.append(task.name)
            continue
        if any(not _is_of_same_images(mine[seed], theirs[seed]) for seed in shared):
            unlike.append(task.name)
            continue
        metric = mine[shared[0]].primary
        images = [
            [read_images(runs[seed].key.path(out), metric) for seed in shared] for runs in (mine, theirs)
        ]
        try:
            difference = difference_of(images[0], images[1], resamples=resamples)
        except DataError:  # some could not be read for one of them
            unlike.append(task.name)
            continue
        means = _mean(mine, shared), _mean(theirs, shared)
        matches.append(Match(task.name, task.group, metric, len(shared), *means, difference))
    learns = any(task.task != "retrieval" for task in suite.tasks)
    return Round(fraction if learns else None, tuple(matches), tuple(missing), tuple(unlike))


def _runs(cells: Mapping[Key, Cell], model: str, task: str, fraction: float | None) -> dict[int | None, Cell]:
    return {
        key.seed: cell
        for key, cell in sorted(cells.items(), key=lambda item: item[0].seed or 0)
        if (key.model, key.task, key.fraction) == (model, task, fraction)
    }


def _is_of_same_images(one: Cell, other: Cell) -> bool:
    """As far as their counts show it: what a cell learnt from, and what answered, is not among the images behind its scores."""
    return all(one.counts.get(name, 0) == other.counts.get(name, 0) for name in IMAGES)


def _mean(runs: Mapping[int | None, Cell], seeds: Sequence[int | None]) -> float:
    return sum(runs[seed].score.mean for seed in seeds) / len(seeds)
