"""The page of a benchmark: `report.html`, one file that loads nothing and runs no script, in the style of a run's report.

The heat map shows each task's numbers against one another, since tasks differ in difficulty: the worst model of a row is pale, the
best dark, and a row whose models lie within `SPAN` of one another is pale throughout.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from markupsafe import Markup

from alumnus.bench.compare import Comparison, Match
from alumnus.bench.summary import METRICS, Board, Row, Summary, left_out_words, mean_rows
from alumnus.report.charts import Chart, line_chart
from alumnus.report.page import style, templates, write_whole
from alumnus.report.table import DASH, bounds, number

SPAN = 0.1  # a difference below this does not fill the scale of a row
DARKEST = 42  # percent of the accent's colour in the darkest cell, beyond which text is hard to read
OWN_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Heat:
    """A number of the heat map."""

    text: str
    interval: str
    runs: int
    percent: int  # of colour
    is_best: bool


@dataclass(frozen=True)
class HeatRow:
    """A task, or a mean over tasks."""

    name: str
    metric: str
    cells: tuple[Heat, ...]
    begins: bool  # a new category
    is_mean: bool


@dataclass(frozen=True)
class Versus:
    """A match, with its bar in percent of the drawing's width."""

    match: Match
    text: str
    interval: str
    low: float
    high: float
    mean: float


def write_page(summary: Summary, out: Path) -> Path:
    """Writes `report.html` into the folder in one step and returns its path."""
    return write_whole(out / "report.html", render(summary))


def render(summary: Summary) -> str:
    """Returns the page."""
    environment = templates(OWN_TEMPLATES)
    chart = _curves(summary)
    return environment.get_template("bench.html.jinja").render(
        summary=summary,
        style=style(),
        boards=[(board, _heat(board, summary.models)) for board in summary.boards],
        chart=chart,
        drawing=None if chart is None else Markup(chart.svg),
        rounds=[] if summary.comparison is None else _rounds(summary.comparison),
        span=f"{SPAN:g}",
        left_out=left_out_words(summary),
    )


def _heat(board: Board, models: Sequence[str]) -> list[HeatRow]:
    rows, last = list[HeatRow](), ""
    for row in board.rows:
        rows.append(
            HeatRow(row.task, METRICS[row.kind], _task_cells(row, models), row.category != last, False)
        )
        last = row.category
    for place, (name, means) in enumerate(mean_rows(board)):
        cells = _cells([means[model] for model in models])
        rows.append(HeatRow(name, "mean", cells, place == 0, True))
    return rows


def _task_cells(row: Row, models: Sequence[str]) -> tuple[Heat, ...]:
    entries = [row.entries[model] for model in models]
    cells = _cells([math.nan if entry is None else entry.score.mean for entry in entries])
    return tuple(
        cell
        if entry is None
        else Heat(cell.text, bounds(entry.score), entry.runs, cell.percent, cell.is_best)
        for cell, entry in zip(cells, entries, strict=True)
    )


def _cells(values: Sequence[float]) -> tuple[Heat, ...]:
    finite = [value for value in values if math.isfinite(value)]
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    reach = max(high - low, SPAN)
    return tuple(
        Heat(number(value), "", 1, round(DARKEST * (value - low) / reach), number(value) == number(high))
        if math.isfinite(value)
        else Heat(DASH, "", 0, 0, False)
        for value in values
    )


def _curves(summary: Summary) -> Chart | None:
    """The mean over tasks that learn from labels, against their share; nothing for one share or no such task."""
    boards = sorted(summary.boards, key=lambda board: board.fraction)
    learnt = {
        row.task
        for row in boards[0].rows
        if row.kind != "retrieval" and all(all(_row(board, row.task).entries.values()) for board in boards)
    }
    if len(boards) < 2 or not learnt:
        return None
    xs = np.array([100 * board.fraction for board in boards])

    def mean(board: Board, model: str) -> float:
        entries = [_row(board, task).entries[model] for task in sorted(learnt)]
        return float(np.mean([entry.score.mean for entry in entries if entry is not None]))

    curves = {model: (xs, np.array([mean(board, model) for board in boards])) for model in summary.models}
    return line_chart(
        f"Mean over {len(learnt)} tasks", curves, x_label="% of the labels", is_log=True, has_points=True
    )


def _row(board: Board, task: str) -> Row:
    return next(row for row in board.rows if row.task == task)


def _rounds(comparison: Comparison) -> list[tuple[str, str, list[Versus]]]:
    """Returns what each round is about, its sentence, and its matches from the one most in favour of the first down."""
    found = []
    for place in comparison.rounds:
        ends = [abs(end) for match in place.matches for end in match.difference if math.isfinite(end)]
        reach = max(ends, default=0.0) or 1.0
        matches = sorted(place.matches, key=lambda match: -match.difference.mean)
        title = "All tasks" if place.fraction is None else f"{100 * place.fraction:g} % of the labels"
        found.append((title, comparison.sentence(place), [_versus(match, reach) for match in matches]))
    return found


def _versus(match: Match, reach: float) -> Versus:
    def at(value: float) -> float:
        return round(50 + 48 * value / reach, 2) if math.isfinite(value) else 50.0

    mean, low, high = match.difference
    return Versus(
        match,
        number(mean, signed=True),
        bounds(match.difference, signed=True),
        at(low),
        at(high),
        at(mean),
    )
