"""Multinomial logistic regression by L-BFGS, from strong to weak decay, each solution the start of the next.

    minimise   mean over images of -log softmax(x W' + b)[y]  +  decay / 2 |W|^2         (b is free)

Features are standardised first (each dimension by the training part's own mean and deviation, as the batch norm without scale that MAE puts
before its linear probe: He et al. 2022, arXiv 2111.06377, appendix A.1) and divided by the square root of their number, so that their mean
squared length is 1. One set of decays then suits encoders of any scale and width, which it does not on raw features.

Axes: N images, D width, C classes, r width that is solved in (at most N).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from alumnus.evaluation.arrays import Doubles, Floats, Ids

MAX_ITERATIONS = 1000  # CLIP's (Radford et al. 2021, arXiv 2103.00020, appendix A.3)
GRADIENT = 1e-4  # solved when its largest entry has fallen to this part of that at W = 0
CHANGE = 1e-7  # … or when an iteration lowers the loss by less than this
ELEMENTS = 1 << 23  # of the largest temporary array; 32 MB
CONSTANT = (
    1e-6  # a dimension that varies by less than this part of its mean varies by rounding; it is left out
)


class Standardiser(NamedTuple):
    """The map x -> (x - center) * scale; `scale` is 0 where a dimension is constant."""

    center: Doubles  # (D,)
    scale: Doubles  # (D,)

    def __call__(self, features: Floats) -> Doubles:
        """Returns features (n, D) mapped, in float64."""
        return (features.astype(np.float64) - self.center) * self.scale


class Solution(NamedTuple):
    """Weights for standardised features."""

    decay: float
    weight: Doubles  # (C, D)
    bias: Doubles  # (C,)
    iterations: int  # of L-BFGS
    converged: bool  # False if it ran out of iterations


def standardiser(features: Floats) -> Standardiser:
    """Returns the map that gives the rows of (N, D) mean 0 and mean squared length 1, all dimensions contributing alike."""
    wide = features.astype(np.float64)
    center, deviation = wide.mean(0), wide.std(0)
    varies = deviation > CONSTANT * np.abs(center)
    scale = np.divide(1, deviation, out=np.zeros_like(deviation), where=varies)
    return Standardiser(center, scale / max(1, int(varies.sum())) ** 0.5)


def solve(
    features: Doubles, place: Ids, num_classes: int, *, decays: Sequence[float], device: str = "cpu"
) -> Iterator[Solution]:
    """Yields the solution for each decay, in their order; stop asking and the rest is not computed.

    Args:
        features: (N, D), standardised.
        place: (N,) class of each image in [0, C).
        decays: above 0, best from strong to weak.
        device: where to compute; in float32, which is two to three times as fast as float64 and moves no digit that is shown.
    """
    inner, basis = _reduce(features)
    x = torch.from_numpy(inner).float().to(device)
    y = torch.from_numpy(place).to(device)
    theta = torch.zeros((num_classes, x.shape[1] + 1), device=device)  # weight and bias
    steepest = float(_loss_and_gradient(theta, x, y, 0.0)[1].abs().max())
    for decay in decays:
        iterations = _descend(theta, x, y, decay, tolerance=GRADIENT * steepest)
        found = theta.cpu().numpy().astype(np.float64)
        weight = found[:, :-1] if basis is None else found[:, :-1] @ basis
        yield Solution(decay, weight, found[:, -1], iterations, iterations < MAX_ITERATIONS)


def _reduce(features: Doubles) -> tuple[Doubles, Doubles | None]:
    """Returns (N, r) and an orthonormal (r, D) whose product is the features, if that is worth it (else the features and None).

    The best W lies in the span of the images, and the decay does not care how that span is turned: the solution is the same.
    """
    n, width = features.shape
    if 2 * n > width:
        return features, None
    basis, triangle = np.linalg.qr(features.T)  # (D, n), (n, n)
    return np.ascontiguousarray(triangle.T), np.ascontiguousarray(basis.T)


def _descend(theta: Tensor, x: Tensor, y: Tensor, decay: float, *, tolerance: float) -> int:
    """Moves theta to the minimum; returns the number of iterations."""
    optimizer = torch.optim.LBFGS(
        [theta],
        max_iter=MAX_ITERATIONS,
        tolerance_grad=tolerance,
        tolerance_change=CHANGE,
        history_size=10,
        line_search_fn="strong_wolfe",
    )

    def closure() -> float:
        loss, theta.grad = _loss_and_gradient(theta, x, y, decay)
        return float(loss)

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    theta.grad = None
    return int(optimizer.state[theta]["n_iter"])


@torch.no_grad()
def _loss_and_gradient(theta: Tensor, x: Tensor, y: Tensor, decay: float) -> tuple[Tensor, Tensor]:
    """Returns the value and the gradient (C, r + 1), from blocks of images, so that no (N, C) table is needed."""
    weight, bias = theta[:, :-1], theta[:, -1]
    loss = decay / 2 * weight.double().square().sum()
    gradient = torch.cat([decay * weight, torch.zeros_like(bias)[:, None]], 1)
    step = max(1, ELEMENTS // len(theta))
    for start in range(0, len(x), step):
        part, own = x[start : start + step], y[start : start + step, None]
        log_share = torch.log_softmax(torch.addmm(bias, part, weight.T), 1)  # (b, C)
        loss -= log_share.gather(1, own).double().sum() / len(x)
        error = log_share.exp_()
        error.scatter_add_(1, own, error.new_full(own.shape, -1))
        gradient[:, :-1].addmm_(error.T, part, alpha=1 / len(x))
        gradient[:, -1].add_(error.sum(0), alpha=1 / len(x))
    return loss, gradient
