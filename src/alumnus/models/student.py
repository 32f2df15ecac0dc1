"""The student: a timm backbone and the heads that are kept, in one module that normalises its own input.

Axes: B images, S side in px, D width of the backbone's summary, E width of the embedding.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from alumnus.models.backbone import IMAGENET_MEAN, IMAGENET_STD, create_backbone, extract, feature_dim, levels
from alumnus.models.heads import affine_layers
from alumnus.types import Features


class StudentOutput(NamedTuple):
    """What the student says about a batch."""

    features: Features  # of the backbone
    embedding: Tensor  # (B, E) float32 of unit length, the universal embedding
    head_only: Tensor | None = (
        None  # (B, E), the same vectors, whose gradient reaches the embedding head and stops there
    )


@dataclass(frozen=True)
class Architecture:
    """All that is needed to build an empty student again."""

    model: str  # timm's name, without weights
    size: int  # side of the input in px
    embed_dim: int  # E
    model_args: Mapping[str, Any] = field(default_factory=dict)  # for timm.create_model
    mean: tuple[float, float, float] = IMAGENET_MEAN  # of channels in [0, 1]
    std: tuple[float, float, float] = IMAGENET_STD
    normalise_summary: bool = False  # the head starts at the summary of unit length, as in UDON
    embed_hidden: tuple[int, ...] = ()  # inner widths of the head; none is one affine layer


class Student(nn.Module):
    """Backbone, input normalisation and the universal embedding head (one affine layer or an MLP, then unit length)."""

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
        self.embed = _embedding_head(self.num_features, architecture)
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

    def forward(self, image: Tensor, *, patches: bool = False, head_only: bool = False) -> StudentOutput:
        """Returns features and embedding of images (B, 3, S, S), uint8 or float in [0, 1].

        Args:
            patches: give the patches too.
            head_only: give the embedding once more, without gradient to the backbone.
        """
        features = extract(self.backbone, self._normalised(image), patches=patches)
        again = self._embedded(features.summary.detach()) if head_only else None
        return StudentOutput(features, self._embedded(features.summary), again)

    def levels(self, image: Tensor) -> tuple[Tensor, ...]:
        """Returns the backbone's grids (B, D, h, w) float32, fine to coarse, of images as for `forward`."""
        return levels(self.backbone, self._normalised(image))

    def _embedded(self, summary: Tensor) -> Tensor:
        if self.architecture.normalise_summary:
            summary = functional.normalize(summary, dim=-1)
        return functional.normalize(self.embed(summary), dim=-1)

    def _normalised(self, image: Tensor) -> Tensor:
        if (
            image.dtype == torch.uint8
        ):  # in place, and laid out while a value is one byte: the same bits in fewer passes
            image = image.contiguous(memory_format=torch.channels_last).float()
            return image.div_(255).sub_(self.mean).div_(self.std)
        return ((image - self.mean) / self.std).contiguous(memory_format=torch.channels_last)


def _embedding_head(num_features: int, architecture: Architecture) -> nn.Module:
    """One affine layer, unless there are inner widths.

    On a summary of unit length torch's own start would give biases as large as all the rest, so that all embeddings were alike.
    """
    if not architecture.normalise_summary and not architecture.embed_hidden:
        return nn.Linear(num_features, architecture.embed_dim)
    return affine_layers((num_features, *architecture.embed_hidden, architecture.embed_dim))
