"""Crops on disk: what comes back is what was put there, of that image, or nothing."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from alumnus.data.kept import (
    KeptCrops,
    checksum,
    forget_crop,
    read_crop,
    record_bytes,
    slots_of,
    write_crop,
)

KEY, OTHER = 2**62 + 5, 7


def _crop(seed: int = 0, side: int = 8) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (3, side, side)).astype(np.uint8)


def _read(path: Path, slot: int, key: int) -> np.ndarray | None:
    crop = np.empty((3, 8, 8), np.uint8)
    return crop if read_crop(path, slot, key, crop) else None


def test_a_crop_comes_back_as_it_was(tmp_path: Path) -> None:
    """From a file with a hole before it, whose slots are not there."""
    path = tmp_path / "8-0.crops"
    assert _read(path, 3, KEY) is None
    write_crop(path, 3, KEY, _crop())
    found = _read(path, 3, KEY)
    assert found is not None
    assert np.array_equal(found, _crop())
    assert [_read(path, slot, KEY) for slot in (0, 2, 4)] == [None] * 3


def test_a_crop_is_of_its_image_alone(tmp_path: Path) -> None:
    """Should slots get mixed up, no image gets another's crop."""
    write_crop(tmp_path / "8-0.crops", 0, KEY, _crop())
    assert _read(tmp_path / "8-0.crops", 0, OTHER) is None


@pytest.mark.parametrize("place", [0, 3, 4, 100, record_bytes(8) - 1])
def test_a_flipped_bit_is_found(tmp_path: Path, place: int) -> None:
    """By the reader, and by who looks through the file; what is removed is not there."""
    path = tmp_path / "8-0.crops"
    for slot in range(3):
        write_crop(path, slot, KEY + slot, _crop(slot))
    content = bytearray(path.read_bytes())
    content[record_bytes(8) + place] ^= 16
    path.write_bytes(content)
    keys = KEY + np.arange(4)
    assert _read(path, 1, KEY + 1) is None
    assert slots_of(path, 8, keys) == ([0, 2], [1])
    forget_crop(path, 8, 1)
    assert slots_of(path, 8, keys) == ([0, 2], [])


def test_half_a_crop_is_none(tmp_path: Path) -> None:
    """As a killed process or a full disk leaves it."""
    path = tmp_path / "8-0.crops"
    write_crop(path, 0, KEY, _crop())
    path.write_bytes(path.read_bytes()[:100])
    assert _read(path, 0, KEY) is None


def test_what_a_store_of_a_stranger_points_to_is_left_alone(tmp_path: Path) -> None:
    """A link is neither written through nor read, and a pipe does not stop the run."""
    precious = tmp_path / "precious"
    precious.write_bytes(checksum(KEY, _crop()) + _crop().tobytes())
    (tmp_path / "8-0.crops").symlink_to(precious)
    os.mkfifo(tmp_path / "8-1.crops")
    with pytest.raises(OSError, match="symbolic links"):
        write_crop(tmp_path / "8-0.crops", 0, KEY, _crop(1))
    assert _read(tmp_path / "8-0.crops", 0, KEY) is None
    assert _read(tmp_path / "8-1.crops", 0, KEY) is None
    assert precious.read_bytes()[4:] == _crop().tobytes()


def test_several_sides_are_there_or_nothing_is(tmp_path: Path) -> None:
    """A view that was kept for the student alone is read anew for a teacher of another size."""
    kept = KeptCrops(tmp_path, np.array([KEY]), np.array([0]))
    kept.write(0, 1, KEY, {8: _crop()})
    into = {side: np.empty((3, side, side), np.uint8) for side in (8, 16)}
    assert kept.read(0, 1, {8: into[8]})
    assert not kept.read(0, 1, into)
    assert not kept.read(0, 0, {8: into[8]})


def test_an_image_that_changed_keeps_nothing_under_its_old_key(tmp_path: Path) -> None:
    """Nor does one whose bytes could not be read when keys were asked for."""
    kept = KeptCrops(tmp_path, np.array([KEY, -1]), np.array([0, -1]))
    kept.write(0, 0, OTHER, {8: _crop()})
    kept.write(1, 0, OTHER, {8: _crop()})
    assert list(tmp_path.iterdir()) == []
    assert not kept.read(1, 0, {8: np.empty((3, 8, 8), np.uint8)})


def test_a_full_disk_ends_the_keeping_and_not_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is said once."""
    kept = KeptCrops(tmp_path, np.array([KEY, OTHER]), np.array([0, 1]))
    kept.write(0, 0, KEY, {8: _crop()})

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwritev", full)
    for _ in range(3):
        kept.write(1, 0, OTHER, {8: _crop()})
    said = " ".join(capsys.readouterr().err.split())
    assert said.count("No space left on device") == 1
    assert "no more crops are kept" in said
    assert kept.read(0, 0, {8: np.empty((3, 8, 8), np.uint8)})


def test_a_disk_that_takes_a_part_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was taken is no crop."""
    whole = os.pwritev
    monkeypatch.setattr(
        os, "pwritev", lambda handle, parts, place: whole(handle, [parts[0], parts[1][:1]], place)
    )
    with pytest.raises(OSError, match="no space left"):
        write_crop(tmp_path / "8-0.crops", 0, KEY, _crop())
    assert _read(tmp_path / "8-0.crops", 0, KEY) is None
