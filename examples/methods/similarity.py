"""Similarity-preserving distillation: images that a teacher finds alike become alike to the student.

Tung and Mori 2019, "Similarity-preserving knowledge distillation", arXiv 1907.09682, equations 1 to 4: of a batch's n activations Q the
similarities are G = Q Q^T with rows of unit length, and the loss is |G_T - G_S|^2 / n^2 (squared Frobenius norm). It is an example of a
method that lives outside Alumnus: `PYTHONPATH=examples alumnus train recipe.yaml method=methods.similarity`.

Difference from the paper: there are several teachers, each compared on the images on which it is trusted; Q is a teacher's summary and
the student's embedding, where the paper takes feature maps; there is no term of labels.

Gradients stop at the teachers' similarities.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from alumnus.errors import ConfigError
from alumnus.models.student import Student
from alumnus.objective import MethodSettings, Objective, Setup
from alumnus.types import Batch, Targets, Terms


class Settings(MethodSettings):
    """Settings of `methods.similarity`; the name is what `method=` says."""

    name: Literal["methods.similarity"] = "methods.similarity"
    factor: float = Field(3000.0, gt=0, description="of the loss; gamma in the paper, which takes 3000")

    @property
    def learns_from(self) -> frozenset[Literal["teachers", "labels"]]:
        """Teachers."""
        return frozenset({"teachers"})


def build(settings: Settings, setup: Setup) -> Objective:
    """Returns the objective for the teachers of the run."""
    if not setup.teachers:
        raise ConfigError(
            "method=methods.similarity learns from teachers, and there is none; give `teachers`"
        )
    weights = {name: teacher.weight for name, teacher in setup.teachers.items()}
    return Similarity(weights, factor=settings.factor)


class Similarity(Objective):
    """Squared differences of similarities within the batch, for each teacher; it has no parameters of its own."""

    def __init__(self, weights: Mapping[str, float], *, factor: float) -> None:
        super().__init__()
        self.weights, self.factor = weights, factor

    def forward(self, student: Student, batch: Batch, targets: Targets, progress: float) -> Terms:
        """Returns the weighted mean over teachers, and each one's own as `loss/NAME`."""
        embedding = student(batch.image).embedding.float()  # (B, E)
        total = 0 * embedding[:, 0].sum()  # part of the graph even where no teacher is trusted
        per_sample = embedding.new_zeros(len(embedding))
        report: dict[str, Tensor] = {}
        for name, (features, places) in targets.items():
            if len(places) == 0:
                continue
            # In low precision these differences would be rounded away.
            with torch.autocast(embedding.device.type, enabled=False):
                wanted = similarities(features.summary.detach().float())
                distance = (similarities(embedding[places]) - wanted).square().mean(dim=-1)  # (n,)
            share = self.factor * self.weights[name] / sum(self.weights.values())
            total = total + share * distance.mean()
            per_sample = per_sample.index_add(0, places, share * distance.detach())
            report[f"loss/{name}"] = distance.detach().mean()
        return Terms(total, report, per_sample)


def similarities(activation: Tensor) -> Tensor:
    """Returns (n, n), rows of unit length, of (n, D)."""
    return functional.normalize(activation @ activation.T, dim=-1)
