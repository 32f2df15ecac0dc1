"""What `curation.check` found, for people: a table for the terminal, and `check.html`, in which every pair can be looked at.

The page is self-contained like a run's report: pictures are data URIs, histograms inline SVG, no script, and everything that came from
outside is escaped.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import rich.table
from numpy.typing import NDArray
from PIL import Image
from rich.text import Text

from alumnus.curation.check import EXTREME_ASPECT, TINY_PX, Check, describe, differ
from alumnus.data.names import printable
from alumnus.data.read import BadImage, read_image
from alumnus.log import progress
from alumnus.report.page import style, templates, write_whole

T = TypeVar("T")

FILE = "check.html"
SHOWN = 120  # pairs or groups of a kind; check.json has them all
OF_A_GROUP = 6
ROWS_SHOWN = 200  # of a table
CLASSES_SHOWN = 30  # of a domain, the largest and the smallest
PICTURE_PX = 112
JPEG_QUALITY = 85
BARS = 24


@dataclass(frozen=True)
class Shown:
    """A picture on the page."""

    file_name: str
    split: str
    domain: str
    label: str
    size: str
    image: str  # a data URI, or "" if it cannot be read any more


@dataclass(frozen=True)
class Group:
    """Pictures side by side, and what there is to say of them."""

    title: str
    pictures: tuple[Shown, ...]
    more: int = 0  # pictures of the group that are not shown


@dataclass(frozen=True)
class Bar:
    """One bar of a histogram, in percent of the drawing."""

    x: float
    width: float
    height: float
    title: str


@dataclass(frozen=True)
class Histogram:
    """How often which values."""

    title: str
    bars: tuple[Bar, ...]
    low: str
    high: str
    most: int


def summary(found: Check) -> rich.table.Table:
    """Returns the table for a terminal: what, how many, and one example each."""
    table = rich.table.Table("finding", "number", "such as", box=None, pad_edge=False, header_style="bold")
    table.columns[1].justify = "right"
    examples = _examples(found)
    for name, count in {**found.faults, **found.oddities}.items():
        style = "red" if count and name in found.faults else ""
        table.add_row(
            Text(name, style), Text(f"{count:,}", style), Text(examples.get(name, "") if count else "")
        )
    return table


def write_page(found: Check, folder: Path) -> Path:
    """Writes `check.html` into a folder, and returns its path; the pictures that it shows are read again."""
    folder.mkdir(parents=True, exist_ok=True)
    return write_whole(folder / FILE, render(found))


def render(found: Check) -> str:
    """Returns the page."""
    environment = templates()
    pairs = {
        "leaks": _leaks(found),
        "conflicts": _conflicts(found),
        "near": _near(found),
        "exact": _exact(found),
    }
    return environment.get_template("check.html.jinja").render(
        found=found,
        name=", ".join(printable(Path(source).name) for source in found.sources) or "dataset",
        style=style(),
        shown=SHOWN,
        rows_shown=ROWS_SHOWN,
        galleries=_pictured(found, pairs),
        unreadable=[
            (printable(found.data.file_names[row]), why) for row, why in _some(found.unreadable.items())
        ],
        odd=_odd(found),
        splits=list(next(iter(found.per_split.values()), {})),
        classes=_classes(found),
        histograms=_histograms(found),
    )


Marked = tuple[str, Sequence[int]]  # title, rows


def _leaks(found: Check) -> list[Marked]:
    return [(_likeness(leak.is_exact, leak.likeness), [leak.train, leak.held_out]) for leak in found.leaks]


def _conflicts(found: Check) -> list[Marked]:
    return [("equal pixels, different labels", [*map(int, group)]) for group in found.conflicts]


def _exact(found: Check) -> list[Marked]:
    return [(f"{len(group)} × the same pixels", [*map(int, group)]) for group in found.exact]


def _near(found: Check) -> list[Marked]:
    """The least alike first: there a doubt is worth a look."""
    labels = {True: ", different labels", False: ""}
    pairs = sorted(found.near, key=lambda pair: pair.likeness)
    return [
        (
            _likeness(False, pair.likeness) + labels[differ(found.data, pair.first, pair.second)],
            [pair.first, pair.second],
        )
        for pair in pairs
    ]


def _likeness(is_exact: bool, likeness: float) -> str:
    return "equal pixels" if is_exact else f"{100 * likeness:.1f} % alike"


def _pictured(found: Check, marked: dict[str, list[Marked]]) -> dict[str, list[Group]]:
    chosen = {
        name: [(title, rows[:OF_A_GROUP], len(rows)) for title, rows in m[:SHOWN]]
        for name, m in marked.items()
    }
    wanted = {row for groups in chosen.values() for _, rows, _ in groups for row in rows}
    pictures = {row: _shown(found, row) for row in progress(sorted(wanted), "pictures of the page")}
    return {
        name: [Group(title, tuple(pictures[row] for row in rows), n - len(rows)) for title, rows, n in groups]
        for name, groups in chosen.items()
    }


def _shown(found: Check, row: int) -> Shown:
    words = describe(found.data, row)
    return Shown(
        file_name=str(words["file_name"]),
        split=str(words["split"]),
        domain=str(words["domain"]),
        label=words["label"] or "no label",
        size="{} × {}".format(*found.sizes[row]),
        image=_data_uri(found.data.paths[row]),
    )


def _data_uri(path: str) -> str:
    try:
        image = read_image(path, min_side=PICTURE_PX)
    except BadImage:
        return ""
    image.thumbnail((PICTURE_PX, PICTURE_PX), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def _odd(found: Check) -> list[tuple[str, int, list[tuple[str, str]]]]:
    """What, how many, and the first of them with their sizes."""
    kinds = {
        f"A side under {TINY_PX} px": found.tiny,
        f"Longer than {EXTREME_ASPECT:g} : 1": found.extreme,
        "Nearly one colour": found.blank,
    }
    return [
        (
            title,
            len(rows),
            [(printable(found.data.file_names[r]), "{} × {}".format(*found.sizes[r])) for r in _some(rows)],
        )
        for title, rows in kinds.items()
        if len(rows)
    ]


def _classes(found: Check) -> list[tuple[str, int, list[tuple[str, int]], list[tuple[str, int]]]]:
    """Domain, number of classes, the largest, the smallest of the others."""
    parts = []
    for domain, counts in found.per_class.items():
        order = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        if order:
            parts.append((domain, len(order), order[:CLASSES_SHOWN], order[CLASSES_SHOWN:][-CLASSES_SHOWN:]))
    return parts


def _histograms(found: Check) -> list[Histogram]:
    known = found.sizes[found.sizes[:, 0] > 0]
    per_class = np.array([n for counts in found.per_class.values() for n in counts.values()], np.float64)
    drawn = [
        _histogram("Images per class", per_class, is_whole=True),
        _histogram("Shorter side in px", known.min(1, initial=1 << 40).astype(np.float64), is_whole=True),
        _histogram("Width : height", known[:, 0] / known[:, 1].clip(1), is_whole=False),
    ]
    return [each for each in drawn if each is not None]


def _histogram(title: str, values: NDArray[np.float64], *, is_whole: bool) -> Histogram | None:
    """Bars of equal width in the logarithm, since sizes and counts span orders of magnitude."""
    if not len(values):
        return None
    low, high = float(values.min()), float(values.max())
    edges = np.geomspace(low, high, BARS + 1) if high > low else np.array([low, low])
    edges[0], edges[-1] = low, high
    # Whole numbers belong to bars that begin and end between them.
    edges = np.unique(np.floor(edges)) if is_whole else edges
    edges = np.append(edges, high + 1) if is_whole or high == low else edges
    counts, _ = np.histogram(values, edges)
    width, most = 100 / len(counts), int(counts.max())
    bars = [
        Bar(
            round(place * width, 3),
            round(width * 0.9, 3),
            round(100 * count / most, 3),
            f"{_span(edges[place], edges[place + 1], is_whole)}: {count:,}",
        )
        for place, count in enumerate(counts.tolist())
    ]
    shape = "{:g}" if is_whole else "{:.2f}"
    return Histogram(title, tuple(bars), shape.format(low), shape.format(high), most)


def _span(low: float, high: float, is_whole: bool) -> str:
    if not is_whole:
        return f"{low:.2f} to {high:.2f}"
    return f"{low:g}" if high - low <= 1 else f"{low:g} to {high - 1:g}"


def _examples(found: Check) -> dict[str, str]:
    """Finding -> its first case in words."""
    names = found.data.file_names

    def pair(one: int, other: int) -> str:
        return f"{printable(names[one])} = {printable(names[other])}"

    first: dict[str, str] = {}
    if found.unreadable:
        row, reason = next(iter(found.unreadable.items()))
        first["unreadable files"] = f"{printable(names[row])}: {reason}"
    if found.leaks:
        first["leaks from train"] = pair(found.leaks[0].train, found.leaks[0].held_out)
    if found.conflicts:
        first["pictures under two labels"] = pair(*map(int, found.conflicts[0][:2]))
    if found.exact:
        first["exact copies"] = pair(*map(int, found.exact[0][:2]))
    if found.near:
        first["near copies"] = pair(found.near[0].first, found.near[0].second)
    for name, rows in zip(found.oddities, (found.tiny, found.extreme, found.blank), strict=False):
        if len(rows):
            first[name] = printable(names[int(rows[0])])
    return first


def _some(items: Iterable[T]) -> list[T]:
    return list(islice(items, ROWS_SHOWN))
