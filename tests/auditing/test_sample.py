"""Which images an audit looks at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from alumnus.auditing.sample import ENOUGH, samples
from alumnus.data.dataset import Dataset
from alumnus.errors import ConfigError, DataError


def _dataset(**splits: list[int]) -> Dataset:
    """One domain; split -> the label of each image, -1 for none."""
    label = np.array([each for labels in splits.values() for each in labels], np.int64)
    split = np.array([name for name, labels in splits.items() for _ in labels], np.str_)
    names = [f"{n}.png" for n in range(len(label))]
    classes = tuple(f"c{n}" for n in range(int(label.max(initial=-1)) + 1))
    return Dataset(Path("/x"), names, names, np.zeros(len(label), np.int64), label, split, ("x",), (classes,))


def test_validation_comes_first_and_test_never() -> None:
    """Where it has enough images; else the training split."""
    enough, few = [0, 1] * (ENOUGH // 2), [0, 1] * (ENOUGH // 2 - 1)
    (sample,) = samples(_dataset(train=enough, val=enough, test=enough), limit=1000, seed=0)
    assert (sample.split, sample.rows.tolist()) == ("val", list(range(ENOUGH, 2 * ENOUGH)))
    (sample,) = samples(_dataset(train=enough, val=few, test=enough), limit=1000, seed=0)
    assert (sample.split, sample.is_labelled) == ("train", True)
    with pytest.raises(
        DataError, match="val and train only, since it serves to choose; the data has query, test"
    ):
        samples(_dataset(test=enough, query=enough), limit=1000, seed=0)


def test_a_negative_seed_is_refused() -> None:
    """Nothing can be drawn with it."""
    with pytest.raises(ConfigError, match="seed=-1 must not be negative"):
        samples(_dataset(val=[0, 0]), limit=100, seed=-1)


def test_images_without_a_partner_are_left_out() -> None:
    """They cannot be found, and fill the sample."""
    (sample,) = samples(_dataset(val=[0, 0, 1, 2, 2, -1]), limit=100, seed=0)
    assert sample.rows.tolist() == [0, 1, 3, 4]


def test_one_class_is_no_task() -> None:
    """Then images are drawn without regard to labels, from both splits."""
    (sample,) = samples(_dataset(train=[-1] * 40, val=[0] * 60), limit=30, seed=0)
    assert (sample.is_labelled, sample.split, len(sample.rows)) == (False, "val+train", 30)


def test_the_limit_takes_whole_classes() -> None:
    """Ten of a class at least where there are many classes, an even share where there are few."""
    many = _dataset(val=np.repeat(np.arange(100), 30).tolist())
    (sample,) = samples(many, limit=200, seed=0)
    _, counts = np.unique(many.label[sample.rows], return_counts=True)
    assert counts.tolist() == [10] * 20
    few = _dataset(val=np.repeat(np.arange(4), 100).tolist())
    (sample,) = samples(few, limit=200, seed=0)
    assert np.bincount(few.label[sample.rows]).tolist() == [50] * 4


def test_the_seed_decides() -> None:
    """The same again for one, others for another."""
    data = _dataset(val=np.repeat(np.arange(100), 30).tolist())
    first, again, other = (samples(data, limit=200, seed=seed)[0].rows.tolist() for seed in (0, 0, 1))
    assert first == again != other
