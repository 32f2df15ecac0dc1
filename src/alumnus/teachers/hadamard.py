"""Rotations that spread each direction over all dimensions: Hadamard matrices, what stands in where there is none, and the finishing touch.

A Hadamard matrix has entries +1 and -1 and orthogonal rows. They are known for 1, 2 and nearly every multiple of 4, and made here by
Sylvester's doubling (1867), Paley's two constructions from quadratic residues (1933, "On orthogonal matrices"; of a prime p, not of its
powers), and Kronecker products of those: all powers of two, and 12, 20, 24, 96, 192, 384, 576, 768, 1152, 1280, 1536 …

There is none for other numbers, and no other real orthogonal matrix has entries of one magnitude either. Hartley's matrix, of which there
is one for every number, has entries of at most 1.41 times the typical one, and `equalised` turns what it leaves.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

LEVEL = 1e-12  # of the mean: variances that differ by less are equal but for rounding


def flat_rotation(size: int) -> Tensor:
    """Returns an orthogonal matrix (size, size) float64 with entries of one magnitude, or of nearly one where that cannot be made."""
    signs = hadamard(size)
    return hartley(size) if signs is None else signs / math.sqrt(size)


def hadamard(size: int) -> Tensor | None:
    """Returns a Hadamard matrix (size, size) float64 of ones and minus ones, or None where these constructions give none.

    >>> hadamard(2).tolist(), hadamard(6)
    ([[1.0, 1.0], [1.0, -1.0]], None)
    """
    if size in (1, 2):
        return torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=torch.float64)[:size, :size]
    if size < 1 or size % 4:
        return None
    if _is_prime(size - 1):  # size is a multiple of 4, so the prime is 3 modulo 4
        return _paley_one(size - 1)
    if size % 8 == 4 and _is_prime(size // 2 - 1):  # 1 modulo 4
        return _paley_two(size // 2 - 1)
    for factor in (2, *range(4, math.isqrt(size) + 1, 4)):
        if size % factor == 0:
            small, large = hadamard(factor), hadamard(size // factor)
            if small is not None and large is not None:
                return torch.kron(small, large)
    return None


def hartley(size: int) -> Tensor:
    """Returns the orthogonal Hartley matrix (size, size) float64: cos + sin of 2 pi i k / size, over the root of size."""
    steps = torch.arange(size, dtype=torch.int64)
    angle = (steps[:, None] * steps % size).double() * (2 * math.pi / size)
    return (angle.cos() + angle.sin()) / math.sqrt(size)


def equalised(rotation: Tensor, covariance: Tensor) -> Tensor:
    """Returns a rotation after which every dimension has the same variance, the mean one: the given one, turned a little further.

    Each Givens rotation brings one dimension to the mean, by turning it against another on the other side of it, so at most D - 1 of them
    do (Bendel and Mickey 1978, "Population correlation matrices for sampling experiments"; Chan and Li 1983). Nothing is turned where
    the variances are equal already, as after a Hadamard matrix.

    Args:
        rotation: (D, D) float64, orthogonal.
        covariance: (D, D) float64, of the features before it.
    """
    turned, after = rotation.clone(), rotation @ covariance @ rotation.T
    mean = after.diagonal().mean()
    for _ in range(len(after) - 1):
        excess = after.diagonal() - mean
        low, high = int(excess.argmin()), int(excess.argmax())
        if excess[high] - excess[low] <= LEVEL * mean:
            break
        cosine, sine = _angle(after, low, high, mean)
        for matrix in (turned, after, after.T):
            one, other = matrix[low].clone(), matrix[high].clone()
            matrix[low], matrix[high] = cosine * one + sine * other, cosine * other - sine * one
    return turned


def _angle(covariance: Tensor, low: int, high: int, mean: Tensor) -> tuple[float, float]:
    """Cosine and sine of the turn after which dimension `low` has the variance `mean`.

    With t the tangent: a + 2 t b + t^2 c = mean (1 + t^2), of which the smaller root is taken.
    """
    a, b, c = (float(covariance[i, j]) for i, j in ((low, low), (low, high), (high, high)))
    below, above = a - float(mean), c - float(mean)  # at most 0, at least 0: so there is a root
    root = math.sqrt(max(0.0, b * b - below * above))
    lower = -b - math.copysign(root, b)
    tangent = (
        below / lower if lower else 0.0
    )  # the numerically stable form of the root that is smaller in size
    cosine = 1 / math.hypot(1, tangent)
    return cosine, tangent * cosine


def _paley_one(prime: int) -> Tensor:
    """(prime + 1, prime + 1), for a prime that is 3 modulo 4: I + S, S with a border around the residues."""
    return torch.eye(prime + 1, dtype=torch.float64) + _bordered(prime, -1.0)


def _paley_two(prime: int) -> Tensor:
    """(2 prime + 2, 2 prime + 2), for a prime that is 1 modulo 4: each entry of the bordered matrix becomes a block of 2 x 2."""
    plus = torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=torch.float64)
    zero = torch.tensor([[1.0, -1.0], [-1.0, -1.0]], dtype=torch.float64)
    eye = torch.eye(prime + 1, dtype=torch.float64)
    return torch.kron(_bordered(prime, 1.0), plus) + torch.kron(eye, zero)


def _bordered(prime: int, corner: float) -> Tensor:
    """(prime + 1, prime + 1) with zeros on the diagonal: Jacobsthal's matrix of residues, 1 above it and `corner` beside it."""
    numbers = torch.arange(prime)
    residue = torch.full((prime,), -1.0, dtype=torch.float64)
    residue[numbers.square() % prime] = 1.0
    residue[0] = 0.0
    found = torch.zeros(prime + 1, prime + 1, dtype=torch.float64)
    found[1:, 1:] = residue[(numbers[:, None] - numbers) % prime]
    found[0, 1:], found[1:, 0] = 1.0, corner
    return found


def _is_prime(number: int) -> bool:
    return number > 1 and all(number % factor for factor in range(2, math.isqrt(number) + 1))
