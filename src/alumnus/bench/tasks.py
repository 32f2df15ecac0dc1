"""A task's data: opened, and told apart into what is learnt from, what is scored and what answers."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from alumnus import datasets
from alumnus.bench.suite import DENSE, Budget, Task
from alumnus.data.dataset import Dataset, open_dataset
from alumnus.data.fractions import label_fraction
from alumnus.data.locator import container_of
from alumnus.data.quarantine import check_parts
from alumnus.data.readers.webdataset import is_shard_pattern
from alumnus.errors import ConfigError, DataError, nearest
from alumnus.evaluation.arrays import Ids
from alumnus.log import console

SEED = 0  # of what a limit keeps: the same pictures for every model, fraction and seed


@dataclass(frozen=True, eq=False)
class TaskData:
    """Rows of the data set, each ascending."""

    task: Task
    data: Dataset
    train: Ids  # empty for retrieval
    test: Ids  # the queries
    index: Ids  # in retrieval, what answers
    label: Ids  # (all rows) one number for each class of each domain, -1 where there is none
    state: str = ""  # of the files, see `state_of`
    num_not_learnt: int = 0  # test images that are left out, for no training image is of their class

    @property
    def rows(self) -> Ids:
        """All that are used."""
        return np.unique(np.concatenate([self.train, self.test, self.index]))


class Opener:
    """Data sets, each opened once."""

    def __init__(self) -> None:
        """Opens nothing yet."""
        self._opened: dict[tuple[object, ...], tuple[Dataset, str]] = {}

    def open(self, task: Task, budget: Budget) -> TaskData:
        """Returns a task's data; a known data set is fetched and drawn the first time.

        Raises:
            DataError: it cannot be read, or lacks what the task needs.
            FetchError, MissingExtra: a known data set cannot be had.
        """
        key = (task.data, task.size, task.options.limit_per_class)
        if key not in self._opened:
            data = open_dataset([_located(name, task) for name in task.data])
            self._opened[key] = data, state_of(data)
        data, state = self._opened[key]
        return replace(chosen(task, data, budget), state=state)


def check_sources(tasks: Sequence[Task]) -> None:
    """Raises a ConfigError unless every name of data is a known data set or something that is there."""
    known = datasets.names()
    for task in tasks:
        for name in task.data:
            is_there = Path(name).expanduser().exists()
            if name in known and is_there:
                console.print(
                    f"task {task.name}: data {name} is the known data set; a suite of yours means what is in this folder by ./{name}",
                )
            if name in known or is_there or name.startswith("hf:") or is_shard_pattern(name):
                continue
            raise ConfigError(
                f"task {task.name}: there is no data {name!r}{nearest(name, known)}; give a path or a known data set "
                "(`alumnus data list` names them)"
            )


def state_of(data: Dataset) -> str:
    """Returns a hash of a data set's fingerprint and of when each of its files was changed, pictures, masks and depth maps.

    So a file of other content and the same size is another state, and so is a copy with other times. It reads no file: it asks the file
    system about each once more than the fingerprint does, and about a tar or Arrow file once for all its pictures.
    """
    digest, containers = hashlib.sha256(data.fingerprint.encode()), dict[str, int]()
    for column in (data.paths, data.masks, data.depths):
        for path in column or ():
            if path is None:
                continue
            file = container_of(path)
            if file == path:
                changed = _changed_ns(path)
            elif file in containers:
                changed = containers[file]
            else:
                changed = containers[file] = _changed_ns(file)
            digest.update(b"%d\n" % changed)
    return digest.hexdigest()


def check_readable(found: TaskData, bad: Mapping[int, str], max_bad_fraction: float) -> None:
    """Refuses a task of which too many images could not be read: of those that are learnt from, that are scored, or that answer.

    Args:
        bad: row -> reason.

    Raises:
        TooManyBadImages: names the last.
    """
    parts = (found.train, found.test, found.index)
    check_parts(found.data.file_names, bad, parts, max_bad_fraction=max_bad_fraction)


def chosen(task: Task, data: Dataset, budget: Budget) -> TaskData:
    """Returns the rows that a task uses.

    Raises:
        DataError: there are none, or they lack labels, objects, masks or depths.
    """
    allowed = _in_domains(task, data)
    label = _global_label(data)
    options = task.options
    none = np.empty(0, np.int64)
    if task.task == "retrieval":
        asking, answering = _asking_and_answering(task, data.split[allowed])
        test = _rows(task, data, allowed, asking)
        index = _rows(task, data, allowed, answering)
        test = test[label[test] >= 0]
        most = options.test_images or budget.test_images
        test, index = _whole_classes(test, index, label, data, most)
        _check(task, len(test), "queries with a label")
        return TaskData(task, data, none, test, index, label)
    train = _rows(task, data, allowed, options.train or ("train",))
    test = _rows(task, data, allowed, options.test or ("test",))
    if np.isin(test, train).any():
        raise DataError(
            f"task {task.name}: options train and test share a split; what was learnt from cannot be the test"
        )
    if task.task in DENSE:
        has = _has(task, data)
        train = _thinned(train[has[train]], options.train_images or budget.dense_train_images)
        test = _thinned(test[has[test]], options.test_images or budget.dense_test_images)
        _check(
            task, min(len(train), len(test)), f"pictures for {task.task} in the splits for training and test"
        )
        return TaskData(task, data, train, test, none, label)
    train, test = train[label[train] >= 0], test[label[test] >= 0]
    is_learnt = np.isin(label[test], label[train])
    test, num_not_learnt = test[is_learnt], int((~is_learnt).sum())
    _check(task, len(test), "test images of a class that is in the training split")
    train = _thinned_by_class(train, label, options.train_images or budget.train_images)
    test = _thinned(test, options.test_images or budget.test_images)
    return TaskData(task, data, train, test, none, label, num_not_learnt=num_not_learnt)


def _located(name: str, task: Task) -> str | Path:
    if name not in datasets.names():
        return name if name.startswith("hf:") else Path(name).expanduser()
    return datasets.get(name, size=task.size, limit_per_class=task.options.limit_per_class)


def _changed_ns(path: str) -> int:
    """Returns when a file was changed, -1 if it is not there."""
    try:
        return os.stat(path).st_mtime_ns
    except (OSError, ValueError):  # the second for a name that no file can have
        return -1


def _in_domains(task: Task, data: Dataset) -> Ids:
    if task.options.domains is None:
        return np.arange(len(data))
    for name in task.options.domains:
        if name not in data.domains:
            raise DataError(
                f"task {task.name}: its data has no domain {name!r}{nearest(name, data.domains)}; it has {', '.join(data.domains)}"
            )
    wanted = [data.domains.index(name) for name in task.options.domains]
    return np.flatnonzero(np.isin(data.domain, wanted))


def _asking_and_answering(task: Task, split: np.ndarray) -> tuple[Sequence[str], Sequence[str]]:
    """Returns the splits of the queries and of what they search: of UnED's form `query` and `test` in `index` and `test`."""
    asking, answering = task.options.test, task.options.index
    if answering is None:
        searched = ("index", "test") if asking is None else ("index",)  # those asked for search themselves
        answering = tuple(name for name in searched if name in split)
    if asking is None:
        asking = tuple(name for name in ("query", "test") if name in split) or ("test",)
    return asking, answering or asking


