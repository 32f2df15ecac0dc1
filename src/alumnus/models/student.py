"""The student: a timm backbone and the heads that are kept, in one module that normalises its own input.

Axes: B images, S side in px, D width of the backbone's summary, E width of the embedding, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial, reduce
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from alumnus.models.adaptors import Adaptor, AdaptorShape
from alumnus.models.assistant import (
    Assistant,
    AssistantShape,
    Learning,
    first_join,
    joint_taps,
    side_by_side,
    standing_still,
)
from alumnus.models.backbone import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Taps,
    create_backbone,
    extract,
    extract_stages,
    feature_dim,
    levels,
    taps_of,
)
from alumnus.models.heads import affine_layers, module_key
from alumnus.models.micro_batches import in_micro_batches
from alumnus.types import Features


class StudentOutput(NamedTuple):
    """What the student says about a batch."""

    features: Features  # of the backbone
    embedding: Tensor  # (B, E) float32 of unit length, the universal embedding
    head_only: Tensor | None = (
        None  # (B, E), the same vectors, whose gradient reaches the embedding head and stops there; if asked for
    )
    stages: tuple[
        Tensor, ...
    ] = ()  # (B, N, D_s) float32, of earlier stages, pooled to the last grid, if asked for
    spaces: Mapping[str, Tensor] = MappingProxyType({})  # teacher -> (B, D_t) float32, if asked for
    logits: Tensor | None = None  # (B, C) float32; None without a classifier
    alone: Tensor | None = (
        None  # (B, D) float32, the summary without the assistant's part; None without an assistant
    )

    @property
    def taught(self) -> Tensor:
        """The embedding (B, E) as distillation is to move it: `head_only` if that was asked for."""
        return self.embedding if self.head_only is None else self.head_only


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
    spaces: Mapping[str, AdaptorShape] = field(
        default_factory=dict
    )  # of the adaptors that are kept, by teacher
    assistant: AssistantShape | None = None  # a second network beside `model`, see models/assistant.py


class Student(nn.Module):
    """Backbone, input normalisation and the universal embedding head (one affine layer or an MLP, then unit length).

    A method that teaches classes gives it a classifier too, one affine layer on the backbone's summary: see `classify`. And it may keep
    adaptors, each of which says what one teacher would say: see `keep`. With an assistant, the backbone is the first of two networks and
    the summary is of both.
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
        self.backbone_dim = feature_dim(backbone, size=architecture.size)  # of the backbone alone
        shape = architecture.assistant
        self.assistant = None if shape is None else Assistant(shape, size=architecture.size)
        self.join = None if shape is None else first_join(self.backbone_dim, shape.dim)
        self.num_features = self.backbone_dim if shape is None else shape.dim
        self.micro_batches = 1  # in how many pieces images go through while it is trained
        self.embed = _embedding_head(self.num_features, architecture)
        self.spaces = nn.ModuleDict(
            {module_key(name): Adaptor(shape) for name, shape in architecture.spaces.items()}
        )
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

    def forward(
        self,
        image: Tensor,
        *,
        patches: bool = False,
        stages: bool = False,
        spaces: bool | Sequence[str] = False,
        head_only: bool = False,
        learning: Learning = "both",
    ) -> StudentOutput:
        """Returns features, embedding and, with a classifier, logits of images (B, 3, S, S), uint8 or float in [0, 1].

        Args:
            patches, stages: also give the patches, and what earlier stages say.
            spaces: also give what the adaptors that are kept say, all of them or these.
            head_only: give the embedding once more, without gradient to the backbone.
            learning: of a student with an assistant. `first`: the assistant is left out, of patches and stages too. `assistant`: the first
                network is in eval mode and gets no gradient.
        """
        forward = partial(
            self._output,
            patches=patches,
            stages=stages,
            spaces=spaces,
            head_only=head_only,
            learning=learning,
        )
        if self.micro_batches == 1 or not torch.is_grad_enabled():
            return forward(image)
        pieces = in_micro_batches(forward, image, count=self.micro_batches, module=self)
        return over_tensors(lambda *tensors: torch.cat(tensors), *pieces)

    def keep(self, name: str, adaptor: Adaptor) -> None:
        """Takes an adaptor from the summary, of unit length if the embedding's head starts there, to a teacher's space; saved with it."""
        self.spaces[module_key(name)] = adaptor
        kept = {**self.architecture.spaces, name: adaptor.shape}
        self.architecture = replace(self.architecture, spaces=kept)

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

    @property
    def networks(self) -> list[nn.Module]:
        """The backbone, and the assistant's."""
        return [self.backbone, *([] if self.assistant is None else [self.assistant.backbone])]

    def levels(self, image: Tensor) -> tuple[Tensor, ...]:
        """Returns the backbone's grids (B, D, h, w) float32, fine to coarse, of images as for `forward`; an assistant's beside them."""
        image = self._normalised(image)
        if self.assistant is None:
            return levels(self.backbone, image)
        each = [levels(network, image) for network in self.networks]
        return tuple(torch.cat(same, dim=1) for same in zip(*each, strict=True))

    def taps(self) -> Taps:
        """Returns the shapes of patches and earlier stages."""
        return reduce(joint_taps, [taps_of(network, size=self.size) for network in self.networks])

    def _output(
        self,
        image: Tensor,
        *,
        patches: bool,
        stages: bool,
        spaces: bool | Sequence[str],
        head_only: bool,
        learning: Learning,
    ) -> StudentOutput:
        kept = self.architecture.spaces
        names = tuple(kept if spaces is True else spaces or ())
        with_stages = stages or any(kept[name].stage_dims for name in names)
        extracted = partial(_extracted, image=self._normalised(image), patches=patches, stages=with_stages)
        features, earlier, alone = self._together(extracted, learning)
        summary = features.summary
        return StudentOutput(
            features,
            self._embedded(summary),
            self._embedded(summary.detach()) if head_only else None,
            earlier if stages else (),
            self._spaces(names, summary, earlier),
            None if self.classifier is None else self.classifier(summary).float(),
            alone,
        )

    def _together(
        self, extracted: Callable[[nn.Module], tuple[Features, tuple[Tensor, ...]]], learning: Learning
    ) -> tuple[Features, tuple[Tensor, ...], Tensor | None]:
        """What the networks say as one, their stages side by side, and the summary of the first alone."""
        if self.assistant is None or self.join is None:
            return (*extracted(self.backbone), None)
        with standing_still(self.backbone, self.join) if learning == "assistant" else nullcontext():
            first, earlier = extracted(self.backbone)
            alone = self.join(first.summary).float()
        if learning == "first":
            return first._replace(summary=alone), earlier, alone
        second, its_earlier = extracted(self.assistant.backbone)
        summary = alone + self.assistant.join(second.summary).float()
        both = (torch.cat(same, dim=-1) for same in zip(earlier, its_earlier, strict=True))
        return side_by_side(first, second, summary=summary), tuple(both), alone

    def _embedded(self, summary: Tensor) -> Tensor:
        # Autocast leaves bfloat16, whose steps near 1 are of .004.
        return functional.normalize(self.embed(self._head_input(summary)).float(), dim=-1)

    def _head_input(self, summary: Tensor) -> Tensor:
        return functional.normalize(summary, dim=-1) if self.architecture.normalise_summary else summary

    def _normalised(self, image: Tensor) -> Tensor:
        if (
            image.dtype == torch.uint8
        ):  # in place, and laid out while a value is one byte: the same bits in fewer passes
            image = image.contiguous(memory_format=torch.channels_last).float()
            return image.div_(255).sub_(self.mean).div_(self.std)
        return ((image - self.mean) / self.std).contiguous(memory_format=torch.channels_last)

    def _spaces(self, names: Sequence[str], summary: Tensor, stages: Sequence[Tensor]) -> dict[str, Tensor]:
        means, start = [stage.mean(dim=1) for stage in stages], self._head_input(summary)
        return {name: self.spaces[module_key(name)](start, means).float() for name in names}


