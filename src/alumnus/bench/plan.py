"""Which cells there are, which of them are still to be made, and how long that will take.

The forecast is rough on purpose: images a second are measured for each model, and of the rest each kind of cell has a cost that was
measured on two cores of 2.5 GHz. The time left that is shown during a run is corrected by what the run took so far.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from alumnus.bench.cells import Cell, Key, read_cell
from alumnus.bench.features import FeatureStore
from alumnus.bench.models import Model, Zoo
from alumnus.bench.suite import DENSE, Budget, Kind, Suite, Task, protocol_of
from alumnus.bench.tasks import TaskData
from alumnus.evaluation.arrays import Ids
from alumnus.types import Encode

READ_PER_S = 350.0  # pictures of about 112 px read and cropped, two cores
PROBE_S = (
    1.5e-8  # of a linear probe, for each image, dimension and class: seven decays, held-out part included
)
PROBE_LEAST_S, KNN_S = 1.2, 5e-11  # the second for each query, training image and dimension
RETRIEVAL_S = 2e-11  # the same for each query and image of the index
HEAD_STEP_S: Mapping[Kind, float] = {
    "detection": 0.1,
    "segmentation": 0.015,
    "depth": 0.015,
}  # of training a light head
HEAD_TEST_S: Mapping[Kind, float] = {
    "detection": 0.04,
    "segmentation": 0.01,
    "depth": 0.01,
}  # of scoring a test picture
HEAD_SIDE = 112  # px of the images for which that was measured
DENSE_STEPS = 1000  # where a budget names none
TRIAL_BATCH, TRIAL_S = 16, 1.0  # of measuring images a second


@dataclass(frozen=True)
class Job:
    """A cell to be made."""

    key: Key
    fingerprints: Mapping[str, str]
    seconds: float  # forecast, encoding left out


@dataclass(frozen=True)
class TaskPlan:
    """What is to be done for one task."""

    task: Task
    found: TaskData | Exception  # or why there is no data
    jobs: tuple[Job, ...]
    done: tuple[Cell, ...]
    encode_s: float  # forecast

    @property
    def seconds(self) -> float:
        """Forecast of all."""
        return self.encode_s + sum(job.seconds for job in self.jobs)

    @property
    def models(self) -> list[str]:
        """Those that have something to do, in order."""
        return list(dict.fromkeys(job.key.model for job in self.jobs))


def keys_of(
    task: Task, models: Sequence[str], fractions: Sequence[float], seeds: int, budget: Budget
) -> list[Key]:
    """Returns the cells of a task, model by model.

    Retrieval has one, since it learns nothing from labels. At fraction 1 all seeds have the same labels, so classification, whose
    solver draws nothing else that matters, has one seed there; a dense task has a head that begins at random, and keeps its seeds.
    """
    if task.task == "retrieval":
        return [Key(model, task.name, None, None) for model in models]
    if task.task in DENSE:
        counts = {fraction: min(seeds, budget.dense_seeds or seeds) for fraction in fractions}
    else:
        counts = {fraction: seeds if fraction < 1 else 1 for fraction in fractions}
    return [
        Key(model, task.name, fraction, seed)
        for model in models
        for fraction in fractions
        for seed in range(counts[fraction])
    ]


def make_plan(
    suite: Suite,
    opened: Mapping[str, TaskData | Exception],
    zoo: Zoo,
    store: FeatureStore,
    *,
    fractions: Sequence[float],
    seeds: int,
    budget: Budget,
    cells: Mapping[Key, Cell],
) -> list[TaskPlan]:
    """Returns what is to be done, task by task.

    Args:
        opened: task -> its data, or why there is none.
        cells: those that are there; one of another model, data or protocol than now counts as not there.
    """
    speeds = _Speeds()
    return [
        _plan_task(
            task, opened[task.name], zoo, store, suite.input_size, fractions, seeds, budget, cells, speeds
        )
        for task in suite.tasks
    ]


def read_cells(
    suite: Suite, models: Sequence[str], fractions: Sequence[float], seeds: int, budget: Budget, out: Path
) -> dict[Key, Cell]:
    """Returns the cells of a folder."""
    keys = [key for task in suite.tasks for key in keys_of(task, models, fractions, seeds, budget)]
    found = {key: read_cell(key, out) for key in keys}
    return {key: cell for key, cell in found.items() if cell is not None}


def is_kept(job: Job, out: Path) -> bool:
    """Whether a good cell of the same model and protocol is there, which an error must not replace: its data may be away for a moment."""
    cell = read_cell(job.key, out)
    return (
        cell is not None
        and cell.error is None
        and all(cell.fingerprints.get(name) == job.fingerprints[name] for name in ("model", "protocol"))
    )


def side_of(task: Task, suite_size: int | None) -> int | None:
    """Returns the side in px for models that have none of their own."""
    return task.input_size or suite_size


def _plan_task(
    task: Task,
    found: TaskData | Exception,
    zoo: Zoo,
    store: FeatureStore,
    suite_size: int | None,
    fractions: Sequence[float],
    seeds: int,
    budget: Budget,
    cells: Mapping[Key, Cell],
    speeds: _Speeds,
) -> TaskPlan:
    protocol = protocol_of(task, budget)
    data = "" if isinstance(found, Exception) else found.state
    jobs, done, encode_s = list[Job](), list[Cell](), 0.0
    for name in zoo.entries:
        model = zoo.get(name, side_of(task, suite_size))
        marks = {"model": model.mark(task.task), "data": data, "protocol": protocol}
        mine = list[Job]()
        for key in keys_of(task, [name], fractions, seeds, budget):
            cell = cells.get(key)
            if cell is not None and cell.error is None and cell.fingerprints == marks and data:
                done.append(cell)
            else:
                mine.append(Job(key, marks, _cell_s(found, model, key, budget)))
        if mine and not isinstance(found, Exception):
            encode_s += _encode_s(found, model, store, speeds)
        jobs += mine
    if encode_s and not isinstance(found, Exception):
        encode_s += len(found.rows) / READ_PER_S
    return TaskPlan(task, found, tuple(jobs), tuple(done), encode_s)


def _encode_s(found: TaskData, model: Model, store: FeatureStore, speeds: _Speeds) -> float:
    encode = model.encode(found.task.task)
    rows: Ids = found.rows
    if found.task.task not in DENSE:
        rows = store.missing(model.mark(found.task.task), found.state, rows, size=model.size)
    return len(rows) / speeds.of(model, encode)


def _cell_s(found: TaskData | Exception, model: Model, key: Key, budget: Budget) -> float:
    if isinstance(found, Exception):
        return 0.0
    width = 1280  # of a usual backbone; that of this one is known only when it ran
    train, test = len(found.train) * (key.fraction or 0), len(found.test)
    if found.task.task == "retrieval":
        return 0.1 + RETRIEVAL_S * test * len(found.index) * width
    if found.task.task in DENSE:
        kind = found.task.task
        return (budget.dense_steps or DENSE_STEPS) * HEAD_STEP_S[kind] * (
            model.size / HEAD_SIDE
        ) ** 2 + test * HEAD_TEST_S[kind]
    classes = len(set(found.label[found.train].tolist()))
    width = 192 if model.num_parameters == 0 else width
    return PROBE_LEAST_S + PROBE_S * train * classes * width + KNN_S * train * test * width


class _Speeds:
    """Images a second of each model, measured once."""

    def __init__(self) -> None:
        self._known: dict[str, float] = {}

    def of(self, model: Model, encode: Encode) -> float:
        if model.fingerprint not in self._known:
            try:
                self._known[model.fingerprint] = images_per_second(encode)
            except Exception:  # a model that fails is told when its cells are made, not by the forecast
                self._known[model.fingerprint] = math.inf
        return self._known[model.fingerprint]


def images_per_second(encode: Encode, *, batch: int = TRIAL_BATCH, seconds: float = TRIAL_S) -> float:
    """Returns how many images a model turns into vectors in a second, from a short trial after one call to warm up."""
    images = torch.randint(0, 256, (batch, 3, encode.size, encode.size), dtype=torch.uint8)
    encode(images).cpu()
    calls, started = 0, time.perf_counter()
    while calls == 0 or time.perf_counter() - started < seconds:
        encode(images).cpu()  # waits for the device
        calls += 1
    return calls * batch / (time.perf_counter() - started)