def _rows(task: Task, data: Dataset, allowed: Ids, splits: Sequence[str]) -> Ids:
    there = sorted(set(data.split.tolist()))
    for name in splits:
        if name not in there:
            raise DataError(
                f"task {task.name}: its data has no split {name!r}; it has {', '.join(there)}: options train, test and index name others"
            )
    return allowed[np.isin(data.split[allowed], splits)]


def _global_label(data: Dataset) -> Ids:
    start = np.cumsum([0, *(len(classes) for classes in data.classes)])
    return np.where(data.label < 0, -1, data.label + start[data.domain])


def _has(task: Task, data: Dataset) -> np.ndarray:
    """Returns for each row whether it has what is to be predicted."""
    column = {"detection": data.objects, "segmentation": data.masks, "depth": data.depths}[task.task]
    if column is None:
        what = {"detection": "objects", "segmentation": "masks", "depth": "depth maps"}[task.task]
        raise DataError(f"task {task.name}: its data has no {what}, which {task.task} needs")
    return np.array([value is not None for value in column], bool)


def _check(task: Task, count: int, what: str) -> None:
    if not count:
        raise DataError(
            f"task {task.name}: its data has no {what}; options train, test and index name the splits"
        )


def _thinned(rows: Ids, most: int | None) -> Ids:
    if most is None or len(rows) <= most:
        return rows
    return np.sort(np.random.default_rng(SEED).choice(rows, most, replace=False))


def _thinned_by_class(rows: Ids, label: Ids, most: int | None) -> Ids:
    if most is None or len(rows) <= most:
        return rows
    kept: Ids = np.sort(label_fraction(label[rows], most / len(rows), SEED))
    return rows[kept]


def _whole_classes(test: Ids, index: Ids, label: Ids, data: Dataset, most: int | None) -> tuple[Ids, Ids]:
    """Returns queries and index of as many whole classes as make about `most` queries, evenly over domains.

    A query of fewer rivals, but of as many right answers: so limits make the task easier in one known way.
    """
    if most is None or len(test) <= most:
        return test, index
    domains = np.unique(data.domain[test])
    kept = list[Ids]()
    for d in domains:
        here = label[test[data.domain[test] == d]]
        classes, count = np.unique(here, return_counts=True)
        order = np.random.default_rng([SEED, int(d)]).permutation(len(classes))
        enough = np.cumsum(count[order]) <= max(most // len(domains), int(count[order[0]]))
        kept.append(classes[order[enough]])
    keep = np.concatenate(kept)
    return test[np.isin(label[test], keep)], index[np.isin(label[index], keep)]
