"""Agglomerate: the modern recipe for one student of several foundation models, part by part.

From AM-RADIO (Ranzinger et al. 2023, arXiv 2312.06709) and C-RADIOv4 (2026, arXiv 2601.17237), UNIC (Sariyildiz et al. 2024, arXiv
2408.05088), DUNE (Sariyildiz et al. 2025, arXiv 2503.14405) and SigLino (Chaybouti et al. 2025, arXiv 2512.20157). They claim that one
network so trained keeps what each teacher is best at. For an image x and a teacher k that is trusted on its domain:

    l_k(x) = mean of d(A_k(summary), t_k) and d(P_k(sqrt(E) embedding), t_k)        an adaptor A_k, an affine layer P_k
           + relational * one-sided distance of pairwise relations                  SigLino
    q_k(x) = mean over patches of d(B_k(patch), u_k(patch))                         if `patches` says with which adaptor
    loss   = sum_k w_k mean_x of l_k, or of the mean of l_k and q_k

d is 0.5 (1 - cos) + 0.5 smooth-L1 (UNIC), one of the two, 0.9 and 0.1 of them (AM-RADIO, for patches), or the squared angle (C-RADIOv4,
for summaries, together with `weighting=angle` and `normalise=none`). t_k is normalised as `normalise` says; u_k always by running
statistics per dimension (or not at all with `normalise=none`), since a store keeps moments of summaries alone. The teacher's grid is
brought to the student's: mean over the area of a cell, bilinear where the teacher's is coarser. With `teacher_dropping` an image keeps
the teacher of its largest weighted loss and drops each other one with that probability; the loss is then the sum of what is kept over the
number of what is kept in the whole batch (UNIC).

Differences from the papers: the embedding that is searched has a projector for each teacher, as in `plain`, because it has to be trained
too. Where UNIC and DUNE give class tokens and patches an adaptor at every block, the ladder takes the mean of a stage's grid for the
class token. SigLino's relations are taken after the adaptor; we know its split at the median and its one-sided penalty, not its
constants. Several resolutions are a setting of the run (`views.sizes`); the shift-equivariant loss of C-RADIOv4 is not here. Teachers
without a grid teach summaries alone.

With `keep_adaptors` the adaptors A_k become part of the student: in the end the normaliser is undone in their last layer, and
`encode(images, space=TEACHER)` says what that teacher would.

Gradients stop at the targets, at the weights and at the choice of teachers; with `embedding=detached` between the embedding and the
backbone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from math import isqrt
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from alumnus.errors import ConfigError
from alumnus.losses import (
    asymmetric_relations,
    cosine_distance,
    feature_distance,
    smooth_l1,
    squared_angle,
)
from alumnus.models.adaptors import (
    Adaptor,
    AdaptorKind,
    AdaptorShape,
    PatchAdaptorKind,
    check_square,
    to_grid,
)
from alumnus.models.heads import module_key, per_teacher, projector
from alumnus.models.student import Student, StudentOutput
from alumnus.objective import MethodSettings, Objective, Setup
from alumnus.teachers.normalize import Normalise, inverse_map, normaliser
from alumnus.types import Batch, Target, Targets, Terms
from alumnus.weighting import AnyWeighting, Weighting, keep_hardest, over_speakers

DRAWS = 0x9E3779B97F4A7C15  # keeps the draws of dropping apart from those of a student's drop path; splitmix64's step


def _radio(prediction: Tensor, target: Tensor) -> Tensor:
    return 0.9 * cosine_distance(prediction, target) + 0.1 * smooth_l1(prediction, target)


DISTANCES: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "both": feature_distance,
    "cosine": cosine_distance,
    "smooth_l1": smooth_l1,
    "angle": squared_angle,
    "radio": _radio,
}


class Settings(MethodSettings):
    """Settings of `agglomerate`."""

    name: Literal["agglomerate"] = "agglomerate"
    adaptor: AdaptorKind = Field("mlp", description="from the backbone to a teacher's summary")
    patches: PatchAdaptorKind | None = Field(
        None, description="from the backbone to a teacher's patches, which are then learnt too"
    )
    summary_loss: Literal["both", "cosine", "smooth_l1", "angle"] = "both"
    patch_loss: Literal["both", "cosine", "smooth_l1", "radio"] = "both"
    normalise: Normalise = Field("running", description="of the teachers' summaries, see docs/normalise.md")
    embedding: Literal["joint", "detached"] = Field(
        "joint", description="whether what the embedding has to learn trains the backbone too (joint)"
    )
    weighting: AnyWeighting = Field(
        "constant", description="of the teachers beyond their weights in the recipe"
    )
    teacher_dropping: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="probability to drop a teacher that is not an image's hardest; 0.5 in UNIC",
    )
    relational: float = Field(0.0, ge=0, description="weight of the one-sided relations between images")
    keep_adaptors: bool = Field(False, description="serve each teacher's space with the student")

    @property
    def needs_moments(self) -> bool:
        """For what is fitted."""
        return self.normalise not in ("running", "none")

    @property
    def needs_taps(self) -> bool:
        """For grids and ladders."""
        return self.patches is not None or self.adaptor == "ladder"

    @property
    def learns_from(self) -> frozenset[Literal["teachers", "labels"]]:
        """Teachers."""
        return frozenset({"teachers"})


def build(settings: Settings, setup: Setup) -> Objective:
    """Returns the objective for the teachers of the run."""
    if not setup.teachers:
        raise ConfigError("method=agglomerate learns from teachers, and there is none; give `teachers`")
    if settings.patches is None and settings.patch_loss != "both":
        raise ConfigError(
            f"patch_loss={settings.patch_loss} has no effect without patches; set method.patches=mlp, say, or leave it out"
        )
    if settings.weighting == "angle" and settings.normalise != "none":
        raise ConfigError(
            "weighting=angle balances how far a teacher's vectors spread from their mean direction, and normalised ones have no mean: "
            "set normalise=none with it"
        )
    if (
        settings.keep_adaptors
        and settings.summary_loss in ("cosine", "angle")
        and settings.normalise != "none"
    ):
        raise ConfigError(
            f"keep_adaptors serves what each teacher would say, and summary_loss={settings.summary_loss} leaves the length of standardised "
            "vectors open: take summary_loss=both or smooth_l1, or normalise=none, with which the direction is the teacher's"
        )
    if "ladder" in (settings.adaptor, settings.patches) and not setup.taps.stage_dims:
        raise ConfigError(
            "a ladder needs earlier stages, and this student gives none; use adaptor=mlp, patches=mlp"
        )
    if settings.patches is not None:
        _check_grids(setup)
    return Agglomerate(settings, setup)


def _check_grids(setup: Setup) -> None:
    if setup.taps.grid is None:
        raise ConfigError("patches are to be learnt, and this student ends in no grid; leave `patches` out")
    grids = {name: teacher.grid for name, teacher in setup.teachers.items() if teacher.grid is not None}
    if not grids:
        raise ConfigError(
            "patches are to be learnt, and no teacher gives any; set output=patches on one that has a grid (a store of it, too, has to be "
            "built with output=patches), or leave `patches` out"
        )
    for name, grid in grids.items():
        check_square(name, grid)


class Agglomerate(Objective):
    """Adaptors to every teacher's summary, and to its patches; targets normalised, teachers weighed or dropped."""

    def __init__(self, settings: Settings, setup: Setup) -> None:
        super().__init__()
        self.settings = settings
        self.names = tuple(setup.teachers)
        self.distance = DISTANCES[settings.summary_loss]
        self.patch_distance = DISTANCES[settings.patch_loss]
        teachers, stage_dims = setup.teachers, setup.taps.stage_dims or ()
        widths = {name: teacher.num_features for name, teacher in teachers.items()}
        self.normalisers = per_teacher(
            teachers,
            lambda name: normaliser(
                settings.normalise, widths[name], teachers[name].moments, teacher=f"the teacher {name!r}"
            ),
        )
        steps = stage_dims if settings.adaptor == "ladder" else ()
        self.adaptors = per_teacher(
            teachers,
            lambda name: Adaptor(AdaptorShape(settings.adaptor, setup.num_features, widths[name], steps)),
        )
        self.projectors = per_teacher(
            teachers, lambda name: projector(setup.embed_dim, widths[name], kind="linear")
        )
        own = setup.taps.grid
        dense = {name: t.grid for name, t in teachers.items() if t.grid and settings.patches is not None}
        self.patch_normalisers, self.patch_adaptors = nn.ModuleDict(), nn.ModuleDict()
        for name, (_, dim) in sorted(dense.items()):  # as in per_teacher
            assert settings.patches is not None
            assert own is not None
            kind: Normalise = "none" if settings.normalise == "none" else "running"
            self.patch_normalisers[module_key(name)] = normaliser(kind, dim)
            steps = stage_dims if settings.patches == "ladder" else ()
            self.patch_adaptors[module_key(name)] = Adaptor(
                AdaptorShape(settings.patches, own.dim, dim, steps)
            )
        self.terms = {name: (name, f"{name}/patches") if name in dense else (name,) for name in teachers}
        shares = {
            term: teachers[name].weight / len(terms) for name, terms in self.terms.items() for term in terms
        }
        dims = {name: teacher.num_features for name, teacher in teachers.items()}
        total = sum(teacher.weight for teacher in teachers.values())
        self.shares = {name: teacher.weight / total for name, teacher in teachers.items()}
        self.weighting = Weighting(settings.weighting, shares, dims=dims)

    def hand_over(self) -> Mapping[str, Adaptor]:
        """The adaptors to summaries, with `keep_adaptors`."""
        if not self.settings.keep_adaptors:
            return {}
        kept = {name: self.adaptors[module_key(name)] for name in self.names}
        self.adaptors = nn.ModuleDict()
        return kept  # type: ignore[return-value]  # a ModuleDict knows no types

    def finish(self, student: Student) -> None:
        """Undoes the normalisation in the adaptors' last layers, so that they give what the teachers do."""
        for name in self.names if self.settings.keep_adaptors else ():
            undoing = inverse_map(self.normalisers[module_key(name)])
            adaptor = student.spaces[module_key(name)]
            if undoing is not None and isinstance(adaptor, Adaptor):
                adaptor.fold(*undoing)

    def forward(self, student: Student, batch: Batch, targets: Targets, progress: float) -> Terms:
        """Returns the loss of the module's docstring, and each term's own mean as `loss/NAME` and `loss/NAME/patches`."""
        settings = self.settings
        output = student(
            batch.image,
            patches=len(self.patch_adaptors) > 0,
            stages=settings.patches == "ladder"
            or (settings.adaptor == "ladder" and not settings.keep_adaptors),
            spaces=settings.keep_adaptors,
            head_only=settings.embedding == "detached",
        )
        each: dict[str, Tensor] = {}
        for name, target in targets.items():
            if len(target.places):
                each[name] = self._summary_loss(name, target, output)
                if f"{name}/patches" in self.terms[name]:
                    each[f"{name}/patches"] = self._patch_loss(name, target, output)
        means = {term: losses.mean() for term, losses in each.items()}
        nothing = 0 * output.embedding[:, 0].float()  # part of the graph even where no teacher is trusted
        weights = self.weighting.weights(means)
        add = partial(_spread, like=nothing.detach())
        by_teacher = {
            name: len(self.names)
            * torch.stack([weights[t] * add(each[t], targets[name].places) for t in terms]).sum(dim=0)
            for name, terms in self.terms.items()
            if name in each
        }
        if settings.teacher_dropping is None or not by_teacher:
            total = sum((weights[term] * mean for term, mean in means.items()), nothing.sum())
            weighted = sum(by_teacher.values(), nothing).detach() / len(self.names)
            per_sample = over_speakers(weighted, targets, self.shares)
        else:
            total, per_sample = self._dropped(by_teacher, targets, drop=settings.teacher_dropping)
        if means:
            total = total + self.weighting.regulariser(means)
        report = {f"loss/{term}": mean.detach() for term, mean in means.items()}
        report |= self.weighting.report(weights)
        return Terms(total, report, per_sample)

    def _summary_loss(self, name: str, target: Target, output: StudentOutput) -> Tensor:
        """(n,)."""
        key, places = module_key(name), target.places
        wanted = self._wanted(
            self.normalisers[key], target.features.summary, is_running=self.settings.normalise == "running"
        )
        self.weighting.observe(name, wanted)
        if self.settings.keep_adaptors:
            guess = output.spaces[name][places]
        else:
            means = [stage.mean(dim=1)[places] for stage in output.stages]
            guess = self.adaptors[key](output.features.summary[places], means).float()
        # Unit vectors of E dimensions have entries near E^-0.5: the factor gives the projectors inputs near 1.
        embedding = output.taught[places].float() * output.taught.shape[-1] ** 0.5
        loss = (
            self.distance(guess, wanted) + self.distance(self.projectors[key](embedding).float(), wanted)
        ) / 2
        if self.settings.relational and len(places) > 1:
            loss = loss + self.settings.relational * asymmetric_relations(guess, wanted)
        return loss

    def _patch_loss(self, name: str, target: Target, output: StudentOutput) -> Tensor:
        """(n,), the mean over the student's grid."""
        key, places = module_key(name), target.places
        said, own = target.features.patches, output.features.patches
        assert said is not None
        assert own is not None
        is_running = self.settings.normalise != "none"
        side = isqrt(own.shape[1])  # of this step's grid: images may be of several sizes
        flat = self._wanted(self.patch_normalisers[key], said.flatten(0, 1), is_running=is_running)
        normalised = flat.view_as(said)
        wanted = to_grid(normalised, height=side, width=side)
        guess = self.patch_adaptors[key](own[places], [stage[places] for stage in output.stages])
        return self.patch_distance(guess.float(), wanted).mean(dim=1)

    @torch.no_grad()
    def _wanted(self, chosen: nn.Module, said: Tensor, *, is_running: bool) -> Tensor:
        if self.training and is_running:
            chosen.update(said)  # type: ignore[operator]
        return chosen(said.detach())  # type: ignore[no-any-return]

    def _dropped(
        self, by_teacher: Mapping[str, Tensor], targets: Targets, *, drop: float
    ) -> tuple[Tensor, Tensor]:
        """The sum over what images keep, divided by how many they keep; and (B,), each image's by the shares of what it keeps."""
        names = sorted(by_teacher)  # so that the draws do not depend on the order of the recipe
        losses = torch.stack([by_teacher[name] for name in names], dim=1)  # (B, T)
        speaks = torch.zeros_like(losses, dtype=torch.bool)
        for column, name in enumerate(names):
            speaks[targets[name].places, column] = True
        generator = torch.Generator().manual_seed((torch.initial_seed() + DRAWS) % 2**63)  # of seed and step
        draw = torch.rand(losses.shape, generator=generator).to(losses.device)
        kept = keep_hardest(losses.detach(), speaks, draw, drop=drop)
        summed = (kept * losses).sum(dim=1)
        shares = (kept * kept.new_tensor([self.shares[name] for name in names])).sum(dim=1)
        observed = torch.where(shares > 0, summed / (len(self.names) * shares), summed)
        return summed.sum() / kept.sum(), observed.detach()


def _spread(values: Tensor, places: Tensor, *, like: Tensor) -> Tensor:
    """(n,) of some images -> (B,), 0 elsewhere."""
    return torch.zeros_like(like).index_add(0, places, values)
