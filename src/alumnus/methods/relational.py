"""Relational knowledge distillation: the embedding keeps the teacher's distances and angles between images, not its values. A baseline.

"Relational Knowledge Distillation" (Park, Kim, Lu, Cho 2019, arXiv 1904.05068). It claims that mutual relations of images carry over better
than single outputs, above all in metric learning, where a student so trained may exceed its teacher.

    L = lambda_D L_D + lambda_A L_A
    L_D: Huber distance of d(x_i, x_j) / mean d, over pairs         (eq. 5 to 7)
    L_A: Huber distance of cos(angle at x_j of x_i and x_k), over triples   (eq. 8 and 9)

Widths of teacher and student may differ, so nothing is projected and nothing is thrown away. Only images on which a teacher is
trusted are related to one another; with several teachers the losses are averaged by their weights. Work grows with the cube of the batch.

Differences from the paper: the relations are those of the embedding, since it is what is searched; the means are over pairs and triples of
different images, as in the formulas, where the authors' code counts an image with itself too. No task loss is added.

Gradients stop at the targets.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from alumnus.errors import ConfigError
from alumnus.losses import angle_relations, distance_relations
from alumnus.models.student import Student
from alumnus.objective import MethodSettings, Objective, Setup
from alumnus.types import Batch, Targets, Terms
from alumnus.weighting import over_speakers

FEWEST = 3  # images that make an angle


class Settings(MethodSettings):
    """Settings of `relational`."""

    name: Literal["relational"] = "relational"
    distances: float = Field(
        1.0, ge=0, description="weight of the distances; 1 as in the paper's metric learning"
    )
    angles: float = Field(2.0, ge=0, description="weight of the angles; 2 as in the paper's metric learning")

    @property
    def learns_from(self) -> frozenset[Literal["teachers", "labels"]]:
        """Teachers."""
        return frozenset({"teachers"})


def build(settings: Settings, setup: Setup) -> Objective:
    """Returns the objective for the teachers of the run."""
    if not setup.teachers:
        raise ConfigError("method=relational learns from teachers, and there is none; give `teachers`")
    if settings.distances == settings.angles == 0:
        raise ConfigError(
            "method=relational with distances=0 and angles=0 has nothing to learn; raise one of them"
        )
    return Relational(settings, setup)


class Relational(Objective):
    """Distances and angles of the embedding against each teacher's; it has no parameter of its own."""

    def __init__(self, settings: Settings, setup: Setup) -> None:
        super().__init__()
        self.distances, self.angles = settings.distances, settings.angles
        total = sum(teacher.weight for teacher in setup.teachers.values())
        self.shares = {name: teacher.weight / total for name, teacher in setup.teachers.items()}

    def forward(self, student: Student, batch: Batch, targets: Targets, progress: float) -> Terms:
        """Returns the weighted mean over teachers; one that is trusted on fewer than three images of the batch is silent."""
        embedding = student(batch.image).embedding.float()
        total = 0 * embedding[:, 0].sum()  # part of the graph even where no teacher speaks
        per_sample, report = embedding.new_zeros(len(embedding)), dict[str, Tensor]()
        for name, target in targets.items():
            if len(target.places) < FEWEST:
                continue
            each = self._relations(embedding[target.places], target.features.summary.detach().float())
            total = total + self.shares[name] * each.mean()
            per_sample = per_sample.index_add(0, target.places, self.shares[name] * each.detach())
            report[f"loss/{name}"] = each.detach().mean()
        heard = {name: target for name, target in targets.items() if f"loss/{name}" in report}
        return Terms(total, report, over_speakers(per_sample, heard, self.shares))

    def _relations(self, vectors: Tensor, wanted: Tensor) -> Tensor:
        """(n,) of the student's vectors (n, E) and the teacher's (n, D), in float32 whatever the student's precision is."""
        with torch.autocast(vectors.device.type, enabled=False):
            each = vectors.new_zeros(len(vectors))
            if self.distances:
                each = each + self.distances * distance_relations(vectors, wanted)
            if self.angles:
                each = each + self.angles * angle_relations(vectors, wanted)
            return each
