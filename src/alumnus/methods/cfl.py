"""CFL: teachers of different families and tasks into one student, through a space that their features share.

Knowledge Amalgamation from Heterogeneous Networks by Common Feature Learning (Luo et al. 2019, IJCAI, arXiv 1906.10546). Every network has
an aligning layer, all share one extractor E, every teacher has a decoder R_k (see `models/common_space.py`), and no label is used:

    h, h_k = E(A(f)), E(A_k(f_k))                  f: the student's features, f_k: the teacher's
    common = sum_k MMD^2(n(h), n(h_k))             n: unit length; a sum of Gaussian kernels
    rec    = sum_k mean (R_k(h_k) - f_k)^2         keeps what is common from collapsing
    soft   = KL(softmax(z_1 .. z_K) || softmax(y)) over the classes of all classifiers side by side
    loss   = soft + 0.1 common + 10 rec            0.2 and 20 from four teachers on

The student keeps the classifier y over all classes. A teacher with `output: logits` takes part in `soft`, one with features in `common`
and `rec`; to have both of one network, list it twice, under two names (a store makes the second one free).

Differences from the published code (KamalEngine), each with a setting that takes it back:
- `kernels: median`. The published widths (0.001 to 2) suit no unit vectors: five of the seven kernels are 1 on the diagonal and 0
  elsewhere, a constant without gradient. Here the widths follow from the median distance of the batch. `published` has the published
  ones, and with them the published weight of `common`: 10, and 20 from four teachers on.
- `normalise: running`. Features are standardised by running statistics first, or `rec` would be of the teacher with the largest ones.
- `source: both`. The student's embedding stands beside its summary in f, so that what is searched is trained too.
- `paired`, off by default: the mean of 1 - cos(h, h_k), image by image. MMD compares two sets and does not see which image is which.
Teachers may be trusted on some domains only; `soft` is then over the classes that are known of an image. Maps of different sides are
pooled to the smaller one before they are compared.

Gradients stop at the teachers' features and logits. Aligning layers, extractor and decoders are trained by `common` and `rec` alike, as
published, and are not part of the student.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from alumnus.classes import ClassifierSettings, groups_of, refuse_weights, side_by_side
from alumnus.errors import ConfigError
from alumnus.losses import cosine_distance, soft_target_divergence, squared_mmd
from alumnus.models.adaptors import check_square
from alumnus.models.common_space import CommonSpace
from alumnus.models.heads import module_key, per_teacher
from alumnus.models.student import Student, StudentOutput
from alumnus.objective import Objective, Setup, TeacherWidth
from alumnus.teachers.normalize import normaliser
from alumnus.types import Batch, Features, Targets, Terms
from alumnus.weighting import over_speakers

PUBLISHED = (0.001, 0.01, 0.05, 0.1, 0.2, 1.0, 2.0)  # widths of the kernels in KamalEngine
FEW, MANY = 10.0, 20.0  # weights of `common` and `rec` in KamalEngine's examples of two and of four teachers
# Most of the published kernels pull at nothing, those of the median rule at every pair: with their weight nothing else is learnt
# (docs/lab/2026-11-28-cfl.md).
OF_MEDIAN = 0.01


class Settings(ClassifierSettings):
    """Settings of `cfl`."""

    name: Literal["cfl"] = "cfl"
    features: Literal["summary", "patches"] = Field(
        "summary",
        description="what is brought into the common space: vectors, or maps (teachers with output=patches)",
    )
    source: Literal["summary", "embedding", "both"] = Field(
        "both",
        description="the student's vector: its backbone's summary as published, its embedding, or both side by side",
    )
    kernels: Literal["median", "published"] = Field(
        "median", description="widths of the kernels: by the median distance, or fixed ones as published"
    )
    normalise: Literal["running", "none"] = Field("running", description="of the teachers' features")
    hidden_dim: int | None = Field(
        None,
        ge=1,
        description="width of the common space; a quarter of the student's by default, as published",
    )
    soft: float = Field(1.0, ge=0, description="weight of the soft targets")
    common: float | None = Field(
        None,
        ge=0,
        description="weight of the MMD; 0.1 by default, and 0.2 from four teachers on; a hundred times that with published kernels",
    )
    reconstruction: float | None = Field(
        None, ge=0, description="weight of the reconstruction; 10 by default, and 20 from four teachers on"
    )
    paired: float = Field(
        0.0, ge=0, description="weight of 1 - cos between student and teacher, image by image; ours"
    )

    @property
    def uses_features(self) -> bool:
        """Whether a term is of features; without one what is left is distillation of the classes side by side."""
        return self.common != 0 or self.reconstruction != 0 or self.paired != 0

    @property
    def needs_taps(self) -> bool:
        """For maps."""
        return self.features == "patches"

    @property
    def learns_from(self) -> frozenset[Literal["teachers", "labels"]]:
        """Teachers."""
        return frozenset({"teachers"})


def build(settings: Settings, setup: Setup) -> Objective:
    """Returns the objective for the teachers of the run.

    Raises:
        ConfigError: there are fewer than two teachers, none gives features or none logits, or maps are asked for and somebody has none.
    """
    groups = groups_of(setup, settings)
    featured = {name: teacher for name, teacher in setup.teachers.items() if name not in groups}
    if max(len(groups), len(featured)) < 2:
        raise ConfigError(
            f"method=cfl amalgamates two teachers or more, and there are {len(featured)} of features and {len(groups)} of logits; "
            "give more `teachers`, or method=plain for one"
        )
    if not featured and settings.uses_features:
        raise ConfigError(
            "method=cfl needs the features of teachers, and all give logits; list each network once more under another name, with "
            "output=summary (or patches), or set method.common=0 and method.reconstruction=0 to distil the classes alone"
        )
    if featured and not settings.uses_features:
        raise ConfigError(
            f"method=cfl: common, reconstruction and paired are 0, so the features of {', '.join(map(repr, featured))} have no part; "
            "remove these teachers"
        )
    if not groups and not settings.paired:
        raise ConfigError(
            "method=cfl: no teacher gives logits, and MMD alone does not tell which image is which; list a classifier with output=logits, "
            "or set method.paired=1"
        )
    refuse_weights(setup, groups, because="the softmax over all classes has none")
    if settings.features == "patches":
        _check_maps(setup, featured)
        if settings.source == "embedding":
            raise ConfigError(
                "method.source=embedding has no patches; with method.features=patches leave it out"
            )
    return CommonFeatures(settings, setup, groups, featured)


class _Parts(NamedTuple):
    """What one teacher's features come to; per image where that makes sense."""

    common: Tensor  # scalar
    reconstruction: Tensor  # (n,)
    paired: Tensor  # (n,)


