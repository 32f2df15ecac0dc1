"""Moments: exact whatever the batches and their order, whole on disk or refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor

from alumnus.errors import DataError
from alumnus.moments import MAX_WIDTH, Moments


def _rows(count: int = 200, width: int = 5) -> Tensor:
    mixing = torch.randn(width, width, dtype=torch.float64)
    return torch.randn(count, width, dtype=torch.float64) @ mixing + 1e4 * torch.arange(width)


def _gathered(*batches: Tensor) -> Moments:
    moments = Moments(batches[0].shape[-1])
    for batch in batches:
        moments.update(batch)
    return moments


@pytest.mark.parametrize("batch", [1, 7, 200])
def test_any_split_into_batches_gives_numpys_mean_and_covariance(batch: int) -> None:
    """Also of rows whose mean is ten thousand times their deviation."""
    rows = _rows()
    moments = _gathered(*torch.split(rows, batch))
    assert moments.count == 200
    np.testing.assert_allclose(moments.mean.numpy(), rows.numpy().mean(0), rtol=1e-13)
    naive = np.cov(rows.numpy(), rowvar=False, ddof=0)
    np.testing.assert_allclose(moments.covariance.numpy(), naive, rtol=1e-9, atol=1e-9)


def test_the_order_of_batches_and_shards_does_not_matter() -> None:
    """One after another, backwards, or two halves merged; an empty one changes nothing."""
    parts = torch.split(_rows(), 30)
    forwards, backwards = _gathered(*parts), _gathered(*reversed(parts))
    merged = _gathered(*parts[:3])
    merged.merge(_gathered(*parts[3:]))
    merged.merge(Moments(5))
    for other in (backwards, merged):
        assert other.count == forwards.count
        torch.testing.assert_close(other.mean, forwards.mean, rtol=1e-13, atol=0)
        torch.testing.assert_close(other.covariance, forwards.covariance, rtol=1e-9, atol=1e-9)


def test_patches_are_rows_too() -> None:
    """(B, N, D) counts B N rows; float16 is summed in float64."""
    patches = torch.randn(3, 4, 5).half()
    moments = _gathered(patches)
    assert moments.count == 12
    torch.testing.assert_close(moments.mean, patches.double().reshape(12, 5).mean(0))


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    """All of it, to the last bit, and gathering can go on."""
    rows = _rows()
    moments = Moments(5, limit=1000)
    moments.update(rows[:150])
    moments.save(tmp_path / "summary.safetensors")
    loaded = Moments.load(tmp_path / "summary.safetensors")
    for each in (moments, loaded):
        each.update(rows[150:])
    assert (loaded.count, loaded.limit) == (200, 1000)
    assert torch.equal(loaded.mean, moments.mean)
    assert torch.equal(loaded.covariance, moments.covariance)
    assert [path.name for path in tmp_path.iterdir()] == ["summary.safetensors"]


def test_nothing_seen_is_a_covariance_of_zeros() -> None:
    """Not NaN; and an empty batch is none."""
    moments = Moments(3)
    moments.update(torch.zeros(0, 3))
    assert moments.count == 0
    assert not moments.covariance.any()


def test_what_has_no_moments_is_refused(tmp_path: Path) -> None:
    """Another width, NaN, a width beyond memory; and what is on disk and is not ours."""
    moments = Moments(5)
    with pytest.raises(DataError, match="width 4 came, but these moments have 5"):
        moments.update(torch.zeros(2, 4))
    with pytest.raises(DataError, match="NaN or infinity"):
        moments.update(torch.tensor([[0.0, 1.0, float("nan"), 2.0, 3.0]]))
    assert moments.count == 0
    with pytest.raises(DataError, match="cannot be merged"):
        moments.merge(Moments(6))
    with pytest.raises(DataError, match="normalise=running"):
        Moments(MAX_WIDTH + 1)
    safetensors.torch.save_file({"mean": torch.zeros(5)}, tmp_path / "other")
    (tmp_path / "torn").write_bytes(b"\x08\0\0")
    for name, words in (("other", "version 1"), ("torn", "make them again"), ("missing", "make them again")):
        with pytest.raises(DataError, match=words):
            Moments.load(tmp_path / name)


def test_moments_that_changed_on_disk_are_refused_and_early_ones_are_read(tmp_path: Path) -> None:
    """A flipped bit of a number is found by the digest, which early files have not."""
    moments, path = _gathered(_rows()), tmp_path / "moments"
    moments.save(path)
    content = bytearray(path.read_bytes())
    content[-3] ^= 0x40
    path.write_bytes(content)
    with pytest.raises(DataError, match="not what was written"):
        Moments.load(path)
    about = {"version": "1", "count": "200", "limit": "null"}
    safetensors.torch.save_file({"mean": moments.mean, "squares": moments._squares}, path, about)
    assert torch.equal(Moments.load(path).covariance, moments.covariance)
