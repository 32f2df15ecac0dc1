"""Representation Consolidation: experts and a generalist, each through a head of its own, on images that need no labels.

"Representation Consolidation for Training Expert Students" (Li, Ravichandran, Fowlkes, Polito, Bhotika, Soatto 2021, arXiv 2107.08039). It
claims that a student of task-specific teachers alone transfers *worse* to new tasks of their domains than the generalist they were made
from, and that one more head, for the generalist as one more teacher, makes it transfer better than the generalist and than every teacher.

    L(x) = lambda_0 KD(h_0(f(x)), t_0(x)) + sum_k lambda_k KD(h_k(f(x)), t_k(x))

f is the backbone's summary, h_k a head of teacher k that is thrown away. KD is T^2 KL(softmax(t / T) || softmax(h / T)) for a teacher with
`output: logits`. Generalist and experts together weigh the same, and experts weigh among themselves as the recipe says. The arms of the
paper are which teachers are given: experts alone, the generalist alone, or both. No label is used.

Differences from the paper, whose weights, temperature and settings we do not know: a teacher of features (any other `output`) is matched
by 0.5 (1 - cos) + 0.5 smooth-L1 on standardised features, through a projector in the head's place, as `plain` does it. The 64-D
embedding, which the paper has not, has heads of its own with the same targets: by default `embedding=detached`, their gradient stops at the
summary, so that the backbone learns what the paper says and nothing else; `joint` lets it through, and both kinds of heads weigh the same.
An image counts for a teacher where the teacher is trusted.

Gradients stop at the targets, at the weights that balance the teachers, and with `embedding=detached` between embedding head and backbone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from alumnus.classes import ClassifierSettings, groups_of, refuse_weights
from alumnus.errors import ConfigError, nearest
from alumnus.losses import feature_distance, softened_kl
from alumnus.models.heads import ProjectorKind, module_key, per_teacher, projector
from alumnus.models.student import Student
from alumnus.objective import Objective, Setup, TeacherWidth
from alumnus.teachers.normalize import Normalise, normaliser
from alumnus.types import Batch, Targets, Terms
from alumnus.weighting import AnyWeighting, Weighting, over_speakers


class Settings(ClassifierSettings):
    """Settings of `repcon`."""

    name: Literal["repcon"] = "repcon"
    generalist: str | None = Field(
        None, description="name of the teacher that weighs as much as all others together; none by default"
    )
    generalist_share: float = Field(0.5, gt=0, lt=1, description="of the generalist in the loss")
    temperature: float = Field(2.0, gt=0, description="of the softmax, for teachers of logits")
    projector: ProjectorKind = Field("linear", description="head of a teacher of features")
    normalise: Normalise = Field(
        "running", description="of features, as in plain (see docs/normalise.md); logits stay as they are"
    )
    embedding: Literal["detached", "joint"] = Field(
        "detached", description="whether what the embedding has to learn trains the backbone too (joint)"
    )
    weighting: AnyWeighting = Field(
        "constant", description="of the teachers, see docs/methods/agglomerate.md"
    )

    @property
    def needs_moments(self) -> bool:
        """For what is fitted."""
        return self.normalise not in ("running", "none")

    @property
    def generalist_name(self) -> str | None:
        """The one of `generalist`."""
        return self.generalist

    @property
    def learns_from(self) -> frozenset[Literal["teachers", "labels"]]:
        """Teachers."""
        return frozenset({"teachers"})


def build(settings: Settings, setup: Setup) -> Objective:
    """Returns the objective for the teachers of the run."""
    if not setup.teachers:
        raise ConfigError("method=repcon learns from teachers, and there is none; give `teachers`")
    if settings.generalist is not None and settings.generalist not in setup.teachers:
        raise ConfigError(
            f"generalist={settings.generalist!r} is none of the teachers{nearest(settings.generalist, setup.teachers)}; "
            f"there are {', '.join(setup.teachers)}"
        )
    if settings.generalist is None and settings.generalist_share != 0.5:
        raise ConfigError(
            f"generalist_share={settings.generalist_share:g} has no effect without a generalist; name the one among the teachers, or leave "
            "it out"
        )
    if settings.generalist is not None:
        # Its share is `generalist_share`, whatever its weight is.
        refuse_weights(
            setup, [settings.generalist], because="generalist_share says what the generalist weighs"
        )
    of_features = setup.teachers.keys() - groups_of(setup, settings).keys()
    if not of_features and (settings.projector, settings.normalise) != ("linear", "running"):
        raise ConfigError(
            "projector and normalise are for teachers of features, and all of these give logits; leave them out"
        )
    if settings.weighting == "angle":
        raise ConfigError(
            "weighting=angle balances directions of unchanged features, and method=repcon compares probabilities and standardised "
            "features; use constant, initial, running or uncertainty, or method=agglomerate"
        )
    return RepresentationConsolidation(settings, setup)


def shares(
    teachers: Mapping[str, TeacherWidth], *, generalist: str | None, generalist_share: float
) -> dict[str, float]:
    """Returns what each teacher weighs, 1 in all; of a generalist alone or experts alone, what they weigh among themselves."""
    total = {name == generalist: 0.0 for name in teachers}
    for name, teacher in teachers.items():
        total[name == generalist] += teacher.weight
    part = (
        {True: generalist_share, False: 1 - generalist_share}
        if len(total) == 2
        else dict.fromkeys(total, 1.0)
    )
    return {
        name: part[name == generalist] * teacher.weight / total[name == generalist]
        for name, teacher in teachers.items()
    }


class RepresentationConsolidation(Objective):
    """A head per teacher on the summary, and one on the embedding."""

    def __init__(self, settings: Settings, setup: Setup) -> None:
        super().__init__()
        self.temperature, self.is_joint = settings.temperature, settings.embedding == "joint"
        self.of_logits = set(groups_of(setup, settings))
        self.is_running = settings.normalise == "running"
        self.normalisers = per_teacher(
            setup.teachers.keys() - self.of_logits,
            lambda name: normaliser(
                settings.normalise,
                setup.teachers[name].num_features,
                setup.teachers[name].moments,
                teacher=f"the teacher {name!r}",
            ),
        )
        self.heads = self._heads(setup.num_features, setup, kind=settings.projector)
        self.embedding_heads = self._heads(setup.embed_dim, setup, kind=settings.projector)
        self.shares = shares(
            setup.teachers, generalist=settings.generalist, generalist_share=settings.generalist_share
        )
        self.weighting = Weighting(settings.weighting, self.shares)

    def forward(self, student: Student, batch: Batch, targets: Targets, progress: float) -> Terms:
        """Returns the weighted sum over teachers of each one's mean over its images, and each one's own as `loss/NAME`."""
        output = student(batch.image, head_only=not self.is_joint)
        summary = output.features.summary
        # Unit vectors of E dimensions have entries near E^-0.5: the factor gives the heads inputs near 1.
        embedding = output.taught.float() * output.taught.shape[-1] ** 0.5
        each: dict[str, Tensor] = {}
        for name, target in targets.items():
            if len(target.places) == 0:
                continue
            wanted = self._wanted(name, target.features.summary)
            on_summary = self._distance(name, self.heads, summary[target.places], wanted)
            on_embedding = self._distance(name, self.embedding_heads, embedding[target.places], wanted)
            each[name] = (on_summary + on_embedding) / 2
        means = {name: distance.mean() for name, distance in each.items()}
        weights = self.weighting.weights(means)
        total = 0 * embedding[:, 0].sum()  # part of the graph even where no teacher is trusted
        per_sample = embedding.new_zeros(len(embedding))
        for name, distance in each.items():
            total = total + weights[name] * means[name]
            per_sample = per_sample.index_add(0, targets[name].places, (weights[name] * distance).detach())
        if means:
            total = total + self.weighting.regulariser(means)
        report = {f"loss/{name}": mean.detach() for name, mean in means.items()}
        report |= self.weighting.report(weights)
        return Terms(total, report, over_speakers(per_sample, targets, self.shares))

    def _heads(self, in_dim: int, setup: Setup, *, kind: ProjectorKind) -> nn.ModuleDict:
        """Logits are made by one affine layer, as a classifier's are."""

        def head(name: str) -> nn.Module:
            width = setup.teachers[name].num_features
            return nn.Linear(in_dim, width) if name in self.of_logits else projector(in_dim, width, kind=kind)

        return per_teacher(setup.teachers, head)

    @torch.no_grad()
    def _wanted(self, name: str, said: Tensor) -> Tensor:
        if name in self.of_logits:
            return said.detach().float()
        chosen = self.normalisers[module_key(name)]
        if self.is_running and self.training:
            chosen.update(said)  # type: ignore[operator]
        return chosen(said.detach())  # type: ignore[no-any-return]

    def _distance(self, name: str, heads: nn.ModuleDict, vectors: Tensor, wanted: Tensor) -> Tensor:
        """(n,) of the student's vectors (n, D) and what the teacher said, (n, C)."""
        guess = heads[module_key(name)](vectors).float()
        if name in self.of_logits:
            return softened_kl(guess, wanted, temperature=self.temperature)
        return feature_distance(guess, wanted)
