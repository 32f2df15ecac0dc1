"""The student: a timm backbone and the heads that are kept, in one module that normalises its own input.

Axes: B images, S side in px, D width of the backbone's summary, E width of the embedding, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from alumnus.models.backbone import IMAGENET_MEAN, IMAGENET_STD, create_backbone, extract, feature_dim, levels
from alumnus.types import Features


class StudentOutput(NamedTuple):
    """What the student says about a batch."""

    features: Features  # of the backbone
    embedding: Tensor  # (B, E) float32 of unit length, the universal embedding
    logits: Tensor | None = None  # (B, C) float32; None without a classifier


@dataclass(frozen=True)
class Architecture:
    """All that is needed to build an empty student again."""

    model: str  # timm's name, without weights
    size: int  # side of the input in px
    embed_dim: int  # E
    model_args: Mapping[str, Any] = field(default_factory=dict)  # for timm.create_model
    mean: tuple[float, float, float] = IMAGENET_MEAN  # of channels in [0, 1]
    std: tuple[float, float, float] = IMAGENET_STD


class Student(nn.Module):
    """Backbone, input normalisation and the universal embedding head (one affine layer, then unit length, as in UDON).

    A method that teaches classes gives it a classifier too: one affine layer on the backbone's summary, see `classify`.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, architecture: Architecture, *, backbone: nn.Module | None = None) -> None:
        """Builds the architecture; a `backbone` given already holds its weights."""
        super().__init__()
        self.architecture = architecture
        if backbone is None:
            backbone = create_backbone(
                architecture.model, size=architecture.size, model_args=architecture.model_args
            )
        self.backbone = backbone
        self.num_features = feature_dim(backbone, size=architecture.size)
        self.embed = nn.Linear(self.num_features, architecture.embed_dim)
        self.classes: dict[str, int] = {}
        self.classifier: nn.Linear | None = None
        self.register_buffer("mean", torch.tensor(architecture.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(architecture.std).view(1, 3, 1, 1), persistent=False)

    @property
    def size(self) -> int:
        """Side of the input in px."""
        return self.architecture.size

    @property
    def embed_dim(self) -> int:
        """Width E of the embedding."""
        return self.architecture.embed_dim

    def classify(self, classes: Mapping[str, int]) -> None:
        """Gives it a classifier of groups of classes side by side, group -> how many; takes it away if there are none.

        A classifier of the same groups stays as it is, another one starts from torch's random weights.
        """
        if list(classes.items()) == list(self.classes.items()):
            return
        self.classes = dict(classes)
        device = self.mean.device
        self.classifier = (
            nn.Linear(self.num_features, sum(classes.values()), device=device) if classes else None
        )

    def forward(self, image: Tensor, *, patches: bool = False) -> StudentOutput:
        """Returns features, embedding and logits of images (B, 3, S, S), uint8 or float in [0, 1]; the patches if asked for."""
        features = extract(self.backbone, self._normalised(image), patches=patches)
        embedding = functional.normalize(self.embed(features.summary), dim=-1)
        logits = None if self.classifier is None else self.classifier(features.summary).float()
        return StudentOutput(features, embedding, logits=logits)

    def levels(self, image: Tensor) -> tuple[Tensor, ...]:
        """Returns the backbone's grids (B, D, h, w) float32, fine to coarse, of images as for `forward`."""
        return levels(self.backbone, self._normalised(image))

    def _normalised(self, image: Tensor) -> Tensor:
        if (
            image.dtype == torch.uint8
        ):  # in place, and laid out while a value is one byte: the same bits in fewer passes
            image = image.contiguous(memory_format=torch.channels_last).float()
            return image.div_(255).sub_(self.mean).div_(self.std)
        return ((image - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
