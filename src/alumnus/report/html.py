"""One self-contained HTML file about a run: `write_report(run_folder)` → `report.html`.

It loads nothing, from anywhere, and runs no script: pictures are data URIs, charts inline SVG, and a content security policy forbids the
rest. Everything that came from outside is escaped by the template engine.
"""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup, escape

from alumnus.data.names import printable
from alumnus.errors import ArtifactError
from alumnus.evaluation.results import KEYS, Results
from alumnus.report.artifacts import Entry, RunFolder, read_run
from alumnus.report.charts import training_charts
from alumnus.report.page import style, templates, write_whole
from alumnus.report.table import DEFAULT_KEY, Table, bounds, interference_table, number, score_table
from alumnus.report.verdict import verdict

QUARANTINE_SHOWN = 50
TEACHER_COLUMNS = ("name", "source", "size", "output", "domains", "weight", "licence", "fingerprint")


@dataclass(frozen=True)
class Versus:
    """The student minus another model, as numbers and as a bar in percent of the drawing's width."""

    name: str
    text: str
    interval: str
    sign: int
    low: float
    high: float
    mean: float


def write_report(run_folder: Path) -> Path:
    """Writes `report.html` into a run folder from what lies there, and returns its path; parts that are missing are named in it.

    Args:
        run_folder: what train or evaluate wrote; RUN/student stands for RUN.

    Raises:
        ArtifactError: there is no such folder, or it holds neither `config.yaml` nor `results.json`.
    """
    if not run_folder.is_dir():
        raise ArtifactError(f"'{printable(run_folder)}' is not a folder; give the out= folder of a run")
    run_folder = _run_of(run_folder)
    return write_whole(run_folder / "report.html", render(read_run(run_folder)))


def _run_of(folder: Path) -> Path:
    """The folder itself, or the run that a student folder lies in; a page is never put among somebody else's files."""
    around = folder.resolve().parent
    if _is_run(folder):
        return folder
    if (folder / "alumnus.json").is_file() and _is_run(around):
        return around
    inner = sorted(path for path in (folder / "students").glob("*") if _is_run(path))
    hint = f"; it holds several runs, give one of them, such as {printable(inner[0])}" if inner else ""
    raise ArtifactError(
        f"'{printable(folder)}' is no run: a run is the out= folder of `alumnus train`, with config.yaml, or of `alumnus evaluate`, "
        f"with results.json{hint}"
    )


def _is_run(folder: Path) -> bool:
    return any((folder / name).is_file() for name in ("config.yaml", "results.json"))


def render(run: RunFolder) -> str:
    """Returns the page."""
    environment = templates()
    environment.filters["breakable"] = _breakable
    results = run.results
    return environment.get_template("report.html.jinja").render(
        run=run,
        style=style(),
        verdict=None if results is None else verdict(results),
        results=results,
        tables=[] if results is None else _tables(results),
        interference=None if results is None else interference_table(results),
        versus=[] if results is None else _versus(results),
        charts=[(chart, Markup(chart.svg)) for chart in training_charts(run.metrics, run.watched)],
        galleries=_galleries(run.gallery),
        teacher_columns=[
            name for name in TEACHER_COLUMNS if any(teacher.get(name) for teacher in run.teachers)
        ],
        quarantine_shown=QUARANTINE_SHOWN,
        provenance=_provenance(run),
        made=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )


def _breakable(name: str) -> Markup:
    """Returns the escaped name with places where a narrow column may break it."""
    return Markup(re.sub("([_/])", r"\1<wbr>", str(escape(name))))  # neither mark occurs in an entity


def _tables(results: Results) -> list[Table]:
    keys = [*KEYS, *(["knn"] if any(model.knn for model in results.models) else [])]
    return [score_table(results, key=key) for key in keys]


def _versus(results: Results) -> list[Versus]:
    """The differences of macro R@1, merged, from the one most in the student's favour down."""
    found = [
        (difference.other, difference.scores.macro)
        for difference in results.differences
        if difference.key == DEFAULT_KEY
    ]
    ends = [abs(end) for _, interval in found for end in interval if math.isfinite(end)]
    reach = max(ends, default=0.0) or 1.0

    def place(value: float, otherwise: float) -> float:
        return round(50 + 48 * (value if math.isfinite(value) else otherwise) / reach, 2)

    return [
        Versus(
            name,
            number(interval.mean, signed=True),
            bounds(interval, signed=True),
            interval.sign,
            place(interval.low, interval.mean),
            place(interval.high, interval.mean),
            place(interval.mean, 0),
        )
        for name, interval in sorted(found, key=lambda item: -item[1].mean)
    ]


def _galleries(entries: tuple[Entry, ...]) -> list[tuple[str, list[Entry], list[Entry]]]:
    """Returns domain, right ones, wrong ones."""
    domains = dict.fromkeys(entry.domain for entry in entries)
    return [
        (
            domain,
            [entry for entry in entries if entry.domain == domain and entry.correct],
            [entry for entry in entries if entry.domain == domain and not entry.correct],
        )
        for domain in domains
    ]


def _provenance(run: RunFolder) -> Mapping[str, str]:
    found = dict(run.provenance)
    if run.results is not None:
        results = run.results
        found |= {
            "scored on": f"split {results.split}, {results.num_images:,} images",
            "scored at": results.date,
            "dataset fingerprint": results.fingerprint,
            "evaluation seed": str(results.seed),
            "intervals": f"95 %, {results.resamples:,} resamples of the queries within each domain"
            if results.runs == 1
            else f"95 %, Student's t over {results.runs} seeds",
            "timing": results.timing,
            "versions": ", ".join(f"{name} {version}" for name, version in results.versions.items()),
        }
    return found
