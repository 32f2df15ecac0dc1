"""The table "did it consolidate?": one row a model, one column a domain; for HTML, a terminal and Markdown alike."""

from __future__ import annotations

import html
import math
from dataclasses import dataclass

import rich.table
from rich.text import Text

from alumnus.evaluation.compare import Interval
from alumnus.evaluation.encode import Kind
from alumnus.evaluation.results import KEYS, ModelScores, Results

DEFAULT_KEY = KEYS[0]
TITLES = {
    "merged/R@1": "R@1, all domains in one index",
    "merged/mMP@5": "mMP@5, all domains in one index",
    "separate/R@1": "R@1, own domain's index",
    "separate/mMP@5": "mMP@5, own domain's index",
    "knn": "kNN top-1, classes seen in training",
}
ORDER: tuple[Kind, ...] = ("student", "teacher", "concatenation", "oracle", "other", "initial", "pixels")
DASH = "–"
HOTTEST, FULL_HEAT = 45, 0.2  # percent, so that text stays readable on it; and the difference that reaches it
_TONES = {1: "plus", -1: "minus", 0: "level"}


@dataclass(frozen=True)
class Cell:
    """A number as it is shown."""

    text: str
    interval: str = ""  # small print
    is_best: bool = False
    tone: str = ""  # of a difference: plus, minus or level
    heat: int = 0  # of a difference: strength of the cell's colour in percent


@dataclass(frozen=True)
class Row:
    """A model."""

    name: str
    kind: Kind
    note: str
    is_reference: bool
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Table:
    """What all three forms show."""

    key: str
    title: str
    columns: tuple[str, ...]  # of the cells: domains, macro, then cost
    num_scores: int  # how many of them are scores
    rows: tuple[Row, ...]


def score_table(results: Results, *, key: str = DEFAULT_KEY) -> Table:
    """Returns the table of one metric: one of `KEYS`, or "knn"."""
    domains = [domain.name for domain in results.domains]
    if key == "knn":
        domains = [name for name in domains if any(name in model.knn for model in results.models)]
    shown = [model for model in _ordered(results) if key != "knn" or model.knn]
    scores = [_intervals(model, key, domains) for model in shown]
    best = [_best([row[column] for row in scores]) for column in range(len(scores[0]) if scores else 0)]
    rows = [
        Row(
            name=model.name,
            kind=model.kind,
            note=model.note,
            is_reference=model.name == results.reference,
            cells=(
                *(_cell(interval, limit) for interval, limit in zip(row, best, strict=True)),
                *_cost(model),
            ),
        )
        for model, row in zip(shown, scores, strict=True)
    ]
    macro = () if key == "knn" else ("macro",)
    columns = (*domains, *macro, "dim", "params", "ms")
    return Table(key, TITLES[key], columns, len(domains) + len(macro), tuple(rows))


def interference_table(results: Results) -> Table | None:
    """Returns the matrix of interference, the reference and then the others in its order; None where no teacher was scored."""
    found = results.interference
    if found is None:
        return None
    domains = [domain.name for domain in results.domains]
    kinds = {model.name: model.kind for model in results.models}
    names = [model.name for model in _ordered(results) if model.name in found.rows]
    rows = tuple(
        Row(
            name=name,
            kind=kinds[name],
            note="",
            is_reference=name == results.reference,
            cells=tuple(
                Cell(
                    number(interval.mean, signed=True),
                    bounds(interval, signed=True),
                    tone=_TONES[interval.sign],
                    heat=_heat(interval.mean),
                )
                for interval in (*(found.rows[name].domains[d] for d in domains), found.rows[name].macro)
            ),
        )
        for name in names
    )
    title = f"{TITLES[found.key]}, minus {found.baseline}"
    return Table("interference", title, (*domains, "macro"), len(domains) + 1, rows)


