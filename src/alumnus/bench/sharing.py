"""A bench by several processes: who makes which cells, and whether all see the same."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence, Set
from dataclasses import asdict, replace
from pathlib import Path

from alumnus.bench.cells import Cell, Key
from alumnus.bench.plan import Job, TaskPlan
from alumnus.bench.tasks import TaskData
from alumnus.data.names import printable
from alumnus.distributed import gathered, rank, world_size
from alumnus.errors import ConfigError, RunError


def share(jobs: Sequence[Job]) -> Sequence[Job]:
    """Returns this process's cells: those of one model stay together, for a dense one is prepared in each process that has cells of it."""
    first, last = (len(jobs) * (rank() + end) // world_size() for end in (0, 1))
    return jobs[first:last]


def refuse_strangers(opened: Mapping[str, TaskData | Exception]) -> None:
    """Refuses processes that see other data than the first, or lack other data.

    Raises:
        ConfigError: names the task.
    """
    seen = {
        name: "" if isinstance(each, Exception) else each.data.fingerprint for name, each in opened.items()
    }
    everywhere = gathered([seen])
    for name in seen:
        if len({each[name] for each in everywhere}) > 1:
            raise ConfigError(
                f"the processes see different images for the task {name!r}, or some see none; give all machines the same"
            )


def one_state(opened: Mapping[str, TaskData | Exception]) -> dict[str, TaskData | Exception]:
    """Returns the tasks' data with a state that is one for all processes, where machines have copies with times of their own."""
    states = {name: each.state for name, each in opened.items() if isinstance(each, TaskData)}
    everywhere = gathered([states])
    return {
        name: replace(each, state=_joined({seen[name] for seen in everywhere}))
        if isinstance(each, TaskData)
        else each
        for name, each in opened.items()
    }


def cells_of_all(
    found: Mapping[Key, Cell], made: Sequence[Cell], plans: Sequence[TaskPlan], out: Path
) -> list[Cell]:
    """Returns the cells that all processes made, as one would have made them one after another.

    Args:
        found: what is in the folder now; not every cell that failed, see `plan.is_kept`.
        made: this process's.

    Raises:
        RunError: some are not there.
    """
    failed = [Cell(**each) for each in gathered([asdict(cell) for cell in made if cell.error is not None])]
    found = {**found, **{cell.key: cell for cell in failed}}
    keys = [job.key for plan in plans for job in plan.jobs]
    lacking = [key for key in keys if key not in found]
    if lacking:
        raise RunError(
            f"{len(lacking)} cells that other processes made are not in '{printable(out)}', such as {lacking[0]}; all machines need one "
            "folder there (a shared file system)"
        )
    return [found[key] for key in keys]


def _joined(states: Set[str]) -> str:
    if len(states) == 1:
        return next(iter(states))
    return hashlib.sha256("\n".join(sorted(states)).encode()).hexdigest()
