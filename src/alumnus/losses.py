"""Pure functions from tensors to losses, shared by the methods.

Axes: B images, D width of a feature, C classes. Each returns one value an image unless it says otherwise.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional


def cosine_distance(prediction: Tensor, target: Tensor) -> Tensor:
    """Returns 1 - cos (B,), in [0, 2], of (B, D) and (B, D)."""
    return 1 - functional.cosine_similarity(prediction, target, dim=-1)


def smooth_l1(prediction: Tensor, target: Tensor) -> Tensor:
    """Returns the smooth-L1 distance (B,) of (B, D) and (B, D): mean over D, beta = 1."""
    return functional.smooth_l1_loss(prediction, target, reduction="none").mean(dim=-1)


def feature_distance(prediction: Tensor, target: Tensor) -> Tensor:
    """Returns 0.5 (1 - cos) + 0.5 smooth-L1 (B,), the loss of UNIC (Sariyildiz et al. 2024, arXiv 2408.05088)."""
    return 0.5 * cosine_distance(prediction, target) + 0.5 * smooth_l1(prediction, target)


def normalised_softmax(
    cosine: Tensor, label: Tensor, *, scale: float, offset: Tensor | float = 0.0
) -> Tensor:
    """Returns the cross-entropy (B,) of scaled cosines (B, C), NormFace (Wang et al. 2017, arXiv 1704.06369).

    UDON uses scale 16 and no margin.

    Args:
        label: (B,) int64 in [0, C).
        offset: (C,) added to the scaled cosines, where these are a sample of the classes: see `heads.sampled_classes`.
    """
    return functional.cross_entropy(scale * cosine + offset, label, reduction="none")


MarginKind = Literal["cosface", "arcface"]


def with_margin(cosine: Tensor, label: Tensor, *, margin: float, kind: MarginKind) -> Tensor:
    """Returns cosines (B, C) of which that of each image's own class is made smaller, so that it has to win by a margin.

    `cosface`: cos - m (Wang et al. 2018, arXiv 1801.09414, eq. 4). `arcface`: cos(angle + m) (Deng et al. 2019, arXiv 1801.07698, eq. 3),
    and where angle + m would pass pi, cos - m sin m, which goes on falling.

    Args:
        label: (B,) int64 in [0, C).
        margin: m; of a cosine, or of an angle in radians.
    """
    if margin == 0:
        return cosine
    own = cosine.gather(1, label[:, None])  # (B, 1)
    if kind == "cosface":
        return cosine.scatter(1, label[:, None], own - margin)
    sine = (1 - own.square()).clamp(min=1e-12).sqrt()
    turned = own * math.cos(margin) - sine * math.sin(margin)
    turned = torch.where(own > -math.cos(margin), turned, own - margin * math.sin(margin))
    return cosine.scatter(1, label[:, None], turned)


def softmax_divergence(
    student: Tensor, teacher: Tensor, *, temperature: float, offset: Tensor | float = 0.0
) -> Tensor:
    """Returns KL(softmax(teacher / T) || softmax(student / T)) (B,) of logits (B, C) and (B, C), without Hinton's factor T^2.

    Gradients stop nowhere; detach the teacher's logits where it is not to be moved.

    Args:
        offset: (C,) added to both after the division, where classes are a sample.
    """
    wanted = functional.log_softmax(teacher / temperature + offset, dim=-1)
    found = functional.log_softmax(student / temperature + offset, dim=-1)
    return (wanted.exp() * (wanted - found)).sum(dim=-1)


def relational_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Returns the mean over q (B,) of (s_pq - t_pq)^2, where s and t are the similarities within the batch, q = p included.

    Args:
        student: (B, E), of unit length for cosines.
        teacher: (B, D), which may be of another width.
    """
    return (student @ student.T - teacher @ teacher.T).square().mean(dim=-1)
