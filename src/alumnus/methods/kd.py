"""Knowledge distillation: one classifier teaches one student, by its softened probabilities. A baseline.

"Distilling the Knowledge in a Neural Network" (Hinton, Vinyals, Dean 2015, arXiv 1503.02531):

    L(x) = T^2 KL(softmax(t(x) / T) || softmax(h(x) / T))

t are the teacher's logits, h an affine layer on the backbone's summary, thrown away in the end. No label is used: the paper adds the
cross-entropy with labels where there are some, but what a teacher's classes are to those of the data is not known here.

Difference from the paper: the 64-D embedding, which the paper has not, has a head of its own with the same targets, and the loss is the
mean of the two. With one teacher, `repcon` with `embedding=joint` and the same temperature is this, term by term.

Gradients stop at the targets.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import nn

from alumnus.classes import ClassifierSettings, groups_of
from alumnus.errors import ConfigError
from alumnus.losses import softened_kl
from alumnus.models.student import Student
from alumnus.objective import Objective, Setup
from alumnus.types import Batch, Targets, Terms


class Settings(ClassifierSettings):
    """Settings of `kd`."""

    name: Literal["kd"] = "kd"
    temperature: float = Field(4.0, gt=0, description="of both softmaxes; the paper tries 1 to 20")

    @property
    def learns_from(self) -> frozenset[Literal["teachers", "labels"]]:
        """Teachers."""
        return frozenset({"teachers"})


def build(settings: Settings, setup: Setup) -> Objective:
    """Returns the objective for the one teacher of the run."""
    if len(setup.teachers) != 1:
        names = ", ".join(setup.teachers) or "none"
        raise ConfigError(
            f"method=kd learns from one teacher, the recipe has {names}; method=repcon takes several"
        )
    ((name, teacher),) = setup.teachers.items()
    if name not in groups_of(setup, settings):
        raise ConfigError(
            f"method=kd needs the logits of {name}, the recipe asks it for output={teacher.output}; set output=logits, or "
            f"method.logits=[{name}] if that is what its output holds, or take method=plain for features"
        )
    return KnowledgeDistillation(setup, num_classes=teacher.num_features, temperature=settings.temperature)


class KnowledgeDistillation(Objective):
    """A head on the summary, and one on the embedding."""

    def __init__(self, setup: Setup, *, num_classes: int, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature
        self.head = nn.Linear(setup.num_features, num_classes)
        self.embedding_head = nn.Linear(setup.embed_dim, num_classes)

    def forward(self, student: Student, batch: Batch, targets: Targets, progress: float) -> Terms:
        """Returns the mean over the images on which the teacher is trusted."""
        output = student(batch.image)
        embedding = output.embedding.float() * output.embedding.shape[-1] ** 0.5
        per_sample = 0 * embedding[:, 0]  # part of the graph even where the teacher is not trusted
        ((name, target),) = targets.items()
        if len(target.places) == 0:
            return Terms(per_sample.sum(), {}, per_sample.detach())
        wanted = target.features.summary.detach().float()
        guesses = (
            self.head(output.features.summary[target.places]),
            self.embedding_head(embedding[target.places]),
        )
        first, second = (
            softened_kl(guess.float(), wanted, temperature=self.temperature) for guess in guesses
        )
        distance = (first + second) / 2
        loss = distance.mean()
        per_sample = per_sample.detach().index_add(0, target.places, distance.detach())
        return Terms(loss, {f"loss/{name}": loss.detach()}, per_sample)
