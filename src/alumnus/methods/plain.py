"""Plain: the student predicts every teacher's features through a projector each.

The common core of the agglomerative recipes AM-RADIO (Ranzinger et al. 2023, arXiv 2312.06709) and UNIC (Sariyildiz et al. 2024, arXiv
2408.05088) with nothing added: every teacher's summary is normalised (standardised per dimension by running statistics, or fitted to the
moments in a store: see `teachers.normalize`), a projector maps the student's vector to it, and the loss is 0.5 (1 - cos) + 0.5 smooth-L1,
averaged over the images on which the teacher is trusted and then over the teachers by their weights. No labels are used. It is the
baseline that the other methods have to beat.

Difference from both papers: the projectors start at the 64-D embedding that is searched, or at it and the backbone's summary, so that
the embedding itself is trained without labels; the papers have no such bottleneck.

Gradients stop at the targets; teachers and their statistics are never trained.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from alumnus.errors import ConfigError
from alumnus.losses import feature_distance
from alumnus.models.heads import ProjectorKind, module_key, per_teacher, projector
from alumnus.models.student import Student
from alumnus.objective import MethodSettings, Objective, Setup
from alumnus.teachers.normalize import Normalise, normaliser
from alumnus.types import Batch, Targets, Terms
from alumnus.weighting import over_speakers


class Settings(MethodSettings):
    """Settings of `plain`."""

    name: Literal["plain"] = "plain"
    projector: ProjectorKind = Field("linear", description="what maps the student's vector to a teacher's")
    source: Literal["embedding", "both"] = Field(
        "embedding", description="which vector is projected; both = the embedding and the backbone's summary"
    )
    normalise: Normalise = Field(
        "running",
        description="of the teachers' summaries: by running statistics, or fitted to a store's moments (see docs/normalise.md)",
    )

    @property
    def needs_moments(self) -> bool:
        """For what is fitted."""
        return self.normalise not in ("running", "none")

    @property
    def learns_from(self) -> frozenset[Literal["teachers", "labels"]]:
        """Teachers."""
        return frozenset({"teachers"})


def build(settings: Settings, setup: Setup) -> Objective:
    """Returns the objective for the teachers of the run."""
    if not setup.teachers:
        raise ConfigError("method=plain learns from teachers, and there is none; give `teachers`")
    return Plain(settings, setup)


class Plain(Objective):
    """Cosine and smooth-L1 to every teacher through a projector each, targets normalised."""

    def __init__(self, settings: Settings, setup: Setup) -> None:
        super().__init__()
        widths = {name: teacher.num_features for name, teacher in setup.teachers.items()}
        total = sum(teacher.weight for teacher in setup.teachers.values())
        self.shares = {name: teacher.weight / total for name, teacher in setup.teachers.items()}
        self.is_running = settings.normalise == "running"
        self.normalisers = per_teacher(
            setup.teachers,
            lambda name: normaliser(
                settings.normalise,
                widths[name],
                setup.teachers[name].moments,
                teacher=f"the teacher {name!r}",
            ),
        )
        self.from_embedding = _projectors(setup.embed_dim, widths, kind=settings.projector)
        self.from_summary = (
            _projectors(setup.num_features, widths, kind=settings.projector)
            if settings.source == "both"
            else None
        )

    def forward(self, student: Student, batch: Batch, targets: Targets, progress: float) -> Terms:
        """Returns the mean over teachers of each one's mean distance, and each one's own as `loss/NAME`."""
        output = student(batch.image)
        # Unit vectors of E dimensions have entries near E^-0.5: the factor gives the projectors inputs near 1.
        embedding = output.embedding.float() * output.embedding.shape[-1] ** 0.5
        total = 0 * embedding[:, 0].sum()  # part of the graph even where no teacher is trusted
        per_sample = embedding.new_zeros(len(embedding))
        report: dict[str, Tensor] = {}
        for name, target in targets.items():
            if len(target.places) == 0:
                continue
            wanted = self._normalised(name, target.features.summary)
            distance = feature_distance(
                self.from_embedding[module_key(name)](embedding[target.places]), wanted
            )
            if self.from_summary is not None:
                summary = output.features.summary[target.places]
                distance = (
                    distance + feature_distance(self.from_summary[module_key(name)](summary), wanted)
                ) / 2
            share = self.shares[name]
            total = total + share * distance.mean()
            per_sample = per_sample.index_add(0, target.places, share * distance.detach())
            report[f"loss/{name}"] = distance.detach().mean()
        return Terms(total, report, over_speakers(per_sample, targets, self.shares))

    @torch.no_grad()
    def _normalised(self, name: str, summary: Tensor) -> Tensor:
        chosen = self.normalisers[module_key(name)]
        if self.is_running and self.training:
            chosen.update(summary)  # type: ignore[operator]
        return chosen(summary)  # type: ignore[no-any-return]


def _projectors(in_dim: int, widths: Mapping[str, int], *, kind: ProjectorKind) -> nn.ModuleDict:
    return per_teacher(widths, lambda name: projector(in_dim, widths[name], kind=kind))
