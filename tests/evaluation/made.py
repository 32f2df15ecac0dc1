"""Made-up features: classes as clouds in a few dimensions, seen through a random map with noise and an offset."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from alumnus.evaluation.arrays import Floats, Ids


class Clouds(NamedTuple):
    """Features and labels of a training and a test part."""

    train: Floats
    train_label: Ids
    test: Floats
    test_label: Ids


def clouds(
    num_classes: int, a_class: int, *, num_test: int = 200, width: int = 24, noise: float = 1.0, seed: int = 0
) -> Clouds:
    """Returns `a_class` training images of each class and `num_test` test images of any."""
    random = np.random.default_rng(seed)
    centers, mixing = random.normal(size=(num_classes, 8)), random.normal(size=(8, width))
    label = np.concatenate(
        [np.repeat(np.arange(num_classes), a_class), random.integers(0, num_classes, num_test)]
    )
    hidden = centers[label] + noise * random.normal(size=(len(label), 8))
    features = (hidden @ mixing + 0.3 * random.normal(size=(len(label), width)) + 5).astype(np.float32)
    train = num_classes * a_class
    return Clouds(features[:train], label[:train], features[train:], label[train:])
