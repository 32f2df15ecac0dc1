"""A method whose loss is a number and whose gradient is none, from some step on: the root of what is zero."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from alumnus.models.student import Student
from alumnus.objective import MethodSettings, Objective, Setup
from alumnus.types import Batch, Targets, Terms


class Settings(MethodSettings):
    """When it breaks."""

    since: float = 0.5  # of the run


def build(settings: Settings, setup: Setup) -> Objective:
    """Returns the objective."""
    return _Broken(settings.since, setup.embed_dim)


class _Broken(Objective):
    def __init__(self, since: float, embed_dim: int) -> None:
        super().__init__()
        self.since, self.head = since, nn.Linear(embed_dim, 1)

    def forward(self, student: Student, batch: Batch, targets: Targets, progress: float) -> Terms:
        """The gradient of sqrt(0 x) is infinity times nothing."""
        value = self.head(student(batch.image).embedding).square().squeeze(1)  # (B,)
        if progress >= self.since:
            value = value + (0 * value).sqrt()
        report: Mapping[str, Tensor] = {"loss/size": value.detach().mean()}
        return Terms(value.mean(), report, torch.zeros(len(value)))
