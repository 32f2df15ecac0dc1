"""The page: numbers, colours, and nothing that could run or load."""

from __future__ import annotations

import math
from html.parser import HTMLParser

from alumnus.bench.compare import Comparison, Match, Round
from alumnus.bench.page import DARKEST, render
from alumnus.bench.summary import Board, Entry, Row, Summary, to_markdown
from alumnus.evaluation.compare import Interval

EVIL = "<script>alert(1)</script>|**x**"


def _row(task: str, values: dict[str, float | None]) -> Row:
    entries = {
        name: None if value is None else Entry(Interval(value, value - 0.05, value + 0.05), {"m": value}, 2)
        for name, value in values.items()
    }
    return Row(task, "classification", "classification", entries)


def _summary(*fractions: float) -> Summary:
    rows = (_row("first", {"a": 0.2, EVIL: 0.6}), _row("second", {"a": 0.5, EVIL: None}))
    means = {"a": 0.2, EVIL: 0.6}
    boards = tuple(Board(fraction, rows, {"classification": means}, means, 1) for fraction in fractions)
    match = Match("first", "classification", "linear/top1", 2, 0.2, 0.6, Interval(-0.4, -0.5, -0.3))
    comparison = Comparison("a", EVIL, (Round(fractions[0], (match,), ("second",)),))
    return Summary("tiny", "A title", "quick", ("a", EVIL), boards, {"a on second": EVIL}, comparison)


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags, self.links = list[str](), list[str]()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Notes tags and what they point to."""
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in {"src", "href"}]


def test_a_name_cannot_become_markup_and_nothing_is_loaded() -> None:
    """In the page and in Markdown."""
    parser = _Tags()
    parser.feed(render(_summary(0.1, 1.0)))
    assert "script" not in parser.tags
    assert all(link.startswith("#") for link in parser.links)
    text = to_markdown(_summary(0.1))
    assert "<script>" not in text
    assert "\\|" in text


def test_colours_go_from_the_lowest_to_the_highest_of_a_row() -> None:
    """A missing number has no colour and is a dash."""
    page = render(_summary(0.1))
    assert (
        f'<td style="--heat: 0">.200<small>.150 to .250</small></td><td style="--heat: {DARKEST}"><b>.600</b>'
        in page
    )
    assert '<td style="--heat: 0">–</td>' in page
    assert "all tasks (1 of 2 tasks)" in page


def test_curves_are_of_tasks_that_all_models_have_at_all_shares() -> None:
    """One task here; with a single share there is nothing to draw."""
    assert "Mean over 1 tasks" in render(_summary(0.1, 1.0))
    assert "Mean over" not in render(_summary(0.1))


def test_no_model_has_any_score() -> None:
    """Everything failed, and there is a page all the same."""
    rows = (_row("first", {"a": None}),)
    board = Board(1.0, rows, {"classification": {"a": math.nan}}, {"a": math.nan}, 0)
    assert "–" in render(Summary("tiny", "", "full", ("a",), (board,), {}))
