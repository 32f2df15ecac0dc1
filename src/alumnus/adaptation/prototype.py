"""Classification by the nearest class mean of unit-length features: prototypical networks' rule (Snell et al. 2017, arXiv 1703.05175).

Without their training it is L2N of SimpleShot (Wang et al. 2019, arXiv 1911.04623), and it takes one image a class. Two things are chosen,
here by leaving each training image out of its own class's mean: whether the student's embedding or its backbone's summary is compared, by
accuracy; and the temperature that makes distances into shares, by cross-entropy, which changes no decision.

Axes: B images, S side in px, N training images, D width of a feature, C classes, T temperatures.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from alumnus.evaluation.arrays import Doubles, Floats, Ids
from alumnus.evaluation.search import ELEMENTS, unit_length
from alumnus.models.student import Student

Space = Literal["embedding", "summary"]
SPACES: tuple[Space, ...] = ("embedding", "summary")

TEMPERATURES = np.geomspace(1e-3, 1, 25)  # of squared distances, which lie in [0, 4]
FALLBACK = 0.1  # where no class has an image to leave out


class Prototypes(nn.Module):
    """Images in, logits out; a class is where its mean is."""

    mean: Tensor
    temperature: Tensor

    def __init__(self, student: Student, mean: Tensor, *, temperature: float | Tensor, space: Space) -> None:
        """Takes the class means (C, D) of unit-length features of a space, and the student itself, no copy."""
        super().__init__()
        self.student, self.space = student, space
        self.register_buffer("mean", mean)
        self.register_buffer("temperature", torch.as_tensor(temperature, dtype=torch.float32))

    @property
    def num_classes(self) -> int:
        """C."""
        return len(self.mean)

    def forward(self, image: Tensor) -> Tensor:
        """Returns logits (B, C) of images (B, 3, S, S), uint8 or float in [0, 1]."""
        output = self.student(image)
        features = output.embedding if self.space == "embedding" else output.features.summary
        unit = functional.normalize(features, dim=-1)
        # -|u - m|^2 = 2 u m - |m|^2 - |u|^2, of which |u|^2 is the same for all classes.
        logits: Tensor = (2 * unit @ self.mean.T - self.mean.square().sum(1)) / self.temperature
        return logits


class PrototypeFit(NamedTuple):
    """Class means and how they came about."""

    space: Space
    mean: Floats  # (C, D) of unit-length features
    temperature: float
    left_out: (
        float | None
    )  # accuracy when each image is left out of its class's mean; None where no class has two


def fit_prototypes(features: Mapping[Space, Floats], label: Ids) -> PrototypeFit:
    """Returns the class means in the space that tells the training images apart best.

    Args:
        features: each (N, D) of any scale; the first one wins where accuracies are equal.
        label: (N,) in [0, C), every class at least once.
    """
    fits = [_fit(space, values, label) for space, values in features.items()]
    return max(fits, key=lambda fit: -1.0 if fit.left_out is None else fit.left_out)


def _fit(space: Space, values: Floats, label: Ids) -> PrototypeFit:
    unit = unit_length(values).astype(np.float64)
    count = np.bincount(label)
    mean = np.zeros((len(count), unit.shape[1]))
    np.add.at(mean, label, unit)
    mean /= count[:, None]
    rows = np.flatnonzero(count[label] > 1)
    if not len(rows):
        return PrototypeFit(space, mean.astype(np.float32), FALLBACK, None)
    right, losses = 0, np.zeros(len(TEMPERATURES))
    step = max(1, ELEMENTS // len(count))
    for start in range(0, len(rows), step):
        part = rows[start : start + step]
        closeness = _closeness_without(unit[part], label[part], mean, count)
        right += int((closeness.argmax(1) == label[part]).sum())
        losses += [_cross_entropy(closeness / temperature, label[part]) for temperature in TEMPERATURES]
    best = float(TEMPERATURES[losses.argmin()])
    return PrototypeFit(space, mean.astype(np.float32), best, right / len(rows))


def _closeness_without(unit: Doubles, label: Ids, mean: Doubles, count: Ids) -> Doubles:
    """Returns 2 u m - |m|^2 (n, C) where each image's own class is the mean of the others in it."""
    closeness: Doubles = 2 * unit @ mean.T - np.square(mean).sum(1)
    size = count[label][:, None]
    others: Doubles = (mean[label] * size - unit) / (size - 1)
    closeness[np.arange(len(label)), label] = 2 * (unit * others).sum(1) - np.square(others).sum(1)
    return closeness


def _cross_entropy(logits: Doubles, label: Ids) -> float:
    """Returns the sum."""
    highest = logits.max(1)
    normaliser = highest + np.log(np.exp(logits - highest[:, None]).sum(1))
    return float((normaliser - logits[np.arange(len(label)), label]).sum())
