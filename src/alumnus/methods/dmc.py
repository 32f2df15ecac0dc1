"""DMC: two classifiers, an old and a new one, into one that knows the classes of both, without a label and without old images.

Deep Model Consolidation (Zhang et al. 2020, "Class-incremental learning via deep model consolidation", WACV, arXiv 1903.07864). On images
that belong to neither, unlabelled, the student's logits y are regressed on those of the classifiers, each group centred on its own mean:

    t_j  = z_j - mean of z over the classes of j's own classifier
    loss = mean over images of  (1/C) sum_j (y_j - t_j)^2

so that neither classifier, trained apart from the other, has higher logits than the other for that reason alone. No softmax, no labels. In
the next increment the student is the old classifier: it keeps its classifier, and teaches with `output: logits`.

Differences from the paper: any number of classifiers; one that is trusted on some domains only speaks of their images alone, and the mean
over j is then over the classes that are known; `spread` and the other ways of centring are ours, to measure what centring brings.
The embedding has no part in the loss and is not trained.

Gradients stop at the targets; the teachers are never trained.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from alumnus.classes import ClassifierSettings, SideBySide, groups_of, refuse_weights, side_by_side
from alumnus.errors import ConfigError
from alumnus.models.student import Student
from alumnus.objective import Objective, Setup
from alumnus.types import Batch, Targets, Terms

Centre = Literal["group", "all", "none"]


class Settings(ClassifierSettings):
    """Settings of `dmc`."""

    name: Literal["dmc"] = "dmc"
    centre: Centre = Field(
        "group",
        description="what is taken off the logits: each classifier's own mean, the mean of all side by side, or nothing",
    )
    spread: bool = Field(
        False, description="divide each classifier's centred logits by their running root mean square"
    )

    @property
    def learns_from(self) -> frozenset[Literal["teachers", "labels"]]:
        """Teachers."""
        return frozenset({"teachers"})


def build(settings: Settings, setup: Setup) -> Objective:
    """Returns the objective for the classifiers of the run.

    Raises:
        ConfigError: there is no teacher, or one that gives no logits.
    """
    if not setup.teachers:
        raise ConfigError(
            "method=dmc learns from classifiers, and there is no teacher; give `teachers` with output=logits"
        )
    groups = groups_of(setup, settings)
    for name, teacher in setup.teachers.items():
        if name not in groups:
            raise ConfigError(
                f"method=dmc learns from logits, and the teacher {name!r} has output={teacher.output}; give it output=logits, or name it "
                "in method.logits if that is what its output holds"
            )
    refuse_weights(setup, groups, because="method=dmc weighs every class alike")
    return ModelConsolidation(settings, groups)


class ModelConsolidation(Objective):
    """Regression of logits, centred by groups."""

    squares: Tensor
    count: Tensor

    def __init__(self, settings: Settings, groups: Mapping[str, int]) -> None:
        super().__init__()
        self.groups, self.centre, self.spread = dict(groups), settings.centre, settings.spread
        self.register_buffer(
            "squares", torch.zeros(len(groups), dtype=torch.float64)
        )  # of centred logits, summed
        self.register_buffer("count", torch.zeros(len(groups), dtype=torch.float64))  # of such logits

    @property
    def classes(self) -> Mapping[str, int]:
        """Those of each classifier."""
        return self.groups

    def forward(self, student: Student, batch: Batch, targets: Targets, progress: float) -> Terms:
        """Returns the mean squared error over the images of which a classifier speaks, and each classifier's own as `loss/NAME`."""
        logits = student(batch.image).logits
        assert logits is not None, "the student has the classifier that `classes` asks for"
        wanted, known = self._wanted(side_by_side(targets, self.groups, like=logits))
        squared = torch.where(known, (logits.float() - wanted).square(), 0.0)  # (B, C)
        per_sample = squared.sum(1) / known.sum(1).clamp(min=1)
        spoken = known.any(1)
        loss = per_sample.sum() / spoken.sum().clamp(min=1)
        report = {}
        for name, (first, last) in _slices(self.groups).items():
            here = known[:, first]
            if here.any():
                report[f"loss/{name}"] = squared[here, first:last].detach().mean()
        if spoken.any():
            report["agreement"] = (_best(logits, known) == _best(wanted, known))[spoken].float().mean()
        return Terms(loss, report, per_sample.detach())

    @torch.no_grad()
    def _wanted(self, given: SideBySide) -> SideBySide:
        """Centres, and scales if that is asked for."""
        logits, known = given.logits.clone(), given.known
        if self.centre == "all":
            count = known.sum(1, keepdim=True).clamp(min=1)
            logits = logits - torch.where(known, logits, 0.0).sum(1, keepdim=True) / count
        for group, (first, last) in enumerate(_slices(self.groups).values()):
            part = logits[:, first:last]
            if self.centre == "group":
                part = part - part.mean(1, keepdim=True)
            logits[:, first:last] = self._scaled(group, part, known[:, first]) if self.spread else part
        return SideBySide(logits, known)

    def _scaled(self, group: int, part: Tensor, here: Tensor) -> Tensor:
        """A group's logits (B, c) by the root mean square of all that was seen in training, these included."""
        if self.training:
            self.squares[group] += part[here].double().square().sum()
            self.count[group] += part[here].numel()
        size = (self.squares[group] / self.count[group].clamp(min=1)).sqrt()
        return part / torch.where(size > 0, size, 1.0).float()


def _slices(groups: Mapping[str, int]) -> dict[str, tuple[int, int]]:
    """Where each group's classes are among all."""
    found, first = {}, 0
    for name, count in groups.items():
        found[name] = (first, first + count)
        first += count
    return found


def _best(logits: Tensor, known: Tensor) -> Tensor:
    """The class (B,) of the largest known logit."""
    return torch.where(known, logits.detach().float(), -torch.inf).argmax(1)