class CommonFeatures(Objective):
    """Soft targets, MMD in the common space, and reconstruction from it."""

    def __init__(
        self, settings: Settings, setup: Setup, groups: dict[str, int], featured: dict[str, TeacherWidth]
    ) -> None:
        super().__init__()
        self.settings, self.groups = settings, groups
        self.is_map = settings.features == "patches"
        total = sum(teacher.weight for teacher in featured.values())
        self.shares = {name: len(featured) * teacher.weight / total for name, teacher in featured.items()}
        default = FEW if len(featured) < 4 else MANY
        pull = OF_MEDIAN if settings.kernels == "median" else 1.0
        self.common = pull * default if settings.common is None else settings.common
        self.reconstruction = default if settings.reconstruction is None else settings.reconstruction
        dims = {name: _dim(teacher, is_map=self.is_map) for name, teacher in featured.items()}
        self.normalisers = per_teacher(dims, lambda name: normaliser(settings.normalise, dims[name]))
        student_dim = _student_dim(settings, setup)
        self.space = CommonSpace(
            student_dim,
            dims,
            hidden_dim=settings.hidden_dim or max(1, student_dim // 4),
            kind="map" if self.is_map else "vector",
        )

    @property
    def classes(self) -> dict[str, int]:
        """Those of each classifier among the teachers."""
        return self.groups

    def forward(self, student: Student, batch: Batch, targets: Targets, progress: float) -> Terms:
        """Returns the weighted sum; beside the terms, each teacher's share as `loss/NAME` and the dimensions that h spans as `rank`.

        Of each image is reported what is its own: soft targets, reconstruction and `paired`, not the MMD.
        """
        output = student(batch.image, patches=self.is_map)
        feature = self._of_student(output)
        common = self.space.of_student(feature)  # (B, H) or (B, H, h, w)
        soft, per_sample = self._soft(output, targets)
        total = (
            self.settings.soft * soft + 0 * feature.sum()
        )  # part of the graph even where no teacher is trusted
        per_sample, of_features = self.settings.soft * per_sample, torch.zeros_like(per_sample)
        report = {"soft": soft.detach()} if self.groups else {}
        sums = {name: torch.zeros_like(soft) for name in ("common", "reconstruction", "paired")}
        for name, share in self.shares.items():
            places = targets[name].places
            # Of maps of one cell a single image has no statistics.
            if len(places) < (2 if self.is_map else 1):
                continue
            parts = self._parts(name, common[places], targets[name].features)
            own = share * (self.reconstruction * parts.reconstruction + self.settings.paired * parts.paired)
            loss = share * self.common * parts.common + own.mean()
            total = total + loss
            of_features = of_features.index_add(0, places, own.detach())
            report[f"loss/{name}"] = loss.detach()
            for term, value in parts._asdict().items():
                sums[term] += share * value.detach().mean()
        if self.shares:
            report |= sums | {"rank": spanned(common.detach().flatten(1))}
        heard = {name: targets[name] for name in self.shares if f"loss/{name}" in report}
        weights = {name: share / len(self.shares) for name, share in self.shares.items()}
        return Terms(total, report, per_sample + over_speakers(of_features, heard, weights))

    def _of_student(self, output: StudentOutput) -> Tensor:
        if self.is_map:
            assert output.features.patches is not None
            return _map(output.features.patches)
        # Unit vectors of E dimensions have entries near E^-0.5: the factor gives the aligning layer inputs near 1.
        embedding = output.embedding.float() * output.embedding.shape[-1] ** 0.5
        chosen = {"summary": [output.features.summary], "embedding": [embedding]}
        return torch.cat(chosen.get(self.settings.source, [output.features.summary, embedding]), dim=1)

    def _soft(self, output: StudentOutput, targets: Targets) -> tuple[Tensor, Tensor]:
        """The mean over the images of which a classifier speaks, and (B,) detached."""
        if not self.groups:
            nothing = 0 * output.embedding[:, 0].float()
            return nothing.sum(), nothing.detach()
        assert output.logits is not None, "the student has the classifier that `classes` asks for"
        wanted, known = side_by_side(targets, self.groups, like=output.logits)
        divergence = soft_target_divergence(output.logits, wanted, known)
        return divergence.sum() / known.any(1).sum().clamp(min=1), divergence.detach()

    def _parts(self, name: str, common: Tensor, features: Features) -> _Parts:
        wanted = self._normalised(name, features)
        theirs = self.space.of_teacher(name, wanted)
        error = (self.space.reconstruct(name, theirs).float() - wanted).square().flatten(1).mean(1)
        ours, theirs = _comparable(common.float(), theirs.float())
        widths = PUBLISHED if self.settings.kernels == "published" else None
        # One image is no distribution.
        apart = squared_mmd(ours, theirs, widths=widths) if len(ours) > 1 else 0 * ours.sum()
        return _Parts(apart, error, cosine_distance(ours, theirs))

    @torch.no_grad()
    def _normalised(self, name: str, features: Features) -> Tensor:
        given = features.patches if self.is_map else features.summary
        assert given is not None
        chosen = self.normalisers[module_key(name)]
        if self.settings.normalise == "running" and self.training:
            chosen.update(given.flatten(0, -2))  # type: ignore[operator]
        standard: Tensor = chosen(given)
        return _map(standard) if self.is_map else standard


def spanned(rows: Tensor) -> Tensor:
    """Returns how many dimensions rows (n, D) fill, in [1, min(n - 1, D)]; 0 if all are one point.

    The participation ratio of the eigenvalues of their covariance, (sum)^2 / sum of squares, which takes two traces and no eigenvalue.
    """
    centred = rows.double() - rows.double().mean(0)
    gram = centred @ centred.T if len(rows) < rows.shape[1] else centred.T @ centred
    return (gram.trace().square() / gram.square().sum().clamp(min=torch.finfo(torch.float64).tiny)).float()


def _comparable(ours: Tensor, theirs: Tensor) -> tuple[Tensor, Tensor]:
    """Both (n, …) as unit vectors, maps at the smaller of the two sides."""
    if ours.ndim == 4:
        side = min(ours.shape[-1], theirs.shape[-1])
        ours, theirs = (functional.adaptive_avg_pool2d(each, side) for each in (ours, theirs))
    return functional.normalize(ours.flatten(1), dim=-1), functional.normalize(theirs.flatten(1), dim=-1)


def _map(patches: Tensor) -> Tensor:
    """(n, N, D) -> (n, D, h, w)."""
    side = math.isqrt(patches.shape[1])
    return patches.transpose(1, 2).reshape(len(patches), -1, side, side)


def _dim(teacher: TeacherWidth, *, is_map: bool) -> int:
    if not is_map:
        return teacher.num_features
    assert teacher.grid is not None
    return teacher.grid[1]


def _student_dim(settings: Settings, setup: Setup) -> int:
    if settings.features == "patches":
        assert setup.taps.grid is not None
        return setup.taps.grid.dim
    parts = {"summary": setup.num_features, "embedding": setup.embed_dim}
    return parts.get(settings.source, sum(parts.values()))


def _check_maps(setup: Setup, featured: dict[str, TeacherWidth]) -> None:
    for name, teacher in featured.items():
        if teacher.grid is None:
            raise ConfigError(
                f"method.features=patches needs a grid of every teacher, and {name!r} has output={teacher.output}; give it output=patches"
            )
        check_square(name, teacher.grid)
    if setup.taps.grid is None:
        raise ConfigError(
            "method.features=patches: the student ends in no grid of patches; use method.features=summary"
        )