def to_markdown(table: Table) -> str:
    """Returns the table as GitHub Markdown: best in bold, the student's name in bold.

    Intervals are left out of it, for width.
    """
    lines = [["", *map(markdown, table.columns)], ["---", *["---:"] * len(table.columns)]]
    for row in table.rows:
        name = f"**{markdown(row.name)}**" if row.is_reference else markdown(row.name)
        lines.append([name, *(f"**{cell.text}**" if cell.is_best else cell.text for cell in row.cells)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def to_rich(table: Table) -> rich.table.Table:
    """Returns the table for a terminal. Names are plain text: no markup in them is obeyed."""
    drawn = rich.table.Table(
        title=Text(table.title),
        box=rich.box.SIMPLE_HEAD,
        title_justify="left",
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    drawn.add_column(Text("model"), min_width=18, overflow="fold")
    for column in table.columns:
        drawn.add_column(Text(column), justify="right", no_wrap=True)
    for row in table.rows:
        cells = [Text(cell.text, style="bold" if cell.is_best else "") for cell in row.cells]
        drawn.add_row(Text(row.name), *cells, style="cyan" if row.is_reference else "")
    return drawn


def number(value: float, *, signed: bool = False) -> str:
    """Returns a share with three decimals and no leading zero.

    >>> number(0.5571), number(-0.02, signed=True), number(1.0)
    ('.557', '−.020', '1.000')
    """
    if not math.isfinite(value):
        return DASH
    text = f"{abs(value):.3f}"
    sign = "−" if value < 0 and float(text) else "+" if signed and float(text) else ""
    return sign + (text[1:] if text.startswith("0") else text)


def bounds(interval: Interval, *, signed: bool = False) -> str:
    """Returns "low to high", or nothing where there is no interval."""
    if not math.isfinite(interval.low):
        return ""
    return f"{number(interval.low, signed=signed)} to {number(interval.high, signed=signed)}"


def count(value: int | None) -> str:
    """Returns a number of parameters in a few characters.

    >>> count(1_529_968), count(0), count(None), count(86_000_000), count(5_400)
    ('1.5 M', '0', '–', '86 M', '5 k')
    """
    if value is None:
        return DASH
    if value < 1000:
        return str(value)
    if value < 1_000_000:
        return f"{value / 1000:.0f} k"
    return f"{value / 1e6:.1f} M" if value < 10_000_000 else f"{value / 1e6:.0f} M"


def milliseconds(value: float | None) -> str:
    """Returns a time with two digits or so.

    >>> milliseconds(0.123), milliseconds(3.21), milliseconds(45.6), milliseconds(None)
    ('0.12', '3.2', '46', '–')
    """
    if value is None or not math.isfinite(value):
        return DASH
    return f"{value:.2f}" if value < 1 else f"{value:.1f}" if value < 10 else f"{value:.0f}"


def markdown(text: str) -> str:
    """Returns a name that cannot leave its cell, begin markup or bring HTML."""
    safe = html.escape(" ".join(text.split()), quote=False)
    for mark in "\\|`*_[]~":
        safe = safe.replace(mark, f"\\{mark}")
    return safe


def _ordered(results: Results) -> list[ModelScores]:
    """The reference, then by kind; teachers from the best down."""

    def place(model: ModelScores) -> tuple[bool, int, float]:
        return (
            model.name != results.reference,
            ORDER.index(model.kind),
            -model.scores[DEFAULT_KEY].macro.mean,
        )

    return sorted(results.models, key=place)


def _intervals(model: ModelScores, key: str, domains: list[str]) -> list[Interval]:
    if key == "knn":
        return [model.knn[domain] for domain in domains]
    scores = model.scores[key]
    return [*(scores.domains[domain] for domain in domains), scores.macro]


def _best(column: list[Interval]) -> str:
    """The best number as it is shown, so that what looks equal is equally bold."""
    return number(max(interval.mean for interval in column))


def _cell(interval: Interval, best: str) -> Cell:
    text = number(interval.mean)
    return Cell(text, bounds(interval), text == best)


def _heat(difference: float) -> int:
    """Percent of the colour, in proportion to the difference."""
    return round(HOTTEST * min(1.0, abs(difference) / FULL_HEAT)) if math.isfinite(difference) else 0


def _cost(model: ModelScores) -> tuple[Cell, Cell, Cell]:
    dim = DASH if model.dim is None else str(model.dim)
    return Cell(dim), Cell(count(model.num_parameters)), Cell(milliseconds(model.ms_per_image))
