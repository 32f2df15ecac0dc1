"""Pure functions from tensors to losses, shared by the methods.

Axes: B images, D width of a feature, C classes. Each returns one value an image unless it says otherwise.
"""

from __future__ import annotations

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


def normalised_softmax(cosine: Tensor, label: Tensor, *, scale: float) -> Tensor:
    """Returns the cross-entropy (B,) of scaled cosines (B, C), NormFace (Wang et al. 2017, arXiv 1704.06369).

    UDON uses scale 16 and no margin.

    Args:
        label: (B,) int64 in [0, C).
    """
    return functional.cross_entropy(scale * cosine, label, reduction="none")
