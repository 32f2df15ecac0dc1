"""All cells as boards: one row a task, one column a model, means over categories and over all tasks; `summary.json` and `summary.md`.

There is a board for each fraction of the labels; retrieval learns from none and stands in each. Means over tasks are taken over
those that every model has a score of, so that a model does not gain by failing where it is weak.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import rich.box
import rich.table
from rich.console import Console
from rich.text import Text

from alumnus.bench.cells import Cell, plain, read_images
from alumnus.bench.compare import Comparison, Round
from alumnus.bench.outcome import interval_of
from alumnus.bench.suite import Kind, Suite
from alumnus.disk import replace_text
from alumnus.errors import DataError
from alumnus.evaluation.compare import RESAMPLES, Interval
from alumnus.report.table import DASH, bounds, markdown, number

HEADLINE = 0.1  # the fraction that is shown first, if there is one: GV-B's
VERSION = 1
METRICS: Mapping[Kind, str] = {
    "classification": "top-1, linear probe",
    "retrieval": "R@1",
    "detection": "AP",
    "segmentation": "mean IoU",
    "depth": "delta < 1.25",
}


@dataclass(frozen=True)
class Entry:
    """A model on a task at a fraction."""

    score: Interval  # of the primary metric, mean over seeds
    metrics: Mapping[str, float]  # all of them, means over seeds
    runs: int


@dataclass(frozen=True)
class Row:
    """A task."""

    task: str
    category: str
    kind: Kind
    entries: Mapping[str, Entry | None]  # model -> score; None: failed, not there, or no number

    @property
    def best(self) -> float:
        """The highest mean, NaN if there is none."""
        means = [entry.score.mean for entry in self.entries.values() if entry is not None]
        return max(means, default=math.nan)


@dataclass(frozen=True)
class Board:
    """All tasks at one fraction of the labels."""

    fraction: float
    rows: tuple[Row, ...]
    categories: Mapping[str, Mapping[str, float]]  # category -> model -> mean over its tasks
    overall: Mapping[str, float]  # model -> mean over all tasks
    shared: int  # tasks that every model has a score of, over which the means are

    @property
    def title(self) -> str:
        """What it shows."""
        learns = any(row.kind != "retrieval" for row in self.rows)
        return f"{100 * self.fraction:g} % of the labels" if learns else "no labels are used"


@dataclass(frozen=True)
class Summary:
    """What a run found."""

    suite: str
    title: str
    budget: str
    models: tuple[str, ...]
    boards: tuple[Board, ...]  # the headline first, then by rising fraction
    failed: Mapping[str, str]  # cell -> error
    comparison: Comparison | None = None
    unreadable: Mapping[str, int] = field(default_factory=dict)  # task -> images that its scores are without
    not_learnt: Mapping[str, int] = field(
        default_factory=dict
    )  # the same, for no training image is of their class

    @property
    def headline(self) -> Board:
        """The board that is shown first."""
        return self.boards[0]


def summarise(
    suite: Suite,
    models: Sequence[str],
    cells: Sequence[Cell],
    out: Path,
    *,
    fractions: Sequence[float],
    resamples: int = RESAMPLES,
) -> Summary:
    """Returns the boards of the cells of a folder; the same cells give the same boards, in whatever order they were made."""
    good = sorted(
        (cell for cell in cells if cell.error is None and math.isfinite(cell.score.mean)),
        key=lambda cell: (cell.fraction or 0, cell.seed or 0),
    )
    by_place = dict[tuple[str, str, float | None], list[Cell]]()
    for cell in good:
        by_place.setdefault((cell.model, cell.task, cell.fraction), []).append(cell)
    entries = {place: _entry(runs, out, resamples) for place, runs in sorted(by_place.items(), key=str)}
    order = sorted(fractions, key=lambda fraction: (fraction != _headline(fractions), fraction))
    return Summary(
        suite=suite.name,
        title=suite.title,
        budget=suite.budget,
        models=tuple(models),
        boards=tuple(_board(suite, models, entries, fraction) for fraction in order),
        failed={
            str(cell.key): cell.error
            for cell in sorted(cells, key=lambda cell: str(cell.key))
            if cell.error is not None
        },
        unreadable=_most(suite, good, "num_bad"),
        not_learnt=_most(suite, good, "num_not_learnt"),
    )


def write_summary(summary: Summary, out: Path) -> None:
    """Writes `summary.json` and `summary.md`, each in one step. Neither holds a time or a date: equal cells give equal bytes."""
    replace_text(out / "summary.json", json.dumps(plain(to_json(summary)), indent=1) + "\n")
    replace_text(out / "summary.md", to_markdown(summary), errors="backslashreplace")


def to_json(summary: Summary) -> dict[str, object]:
    """Returns the summary as JSON values."""
    return {
        "version": VERSION,
        "suite": summary.suite,
        "budget": summary.budget,
        "models": list(summary.models),
        "boards": [_board_json(board) for board in summary.boards],
        "failed": dict(summary.failed),
        "unreadable": dict(summary.unreadable),
        "not_learnt": dict(summary.not_learnt),
        "comparison": None if summary.comparison is None else _comparison_json(summary.comparison),
    }


def to_rich(board: Board, models: Sequence[str]) -> rich.table.Table:
    """Returns a board for a terminal. Names are plain text: no markup in them is obeyed."""
    drawn = rich.table.Table(
        title=Text(board.title),
        box=rich.box.SIMPLE_HEAD,
        title_justify="left",
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    drawn.add_column(Text("task"), no_wrap=True)
    drawn.add_column(Text("metric"), no_wrap=True)
    for model in models:
        drawn.add_column(Text(model), justify="right", overflow="fold")
    last = None
    for row in board.rows:
        if last not in {None, row.category}:
            drawn.add_section()
        last = row.category
        cells = [_shown(row, model) for model in models]
        drawn.add_row(
            Text(row.task),
            Text(METRICS[row.kind]),
            *(Text(text, style="bold" if is_best else "") for text, is_best in cells),
        )
    drawn.add_section()
    for name, means in mean_rows(board):
        drawn.add_row(
            Text(name), Text("mean"), *(Text(number(means[model])) for model in models), style="cyan"
        )
    return drawn


def tell(summary: Summary, out: Console) -> None:
    """Prints the boards that have a score, the headline first, and who is better than whom."""
    for board in summary.boards:
        if any(entry is not None for row in board.rows for entry in row.entries.values()):
            out.print(to_rich(board, summary.models))
    if summary.comparison is not None:
        for place in summary.comparison.rounds:
            out.print(Text(summary.comparison.sentence(place)))


def to_markdown(summary: Summary) -> str:
    """Returns the boards as GitHub Markdown, best of each row in bold."""
    comparison = summary.comparison
    parts = [
        f"# {markdown(summary.suite)}\n\n{markdown(summary.title)}\n"
        if summary.title
        else f"# {markdown(summary.suite)}\n"
    ]
    parts.append(f"Budget: {summary.budget}. Frozen encoders; best of each row in bold.\n")
    for board in summary.boards:
        parts.append(f"## {board.title}\n\n{_board_markdown(board, summary.models)}")
    if comparison is not None:
        parts += [f"## {markdown(comparison.one)} against {markdown(comparison.other)}\n"]
        parts += [_round_markdown(comparison, place) for place in comparison.rounds]
    parts += [f"{markdown(words)}\n" for words in left_out_words(summary)]
    if summary.failed:
        lines = "".join(f"- {markdown(cell)}: {markdown(error)}\n" for cell, error in summary.failed.items())
        parts.append(f"## Failed\n\n{lines}")
    return "\n".join(parts)


def left_out_words(summary: Summary) -> list[str]:
    """Returns in sentences how many images the scores are without, of the tasks that have such."""
    why = {
        "Images that could not be read, and are left out": summary.unreadable,
        "Test images of classes that no training image is of, not scored": summary.not_learnt,
    }
    return [f"{words}: {_listed(counts)}." for words, counts in why.items() if counts]


def mean_rows(board: Board) -> list[tuple[str, Mapping[str, float]]]:
    """Returns the means of a board: of each category, if there are several, and of all tasks."""
    several = [(name, means) for name, means in board.categories.items()] if len(board.categories) > 1 else []
    left_out = "" if board.shared == len(board.rows) else f" ({board.shared} of {len(board.rows)} tasks)"
    return [*several, (f"all tasks{left_out}", board.overall)]


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} of {task}" for task, count in counts.items())


def _most(suite: Suite, cells: Sequence[Cell], name: str) -> dict[str, int]:
    """Returns task -> the most that a cell of it counts under a name, of the tasks that have such."""
    most = {
        task.name: max((cell.counts.get(name, 0) for cell in cells if cell.task == task.name), default=0)
        for task in suite.tasks
    }
    return {task: count for task, count in most.items() if count}


def _entry(runs: Sequence[Cell], out: Path, resamples: int) -> Entry:
    primary = runs[0].primary
    metrics = {name: float(np.mean([run.scores[name].mean for run in runs])) for name in runs[0].scores}
    if len(runs) == 1:
        return Entry(runs[0].score, metrics, 1)
    try:
        score = interval_of([read_images(run.key.path(out), primary) for run in runs], resamples=resamples)
    except DataError:  # runs of different images, after some became unreadable
        score = Interval(metrics[primary], math.nan, math.nan)
    return Entry(score, metrics, len(runs))


def _board(
    suite: Suite,
    models: Sequence[str],
    entries: Mapping[tuple[str, str, float | None], Entry],
    fraction: float,
) -> Board:
    rows = []
    for task in suite.tasks:
        at = None if task.task == "retrieval" else fraction
        found = {model: entries.get((model, task.name, at)) for model in models}
        rows.append(Row(task.name, task.group, task.task, found))
    shared = [row for row in rows if all(entry is not None for entry in row.entries.values())]
    return Board(
        fraction,
        tuple(rows),
        {
            category: _means([row for row in shared if row.category == category], models)
            for category in suite.categories
        },
        _means(shared, models),
        len(shared),
    )


def _means(rows: Sequence[Row], models: Sequence[str]) -> dict[str, float]:
    def mean(model: str) -> float:
        scores = [entry.score.mean for row in rows if (entry := row.entries[model]) is not None]
        return float(np.mean(scores)) if scores else math.nan

    return {model: mean(model) for model in models}


def _headline(fractions: Sequence[float]) -> float:
    return HEADLINE if HEADLINE in fractions else max(fractions)


def _shown(row: Row, model: str) -> tuple[str, bool]:
    """Returns the number and whether it is the best of its row, as shown, so that what looks equal is equally bold."""
    entry = row.entries[model]
    if entry is None:
        return DASH, False
    text = number(entry.score.mean)
    return text, text == number(row.best)


def _board_markdown(board: Board, models: Sequence[str]) -> str:
    lines = [["task", "metric", *map(markdown, models)], ["---", "---", *["---:"] * len(models)]]
    for row in board.rows:
        cells = (_shown(row, model) for model in models)
        lines.append(
            [row.task, METRICS[row.kind], *(f"**{text}**" if is_best else text for text, is_best in cells)]
        )
    for name, means in mean_rows(board):
        lines.append([f"*{markdown(name)}*", "mean", *(number(means[model]) for model in models)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _round_markdown(comparison: Comparison, place: Round) -> str:
    lines = [
        ["task", comparison.one, comparison.other, "difference", "95 % interval", "better"],
        ["---", *["---:"] * 3, "---", "---"],
    ]
    for match in place.matches:
        lines.append(
            [
                match.task,
                number(match.one),
                number(match.other),
                number(match.difference.mean, signed=True),
                bounds(match.difference, signed=True),
                markdown({1: comparison.one, -1: comparison.other, 0: DASH}[match.winner]),
            ]
        )
    lines[0][1:3] = [markdown(comparison.one), markdown(comparison.other)]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{markdown(comparison.sentence(place))}\n\n{table}\n"


def _board_json(board: Board) -> dict[str, object]:
    return {
        "fraction": board.fraction,
        "tasks": [
            {
                "task": row.task,
                "category": row.category,
                "kind": row.kind,
                "models": {
                    model: None
                    if entry is None
                    else {"score": list(entry.score), "runs": entry.runs, "metrics": dict(entry.metrics)}
                    for model, entry in row.entries.items()
                },
            }
            for row in board.rows
        ],
        "categories": {name: dict(means) for name, means in board.categories.items()},
        "overall": dict(board.overall),
        "shared_tasks": board.shared,
    }


def _comparison_json(comparison: Comparison) -> dict[str, object]:
    return {
        "one": comparison.one,
        "other": comparison.other,
        "rounds": [
            {
                "fraction": place.fraction,
                "wins": place.wins,
                "losses": place.losses,
                "p_value": place.p_value,
                "missing": list(place.missing),
                "not_comparable": list(place.not_comparable),
                "tasks": [
                    {
                        "task": match.task,
                        "metric": match.metric,
                        "runs": match.runs,
                        "one": match.one,
                        "other": match.other,
                        "difference": list(match.difference),
                        "winner": match.winner,
                    }
                    for match in place.matches
                ],
            }
            for place in comparison.rounds
        ],
    }
