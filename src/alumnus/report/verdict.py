"""Did it consolidate? One word and one sentence, from paired intervals of macro R@1 in the merged index."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from alumnus.evaluation.compare import Interval
from alumnus.evaluation.results import ModelScores, Results
from alumnus.report.table import DEFAULT_KEY, bounds, number

Word = Literal["yes", "partly", "no", "open"]


@dataclass(frozen=True)
class Verdict:
    """What the first lines of a report say."""

    word: Word
    sentence: str


def verdict(results: Results) -> Verdict:
    """Returns "yes" if the student is surely above the best single teacher and not surely below the oracle, "partly" if it is
    above the teacher only, "no" if it is not above it, and "open" if there is nothing to compare with.
    """
    student = results.model()
    own = (
        f"{student.name} reaches a macro R@1 of {number(_macro(student).mean)} with all domains in one index"
    )
    teachers = results.of_kind("teacher")
    if student.kind != "student" or not teachers:
        return Verdict("open", f"{own}. No teacher was scored beside it.")
    best = max(teachers, key=lambda teacher: _macro(teacher).mean)
    parts, word = [f"{own}: {_against(results, best, 'the best single teacher, ')}"], _word(results, best)
    for oracle in results.of_kind("oracle"):
        parts.append(f"and {_against(results, oracle, 'the ')}, which is told the domain")
        if word == "yes" and _difference(results, oracle).sign < 0:
            word = "partly"
    return Verdict(word, f"{', '.join(parts)}. {_meaning(results)}")


def _word(results: Results, teacher: ModelScores) -> Word:
    return "yes" if _difference(results, teacher).sign > 0 else "no"


def _against(results: Results, other: ModelScores, what: str) -> str:
    difference = _difference(results, other)
    relation = {1: "above", -1: "below", 0: "not told apart from"}[difference.sign]
    interval = bounds(difference, signed=True)
    told = f", {interval}" if interval else ""
    return f"{relation} {what}{other.name} ({number(_macro(other).mean)}; {number(difference.mean, signed=True)}{told})"


def _meaning(results: Results) -> str:
    if results.runs > 1:
        return f"Means over {results.runs} seeds with 95 % t intervals of paired differences."
    return "95 % bootstrap intervals over the same queries, of one run."


def _difference(results: Results, other: ModelScores) -> Interval:
    scores = results.difference(other.name, DEFAULT_KEY)
    assert scores is not None, other.name
    return scores.macro


def _macro(model: ModelScores) -> Interval:
    return model.scores[DEFAULT_KEY].macro
