"""Label fractions: a row for each cell, subsets that do not look at the test part."""

from __future__ import annotations

import numpy as np
import pytest

from alumnus.data.fractions import label_fraction
from alumnus.errors import ConfigError
from alumnus.evaluation.grid import label_grid
from alumnus.evaluation.knn import knn_predict
from alumnus.evaluation.linear import linear_probe
from tests.evaluation.made import clouds


def test_a_row_for_each_fraction_seed_and_evaluator() -> None:
    """In that order, with the number of labels used; every class keeps one at the least."""
    made = clouds(5, 20)
    rows = label_grid(*made, fractions=(0.01, 0.5), seeds=(0, 7))
    assert [(row.fraction, row.seed, row.evaluator) for row in rows] == [
        (f, s, e) for f in (0.01, 0.5) for s in (0, 7) for e in ("knn", "linear")
    ]
    assert [row.num_train for row in rows] == [5] * 4 + [50] * 4
    assert all((row.decay is None) == (row.evaluator == "knn") for row in rows)


def test_a_cell_is_the_evaluator_on_the_subset() -> None:
    """By hand for one fraction and seed."""
    made = clouds(5, 20, noise=1.5)
    knn, linear = label_grid(*made, fractions=(0.2,), seeds=(3,))
    chosen = label_fraction(made.train_label, 0.2, 3)
    predicted = knn_predict(made.test, made.train[chosen], made.train_label[chosen])
    assert knn.accuracy.right.tolist() == (predicted == made.test_label).tolist()
    probe = linear_probe(made.train[chosen], made.train_label[chosen], made.test, made.test_label, seed=3)
    assert linear.accuracy.right.tolist() == probe.accuracy.right.tolist()
    assert linear.decay == probe.fit.decay
    assert linear.accuracy.per_class.mean == probe.accuracy.per_class.mean


def test_more_labels_help() -> None:
    """Noisy classes: the whole beats a few, for both evaluators."""
    made = clouds(8, 60, noise=1.2, num_test=400)
    rows = label_grid(*made, fractions=(0.02, 1.0), seeds=(0,))
    few, whole = rows[:2], rows[2:]
    for low, high in zip(few, whole, strict=True):
        assert low.accuracy.top1.high < high.accuracy.top1.mean


def test_poisoned_test_labels_do_not_move_the_choice() -> None:
    """Neither the number of labels nor the decay."""
    made = clouds(5, 20, noise=1.5)
    honest = label_grid(*made, fractions=(0.3, 1.0), seeds=(0,), evaluators=("linear",))
    poisoned = label_grid(
        made.train,
        made.train_label,
        made.test,
        made.test_label[::-1].copy(),
        fractions=(0.3, 1.0),
        seeds=(0,),
    )[1::2]
    assert [(row.num_train, row.decay) for row in honest] == [(row.num_train, row.decay) for row in poisoned]
    assert not np.array_equal(honest[0].accuracy.right, poisoned[0].accuracy.right)


def test_an_unknown_evaluator_is_refused() -> None:
    """With those that there are."""
    with pytest.raises(ConfigError, match="allowed are knn, linear"):
        label_grid(*clouds(2, 2), evaluators=("svm",))  # type: ignore[arg-type]
