"""Pure functions from tensors to losses, shared by the methods.

Axes: B images, D width of a feature, C classes. Each returns one value an image unless it says otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

MEDIAN_FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)  # of the kernels' squared widths, around the median rule's


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


def squared_mmd(x: Tensor, y: Tensor, *, widths: Sequence[float] | None = None) -> Tensor:
    """Returns the squared maximum mean discrepancy, a scalar >= 0, of two sets of points (n, D) and (m, D).

    It compares distributions: the order of either set does not matter. The biased statistic with a sum of Gaussian kernels (Gretton et al.
    2012, "A kernel two-sample test", JMLR 13): mean k(x, x') + mean k(y, y') - 2 mean k(x, y), k = sum of exp(-|a - b|^2 / (2 width^2)).

    Args:
        widths: of the kernels. By default they follow from the points: the median of the squared distances between two different points is
            2 width^2, times 1/4, 1/2, 1, 2 and 4. No gradient passes through the median.
    """
    both = torch.cat([x, y]).float()
    # By differences, not by products: of near points a product leaves rounding alone.
    distance = torch.cdist(both, both, compute_mode="donot_use_mm_for_euclid_dist")
    squares = distance.square()  # (n + m, n + m)
    if widths is None:
        different = torch.triu_indices(len(both), len(both), offset=1, device=both.device)
        median = (
            squares.detach()[different[0], different[1]].median().clamp(min=torch.finfo(torch.float32).eps)
        )
        doubled = median * squares.new_tensor(MEDIAN_FACTORS)
    else:
        doubled = 2 * squares.new_tensor(widths).square()
    kernel = torch.exp(-squares[..., None] / doubled).sum(-1)
    n = len(x)
    return functional.relu(kernel[:n, :n].mean() + kernel[n:, n:].mean() - 2 * kernel[:n, n:].mean())


def soft_target_divergence(logits: Tensor, target: Tensor, known: Tensor) -> Tensor:
    """Returns KL(softmax(target) || softmax(logits)) (B,), both softmaxes over the classes that are known of an image; 0 where none is.

    Args:
        logits: (B, C).
        target: (B, C); what it holds where nothing is known does not matter.
        known: (B, C) bool.
    """
    nowhere = -1e9  # its exponential is 0, and differences of two such numbers are finite
    ours = functional.log_softmax(torch.where(known, logits.float(), nowhere), dim=-1)
    theirs = functional.log_softmax(torch.where(known, target.float(), nowhere), dim=-1)
    return (theirs.exp() * (theirs - ours) * known).sum(-1)
