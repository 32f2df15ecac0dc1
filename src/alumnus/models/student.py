"""The student: a timm backbone and the heads that are kept, in one module that normalises its own input.

Axes: B images, S side in px, D width of the backbone's summary, E width of the embedding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from alumnus.models.backbone import IMAGENET_MEAN, IMAGENET_STD, create_backbone, extract, feature_dim, levels
from alumnus.models.micro_batches import in_micro_batches
from alumnus.types import Features


class StudentOutput(NamedTuple):
    """What the student says about a batch."""

    features: Features  # of the backbone
    embedding: Tensor  # (B, E) float32 of unit length, the universal embedding


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
    """Backbone, input normalisation and the universal embedding head (one affine layer, then unit length, as in UDON)."""

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
        self.micro_batches = 1  # in how many pieces images go through while it is trained
        self.embed = nn.Linear(self.num_features, architecture.embed_dim)
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

    def forward(self, image: Tensor, *, patches: bool = False) -> StudentOutput:
        """Returns features and embedding of images (B, 3, S, S), uint8 or float in [0, 1]; the patches if asked for."""
        if self.micro_batches == 1 or not torch.is_grad_enabled():
            return self._output(image, patches=patches)
        forward = partial(self._output, patches=patches)
        return _joined(in_micro_batches(forward, image, count=self.micro_batches, module=self))

    def levels(self, image: Tensor) -> tuple[Tensor, ...]:
        """Returns the backbone's grids (B, D, h, w) float32, fine to coarse, of images as for `forward`."""
        return levels(self.backbone, self._normalised(image))

    def _output(self, image: Tensor, *, patches: bool) -> StudentOutput:
        features = extract(self.backbone, self._normalised(image), patches=patches)
        return StudentOutput(features, functional.normalize(self.embed(features.summary), dim=-1))

    def _normalised(self, image: Tensor) -> Tensor:
        if (
            image.dtype == torch.uint8
        ):  # in place, and laid out while a value is one byte: the same bits in fewer passes
            image = image.contiguous(memory_format=torch.channels_last).float()
            return image.div_(255).sub_(self.mean).div_(self.std)
        return ((image - self.mean) / self.std).contiguous(memory_format=torch.channels_last)


def _joined(pieces: Sequence[StudentOutput]) -> StudentOutput:
    """One after another, as one batch."""
    patches = [piece.features.patches for piece in pieces if piece.features.patches is not None]
    features = Features(
        torch.cat([piece.features.summary for piece in pieces]), torch.cat(patches) if patches else None
    )
    return StudentOutput(features, torch.cat([piece.embedding for piece in pieces]))
