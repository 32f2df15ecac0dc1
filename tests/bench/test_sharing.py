"""A bench by several processes: cells that are nowhere are told, and each process has its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from alumnus.bench.cells import Cell, Key, read_cell
from alumnus.bench.plan import Job, TaskPlan
from alumnus.bench.sharing import cells_of_all, one_state, refuse_strangers, share
from alumnus.bench.suite import Task
from alumnus.errors import RunError
from tests.bench.made import make_colours
from tests.two import finished, torchrun


def test_cells_that_are_not_in_the_folder_are_told() -> None:
    """As where two machines write into folders of their own that have one name."""
    task = Task(name="colours", data="colours/", task="classification")
    jobs = tuple(Job(Key("pixels", "colours", 1.0, seed), {}, 1.0) for seed in range(2))
    plan = TaskPlan(task, DataGone(), jobs, (), 0.0)
    with pytest.raises(RunError, match=r"2 cells .* not in 'out', such as pixels on colours at 100 % seed 0"):
        cells_of_all({}, [], [plan], Path("out"))


def test_a_cell_that_failed_is_not_the_good_one_in_the_folder() -> None:
    """That one stays, but it is not of this run."""
    task = Task(name="colours", data="colours/", task="classification")
    key = Key("pixels", "colours", 1.0, 0)
    plan = TaskPlan(task, DataGone(), (Job(key, {}, 1.0),), (), 0.0)
    good, failed = (_cell(key, error) for error in (None, "away"))
    assert cells_of_all({key: good}, [failed], [plan], Path("out")) == [failed]
    assert cells_of_all({key: good}, [good], [plan], Path("out")) == [good]


def test_alone_all_cells_are_ones_own() -> None:
    """And whatever is seen is what all see."""
    jobs = [Job(Key("pixels", "colours", 1.0, seed), {}, 1.0) for seed in range(3)]
    assert list(share(jobs)) == jobs
    refuse_strangers({"colours": DataGone()})
    assert list(one_state({"colours": DataGone()})) == ["colours"]


def test_what_fails_in_one_process_costs_its_cells_in_all(tmp_path: Path) -> None:
    """Nobody waits for it for ever, and a cell that is good stays good when the data is away."""
    make_colours(tmp_path / "found", {"test": 10})
    process = torchrun("tests.bench.failing", tmp_path)
    printed = finished(process)
    assert process.returncode == 0, printed
    first, second = json.loads((tmp_path / "said.json").read_text())
    assert first.startswith("1 of 2 cells failed")
    assert first.endswith("failing on found: KeyError: 'oops'")
    assert second.startswith("2 of 2 cells failed")
    cells = {
        name: read_cell(Key(name, "found", None, None), tmp_path / "out") for name in ("pixels", "failing")
    }
    good, bad = cells["pixels"], cells["failing"]
    assert good is not None
    assert good.error is None
    assert bad is not None
    assert bad.error is not None


def _cell(key: Key, error: str | None) -> Cell:
    return Cell(
        suite="made",
        **key._asdict(),
        kind="classification",
        category="classification",
        error=error,
        seconds=0.0,
        date="",
        versions={},
        fingerprints={},
    )


class DataGone(Exception):
    """Why there is no data."""
