"""Residual knowledge distillation: a student mimics the teacher, and an assistant learns what it cannot.

"Residual Knowledge Distillation" (Gao, Shen, Li, Loy 2020, arXiv 2002.09168; also "Residual error based knowledge distillation", 2021,
Neurocomputing). One student network is divided by width into a student S and an assistant A that together cost no more (`student.split`,
see models/split.py). In three phases, each a share of the steps:

    first       L = task(S) + alpha d(T, S)          A is left out, and says nothing yet
    assistant   L = | (T - S) - A |^2 / D            S stands still to the bit, so that A's target is fixed
    both        L = task(S + A) + alpha d(T, S + A)

T is the teacher's summary, standardised by running statistics of the first phase. S and A are in its space: with the student's summaries
s of S and s + a of both (a linear layer each brings them to one width), and an affine map P, S = P(s) and A = P(s + a) - P(s). The sum is
what predicts: the student's embedding, classifier and summary are those of s + a. d is |T - S|^2 / D (`l2`), attention transfer
(Zagoruyko and Komodakis 2017, arXiv 1612.03928) on the last grids (`attention`; the teacher's is brought to the student's), or their
sum (`both`); with `attention` d is that sum too, so that P learns, and the gradient of the squares ends at P. task is a cosine
classifier's cross-entropy on the embedding (NormFace, arXiv 1704.06369, over the classes of all domains) where images have labels.

Differences from the paper, whose settings and rule of separation we do not know: all layers are narrowed alike; the residual is that of
the last feature alone; maps P are kept at training only, the joins go with the student. The embedding, which the paper has not, has a map
of its own to the teacher's space, and learns by it in the first and last phase. Without `student.split`, phases (1, 0, 0) train an
undivided student with the same loss: the comparison that counts.

Why phases of one run and not stages of a recipe: P and T's statistics have to go on from one phase to the next, and a stage hands over the
student alone. A run's checkpoint has them, so it resumes within and across phases to the same bits.

Gradients stop at the targets; at S and at P in the phase of the assistant; between embedding and backbone for what the embedding's own map
learns; and with `attention` between P and the backbone.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn
from torch.nn import functional

from alumnus.errors import ConfigError
from alumnus.losses import attention_distance, normalised_softmax
from alumnus.models.adaptors import check_square, to_grid
from alumnus.models.assistant import Learning
from alumnus.models.heads import CosineClassifier, projector
from alumnus.models.student import Student, StudentOutput
from alumnus.objective import MethodSettings, Objective, Setup
from alumnus.teachers.normalize import Normalise, normaliser
from alumnus.types import Batch, Targets, Terms

UNDIVIDED = (1.0, 0.0, 0.0)


class Settings(MethodSettings):
    """Settings of `rkd`."""

    name: Literal["rkd"] = "rkd"
    phases: tuple[float, float, float] = Field(
        (0.4, 0.4, 0.2),
        description="shares of the steps: the student alone, the assistant alone, both; 1 in all",
    )
    mimic: Literal["l2", "attention", "both"] = Field(
        "l2",
        description="distance to the teacher's features beneath: of summaries, of attention maps, or both",
    )
    alpha: float = Field(1.0, gt=0, description="weight of mimicry, against the labels")
    labels: float = Field(1.0, ge=0, description="weight of the labels, where there are some; 0 does without")
    scale: float = Field(
        16.0, gt=0, description="of the classifier's cosines before the softmax, as in supervised"
    )
    normalise: Normalise = Field(
        "running", description="of the teacher's summary, as in plain (see docs/normalise.md)"
    )

    @field_validator("phases")
    @classmethod
    def _shares(cls, value: tuple[float, float, float]) -> tuple[float, float, float]:
        if min(value) < 0 or value[0] == 0 or abs(sum(value) - 1) > 1e-6:
            raise ValueError(
                f"needed are three shares of the steps that make 1, the first above 0, such as [0.4, 0.4, 0.2]; got {list(value)}"
            )
        return value

    @property
    def needs_moments(self) -> bool:
        """For what is fitted."""
        return self.normalise not in ("running", "none")

    @property
    def needs_taps(self) -> bool:
        """For attention."""
        return self.mimic != "l2"

    @property
    def learns_from(self) -> frozenset[Literal["teachers", "labels"]]:
        """Teachers; labels are welcome."""
        return frozenset({"teachers"})


def build(settings: Settings, setup: Setup) -> Objective:
    """Returns the objective for the one teacher of the run.

    Raises:
        ConfigError: there is another number of teachers, no assistant, or no grid to look at.
    """
    if len(setup.teachers) != 1:
        names = ", ".join(setup.teachers) or "none"
        raise ConfigError(
            f"method=rkd learns from one teacher, the recipe has {names}; method=plain takes several"
        )
    if not setup.has_assistant and settings.phases != UNDIVIDED:
        raise ConfigError(
            "method=rkd trains a student of two networks, and this one is undivided: give student.split=0.3, or method.phases=[1,0,0] to "
            "train it with the same loss as the first of two"
        )
    ((name, teacher),) = setup.teachers.items()
    if settings.mimic != "l2" and (teacher.grid is None or setup.taps.grid is None):
        without = (
            f"the teacher {name!r} gives none; set output=patches on it"
            if teacher.grid is None
            else "the student ends in none"
        )
        raise ConfigError(
            f"mimic={settings.mimic} compares grids of patches, and {without}; mimic=l2 needs none"
        )
    if settings.mimic != "l2":
        check_square(name, teacher.grid)
    return ResidualDistillation(settings, setup)


class ResidualDistillation(Objective):
    """The map P, that of the embedding, a classifier, and the standardised target."""

    def __init__(self, settings: Settings, setup: Setup) -> None:
        super().__init__()
        ((name, teacher),) = setup.teachers.items()
        self.settings = settings
        self.normaliser = normaliser(
            settings.normalise, teacher.num_features, teacher.moments, teacher=f"the teacher {name!r}"
        )
        map_ = projector(setup.num_features, teacher.num_features, kind="linear")
        assert isinstance(map_, nn.Linear)
        self.map = map_
        self.embedding_map = projector(setup.embed_dim, teacher.num_features, kind="linear")
        counts = list(setup.num_classes.values())
        self.first_class = [sum(counts[:domain]) for domain in range(len(counts))]
        self.classifier = (
            CosineClassifier(setup.embed_dim, sum(counts)) if settings.labels and sum(counts) else None
        )

    def learning(self, progress: float) -> Learning:
        """Returns who learns at `progress` in [0, 1)."""
        first, assistant, _ = self.settings.phases
        if progress < first:
            return "first"
        return "assistant" if progress < first + assistant else "both"

    def forward(self, student: Student, batch: Batch, targets: Targets, progress: float) -> Terms:
        """Returns the loss of the phase. Of the residual, `residual/first` is |T - S|^2 as a share of |T|^2, and `residual/left` is
        |T - S - A|^2 as a share of |T - S|^2.
        """
        learning = self.learning(progress)
        output = student(batch.image, patches=self.settings.mimic != "l2", head_only=True, learning=learning)
        summary = output.features.summary
        # Part of the graph even where the teacher is not trusted; while the backbone is frozen, by the head.
        total = 0 * (summary if summary.requires_grad else output.embedding)[:, 0].sum()
        per_sample = summary.detach().new_zeros(len(summary))
        report: dict[str, Tensor] = {}
        ((name, target),) = targets.items()
        places = target.places
        if len(places):
            wanted = self._wanted(target.features.summary, learning)
            if learning == "assistant":
                distance = self._residual(output, places, wanted)
                total = total + distance.mean()
            else:
                distance = self._mimicry(output, places, wanted, target.features.patches)
                total = total + self.settings.alpha * distance.mean()
                total = total + self._embedded(output, places, wanted).mean()
            per_sample = per_sample.index_add(0, places, distance.detach())
            report[f"loss/{name}"] = distance.detach().mean()
            report |= self._energies(output, places, wanted)
        if self.classifier is not None and learning != "assistant" and (batch.label >= 0).any():
            labelled = torch.nonzero(batch.label >= 0).squeeze(1)
            loss, right = self._classified(output.embedding[labelled], batch, labelled)
            total = total + self.settings.labels * loss.mean()
            per_sample = per_sample.index_add(0, labelled, self.settings.labels * loss.detach())
            report |= {"loss/labels": loss.detach().mean(), "top1": right}
        return Terms(total, report, per_sample)

    @torch.no_grad()
    def _wanted(self, said: Tensor, learning: Learning) -> Tensor:
        """T (n, D). The statistics are those of the first phase, so that the residual's target is fixed."""
        if self.training and self.settings.normalise == "running" and learning == "first":
            self.normaliser.update(said)  # type: ignore[operator]
        return self.normaliser(said.detach())  # type: ignore[no-any-return]

    def _mimicry(
        self, output: StudentOutput, places: Tensor, wanted: Tensor, patches: Tensor | None
    ) -> Tensor:
        """d (n,). With attention alone, P follows the summary and does not move it."""
        summary = output.features.summary[places]
        if self.settings.mimic == "attention":
            summary = summary.detach()
        distance: Tensor = (self.map(summary).float() - wanted).square().mean(-1)
        if self.settings.mimic == "l2":
            return distance
        assert output.features.patches is not None
        assert patches is not None
        ours = output.features.patches[places]
        side = math.isqrt(ours.shape[1])
        return distance + attention_distance(ours, to_grid(patches.detach(), height=side, width=side))

    def _residual(self, output: StudentOutput, places: Tensor, wanted: Tensor) -> Tensor:
        """What A lacks of T - S, squared, (n,); neither S nor P moves."""
        assert output.alone is not None
        first = self._in_space(output.alone[places]).detach()
        assistant = self._in_space(output.features.summary[places]) - first
        lacking: Tensor = ((wanted - first) - assistant).square().mean(-1)
        return lacking

    def _embedded(self, output: StudentOutput, places: Tensor, wanted: Tensor) -> Tensor:
        """(n,). Unit vectors of E dimensions have entries near E^-0.5: the factor gives the map inputs near 1."""
        assert output.head_only is not None
        embedding = output.head_only[places].float() * output.head_only.shape[-1] ** 0.5
        distance: Tensor = (self.embedding_map(embedding).float() - wanted).square().mean(-1)
        return distance

    def _classified(self, embedding: Tensor, batch: Batch, places: Tensor) -> tuple[Tensor, Tensor]:
        """The cross-entropy (n,) of labelled images, and the share that is classified right."""
        assert self.classifier is not None
        before = torch.tensor(self.first_class, device=places.device)[batch.domain[places]]
        label = batch.label[places] + before
        # Cosines of bfloat16 have steps of 0.004, and the scale makes them 16 times as large.
        with torch.autocast(embedding.device.type, enabled=False):
            cosine = self.classifier(embedding.float())  # (n, C)
            loss = normalised_softmax(cosine, label, scale=self.settings.scale)
        return loss, (cosine.argmax(-1) == label).float().mean()

    def _in_space(self, summary: Tensor) -> Tensor:
        """P, which gets no gradient."""
        return functional.linear(summary, self.map.weight.detach(), self.map.bias.detach()).float()

    @torch.no_grad()
    def _energies(self, output: StudentOutput, places: Tensor, wanted: Tensor) -> dict[str, Tensor]:
        if output.alone is None:
            return {}
        first, both = (
            (self._in_space(each[places]) - wanted).square().sum()
            for each in (output.alone, output.features.summary)
        )
        smallest = torch.finfo(torch.float32).tiny
        return {
            "residual/first": first / wanted.square().sum().clamp(min=smallest),
            "residual/left": both / first.clamp(min=smallest),
        }
