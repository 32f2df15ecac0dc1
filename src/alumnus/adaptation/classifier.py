"""A student with a linear classifier on its backbone's summary, and what it says of image files.

Axes: B images, S side in px, D width of the summary, C classes, P paths.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from alumnus.adaptation.prototype import Prototypes
from alumnus.data.loader import center_crop_batches
from alumnus.evaluation.logistic import Standardiser
from alumnus.log import bar
from alumnus.memory import keep_freed_memory
from alumnus.models.student import Student


class Classifier(nn.Module):
    """Images in, logits out."""

    center: Tensor
    scale: Tensor

    def __init__(self, student: Student, num_classes: int) -> None:
        """Takes a copy of the student; the head starts at 0, so that all classes are equal.

        A timm network comes as `Student(Architecture(model=name, size=size, embed_dim=1), backbone=network)`.
        """
        super().__init__()
        self.student = copy.deepcopy(student)
        self.head = nn.Linear(student.num_features, num_classes)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.register_buffer("center", torch.zeros(student.num_features))
        self.register_buffer("scale", torch.ones(student.num_features))

    @property
    def num_classes(self) -> int:
        """C."""
        return self.head.out_features

    def forward(self, image: Tensor) -> Tensor:
        """Returns logits (B, C) of images (B, 3, S, S), uint8 or float in [0, 1]."""
        logits: Tensor = self.head((self.summary(image) - self.center) * self.scale)
        return logits

    def summary(self, image: Tensor) -> Tensor:
        """Returns the backbone's summary (B, D) of images (B, 3, S, S)."""
        features: Tensor = self.student(image).features.summary
        return features

    @torch.no_grad()
    def set_head(
        self, weight: npt.NDArray[np.floating], bias: npt.NDArray[np.floating], standardise: Standardiser
    ) -> None:
        """Sets the head to a classifier of raw summaries, to be trained on from there in standardised ones.

        Args:
            weight, bias: (C, D) and (C,).
            standardise: of summaries. It lets all dimensions move at a like speed, whatever their scale.
        """
        used = standardise.scale > 0
        rate = np.divide(1, standardise.scale, out=np.zeros_like(standardise.scale), where=used)
        device = self.center.device
        self.center.copy_(torch.from_numpy(standardise.center).to(device))
        self.scale.copy_(torch.from_numpy(standardise.scale).to(device))
        self.head.weight.copy_(torch.from_numpy(weight * rate).to(device))
        self.head.bias.copy_(torch.from_numpy(bias + weight @ standardise.center).to(device))

    @torch.no_grad()
    def plain_head(self) -> nn.Linear:
        """Returns the same head as one affine layer on raw summaries, for a file."""
        plain = nn.Linear(self.head.in_features, self.head.out_features)
        plain.weight.copy_(self.head.weight * self.scale)
        plain.bias.copy_(self.head.bias - plain.weight.to(self.center.device) @ self.center)
        return plain


class Predicted(NamedTuple):
    """What a classifier says of image files."""

    label: npt.NDArray[
        np.int64
    ]  # (P,) of the largest logit; -1 where the image cannot be read, which is never right
    logits: npt.NDArray[np.float32]  # (P, C); NaN where the image cannot be read
    bad: Mapping[int, str]  # place among the P -> reason


def predict(
    classifier: Classifier | Prototypes, paths: Sequence[str], *, batch_size: int = 64, workers: int = 2
) -> Predicted:
    """Returns what a classifier says of the centred square of each image. It is put into eval mode for the call."""
    keep_freed_memory()
    logits = np.full((len(paths), classifier.num_classes), np.nan, np.float32)
    bad: dict[int, str] = {}
    size, device = classifier.student.size, next(classifier.student.parameters()).device
    was_training = classifier.training
    classifier.eval()
    with bar("predict", total=len(paths)) as line, torch.inference_mode():
        for places, images, unreadable in center_crop_batches(
            paths, [size], batch_size=batch_size, workers=workers
        ):
            if len(places):
                logits[places] = classifier(images[size].to(device)).float().cpu().numpy()
            bad |= {int(place): reason for place, reason in unreadable}
            line.advance(len(places) + len(unreadable))
    classifier.train(was_training)
    label = np.where(np.isnan(logits).any(1), -1, logits.argmax(1))
    return Predicted(label.astype(np.int64), logits, bad)
