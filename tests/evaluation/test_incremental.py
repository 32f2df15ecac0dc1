"""Class-incremental accuracy, worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from alumnus.errors import DataError
from alumnus.evaluation.incremental import confusion_matrix, score_increments

# Four classes in two steps, two test images of 0, 1 and 2 and four of 3.
LABEL = np.array([0, 0, 1, 1, 2, 2, 3, 3, 3, 3])
STEP_OF_CLASS = np.array([0, 0, 1, 1])
FIRST = np.array(
    [0, 0, 1, 0, 9, 9, -1, -1, 9, 9]
)  # 3 of 4 right; what it says of unseen classes is not looked at
SECOND = np.array(
    [0, 2, 3, 3, 2, 2, 3, 3, 3, 1]
)  # old: 1 of 4 right, 3 called new; new: 5 of 6 right, 1 called old


def test_shares_by_hand() -> None:
    """Every number of both steps, and both averages."""
    found = score_increments([FIRST, SECOND], LABEL, STEP_OF_CLASS)
    first, second = found.increments
    assert (first.num_classes, first.all.mean, first.new.mean) == (2, 0.75, 0.75)
    assert math.isnan(first.old.mean)
    assert math.isnan(first.old_as_new.mean)
    assert first.new_as_old.mean == 0
    assert (second.num_classes, second.all.mean) == (4, 0.6)
    assert [second.old.mean, second.new.mean] == pytest.approx([1 / 4, 5 / 6])
    assert [second.old_as_new.mean, second.new_as_old.mean] == pytest.approx([3 / 4, 1 / 6])
    assert found.average.mean == pytest.approx((0.75 + 0.6) / 2)
    assert found.average_later.mean == pytest.approx(0.6)


def test_shares_are_those_of_the_confusion_matrix() -> None:
    """Rows are classes, columns predictions; the blocks of old and new give the same shares."""
    second = score_increments([FIRST, SECOND], LABEL, STEP_OF_CLASS).increments[1]
    confusion = second.confusion
    assert confusion.tolist() == [[1, 0, 1, 0], [0, 0, 0, 2], [0, 0, 2, 0], [0, 1, 0, 3]]
    assert confusion.tolist() == confusion_matrix(SECOND, LABEL, 4).tolist()
    assert np.trace(confusion) / confusion.sum() == pytest.approx(second.all.mean)
    assert confusion[:2, 2:].sum() / confusion[:2].sum() == pytest.approx(second.old_as_new.mean)
    assert confusion[2:, :2].sum() / confusion[2:].sum() == pytest.approx(second.new_as_old.mean)
    assert second.old.mean + second.old_as_new.mean <= 1


def test_an_average_of_one_step_has_nothing_later() -> None:
    """The mean over steps is that step; the mean without it is NaN."""
    found = score_increments([LABEL % 4], LABEL, np.zeros(4, np.int64))
    assert found.average == (1, 1, 1)
    assert math.isnan(found.average_later.mean)


def test_a_classifier_that_forgets_everything_is_all_bias() -> None:
    """Fine-tuned on new classes only: every old image is called new, no new one is called old."""
    guess = np.where(STEP_OF_CLASS[LABEL] == 1, LABEL, 2)
    second = score_increments([LABEL % 2, guess], LABEL, STEP_OF_CLASS).increments[1]
    assert (second.old.mean, second.new.mean) == (0, 1)
    assert second.old_as_new == (1, 1, 1)
    assert second.new_as_old == (0, 0, 0)


def test_intervals_hold_the_truth_of_many_images() -> None:
    """1,000 images, 70 % right: the interval is about two standard errors to each side, the average's is narrower than a step's."""
    random = np.random.default_rng(0)
    label, step_of_class = random.integers(0, 10, 1000), np.repeat([0, 1], 5)

    def guess() -> np.ndarray:
        return np.where(random.random(1000) < 0.7, label, (label + 1) % 5)

    found = score_increments([guess(), guess()], label, step_of_class)
    assert found.average.low < 0.7 < found.average.high
    width = found.average.high - found.average.low
    assert 0.03 < width < found.increments[0].all.high - found.increments[0].all.low


@pytest.mark.parametrize(
    ("predicted", "label", "steps", "words"),
    [
        ([FIRST], LABEL, STEP_OF_CLASS, "predictions of 1"),
        ([], LABEL, STEP_OF_CLASS, "predictions of 0"),
        ([FIRST[:3], SECOND], LABEL, STEP_OF_CLASS, "the labels are"),
        ([FIRST, SECOND], LABEL + 1, STEP_OF_CLASS, r"allowed is \[0, 4\)"),
        ([SECOND, SECOND], LABEL, STEP_OF_CLASS, "class 2, which came in step 1"),
        ([FIRST, SECOND - 1], LABEL, STEP_OF_CLASS, "outside"),
    ],
)
def test_what_does_not_fit_together_is_refused(
    predicted: list[np.ndarray], label: np.ndarray, steps: np.ndarray, words: str
) -> None:
    """Steps, lengths, labels and classes from the future."""
    with pytest.raises(DataError, match=words):
        score_increments(predicted, label, steps)
