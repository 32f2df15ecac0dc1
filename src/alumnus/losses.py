"""Pure functions from tensors to losses, shared by the methods.

Axes: B images, D width of a feature, C classes. Each returns one value an image unless it says otherwise. Where it says (..., D), a grid
of patches (B, N, D) gives one value a patch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

NEAR = 1e-4  # of the mean distance: what is nearer has no direction
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


def softened_kl(logits: Tensor, target: Tensor, *, temperature: float) -> Tensor:
    """Returns T^2 KL(softmax(target / T) || softmax(logits / T)) (B,) of logits (B, C) and (B, C).

    Knowledge distillation (Hinton et al. 2015, arXiv 1503.02531, section 2): the gradient falls as 1 / T^2, which the factor makes good.

    Args:
        temperature: T > 0.
    """
    return temperature**2 * softmax_divergence(logits, target, temperature=temperature)


def squared_angle(prediction: Tensor, target: Tensor) -> Tensor:
    """Returns the squared angle (...,) in rad^2, in [0, pi^2], between (..., D) and (..., D): summary loss of C-RADIOv4 (arXiv 2601.17237).

    Below 1.4 mrad it is flat, since the slope of the arc cosine is infinite at 1.
    """
    cosine = functional.cosine_similarity(prediction, target, dim=-1)
    return cosine.clamp(-1 + 1e-6, 1 - 1e-6).acos().square()


def relative_distances(x: Tensor) -> Tensor:
    """Returns the Euclidean distances (B, B) between rows of (B, D), divided by their mean over pairs of two rows; B >= 2.

    psi_D of relational knowledge distillation (Park et al. 2019, arXiv 1904.05068, eq. 5 and 6). The scale of x does not matter.
    """
    distance = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist")
    mean = distance.sum() / (len(x) * (len(x) - 1))
    return distance / mean.clamp(min=torch.finfo(x.dtype).eps)


def distance_relations(prediction: Tensor, target: Tensor) -> Tensor:
    """Returns the mean Huber distance (B,) of each image's relative distances to the others; (B, D) and (B, E), B >= 2.

    RKD-D of Park et al. 2019 (arXiv 1904.05068, eq. 7). The two widths may differ.
    """
    difference = functional.smooth_l1_loss(
        relative_distances(prediction), relative_distances(target), reduction="none"
    )
    return difference.sum(dim=1) / (len(prediction) - 1)


def angle_relations(prediction: Tensor, target: Tensor) -> Tensor:
    """Returns the mean Huber distance (B,) of the cosines of the angles that others form at each image; (B, D) and (B, E), B >= 3.

    RKD-A of Park et al. 2019 (arXiv 1904.05068, eq. 8 and 9), over triples of three different images. Memory grows as B^2 (B + D).
    """
    count = len(prediction)
    difference = functional.smooth_l1_loss(_angles(prediction), _angles(target), reduction="none")
    return difference.sum(dim=(1, 2)) / ((count - 1) * (count - 2))


def asymmetric_relations(prediction: Tensor, target: Tensor) -> Tensor:
    """Returns the mean one-sided Huber distance (B,) of each image's relative distances to the others; (B, D) and (B, E), B >= 2.

    After the asymmetric relational distillation of SigLino (Chaybouti et al. 2025, arXiv 2512.20157): pairs that are near for the teacher,
    nearer than its median, may not be farther for the student; pairs that are far may not be nearer. The other way costs nothing.
    """
    guess, truth = relative_distances(prediction), relative_distances(target)
    others = ~torch.eye(len(truth), dtype=torch.bool, device=truth.device)
    is_near = truth < truth[others].median()
    excess = torch.where(is_near, guess - truth, truth - guess).clamp(min=0) * others
    return functional.smooth_l1_loss(excess, torch.zeros_like(excess), reduction="none").sum(dim=1) / (
        len(prediction) - 1
    )


def _angles(x: Tensor) -> Tensor:
    """(B, D) -> (B, B, B): at image j, the cosine between the directions to i and to k; 0 where two of the three are one, or as good as."""
    difference = x[None] - x[:, None]  # (B at j, B to i, D)
    length = difference.detach().norm(dim=-1, keepdim=True)
    # The gradient of a direction is one over the length: that of two nearly equal images would outweigh all others.
    direction = functional.normalize(difference.masked_fill(length < NEAR * length.mean(), 0), dim=-1)
    cosine = direction @ direction.transpose(1, 2)
    return cosine * ~torch.eye(len(x), dtype=torch.bool, device=x.device)


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


def attention_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Returns the squared distance (B,), in [0, 2], of where two networks look: patches (B, N, D) and (B, N, E) of the same grid.

    Attention transfer (Zagoruyko and Komodakis 2017, arXiv 1612.03928, eq. 2): a map is the sum over channels of squares, of unit length.
    The paper adds up distances, its code takes their squares, as here.
    """
    ours, theirs = (patches.float().square().sum(-1) for patches in (student, teacher))
    return (functional.normalize(ours, dim=1) - functional.normalize(theirs, dim=1)).square().sum(1)
