"""What there is to learn: the task of a labelled dataset, its classes, and the images to learn from and to be scored on.

Axes: N training images, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from alumnus.data.dataset import Dataset
from alumnus.data.dense import check_two_classes, highest_class
from alumnus.data.fractions import label_fraction, rarest_class
from alumnus.data.objects import Objects
from alumnus.datasets.known import Task
from alumnus.errors import ConfigError, DataError
from alumnus.evaluation.arrays import Ids
from alumnus.log import number_of, progress

TASKS: tuple[Task, ...] = ("classification", "segmentation", "depth", "detection")


@dataclass(frozen=True, eq=False)
class Chosen:
    """A task and its images."""

    task: Task
    domain: str | None  # the one that was chosen, or that is the only one
    classes: tuple[str, ...]  # C; none in depth
    train: Dataset  # cut to the label fraction; in classification the labels are in [0, C), all of them there
    test: Dataset  # may be empty
    note: str  # what is not scored, and why; "" if nothing


def choose(
    data: Dataset,
    *,
    task: Task | None = None,
    domain: str | None = None,
    split: str = "train",
    test_split: str | None = None,
    fraction: float = 1.0,
    seed: int = 0,
) -> Chosen:
    """Returns what a dataset asks to be learnt.

    Args:
        task: needed where the images have several kinds of labels.
        domain: needed where classes are to be learnt and several domains have some.
        split, test_split: names of splits, several joined by `+`. Without a `test_split`, "test" is scored if it is there.
        fraction, seed: of the labels that are learnt from, as in `label_fraction`.

    Raises:
        ConfigError: a split is to be both learnt from and scored, or a number is out of its range.
        DataError: the task or the domain is not to be told, or there is nothing to learn from.
    """
    if domain is not None:
        data = data.select(domains=domain)
    train, test = _parts(data, split, test_split)
    task = _task(train, task)
    train, test = (_labelled(part, task) for part in (train, test))
    if not len(train):
        raise DataError(f"the split {split!r} has no image with what {task} is learnt from")
    note = "" if len(test) else _why_not_scored(data, task, split, test_split)
    classes = tuple[str, ...]()
    if task == "classification":
        domain = _one_domain(train)
        of_domain = test.select(domains=domain)
        train = train.rows(label_fraction(train.label, fraction, seed))
        train, scored, classes = _renumbered(train, of_domain)
        note = note or _left_out(len(test), len(scored))
        return Chosen(task, domain, classes, train, scored, note)
    if task == "segmentation":
        check_two_classes(masks_of(train))
    train = train.rows(label_fraction(_strata(train, task), fraction, seed))
    if task == "detection":
        classes = train.object_classes
    elif task == "segmentation":
        classes = train.mask_classes or _mask_numbers(train, test)
    return Chosen(task, domain, classes, train, test, note)


def masks_of(data: Dataset) -> list[str]:
    """Returns the mask files of rows that all have one."""
    return [path for path in data.masks or () if path is not None]


def depths_of(data: Dataset) -> list[str]:
    """Returns the depth files of rows that all have one."""
    return [path for path in data.depths or () if path is not None]


def objects_of(data: Dataset) -> list[Objects]:
    """Returns the objects of rows that are all known."""
    return [found for found in data.objects or () if found is not None]


def _parts(data: Dataset, split: str, test_split: str | None) -> tuple[Dataset, Dataset]:
    wanted, tested = split.split("+"), (test_split or "test").split("+")
    train, test = data.select(split=wanted), data.select(split=tested)
    there = ", ".join(sorted(set(data.split.tolist())))
    if not len(train):
        raise DataError(f"there is no image of the split {split!r} to learn from; there are: {there}")
    if test_split is not None and not len(test):
        raise DataError(f"there is no image of the split {test_split!r} to score; there are: {there}")
    both = [name for name in wanted if name in tested]
    if both and test_split is not None:
        raise ConfigError(
            f"split={split} and test_split={test_split} share {both[0]!r}; a score on it would flatter"
        )
    return train, test.rows(np.empty(0, np.int64)) if both else test


def _why_not_scored(data: Dataset, task: Task, split: str, test_split: str | None) -> str:
    """With the split that could be scored instead, if none was asked for; of several the one with most images."""
    why = f"there is no test image with what {task} is scored on"
    names = [name for name in sorted(set(data.split.tolist())) if name not in split.split("+")]
    counts = {name: len(_labelled(data.select(split=name), task)) for name in names}
    if test_split is not None or not any(counts.values()):
        return why
    name = max(counts, key=lambda each: counts[each])
    verb = "is" if counts[name] == 1 else "are"
    return f"{why}; there {verb} {number_of(counts[name], 'image')} in {name}: test_split={name}"


def _task(train: Dataset, task: Task | None) -> Task:
    there = [name for name in TASKS if _has(train, name).any()]
    if task is not None and task not in there:
        raise DataError(
            f"the images have nothing to learn {task} from; they have: {', '.join(there) or 'no labels'}"
        )
    if task is None and len(there) != 1:
        what = (
            f"labels for {', '.join(there)}; say which, such as task={there[0]}"
            if there
            else "no labels at all; a list has them in a column `label` (or mask, depth, objects), a folder in its class folders, "
            "see docs/data.md"
        )
        raise DataError(f"the images to learn from have {what}")
    return task or there[0]


def _has(data: Dataset, task: Task) -> np.ndarray:
    """Returns for each row whether it has what the task is learnt from."""
    if task == "classification":
        return data.label >= 0
    column: Sequence[object] | None = {
        "segmentation": data.masks,
        "depth": data.depths,
        "detection": data.objects,
    }[task]
    return (
        np.zeros(len(data), bool)
        if column is None
        else np.array([value is not None for value in column], bool)
    )


def _labelled(data: Dataset, task: Task) -> Dataset:
    return data.rows(np.flatnonzero(_has(data, task)))


def _one_domain(train: Dataset) -> str:
    names: list[str] = [train.domains[d] for d in np.unique(train.domain)]
    if len(names) > 1:
        raise DataError(
            f"{len(names)} domains have labels: {', '.join(names)}. A classifier speaks of one list of classes; "
            f"choose one, such as domain={names[0]}"
        )
    return names[0]


def _renumbered(train: Dataset, test: Dataset) -> tuple[Dataset, Dataset, tuple[str, ...]]:
    """Returns both parts with labels in [0, C), those of the classes that are learnt from; the test part less other classes."""
    found = np.unique(train.label)
    if len(found) < 2:
        raise DataError(f"{len(found)} class in {len(train)} images to learn from; needed are two at least")
    words = train.classes[int(train.domain[0])]
    test = test.rows(np.flatnonzero(np.isin(test.label, found)))
    renumbered = [replace(part, label=np.searchsorted(found, part.label)) for part in (train, test)]
    return renumbered[0], renumbered[1], tuple(words[label] for label in found)


def _left_out(num_there: int, num_scored: int) -> str:
    if num_there == num_scored:
        return ""
    return f"{num_there - num_scored} of {num_there} test images are of classes that are not learnt, and not scored"


def _strata(train: Dataset, task: Task) -> Ids:
    """Returns (N,) by what the share is drawn, so that in detection no class is lost."""
    if task != "detection":
        return np.zeros(len(train), np.int64)
    return rarest_class(objects_of(train), len(train.object_classes))


def _mask_numbers(train: Dataset, test: Dataset) -> tuple[str, ...]:
    """Returns "0", "1", … up to the highest index in the masks, where nobody names the classes.

    One that only the test masks have cannot be predicted, but it is there to be missed.
    """
    highest = highest_class(progress([*masks_of(train), *masks_of(test)], "masks"))
    if highest < 0:
        raise DataError(f"not one of {len(train)} masks to learn from can be read and names a class")
    return tuple(str(number) for number in range(highest + 1))
