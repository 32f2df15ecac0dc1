"""Curves as inline SVG, drawn by matplotlib in colours that read on light and on dark.

No text from outside goes into a drawing (a name may hold markup or a formula): the legend is made by the template.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

TEXT = "#010203"  # stands for the page's own text colour
COLOURS = (
    "#2f7fd6",
    "#d9702b",
    "#219a6b",
    "#b355a4",
    "#8c8a00",
    "#c9505a",
    "#2a97ab",
    "#8a72d8",
)  # >= 3:1 on both
DASHES = ("-", (0, (4, 2)), (0, (1, 1.5)))  # the ninth line has the first colour again, dashed
SIZE_IN = (5.0, 2.5)
POINTS = 300  # of a curve; more are averaged in bins


@dataclass(frozen=True)
class Line:
    """A curve's legend."""

    name: str
    colour: str
    is_dashed: bool
    last: str


@dataclass(frozen=True)
class Chart:
    """A drawing and what belongs to it."""

    title: str
    svg: str
    lines: tuple[Line, ...]


def training_charts(
    metrics: Sequence[Mapping[str, float]], watched: Sequence[Mapping[str, float]] = ()
) -> list[Chart]:
    """Returns the curves of a `watch.jsonl`: R@1 in all and by domain, effective rank; and of a `metrics.jsonl`: loss, loss and weight of
    each term, share of each domain, learning rate, images a second."""
    recalls = dict.fromkeys(name for line in watched for name in line if name.startswith("watch/R@1"))
    return [
        *_charts(
            watched,
            {
                "R@1 on watched images": list(recalls),
                "Effective rank on watched images": ["watch/effective rank"],
            },
            has_points=True,
        ),
        *_charts(metrics, _wanted(metrics)),
    ]


def _wanted(metrics: Sequence[Mapping[str, float]]) -> dict[str, list[str]]:
    """Title -> names in a `metrics.jsonl`."""
    names = dict.fromkeys(name for line in metrics for name in line)
    of = {
        group: [name for name in names if name.startswith(group)]
        for group in ("loss/", "weight/", "sampler/")
    }
    return {
        "Loss": ["loss"],
        "Loss by term": of["loss/"],
        "Weight by term": of["weight/"],
        "Share of the steps by domain": of["sampler/"],
        "Learning rate": ["lr"],
        "Images per second": ["images/s"],
    }


def _charts(
    lines: Sequence[Mapping[str, float]], wanted: Mapping[str, Sequence[str]], *, has_points: bool = False
) -> list[Chart]:
    """Returns a drawing for each title that has a curve."""
    charts = []
    for title, keys in wanted.items():
        curves = {key: curve for key in keys if len((curve := _curve(lines, key))[0])}
        if curves:
            named = {_short(key): curve for key, curve in curves.items()}
            charts.append(line_chart(title, named, has_points=has_points))
    return charts


def line_chart(
    title: str,
    curves: Mapping[str, tuple[np.ndarray, np.ndarray]],
    *,
    x_label: str = "step",
    is_log: bool = False,
    has_points: bool = False,
) -> Chart:
    """Returns a drawing of curves: name -> (x, y).

    Args:
        x_label: words of our own; text from outside does not belong here.
        is_log: whether x is drawn on a logarithmic scale.
        has_points: whether each value is marked.
    """
    with mpl.rc_context(
        {"svg.fonttype": "none", "svg.hashsalt": title, "font.size": 9, "font.family": "sans-serif"}
    ):
        figure = Figure(figsize=SIZE_IN, layout="constrained")
        axes = figure.add_subplot()
        lines = []
        for place, (name, (xs, ys)) in enumerate(curves.items()):
            colour, dash = COLOURS[place % len(COLOURS)], DASHES[place // len(COLOURS) % len(DASHES)]
            marker = "o" if has_points or len(xs) == 1 else ""
            axes.plot(xs, ys, color=colour, linestyle=dash, linewidth=1.6, marker=marker, markersize=4)
            lines.append(Line(name, colour, dash != "-", f"{ys[-1]:.3g}"))
        if is_log:
            axes.set_xscale("log")
        axes.set_xlabel(x_label, color=TEXT)
        axes.tick_params(colors=TEXT, length=3)
        axes.grid(axis="y", color=TEXT, alpha=0.15, linewidth=0.8)
        axes.spines[["top", "right"]].set_visible(False)
        for side in ("left", "bottom"):
            axes.spines[side].set(color=TEXT, alpha=0.4)
        return Chart(title, _svg(figure), tuple(lines))


def _short(key: str) -> str:
    """A term's or a domain's own name."""
    if key == "watch/R@1":
        return "macro mean"
    for group in ("loss/", "weight/", "sampler/", "watch/R@1/", "watch/"):
        if key.startswith(group) and key != group:
            return key.removeprefix(group)
    return key


def _curve(metrics: Sequence[Mapping[str, float]], key: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns steps and values, at most POINTS of them."""
    found = np.array([(line["step"], line[key]) for line in metrics if key in line], np.float64).reshape(
        -1, 2
    )
    bins = np.array_split(found, min(POINTS, max(1, len(found))))
    means = np.array([part.mean(0) for part in bins if len(part)]).reshape(-1, 2)
    return means[:, 0], means[:, 1]


def _svg(figure: Figure) -> str:
    """Returns the drawing to put into a page: no prologue, no metadata, no addresses, the page's text colour and font."""
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", text)  # an HTML parser needs no names of namespaces
    text = re.sub(r'(<svg[^>]*?)\swidth="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?)\sheight="[^"]*"', r"\1", text, count=1)
    text = re.sub(r"font: ([\d.]+px)[^;\"]*", r"font-size: \1", text)
    return text.replace(TEXT, "currentColor").strip()
