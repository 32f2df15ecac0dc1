"""A bench by several processes: cells that are nowhere are told, and each process has its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from alumnus.bench.cells import Key
from alumnus.bench.plan import Job, TaskPlan
from alumnus.bench.sharing import cells_of_all, refuse_strangers, share
from alumnus.bench.suite import Task
from alumnus.errors import RunError


def test_cells_that_are_not_in_the_folder_are_told() -> None:
    """As where two machines write into folders of their own that have one name."""
    task = Task(name="colours", data="colours/", task="classification")
    jobs = tuple(Job(Key("pixels", "colours", 1.0, seed), {}, 1.0) for seed in range(2))
    plan = TaskPlan(task, DataGone(), jobs, (), 0.0)
    with pytest.raises(RunError, match=r"2 cells .* not in 'out', such as pixels on colours at 100 % seed 0"):
        cells_of_all({}, [plan], Path("out"))


def test_alone_all_cells_are_ones_own() -> None:
    """And whatever is seen is what all see."""
    jobs = [Job(Key("pixels", "colours", 1.0, seed), {}, 1.0) for seed in range(3)]
    assert list(share(jobs)) == jobs
    refuse_strangers({"colours": DataGone()})


class DataGone(Exception):
    """Why there is no data."""
