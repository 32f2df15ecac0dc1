"""A bench by several processes: who makes which cells, and whether all see the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from alumnus.bench.plan import Job
from alumnus.bench.tasks import TaskData
from alumnus.distributed import gathered, rank, world_size
from alumnus.errors import ConfigError


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