def over_tensors(function: Callable[..., Tensor], *outputs: StudentOutput) -> StudentOutput:
    """Returns an output whose every tensor is `function` of the ones in its place; what one output lacks all of them lack."""

    def each(*tensors: Tensor | None) -> Tensor | None:
        there = [tensor for tensor in tensors if tensor is not None]
        return function(*there) if there else None

    summaries, patches = zip(*(output.features for output in outputs), strict=True)
    _, embeddings, head_only, stages, spaces, logits, alone = zip(*outputs, strict=True)
    return StudentOutput(
        Features(function(*summaries), each(*patches)),
        function(*embeddings),
        each(*head_only),
        tuple(function(*same) for same in zip(*stages, strict=True)),
        {name: function(*(of[name] for of in spaces)) for name in spaces[0]},
        each(*logits),
        each(*alone),
    )


def _extracted(
    network: nn.Module, *, image: Tensor, patches: bool, stages: bool
) -> tuple[Features, tuple[Tensor, ...]]:
    if stages:
        return extract_stages(network, image, patches=patches)
    return extract(network, image, patches=patches), ()


def _embedding_head(num_features: int, architecture: Architecture) -> nn.Module:
    """One affine layer, unless there are inner widths.

    On a summary of unit length torch's own start would give biases as large as all the rest, so that all embeddings were alike.
    """
    if not architecture.normalise_summary and not architecture.embed_hidden:
        return nn.Linear(num_features, architecture.embed_dim)
    return affine_layers((num_features, *architecture.embed_hidden, architecture.embed_dim))
