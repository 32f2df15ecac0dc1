"""Supervised: train an expert, or a baseline, from labels.

NormFace (Wang et al. 2017, "NormFace: L2 hypersphere embedding for face verification", arXiv 1704.06369) as UnED's baselines use it
(Ypsilantis et al. 2023, arXiv 2309.01858): cosine classifiers on the student's unit-length embedding, cross-entropy at scale 16, no
margin. They are separate, one for each domain (USC), or one joint classifier of all domains' classes (UJC). A batch may mix domains; the
separate classifiers of absent domains do no work. Images without a label are left out of the loss.

UnED's four are USC and UJC with batches of one domain each, by the size of its data (`sampler=dataset_size`, DS) or in turn
(`sampler=round_robin`, RR). Their heads start at the backbone's vector of unit length, as UDON's do (`normalise_summary`).

Gradients stop nowhere.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import nn

from alumnus.errors import ConfigError
from alumnus.losses import normalised_softmax
from alumnus.models.heads import CosineClassifier
from alumnus.models.student import Student
from alumnus.objective import MethodSettings, Objective, Setup
from alumnus.types import Batch, Targets, Terms


class Settings(MethodSettings):
    """Settings of `supervised`."""

    name: Literal["supervised"] = "supervised"
    scale: float = Field(16.0, gt=0, description="of the cosines before the softmax; 16 as in UDON")
    classifier: Literal["separate", "joint"] = Field(
        "separate", description="one for each domain, or one over the classes of all domains"
    )
    normalise_summary: bool = Field(
        False,
        description="whether the embedding head starts at the backbone's vector of unit length, as in UDON",
    )

    @property
    def normalises_summary(self) -> bool:
        """As it is set."""
        return self.normalise_summary

    @property
    def learns_from(self) -> frozenset[Literal["teachers", "labels"]]:
        """Labels alone."""
        return frozenset({"labels"})


def build(settings: Settings, setup: Setup) -> Objective:
    """Returns the objective for the domains that have classes."""
    if setup.teachers:
        raise ConfigError("method=supervised learns from labels and takes no teachers; remove `teachers`")
    if not any(setup.num_classes.values()):
        raise ConfigError("method=supervised needs labels, and no training image has one; see `alumnus data`")
    return Supervised(setup, scale=settings.scale, is_joint=settings.classifier == "joint")


class Supervised(Objective):
    """Normalised softmax over the classes of each image's own domain, or of all domains."""

    def __init__(self, setup: Setup, *, scale: float, is_joint: bool = False) -> None:
        super().__init__()
        self.scale = scale
        counts = list(setup.num_classes.values())
        self.first_class = [sum(counts[:domain]) if is_joint else 0 for domain in range(len(counts))]
        self.classifiers = nn.ModuleList(
            CosineClassifier(setup.embed_dim, count) for count in ([sum(counts)] if is_joint else counts)
        )

    def forward(self, student: Student, batch: Batch, targets: Targets, progress: float) -> Terms:
        """Returns the mean loss over the labelled images, and the share that is classified right."""
        embedding = student(batch.image).embedding  # (B, E)
        # Part of the graph, so that a batch without labels has a gradient too.
        per_sample = 0 * embedding[:, 0]
        right = embedding.new_zeros(len(embedding))
        labelled = batch.label >= 0
        # Cosines of bfloat16 have steps of 0.004, and the scale makes them 16 times as large.
        with torch.autocast(batch.image.device.type, enabled=False):
            for domain in sorted(set(batch.domain[labelled].tolist())):
                here = torch.nonzero(labelled & (batch.domain == domain)).squeeze(1)
                classifier = self.classifiers[domain if len(self.classifiers) > 1 else 0]
                cosine = classifier(embedding[here])  # (n, C)
                label = batch.label[here] + self.first_class[domain]
                loss = normalised_softmax(cosine, label, scale=self.scale)
                per_sample = per_sample.index_put((here,), loss)
                right = right.index_put((here,), (cosine.argmax(-1) == label).float())
        count = labelled.sum().clamp(min=1)
        mean = per_sample.sum() / count
        report = {"loss/labels": mean.detach(), "top1": right.sum() / count}
        return Terms(mean, report, per_sample.detach(), labelled)
