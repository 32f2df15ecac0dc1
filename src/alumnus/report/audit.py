"""What an audit of teachers found, for people: tables for the terminal, and `audit.html` with the agreement as heat maps.

The page is self-contained like a run's report: no script, nothing loaded, and everything that came from outside is escaped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import rich.table
from rich.text import Text

from alumnus.auditing.facts import Audit, DomainAudit, TeacherAudit
from alumnus.auditing.suggest import SAME_CKA, SAME_NEIGHBOURS, SAYS_NOTHING, decides, is_trusted
from alumnus.evaluation.agreement import Agreement
from alumnus.evaluation.compare import Interval
from alumnus.evaluation.pairwise import Pair
from alumnus.report.page import style, templates, write_whole
from alumnus.report.table import DASH, bounds, count, milliseconds, number

FILE = "audit.html"
DARKEST = 60  # percent of the accent's colour in a cell of 1, beyond which text is hard to read
EVERYWHERE = "all domains"


@dataclass(frozen=True)
class Cell:
    """A number in a table or a heat map."""

    text: str
    interval: str = ""
    is_best: bool = False
    is_trusted: bool = True
    percent: int = 0  # of colour


@dataclass(frozen=True)
class Table:
    """One row a teacher; in a heat map one column too."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]


def summary(found: Audit) -> rich.table.Table:
    """Returns the table for a terminal: a teacher a row, R@1 by domain, cost, licence and what is suggested."""
    scored = [domain for domain in found.domains if domain.scores]
    table = rich.table.Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for name in (
        "teacher",
        *(f"R@1 {domain.name}" for domain in scored),
        "ms",
        "params",
        "licence",
        "suggestion",
    ):
        table.add_column(
            Text(name), justify="left" if name in {"teacher", "licence", "suggestion"} else "right"
        )
    for teacher, suggestion in zip(found.teachers, found.suggestions, strict=True):
        scores = [number(domain.scores[teacher.name].recall.mean) for domain in scored]
        cost = [milliseconds(teacher.ms_per_image), count(teacher.num_parameters)]
        words = [teacher.name, *scores, *cost, teacher.licence, verdict(found, teacher)]
        table.add_row(*map(Text, words), style="" if suggestion.is_kept else "dim")
    return table


def verdict(found: Audit, teacher: TeacherAudit) -> str:
    """Returns the suggestion about a teacher in a few words."""
    suggestion = found.suggestion(teacher.name)
    if suggestion.redundant_with is not None:
        return f"leave out: says what {suggestion.redundant_with} says"
    if teacher.is_constant:
        return f"leave out: {SAYS_NOTHING}"
    if not suggestion.is_kept:
        return "leave out: trusted nowhere"
    where = "everywhere" if suggestion.domains is None else f"on {', '.join(suggestion.domains)}"
    return f"trust {where}, weight {suggestion.weight:g}"


