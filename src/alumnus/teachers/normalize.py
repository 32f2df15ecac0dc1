"""Bringing the features of different teachers to one scale.

`Standardise` makes every dimension zero-mean and unit-variance, as UNIC does (Sariyildiz et al. 2024, arXiv 2408.05088),
so that a teacher with large features does not drown the others. Differences from UNIC, whose running values start empty and are
used before they are updated, so that its first batch is not normalised: here the caller updates first, the running values are
corrected for their start, and by default they are exact cumulative ones instead of exponential ones. DUNE (arXiv 2503.14405)
normalises a training batch with its own statistics instead, which makes a target depend on its neighbours in the batch.

`Standardise.fitted`, `Whiten` and `PhiS` are fitted once, in float64, to the moments of a teacher's features, and stay: the target of
an image is the same at every step. Their buffers belong to the objective's state, so a run that is resumed has them back without fitting.

- `Whiten`: unit variance in every direction, none of which goes with another. Of all such maps it is ZCA, whose result is the closest to
  the centred features in squared distance (Kessy, Lewin, Strimmer 2018, arXiv 1512.00809): a dimension keeps its meaning.
- `PhiS`: every dimension has unit variance, by a rotation and one scale for all, so that angles and relative distances stay what they
  were: PHI-S of Ranzinger et al. 2024 (arXiv 2410.01680), Y = H U^T (X - mean) / phi with the eigenvectors U of the covariance, a Hadamard
  matrix H and phi^2 the mean eigenvalue. Difference: where no Hadamard matrix can be made, their code takes a random orthogonal
  matrix, after which variances are only roughly equal; here a few plane rotations more make them equal (see `hadamard`).

All compute in float64: a mean far above the deviation needs it, and autocast would turn a float32 product into bfloat16.

Axes: n rows, D width of the feature.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from alumnus.errors import ConfigError
from alumnus.moments import Moments
from alumnus.teachers.hadamard import equalised, flat_rotation

# A dimension that varies less than this, relative to its mean or to the other dimensions, is constant but for
# rounding (float32 has 7 digits), and dividing by its deviation would blow that rounding up.
CONSTANT = 1e-6

# A direction whose variance is a smaller part of the largest one's holds no signal: rounding of a float16 store alone makes about 1e-7 of
# the typical squared feature, of an int8 one 5e-6. What is above it is enlarged 316 times at most, relative to the strongest.
DEAD = 1e-5

Normalise = Literal["running", "standardise", "whiten", "phi_s", "none"]


def normaliser(
    kind: Normalise, num_features: int, moments: Moments | None = None, *, teacher: str = "a teacher"
) -> nn.Module:
    """Returns a module that maps a teacher's features (..., D) to targets, and back by its `inverse`.

    Args:
        kind: `running` is updated by the caller during training; `standardise`, `whiten` and `phi_s` are fitted to the moments; `none`.
        moments: of that teacher's features; `running` and `none` do without.
        teacher: its name, for messages.

    Raises:
        ConfigError: moments are needed and there are none, or they are of another width, or of too few rows.
    """
    if kind == "running":
        return Standardise(num_features)
    if kind == "none":
        return Unchanged()
    if moments is None or not moments.count:
        raise ConfigError(
            f"normalise={kind} needs the mean and covariance of the features of {teacher}, and there are none: write a store of them "
            "with `alumnus cache build` and train from it, or use normalise=running, which needs nothing"
        )
    if moments.num_features != num_features:
        raise ConfigError(
            f"the moments given for {teacher} are of width {moments.num_features}, but its features have {num_features}; "
            "they belong to another teacher, or to another output of it: build its store again"
        )
    if kind == "whiten" and moments.count <= num_features:
        raise ConfigError(
            f"normalise=whiten divides by the variance of every one of {num_features} directions of {teacher}, which {moments.count} rows "
            f"cannot tell; give more than {num_features} (some times as many are better), or use phi_s or standardise"
        )
    return _FITTED[kind](moments)


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

    @classmethod
    def fitted(cls, moments: Moments) -> Standardise:
        """Returns the one for these moments, as if it had been updated with all their rows."""
        made = cls(moments.num_features)
        made.count.fill_(moments.count)
        made.mean.copy_(moments.mean)
        made.squares.copy_(moments.covariance.diagonal() * moments.count)
        return made

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


class Whiten(nn.Module):
    """Unit variance in every direction, covariance the identity; the features again by `inverse`.

    Directions that are dead (see DEAD), as in features of a rank below their width, are neither enlarged nor dropped: they are divided by
    the typical deviation, as if they were as strong as the others, so they stay as small as they are, relative to those, and
    `inverse` still gives all back.
    """

    mean: Tensor
    axes: Tensor
    deviation: Tensor

    def __init__(self, num_features: int) -> None:
        """Builds one that changes nothing, to be filled by `fitted` or `load_state_dict`."""
        super().__init__()
        self.register_buffer("mean", torch.zeros(num_features, dtype=torch.float64))
        self.register_buffer("axes", torch.eye(num_features, dtype=torch.float64))  # a row is a direction
        self.register_buffer("deviation", torch.ones(num_features, dtype=torch.float64))  # of each direction

    @classmethod
    def fitted(cls, moments: Moments) -> Whiten:
        """Returns the one for these moments."""
        made, spectrum = cls(moments.num_features), _spectrum(moments)
        is_live = spectrum.variance > (DEAD * spectrum.variance.max()).clamp(min=spectrum.rounding)
        typical = spectrum.variance[is_live].mean() if is_live.any() else 1.0
        variance = torch.where(is_live, spectrum.variance, typical)
        made.mean.copy_(moments.mean)
        made.axes.copy_(spectrum.axes)
        made.deviation.copy_(variance.sqrt())
        return made

    def forward(self, x: Tensor) -> Tensor:
        """Returns rows (..., D) whitened, float32."""
        return (((x.double() - self.mean) @ self.axes.T / self.deviation) @ self.axes).float()

    def inverse(self, x: Tensor) -> Tensor:
        """Returns the features (..., D) of whitened rows, float32."""
        return ((x.double() @ self.axes.T * self.deviation) @ self.axes + self.mean).float()


class PhiS(nn.Module):
    """Unit variance in every dimension, by a rotation and one scale; the features again by `inverse`."""

    mean: Tensor
    rotation: Tensor
    scale: Tensor

    def __init__(self, num_features: int) -> None:
        """Builds one that changes nothing, to be filled by `fitted` or `load_state_dict`."""
        super().__init__()
        self.register_buffer("mean", torch.zeros(num_features, dtype=torch.float64))
        self.register_buffer(
            "rotation", torch.eye(num_features, dtype=torch.float64)
        )  # a row is a new dimension
        self.register_buffer("scale", torch.ones((), dtype=torch.float64))  # phi

    @classmethod
    def fitted(cls, moments: Moments) -> PhiS:
        """Returns the one for these moments."""
        made, spectrum = cls(moments.num_features), _spectrum(moments)
        first = flat_rotation(moments.num_features) @ spectrum.axes
        made.mean.copy_(moments.mean)
        made.rotation.copy_(equalised(first, moments.covariance))
        typical = spectrum.variance.mean()
        made.scale.copy_(torch.where(typical > spectrum.rounding, typical.sqrt(), 1.0))
        return made

    def forward(self, x: Tensor) -> Tensor:
        """Returns rows (..., D) turned and scaled, float32."""
        return ((x.double() - self.mean) @ self.rotation.T / self.scale).float()

    def inverse(self, x: Tensor) -> Tensor:
        """Returns the features (..., D) of turned and scaled rows, float32."""
        return (x.double() @ self.rotation * self.scale + self.mean).float()


class Unchanged(nn.Module):
    """The features as they are."""

    def forward(self, x: Tensor) -> Tensor:
        """Returns rows (..., D), float32."""
        return x.float()

    def inverse(self, x: Tensor) -> Tensor:
        """Returns rows (..., D), float32."""
        return x.float()


def inverse_map(chosen: nn.Module) -> tuple[Tensor, Tensor] | None:
    """Returns what `inverse` of a normaliser does to a vector: a matrix (D, D), then an addend (D,), float64; None if it does nothing."""
    match chosen:
        case Standardise():
            return chosen.deviation.diag(), chosen.mean
        case Whiten():
            return chosen.axes.T @ (chosen.deviation[:, None] * chosen.axes), chosen.mean
        case PhiS():
            return chosen.rotation.T * chosen.scale, chosen.mean
    return None


_FITTED = {"standardise": Standardise.fitted, "whiten": Whiten.fitted, "phi_s": PhiS.fitted}


def unit_length(x: Tensor) -> Tensor:
    """Returns rows (n, D) divided by their lengths; zero rows stay zero."""
    return functional.normalize(x, dim=-1)


class _Spectrum(NamedTuple):
    """The directions of a covariance, weak to strong."""

    variance: Tensor  # (D,), none negative
    axes: Tensor  # (D, D), a row is a direction of unit length
    rounding: float  # variance that the features' own rounding may make


def _spectrum(moments: Moments) -> _Spectrum:
    variance, columns = torch.linalg.eigh(moments.covariance)
    rounding = CONSTANT**2 * float(moments.mean.square().mean())
    return _Spectrum(variance.clamp(min=0), columns.T, rounding)  # eigh's own makes some a little negative
