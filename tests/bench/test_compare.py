"""Who wins on how many tasks, worked by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from alumnus.bench.cells import Cell, write_cell
from alumnus.bench.compare import Comparison, compare_models, sign_test
from alumnus.bench.outcome import interval_of, mean_of
from alumnus.bench.suite import Suite, parse_suite
from alumnus.bench.summary import summarise, to_markdown
from alumnus.evaluation.compare import Interval

TASKS = ("clear", "close", "lost", "absent")
RIGHT = {  # task -> model -> of 40 images, how many are right
    "clear": {"a": 36, "b": 12},
    "close": {"a": 21, "b": 20},
    "lost": {"a": 4, "b": 30},
    "absent": {"a": 40},
}


@pytest.fixture
def suite() -> Suite:
    """Four tasks."""
    tasks = [{"name": name, "data": "mnist", "task": "classification"} for name in TASKS]
    return parse_suite({"name": "made", "tasks": tasks})


def _cells(out: Path) -> list[Cell]:
    cells = []
    for task, models in RIGHT.items():
        for model, count in models.items():
            run = mean_of(np.random.default_rng(3).permutation(40) < count, np.arange(40))
            cell = Cell(
                suite="made",
                model=model,
                task=task,
                kind="classification",
                category="classification",
                fraction=1.0,
                seed=0,
                primary="linear/top1",
                scores={"linear/top1": interval_of([run])},
                seconds=0.0,
                date="",
                versions={},
                fingerprints={},
            )
            write_cell(cell, {"linear/top1": run}, out)
            cells.append(cell)
    return cells


def _compared(suite: Suite, out: Path) -> Comparison:
    return compare_models(suite, _cells(out), "a", "b", out, fractions=[1.0])


@pytest.mark.parametrize(
    ("wins", "losses", "p"),
    [(5, 1, 14 / 64), (6, 0, 2 / 64), (1, 5, 14 / 64), (3, 3, 1.0), (0, 0, 1.0), (20, 6, 0.009355)],
)
def test_sign_test(wins: int, losses: int, p: float) -> None:
    """Twice the tail of a fair coin: 5 of 6 or better is 7 of 64 ways; 20 of 26 by scipy's binomtest."""
    assert sign_test(wins, losses) == pytest.approx(p, rel=1e-3)


def test_who_wins_is_said_only_where_the_interval_excludes_0(suite: Suite, tmp_path: Path) -> None:
    """One win, one loss, one of 1 image in 40 that is not told apart; a task without both is missing."""
    (place,) = _compared(suite, tmp_path).rounds
    assert [(match.task, match.winner) for match in place.matches] == [
        ("clear", 1),
        ("close", 0),
        ("lost", -1),
    ]
    assert [match.difference.mean for match in place.matches] == pytest.approx([0.6, 0.025, -0.65])
    assert (place.wins, place.losses, place.missing) == (1, 1, ("absent",))
    assert place.p_value == 1.0  # two means above 0, one below


def test_the_sentence_counts_tasks(suite: Suite, tmp_path: Path) -> None:
    """In words, with the p value."""
    comparison = _compared(suite, tmp_path)
    assert comparison.sentence(comparison.rounds[0]) == (
        "With 100 % of the labels: a is better on 1 of 3 tasks, b on 1, 1 are not told apart. "
        "Its mean is higher on 2 of 3: what chance alone often does (sign test, p = 1)."
    )


def test_a_task_of_different_images_is_named_and_costs_no_other(suite: Suite, tmp_path: Path) -> None:
    """As where a picture could not be read for one model."""
    cells = _cells(tmp_path)
    (cell,) = (each for each in cells if (each.task, each.model) == ("close", "b"))
    write_cell(cell, {"linear/top1": mean_of(np.arange(39) < 20, np.arange(1, 40))}, tmp_path)
    comparison = compare_models(suite, cells, "a", "b", tmp_path, fractions=[1.0])
    (place,) = comparison.rounds
    assert [match.task for match in place.matches] == ["clear", "lost"]
    assert (place.missing, place.not_comparable) == (("absent",), ("close",))
    assert "for their cells are of different images: close" in comparison.sentence(place)


@pytest.mark.parametrize("name", ["num_train", "num_index", "num_bad"])
def test_a_task_that_was_learnt_from_other_images_is_named(suite: Suite, tmp_path: Path, name: str) -> None:
    """As where training images could not be read for one model: the test images are the same, the labels are not."""
    cells = [
        replace(cell, counts={name: 11 if (cell.task, cell.model) == ("close", "b") else 12})
        for cell in _cells(tmp_path)
    ]
    (place,) = compare_models(suite, cells, "a", "b", tmp_path, fractions=[1.0]).rounds
    assert [match.task for match in place.matches] == ["clear", "lost"]
    assert place.not_comparable == ("close",)


def test_a_task_whose_score_is_no_number_costs_no_mean(suite: Suite, tmp_path: Path) -> None:
    """It is shown as one that is not there."""
    cells = [
        replace(cell, scores={cell.primary: Interval(math.nan, math.nan, math.nan)})
        if cell.task == "close"
        else cell
        for cell in _cells(tmp_path)
    ]
    board = summarise(suite, ["a", "b"], cells, tmp_path, fractions=[1.0]).headline
    assert board.shared == 2
    assert board.overall == pytest.approx({"a": (36 + 4) / 80, "b": (12 + 30) / 80})
    (place,) = compare_models(suite, cells, "a", "b", tmp_path, fractions=[1.0]).rounds
    assert [match.task for match in place.matches] == ["clear", "lost"]
    assert place.missing == ("close", "absent")


def test_images_that_were_left_out_are_told(suite: Suite, tmp_path: Path) -> None:
    """The most that a cell of a task is without."""
    cells = [
        replace(cell, counts={"num_bad": {"a": 3, "b": 2}[cell.model]}) if cell.task == "clear" else cell
        for cell in _cells(tmp_path)
    ]
    summary = summarise(suite, ["a", "b"], cells, tmp_path, fractions=[1.0])
    assert summary.unreadable == {"clear": 3}
    assert "Images that could not be read, and are left out: 3 of clear." in to_markdown(summary)


def test_means_are_over_tasks_that_all_models_have(suite: Suite, tmp_path: Path) -> None:
    """What b lacks does not count for a."""
    summary = summarise(suite, ["a", "b"], _cells(tmp_path), tmp_path, fractions=[1.0])
    board = summary.headline
    assert board.shared == 3
    assert board.overall == pytest.approx({"a": (36 + 21 + 4) / 120, "b": (12 + 20 + 30) / 120})
    text = to_markdown(summary)
    assert "| clear | top-1, linear probe | **.900** | .300 |" in text
    assert "| absent | top-1, linear probe | **1.000** | – |" in text
    assert "| *all tasks (3 of 4 tasks)* | mean | .508 | .517 |" in text


def test_a_summary_does_not_depend_on_the_order_of_its_cells(suite: Suite, tmp_path: Path) -> None:
    """A run that was resumed ends like one that was not."""
    cells = _cells(tmp_path)
    one, other = (
        summarise(suite, ["a", "b"], each, tmp_path, fractions=[1.0]) for each in (cells, cells[::-1])
    )
    assert one == other