def write_page(found: Audit, folder: Path) -> Path:
    """Writes `audit.html` into a folder in one step, and returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    return write_whole(folder / FILE, render(found))


def render(found: Audit) -> str:
    """Returns the page."""
    environment = templates()
    return environment.get_template("audit.html.jinja").render(
        found=found,
        style=style(),
        verdicts=[(t, s, verdict(found, t)) for t, s in zip(found.teachers, found.suggestions, strict=True)],
        tables=_score_tables(found),
        heats=_heats(found),
        count=count,
        milliseconds=milliseconds,
        share=number,
        work=_work,
        figures=_figures,
        doubts=doubts(found),
        data_licences=_data_licences(found),
        same=(f"{SAME_CKA:g}", f"{SAME_NEIGHBOURS:g}"),
    )


def _data_licences(found: Audit) -> dict[tuple[str, str | None], list[str]]:
    """Licence and what there is to say about it -> the parts of the data that are under it."""
    grouped: dict[tuple[str, str | None], list[str]] = {}
    for part in found.data_licences:
        grouped.setdefault((part.licence, part.warning), []).append(part.what)
    return grouped


def _score_tables(found: Audit) -> list[Table]:
    scored = [domain for domain in found.domains if domain.scores]
    tables = []
    if scored:
        tables += [
            _scores(found, scored, "R@1", lambda domain, name: domain.scores[name].recall),
            _scores(found, scored, "kNN top-1", lambda domain, name: domain.scores[name].knn),
        ]
    ranks = tuple(
        (t.name, tuple(Cell(f"{domain.effective_rank[t.name]:.0f}") for domain in found.domains))
        for t in found.teachers
    )
    return [*tables, Table("Effective rank", tuple(domain.name for domain in found.domains), ranks)]


def _scores(
    found: Audit, domains: Sequence[DomainAudit], title: str, score: Callable[[DomainAudit, str], Interval]
) -> Table:
    """A row a teacher; under R@1 the pixels, too."""
    best = {
        domain.name: number(max(score(domain, t.name).mean for t in found.teachers)) for domain in domains
    }

    def cell(domain: DomainAudit, teacher: TeacherAudit) -> Cell:
        interval = score(domain, teacher.name)
        text = number(interval.mean)
        return Cell(text, bounds(interval), text == best[domain.name], is_trusted(teacher, domain))

    rows = [(t.name, tuple(cell(domain, t) for domain in domains)) for t in found.teachers]
    if title == "R@1":
        pixels = [domain.pixels for domain in domains if domain.pixels is not None]
        rows.append(("8x8 pixels", tuple(Cell(number(each.mean), bounds(each)) for each in pixels)))
    return Table(title, tuple(domain.name for domain in domains), tuple(rows))


def _heats(found: Audit) -> list[tuple[str, int, float, tuple[Table, Table]]]:
    """Domain, images, what chance gives for neighbours, and the maps of CKA and of common neighbours."""
    names = [t.name for t in found.teachers]
    parts: list[tuple[str, Mapping[Pair, Agreement]]] = [(d.name, d.agreement) for d in found.domains]
    if len(parts) > 1:
        parts.insert(0, (EVERYWHERE, found.agreement))
    heats = []
    for name, pairs in parts:
        some = next(iter(pairs.values()), None)
        if some is not None:
            cka = _heat("CKA", names, {pair: each.cka for pair, each in pairs.items()})
            near = _heat(
                "Neighbours in common", names, {pair: each.mutual_knn for pair, each in pairs.items()}
            )
            heats.append((name, some.num_images, some.chance, (cka, near)))
    return heats


def _heat(title: str, names: Sequence[str], pairs: Mapping[Pair, Interval]) -> Table:
    def cell(one: str, other: str) -> Cell:
        if one == other:
            return Cell("1", percent=DARKEST)
        interval = pairs[one, other] if (one, other) in pairs else pairs[other, one]
        if not math.isfinite(interval.mean):
            return Cell(DASH)
        percent = round(DARKEST * min(1.0, max(0.0, interval.mean)))
        return Cell(f"{interval.mean:.2f}".replace("-", "−"), bounds(interval), percent=percent)

    return Table(
        title, tuple(names), tuple((one, tuple(cell(one, other) for other in names)) for one in names)
    )


def _work(value: int | None) -> str:
    """Returns multiply-adds in a few characters: 31 M, 17.6 G."""
    if value is None:
        return DASH
    return (
        f"{value / 1e9:.1f} G" if value >= 1e9 else f"{value / 1e6:.0f} M" if value >= 1e6 else f"{value:,}"
    )


def _figures(value: float) -> str:
    """Returns three digits of a positive number."""
    if not math.isfinite(value):
        return DASH
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}" if value >= 0.001 else "0"


def doubts(found: Audit) -> list[str]:
    """Returns what there is to know about domains before one believes the numbers."""
    notes = [f"{domain.name}: {domain.note}" for domain in found.domains if domain.note]
    if not any(decides(domain) for domain in found.domains):
        notes.append(
            "no domain has labels enough to say who is good: trust and weights are those of the recipe"
        )
    return notes
