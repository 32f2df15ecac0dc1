"""Loss-driven control, one law for both axes: which domain a batch is of, and how much a teacher counts.

`sampler: dynamic` is the one, `weighting: dynamic` the other.

What is worse off gets more. Part i, of share s_i and loss L_i >= 0, has the weight

    p_i = floor s_i + (1 - floor) w_i,   w_i = s_i L_i^(1/T) / sum_j s_j L_j^(1/T)

The sampler of UDON (Ypsilantis et al. 2024, arXiv 2406.08332) has s_i = 1/D, T = 1 and no floor; shares, floor and temperature are ours.
What L is divided by first, and what becomes of parts of which no loss is known, the two callers say.

Axes: K parts.
"""

from __future__ import annotations

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor


class ControlSettings(BaseModel):
    """How losses become weights."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    floor: float = Field(
        0.0, ge=0, le=1, description="least weight of a part, as a share of what it has without control"
    )
    temperature: float = Field(
        1.0, gt=0, description="weights are as loss^(1/temperature); above 1 they come nearer to one another"
    )


def by_loss(loss: Tensor, seen: Tensor, share: Tensor, *, temperature: float = 1.0) -> Tensor:
    """Returns w (K,): as share x loss^(1/temperature) where `seen`, summing to 1; 0 elsewhere, and everywhere if all losses are 0.

    Args:
        loss: (K,) float64; below 0 counts as 0, and what stands where nothing was seen does not count.
        seen: (K,) bool.
        share: (K,) float64, positive.
    """
    powers = torch.where(seen, share * loss.clamp(min=0).pow(1 / temperature), 0.0)
    total = powers.sum()
    return torch.where(total > 0, powers / total, torch.zeros_like(powers))


def with_floor(weight: Tensor, share: Tensor, floor: float) -> Tensor:
    """Returns p (K,), at least floor x share; it sums to 1 if both do."""
    return floor * share + (1 - floor) * weight
