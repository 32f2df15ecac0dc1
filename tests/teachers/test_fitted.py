"""Fitted normalisers: what each promises of the features it was fitted to, and that nothing weak is blown up."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from alumnus.errors import ConfigError
from alumnus.moments import Moments
from alumnus.teachers.normalize import Normalise, PhiS, Standardise, Unchanged, Whiten, normaliser

FITTED: tuple[Normalise, ...] = ("standardise", "whiten", "phi_s")


def _rows(width: int, *, rank: int | None = None, count: int = 0) -> Tensor:
    """(n, width) float64 with a mean, correlated, deviations between about 0.1 and 10."""
    rank = width if rank is None else rank
    strength = torch.logspace(-1, 1, rank, dtype=torch.float64)
    mixing: Tensor = torch.linalg.qr(torch.randn(width, rank, dtype=torch.float64))[0]
    latent = torch.randn(count or 4 * width + 50, rank, dtype=torch.float64) * strength
    return latent @ mixing.T + torch.randn(width, dtype=torch.float64) * 5


def _moments(rows: Tensor) -> Moments:
    moments = Moments(rows.shape[-1])
    moments.update(rows)
    return moments


def _covariance(rows: Tensor) -> Tensor:
    centred = rows.double() - rows.double().mean(0)
    return centred.T @ centred / len(rows)


@pytest.mark.parametrize("kind", FITTED)
@pytest.mark.parametrize("width", [1, 6, 64])
def test_the_inverse_gives_the_features_back(kind: Normalise, width: int) -> None:
    """Also in more axes than two, and of patches."""
    rows = _rows(width).float()
    module = normaliser(kind, width, _moments(rows))
    for shaped in (rows, rows[:12].reshape(3, 4, width), rows[:0]):
        torch.testing.assert_close(module.inverse(module(shaped)), shaped, rtol=1e-5, atol=1e-4)  # type: ignore[operator]


@pytest.mark.parametrize("kind", FITTED)
def test_fitted_features_have_mean_zero_and_variance_one(kind: Normalise) -> None:
    """In every dimension, exactly but for float32."""
    rows = _rows(20)
    out = normaliser(kind, 20, _moments(rows))(rows).double()
    torch.testing.assert_close(out.mean(0), torch.zeros(20).double(), rtol=0, atol=1e-5)
    torch.testing.assert_close(out.var(0, correction=0), torch.ones(20).double(), rtol=1e-5, atol=0)


@pytest.mark.parametrize("width", [4, 6, 7, 12, 64, 96, 384, 768])
def test_phi_s_has_equal_variances_at_any_width(width: int) -> None:
    """1 in every dimension: by a Hadamard matrix for 4, 12, 64, 96, 384, 768, by Hartley's and plane rotations for 6 and 7."""
    rows = _rows(width, count=max(width // 2, 3 * 7))  # some of a rank below the width
    out = PhiS.fitted(_moments(rows))(rows).double()
    torch.testing.assert_close(out.var(0, correction=0), torch.ones(width).double(), rtol=1e-5, atol=0)


@pytest.mark.parametrize("width", [6, 12, 64])
def test_phi_s_keeps_angles_and_relative_distances(width: int) -> None:
    """Inner products of centred features are all divided by one number, phi squared."""
    rows = _rows(width)
    module = PhiS.fitted(_moments(rows))
    centred = rows - rows.mean(0)
    phi_squared = _covariance(rows).diagonal().mean()
    out = module(rows).double()
    torch.testing.assert_close(out @ out.T, centred @ centred.T / phi_squared, rtol=1e-5, atol=1e-4)


def test_phi_s_of_isotropic_features_is_a_rotation() -> None:
    """A scale of 1, and lengths stay."""
    square = torch.linalg.qr(torch.randn(100, 6, dtype=torch.float64))[0]
    rows = torch.cat([square, -square]) * 10  # mean 0, covariance exactly the identity
    module = PhiS.fitted(_moments(rows))
    identity = torch.eye(6, dtype=torch.float64)
    torch.testing.assert_close(module.scale, torch.ones((), dtype=torch.float64))
    torch.testing.assert_close(module.rotation @ module.rotation.T, identity)
    torch.testing.assert_close(module(rows).double().norm(dim=1), rows.norm(dim=1), rtol=1e-5, atol=0)


def test_whitened_covariance_is_the_identity() -> None:
    """Every direction has variance 1, none goes with another."""
    rows = _rows(30)
    out = Whiten.fitted(_moments(rows))(rows)
    torch.testing.assert_close(_covariance(out), torch.eye(30).double(), rtol=0, atol=1e-4)


def test_whitening_is_the_closest_of_all_whitenings() -> None:
    """ZCA: no rotation of the result is nearer to the centred features, and along each dimension both go together."""
    rows = _rows(8)
    centred, out = rows - rows.mean(0), Whiten.fitted(_moments(rows))(rows).double()
    distance = (out - centred).square().sum()
    for _ in range(20):
        turn = torch.linalg.qr(torch.randn(8, 8, dtype=torch.float64))[0]
        assert (out @ turn - centred).square().sum() > distance
    assert ((out * centred).sum(0) > 0).all()


@pytest.mark.parametrize("rank", [2, 5, 11])
def test_features_of_a_low_rank_are_white_where_they_live(rank: int) -> None:
    """The covariance is a projection of that rank; what float16 rounding adds elsewhere stays as small as it is."""
    exact = _rows(12, rank=rank)
    rows = exact.half().double()
    module = Whiten.fitted(_moments(rows))
    eigenvalues = torch.linalg.eigvalsh(_covariance(module(rows)))
    torch.testing.assert_close(eigenvalues[-rank:], torch.ones(rank).double(), rtol=1e-3, atol=0)
    assert eigenvalues[:-rank].max() < 1e-3
    torch.testing.assert_close(module.inverse(module(rows)).double(), rows, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("made", [Standardise.fitted, Whiten.fitted, PhiS.fitted])
def test_features_that_do_not_vary_become_zero(made: Callable[[Moments], nn.Module]) -> None:
    """Not NaN, and not rounding blown up: one dimension that is constant, and all of them."""
    rows = torch.full((90, 5), 0.1) + torch.arange(5)
    out = made(_moments(rows))(rows)
    assert out.abs().max() < 1e-5
    rows[:, 1:] = torch.randn(90, 4)
    out = made(_moments(rows))(rows)
    assert torch.isfinite(out).all()
    assert out.abs().max() < 10


def test_fitted_standardisation_equals_the_running_one_after_all_rows() -> None:
    """The same buffers, whatever the batches."""
    rows, running = _rows(7), Standardise(7)
    for piece in torch.split(rows, 9):
        running.update(piece)
    fitted = Standardise.fitted(_moments(rows))
    torch.testing.assert_close(fitted.deviation, running.deviation)
    torch.testing.assert_close(fitted(rows), running(rows))


@pytest.mark.parametrize("kind", ["running", "none", *FITTED])
def test_the_state_is_loaded_without_fitting(kind: Normalise) -> None:
    """Into one fitted to other features, as when a run is resumed; and into one built empty."""
    rows = _rows(6)
    one = normaliser(kind, 6, _moments(rows))
    empty = {"whiten": Whiten(6), "phi_s": PhiS(6), "none": Unchanged()}.get(kind, Standardise(6))
    for other in (normaliser(kind, 6, _moments(_rows(6))), empty):
        other.load_state_dict(one.state_dict())
        assert torch.equal(other(rows), one(rows))


@pytest.mark.parametrize("made", [Whiten, PhiS])
def test_built_empty_they_change_nothing(made: Callable[[int], nn.Module]) -> None:
    """Until they are filled."""
    rows = _rows(6).float()
    torch.testing.assert_close(made(6)(rows), rows, rtol=0, atol=0)
    assert torch.equal(Unchanged()(rows), rows)
    assert torch.equal(Unchanged().inverse(rows), rows)


@pytest.mark.parametrize("kind", FITTED)
def test_autocast_changes_nothing(kind: Normalise) -> None:
    """Targets are as exact in a bfloat16 run as in any other."""
    rows = _rows(16).float()
    module = normaliser(kind, 16, _moments(rows))
    with torch.autocast("cpu", torch.bfloat16):
        cast = module(rows)
    assert torch.equal(cast, module(rows))


@pytest.mark.parametrize("kind", FITTED)
def test_what_cannot_be_fitted_says_what_to_do(kind: Normalise) -> None:
    """No moments, empty ones, or another teacher's."""
    for moments in (None, Moments(6)):
        with pytest.raises(ConfigError, match=f"normalise={kind} needs .* faces.*alumnus cache build"):
            normaliser(kind, 6, moments, teacher="faces")
    with pytest.raises(ConfigError, match="width 6, but its features have 8"):
        normaliser(kind, 8, _moments(_rows(6)))


def test_whitening_needs_more_rows_than_dimensions() -> None:
    """Their covariance cannot be known; the others can be fitted."""
    few = _moments(_rows(40, count=40))
    with pytest.raises(ConfigError, match="40 rows cannot tell; give more than 40"):
        normaliser("whiten", 40, few)
    assert isinstance(normaliser("phi_s", 40, few), PhiS)
