"""Is one picture a copy of another? Lay the one over the other as well as a copy allows, and look at what is left.

A copy may have been compressed, scaled, trimmed by some percent and made brighter or darker. So thumbnail A is fitted to thumbnail B by six
numbers, gain and offset of brightness, shift and stretch in x and y, with Gauss-Newton steps (Lucas and Kanade, IJCAI 1981). Values that
clip at black or white have no say. Colour cannot be changed by it: the same drawing in another colour is another picture.

Two pictures are copies if the fit explains the variance, no small place differs much, and every small place has the same structure (that
factor of SSIM: Wang et al., IEEE TIP 2004). The last is what tells clocks that show different hours, and a smiling face from a frowning
one: as a whole these are 99 % the same. The limits were set on 13,000 drawn emoji, by eye, and on copies made of them.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from alumnus.log import bar

MIN_EXPLAINED = 0.95  # of B's variance
MAX_LOCAL = 16.0  # grey levels (0-255), mean over PATCH x PATCH px and colours, at the worst place …
MAX_LOCAL_SAME = (
    20.0  # … or this where the structure is SAME_STRUCTURE: brightening clips at the edges of a drawing
)
MIN_STRUCTURE, SAME_STRUCTURE = 0.8, 0.94  # over WINDOW x WINDOW px, at the worst place
PATCH, WINDOW = 5, 7
FAINT = 10.0  # grey levels; structure weaker than this is taken for noise
BORDER = 2  # px that a trimmed picture cannot explain
STEPS = 4  # for the geometry
RELIGHTS = 3
MAX_SHIFT = 0.1  # of half a side; a trim of 5 % at one edge
MAX_STRETCH = 0.1
GAINS, OFFSETS = (0.65, 1.55), (-0.15, 0.15)
CLIPPED = 0.015  # from black or white, where a value may have been cut off; beyond them, where it has been
BLUR = 1.0  # px; the fit is linear in the shift only where the picture is smooth
COARSE_PX = 12
MIN_COARSE = 0.9  # correlation of tiny pictures, without which no fit is tried; copies have 0.94 and more
AT_ONCE = 256  # pairs
DAMPING = 0.02  # keeps the fit where it is if a picture does not say, as a plain one does not


class Fit(NamedTuple):
    """How well P pairs fit; the better of A onto B and B onto A, since what was clipped in one cannot be had back."""

    explained: NDArray[np.float32]  # (P,) share of the variance, at most 1
    local: NDArray[np.float32]  # (P,) the worst place, in grey levels
    structure: NDArray[np.float32]  # (P,) the worst place, at most 1

    @property
    def is_copy(self) -> NDArray[np.bool_]:
        """(P,)."""
        limit = np.where(self.structure >= SAME_STRUCTURE, MAX_LOCAL_SAME, MAX_LOCAL)
        return (self.explained >= MIN_EXPLAINED) & (self.local <= limit) & (self.structure >= MIN_STRUCTURE)


def copies(
    thumbnails: NDArray[np.uint8], pairs: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Returns the pairs that are copies, in their order, and how alike each is.

    Args:
        thumbnails: (N, S, S, 3).
        pairs: (P, 2) rows.

    Returns:
        pairs: (C, 2).
        likeness: (C,) in [0.9, 1]: the share of the variance that is explained.
    """
    found, likeness = [np.empty((0, 2), np.int64)], [np.empty(0, np.float32)]
    with bar("comparing pictures", total=len(pairs)) as line:
        for first in range(0, len(pairs), 16 * AT_ONCE):
            part = pairs[first : first + 16 * AT_ONCE]
            close = part[_coarsely_alike(thumbnails, part)]
            for place in range(0, len(close), AT_ONCE):
                chosen = close[place : place + AT_ONCE]
                fit = fitted(thumbnails[chosen[:, 0]], thumbnails[chosen[:, 1]])
                found.append(chosen[fit.is_copy])
                likeness.append(fit.explained[fit.is_copy])
            line.advance(len(part))
    return np.concatenate(found), np.concatenate(likeness)


