"""Classifiers as teachers: which of a run's teachers they are, and their logits side by side.

Axes: B images of a batch, n of them that a teacher speaks about, C classes of all classifiers side by side.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from alumnus.errors import ConfigError, nearest
from alumnus.objective import MethodSettings, Setup
from alumnus.types import Targets

LOGITS = "logits"


class ClassifierSettings(MethodSettings):
    """The setting of methods that learn from logits."""

    logits: tuple[str, ...] = Field(
        (),
        description="teachers that give logits under another name of `output`, as those of a graph (onnx:) have",
    )

    def takes_as_logits(self, name: str, output: str) -> bool:
        """Those of the output's name, and those that are named."""
        return output == LOGITS or name in self.logits


class SideBySide(NamedTuple):
    """The logits of several classifiers."""

    logits: Tensor  # (B, C) float32; 0 where a classifier is not trusted
    known: Tensor  # (B, C) bool


def groups_of(setup: Setup, settings: ClassifierSettings) -> dict[str, int]:
    """Returns the teachers that give logits, in their order, and how many classes each has.

    Raises:
        ConfigError: one that is named is no teacher, or one has a single class.
    """
    for name in settings.logits:
        if name not in setup.teachers:
            raise ConfigError(
                f"method.logits names {name!r}, which is no teacher{nearest(name, setup.teachers)}; there are {', '.join(setup.teachers)}"
            )
    groups = {
        name: teacher.num_features
        for name, teacher in setup.teachers.items()
        if settings.takes_as_logits(name, teacher.output)
    }
    for name, count in groups.items():
        if count < 2:
            raise ConfigError(
                f"teacher {name!r} gives one logit; a classifier needs an output for each of its classes, two or more"
            )
    return groups


@torch.no_grad()
def side_by_side(targets: Targets, groups: Mapping[str, int], *, like: Tensor) -> SideBySide:
    """Returns the targets' logits in the order of the groups; no gradient passes to them.

    Args:
        like: (B, C), for shape and device.
    """
    logits = torch.zeros_like(like, dtype=torch.float32)
    known = torch.zeros_like(like, dtype=torch.bool)
    first = 0
    for name, count in groups.items():
        target = targets[name]
        logits[target.places, first : first + count] = target.features.summary
        known[target.places, first : first + count] = True
        first += count
    return SideBySide(logits, known)


def refuse_weights(setup: Setup, names: Iterable[str], *, because: str) -> None:
    """Refuses weights of teachers where they would have no effect.

    Raises:
        ConfigError: naming the first teacher with one.
    """
    for name in names:
        if setup.teachers[name].weight != 1:
            raise ConfigError(
                f"teacher {name!r}: weight={setup.teachers[name].weight:g} has no effect, because {because}; remove it"
            )
