"""Bringing the features of different teachers to one scale.

`Standardise` makes every dimension zero-mean and unit-variance, as UNIC does (Sariyildiz et al. 2024, arXiv 2408.05088),
so that a teacher with large features does not drown the others. Differences from UNIC, whose running values start empty and are
used before they are updated, so that its first batch is not normalised: here the caller updates first, the running values are
corrected for their start, and by default they are exact cumulative ones instead of exponential ones. DUNE (arXiv 2503.14405)
normalises a training batch with its own statistics instead, which makes a target depend on its neighbours in the batch.

Axes: n rows, D width of the feature.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

# A dimension that varies less than this, relative to its mean or to the other dimensions, is constant but for
# rounding (float32 has 7 digits), and dividing by its deviation would blow that rounding up.
CONSTANT = 1e-6


class Standardise(nn.Module):
    """Running mean and deviation per dimension; zero mean and unit variance forward, the features again by `inverse`.

    Sums are kept in float64, so that they are the same, to float32's last digit, however rows were split into batches.
    """

    count: Tensor
    mean: Tensor
    squares: Tensor

    def __init__(self, num_features: int, *, momentum: float | None = None) -> None:
        """Builds it empty: it changes nothing until the first update.

        Args:
            momentum: None keeps exact statistics of all rows seen; a number in (0, 1), such as 0.01, lets each update
                weigh that much, and older ones fade.
        """
        super().__init__()
        self.momentum = momentum
        self.register_buffer(
            "count", torch.zeros((), dtype=torch.float64)
        )  # rows; or the weight of all updates
        self.register_buffer("mean", torch.zeros(num_features, dtype=torch.float64))
        self.register_buffer(
            "squares", torch.zeros(num_features, dtype=torch.float64)
        )  # of deviations, summed

    @torch.no_grad()
    def update(self, x: Tensor) -> None:
        """Takes rows (n, D) into the statistics; n may be 0."""
        if len(x) == 0:
            return
        rows = x.detach().double()
        mean = rows.mean(dim=0)
        squares = (rows - mean).square().sum(dim=0)
        if self.momentum is None:
            self._merge(len(rows), mean, squares)
        else:
            self.count *= 1 - self.momentum
            self.squares *= 1 - self.momentum
            self._merge(self.momentum, mean, squares / len(rows) * self.momentum)

    def forward(self, x: Tensor) -> Tensor:
        """Returns rows (n, D) standardised, float32."""
        return (
            (x.double() - self.mean) / self.deviation
        ).float()  # a mean far above the deviation needs float64

    def inverse(self, x: Tensor) -> Tensor:
        """Returns the features (n, D) of standardised rows, float32."""
        return (x.double() * self.deviation + self.mean).float()

    @property
    def deviation(self) -> Tensor:
        """Standard deviation of every dimension, (D,) float64; 1 where there is none."""
        deviation = (self.squares / self.count.clamp(min=torch.finfo(torch.float64).tiny)).sqrt()
        typical = deviation.square().mean().sqrt()
        varies = deviation > CONSTANT * torch.maximum(self.mean.abs(), typical)
        return torch.where(varies, deviation, 1.0)

    def _merge(self, count: float, mean: Tensor, squares: Tensor) -> None:
        """Joins two sets of rows (Chan, Golub, LeVeque 1983, eq. 2.1)."""
        total = self.count + count
        step = mean - self.mean
        self.squares += squares + step.square() * (self.count * count / total)
        self.mean += step * (count / total)
        self.count.copy_(total)


def unit_length(x: Tensor) -> Tensor:
    """Returns rows (n, D) divided by their lengths; zero rows stay zero."""
    return functional.normalize(x, dim=-1)
