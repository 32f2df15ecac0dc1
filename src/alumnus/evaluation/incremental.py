"""Class-incremental accuracy: one classifier that learns classes in steps, scored after each on all classes so far.

The protocol of iCaRL (Rebuffi et al. 2017, arXiv 1611.07725), which Deep Model Consolidation uses (Zhang et al. 2020, arXiv
1903.07864): after each step the test images of all classes seen so far are classified among all of them, without being told the step;
the average incremental accuracy is the mean over steps. Classes of the last step are new, earlier ones are old. What forgetting costs
shows in `old`, what it comes from in the two biases.

Axes: Q test images, C classes, S steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from alumnus.errors import DataError
from alumnus.evaluation.accuracy import mean_ratio
from alumnus.evaluation.arrays import Ids
from alumnus.evaluation.compare import RESAMPLES, Interval


@dataclass(frozen=True, eq=False)
class Increment:
    """After one step. Shares of images; NaN where there is none, such as `old` after the first step."""

    step: int
    num_classes: int  # seen so far
    all: Interval  # accuracy on all classes seen so far
    old: Interval  # accuracy on the classes of earlier steps
    new: Interval  # accuracy on the classes of this step
    old_as_new: Interval  # share of old-class images that are taken for a new class: the usual bias
    new_as_old: Interval  # share of new-class images that are taken for an old class
    confusion: Ids  # (C, C) images by class and prediction; columns and rows of classes not yet seen are 0


@dataclass(frozen=True, eq=False)
class Incremental:
    """All steps."""

    increments: tuple[Increment, ...]
    average: Interval  # average incremental accuracy: the mean of `all` over all steps
    average_later: Interval  # … without the first step, in which nothing is incremental yet


def score_increments(
    predicted: Sequence[Ids],
    label: Ids,
    step_of_class: Ids,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Incremental:
    """Returns the scores of a classifier's states after steps 0 to S - 1.

    Args:
        predicted: for each step (Q,) the class of every test image; what it says of images of classes not yet seen is not looked at.
        label: (Q,) in [0, C).
        step_of_class: (C,) the step in [0, S) in which each class came.

    Raises:
        DataError: lengths or numbers do not agree, or a class is predicted before it came.

    >>> label = np.array([0, 0, 1, 1])
    >>> score_increments([label * 0, label * 0 + 1], label, np.array([0, 1])).average.mean
    0.75
    """
    _check(predicted, label, step_of_class)
    since = step_of_class[label]  # (Q,) the step from which an image is asked
    seen = since[:, None] <= np.arange(len(predicted))  # (Q, S)
    right = seen & (np.stack(predicted, 1) == label[:, None])
    return Incremental(
        tuple(
            _increment(step, guess, label, step_of_class, resamples=resamples, seed=seed)
            for step, guess in enumerate(predicted)
        ),
        mean_ratio(right, seen, resamples=resamples, seed=seed),
        mean_ratio(right[:, 1:], seen[:, 1:], resamples=resamples, seed=seed),
    )


def confusion_matrix(predicted: Ids, label: Ids, num_classes: int) -> Ids:
    """Returns (C, C) how many images of each class (row) were taken for each class (column)."""
    counts = np.bincount(label * num_classes + predicted, minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes).astype(np.int64)


def _increment(
    step: int, predicted: Ids, label: Ids, step_of_class: Ids, *, resamples: int, seed: int
) -> Increment:
    seen = step_of_class[label] <= step
    predicted, label = predicted[seen], label[seen]
    is_new, called_new = step_of_class[label] == step, step_of_class[predicted] == step

    def share(event: npt.NDArray[np.bool_], among: npt.NDArray[np.bool_]) -> Interval:
        return mean_ratio((event & among)[:, None], among[:, None], resamples=resamples, seed=seed)

    right = predicted == label
    return Increment(
        step,
        num_classes=int((step_of_class <= step).sum()),
        all=share(right, np.ones_like(right)),
        old=share(right, ~is_new),
        new=share(right, is_new),
        old_as_new=share(called_new, ~is_new),
        new_as_old=share(~called_new, is_new),
        confusion=confusion_matrix(predicted, label, len(step_of_class)),
    )


def _check(predicted: Sequence[Ids], label: Ids, step_of_class: Ids) -> None:
    num_classes, num_steps = len(step_of_class), len(predicted)
    if not num_steps or len(np.setdiff1d(step_of_class, np.arange(num_steps))):
        raise DataError(
            f"step_of_class names the steps {np.unique(step_of_class).tolist()}, and there are predictions of {num_steps}; "
            "steps count from 0"
        )
    if len(label) and (label.min() < 0 or label.max() >= num_classes):
        raise DataError(
            f"labels run from {label.min()} to {label.max()}, allowed is [0, {num_classes}): the length of step_of_class"
        )
    for step, guess in enumerate(predicted):
        if guess.shape != label.shape:
            raise DataError(f"step {step} predicts {guess.shape}, and the labels are {label.shape}")
        asked = guess[step_of_class[label] <= step]
        if len(asked) and (asked.min() < 0 or asked.max() >= num_classes):
            raise DataError(f"step {step} predicts a class outside [0, {num_classes})")
        early = asked[step_of_class[asked] > step]
        if len(early):
            raise DataError(
                f"step {step} predicts class {early[0]}, which came in step {step_of_class[early[0]]}"
            )