@torch.inference_mode()
def fitted(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> Fit:
    """Returns how well P pictures fit on P others; both (P, S, S, 3)."""
    a, b = _tensor(one), _tensor(other)
    forth, back = _compared(a, b), _compared(b, a)
    better = torch.where((forth[:, 1] <= back[:, 1])[:, None], forth, back).numpy()
    return Fit(better[:, 0], 255 * better[:, 1], better[:, 2])


def _compared(a: Tensor, b: Tensor) -> Tensor:
    """(P, 3): share of B's variance explained by A, difference and structure at the worst place."""
    moved = _moved(a, _geometry(_halved_grey(_smooth(a)), _halved_grey(_smooth(b))))
    gain, offset = _light(_smooth(moved), _smooth(b))
    # Clipped before it is smoothed, as the copy was.
    guess, goal = (_inner(_smooth(each)) for each in ((gain * moved + offset).clamp(0, 1), b))
    difference = guess - goal
    variance = goal.flatten(1).var(1, correction=0).clamp_min(1e-6)
    worst = _filtered(difference.abs().mean(1), _window(guess.shape[-1], PATCH)).amax((1, 2))
    explained = 1 - difference.square().mean((1, 2, 3)) / variance
    return torch.stack([explained, worst, _structure(guess, goal).amin((1, 2))], 1)


def _structure(one: Tensor, other: Tensor) -> Tensor:
    """(P, s, s) at most 1: how far the two vary alike within each window, all colours together."""

    window = _window(one.shape[-1], WINDOW)

    def around(values: Tensor) -> Tensor:
        return _filtered(values, window)

    mean, other_mean = around(one), around(other)
    together = (around(one * other) - mean * other_mean).sum(1)
    apart = (around(one.square() + other.square()) - mean.square() - other_mean.square()).sum(1)
    noise = one.shape[1] * (FAINT / 255) ** 2
    return (2 * together + noise) / (apart + noise)


def _geometry(a: Tensor, b: Tensor) -> Tensor:
    """(P, 4): shift and stretch in x, then in y, that lay A over B; both (P, 1, s, s)."""
    x, y = _axes(a.shape[-1])
    state = torch.tensor([1.0, 0, 0, 0, 0, 0]).repeat(len(a), 1)  # gain, offset, then the geometry
    limit = torch.tensor([MAX_SHIFT, MAX_STRETCH, MAX_SHIFT, MAX_STRETCH])
    low, high = (
        torch.cat([torch.tensor([GAINS[0], OFFSETS[0]]), -limit]),
        torch.cat([torch.tensor([GAINS[1], OFFSETS[1]]), limit]),
    )
    for _ in range(STEPS):
        gain, offset = state[:, 0, None, None, None], state[:, 1, None, None, None]
        moved = _moved(a, state[:, 2:])
        slope_x, slope_y = _slopes(gain * moved)
        columns = [moved, torch.ones_like(moved), slope_x, slope_x * x, slope_y, slope_y * y]
        jacobian = torch.cat(columns, 1).flatten(2).mT  # (P, s * s, 6)
        state = state + _solved(jacobian, b, gain * moved + offset)
        state = state.clamp(low, high)
    return state[:, 2:]


def _light(moved: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Gain and offset, each (P, 1, 1, 1) and one for all colours, that bring A nearest to B."""
    jacobian = torch.stack([moved, torch.ones_like(moved)], -1).flatten(1, 3)  # (P, 3 * S * S, 2)
    gain, offset = torch.ones(len(b), 1, 1, 1), torch.zeros(len(b), 1, 1, 1)
    for _ in range(RELIGHTS):  # what is clipped depends on the guess
        change = _solved(jacobian, b, gain * moved + offset)
        gain = (gain + change[:, 0, None, None, None]).clamp(*GAINS)
        offset = (offset + change[:, 1, None, None, None]).clamp(*OFFSETS)
    return gain, offset


def _solved(jacobian: Tensor, b: Tensor, guess: Tensor) -> Tensor:
    """The Gauss-Newton step (P, k) from a guess to B, which are alike in shape."""
    weighted = jacobian * (~_clipped(guess, b)).flatten(1).unsqueeze(-1)
    damping = DAMPING * b[0].numel() ** 0.5 * torch.eye(jacobian.shape[-1])
    wanted = weighted.mT @ (b - guess).flatten(1).unsqueeze(-1)
    step: Tensor = torch.linalg.solve(weighted.mT @ jacobian + damping, wanted)
    return step.squeeze(-1)


def _moved(a: Tensor, geometry: Tensor) -> Tensor:
    x, y = _axes(a.shape[-1])
    shift_x, stretch_x, shift_y, stretch_y = (part[:, None, None] for part in geometry.T)
    grid = torch.stack([x * (1 + stretch_x) + shift_x, y * (1 + stretch_y) + shift_y], -1)
    return functional.grid_sample(a, grid, padding_mode="border", align_corners=False)


def _halved_grey(image: Tensor) -> Tensor:
    """(P, 1, S / 2, S / 2): enough to find a shift to a tenth of a px, at a tenth of the work."""
    return _filtered(image.mean(1, keepdim=True), _window(image.shape[-1], 2, 2))


def _axes(side: int) -> tuple[Tensor, Tensor]:
    """x and y of every px, (side, side), in [-1, 1]."""
    middle = (2 * torch.arange(side) + 1) / side - 1
    y, x = torch.meshgrid(middle, middle, indexing="ij")
    return x, y


def _slopes(image: Tensor) -> tuple[Tensor, Tensor]:
    """Central differences in x and y, per unit of `_axes`; 0 at the edge."""
    side = image.shape[-1]
    x, y = torch.zeros_like(image), torch.zeros_like(image)
    x[..., 1:-1] = (image[..., 2:] - image[..., :-2]) * (side / 4)
    y[..., 1:-1, :] = (image[..., 2:, :] - image[..., :-2, :]) * (side / 4)
    return x, y


def _clipped(guess: Tensor, b: Tensor) -> Tensor:
    """Where a better guess would change nothing."""
    white = (guess > 1 + CLIPPED) | ((guess >= 1 - CLIPPED) & (b >= 1 - CLIPPED))
    return white | (guess < -CLIPPED) | ((guess <= CLIPPED) & (b <= CLIPPED))


def _coarsely_alike(thumbnails: NDArray[np.uint8], pairs: NDArray[np.int64]) -> NDArray[np.bool_]:
    rows, places = np.unique(pairs, return_inverse=True)
    tiny = functional.adaptive_avg_pool2d(_tensor(thumbnails[rows]), COARSE_PX).flatten(1)
    unit = functional.normalize(tiny - tiny.mean(1, keepdim=True), dim=1).numpy()
    first, second = places.reshape(-1, 2).T
    return np.asarray(np.einsum("pd,pd->p", unit[first], unit[second]) >= MIN_COARSE)


def _inner(image: Tensor) -> Tensor:
    return image[..., BORDER:-BORDER, BORDER:-BORDER]


def _smooth(image: Tensor) -> Tensor:
    return _filtered(image, _blur(image.shape[-1]))


def _filtered(image: Tensor, rows: Tensor) -> Tensor:
    """Applies a matrix to the rows and to the columns of each plane: six times faster than pooling and convolution on a CPU."""
    return rows @ image @ rows.T


@cache
def _blur(side: int) -> Tensor:
    """(side, side): a Gaussian that takes what lies outside to be as the edge is."""
    reach = torch.arange(-3, 4)
    weights = torch.exp(-reach.square() / (2 * BLUR**2))
    matrix = torch.zeros(side, side)
    for place in range(side):
        matrix[place].index_add_(0, (place + reach).clamp(0, side - 1), weights / weights.sum())
    return matrix


@cache
def _window(side: int, width: int, step: int = 1) -> Tensor:
    """(n, side): means over `width` neighbours, every `step`."""
    starts = torch.arange(0, side - width + 1, step)[:, None]
    places = torch.arange(side)
    return ((places >= starts) & (places < starts + width)).float() / width


def _tensor(pictures: NDArray[np.uint8]) -> Tensor:
    """(P, 3, S, S) in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float() / 255
