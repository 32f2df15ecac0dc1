"""The table in its three forms, and the verdict."""

from __future__ import annotations

import dataclasses
import io
import math

import pytest
from rich.console import Console

from alumnus.evaluation.compare import Interval
from alumnus.evaluation.encode import Kind
from alumnus.evaluation.results import Scores
from alumnus.report.table import count, milliseconds, number, score_table, to_markdown, to_rich
from alumnus.report.verdict import verdict
from tests.report.examples import make_results

MODELS: dict[str, tuple[Kind, float]] = {
    "student": ("student", 0.55),
    "weak": ("teacher", 0.3),
    "strong": ("teacher", 0.5),
    "pixels": ("pixels", 0.1),
    "oracle": ("oracle", 0.5504),
}


def test_rows_begin_with_the_student_and_teachers_fall() -> None:
    """Then what is not one model; the floor last."""
    table = score_table(make_results(MODELS))
    assert [row.name for row in table.rows] == ["student", "strong", "weak", "oracle", "pixels"]
    assert [row.is_reference for row in table.rows] == [True, False, False, False, False]
    assert table.columns == ("a", "b", "macro", "dim", "params", "ms")
    assert table.num_scores == 3


def test_what_looks_equal_is_equally_bold() -> None:
    """.5500 and .5504 are both shown as .550, so both are best; costs are never bold."""
    table = score_table(make_results(MODELS))
    bold = {row.name for row in table.rows if row.cells[0].is_best}
    assert bold == {"student", "oracle"}
    assert not any(cell.is_best for row in table.rows for cell in row.cells[3:])


def test_markdown_has_one_line_a_model_whatever_its_name() -> None:
    """Bars, stars, tags and line breaks in names stay text."""
    results = make_results({"a|b *c* <i>\n`d`": ("student", 0.5), "plain": ("teacher", 0.25)})
    lines = to_markdown(score_table(results)).splitlines()
    assert len(lines) == 4
    assert lines[2].startswith("| **a\\|b \\*c\\* &lt;i&gt; \\`d\\`** | **.500** |")
    assert lines[3] == "| plain | .250 | .250 | .250 | 64 | 1.5 M | 3.2 |"


def test_terminal_shows_names_as_they_are() -> None:
    """No markup in a name is obeyed, and names stay readable at 80 columns."""
    results = make_results(
        {"[red]student[/red]": ("student", 0.5)}, domains=("emoji", "logos", "earth", "icons")
    )
    out = io.StringIO()
    Console(file=out, width=80).print(to_rich(score_table(results)))
    assert "[red]student[/red]" in out.getvalue()
    assert ".500" in out.getvalue()


def test_knn_has_a_table_of_its_own() -> None:
    """Only the domains that have it, and no macro."""
    table = score_table(make_results(MODELS), key="knn")
    assert table.columns == ("a", "dim", "params", "ms")
    assert table.num_scores == 1


@pytest.mark.parametrize(
    ("student", "teacher", "oracle", "word"),
    [(0.6, 0.5, 0.55, "yes"), (0.6, 0.5, 0.605, "yes"), (0.6, 0.5, 0.7, "partly"), (0.505, 0.5, 0.4, "no")],
)
def test_verdict_follows_the_intervals(student: float, teacher: float, oracle: float, word: str) -> None:
    """Surely above the best teacher is needed; surely below the oracle is only part of the way."""
    found = verdict(
        make_results(
            {"s": ("student", student), "t": ("teacher", teacher), "o": ("oracle", oracle)}, half=0.01
        )
    )
    assert found.word == word
    assert number(student) in found.sentence
    assert number(student - teacher, signed=True) in found.sentence


def test_without_a_teacher_the_verdict_is_open() -> None:
    """Nothing is claimed."""
    assert verdict(make_results({"s": ("student", 0.5)})).word == "open"
    assert verdict(make_results({"s": ("teacher", 0.5), "t": ("teacher", 0.4)})).word == "open"


def test_numbers_without_an_interval_claim_nothing() -> None:
    """One run of several seeds has no t interval: no small print, and no "above"."""
    results = make_results({"s": ("student", 0.6), "t": ("teacher", 0.5)})
    lone = Interval(0.1, math.nan, math.nan)
    results = dataclasses.replace(
        results,
        differences=tuple(
            dataclasses.replace(d, scores=Scores(lone, dict.fromkeys(d.scores.domains, lone)))
            for d in results.differences
        ),
    )
    assert verdict(results).word == "no"
    assert "not told apart from" in verdict(results).sentence


def test_short_numbers() -> None:
    """A few characters each, nothing lost that matters."""
    assert [number(x) for x in (0.0, 1.0, 0.0004, -0.5)] == [".000", "1.000", ".000", "−.500"]
    assert [number(x, signed=True) for x in (0.25, -0.25, 0.0, math.nan)] == ["+.250", "−.250", ".000", "–"]
    assert [count(x) for x in (None, 0, 999, 5_400, 1_529_968, 86_000_000)] == [
        *("–", "0", "999", "5 k", "1.5 M", "86 M")
    ]
    assert [milliseconds(x) for x in (None, 0.123, 3.21, 45.6)] == ["–", "0.12", "3.2", "46"]
