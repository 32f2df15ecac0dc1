"""A shard is what its name says, or it is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alumnus.data.read import BadImage, read_keyed
from alumnus.errors import StoreError
from alumnus.store.shard import Rows, Shard, Unreadable, is_intact, is_passing, write_shard
from alumnus.types import Features


def _rows(count: int = 5, *, patches: bool = True) -> Rows:
    return Rows(
        key=np.arange(count) * 10**15,
        view=np.arange(count) % 2,
        features=Features(torch.randn(count, 3), torch.randn(count, 4, 2) if patches else None),
    )


def test_reasons_are_told_apart_by_the_words_that_reading_says_them_in(tmp_path: Path) -> None:
    """What is no file, or none now, passes; bytes that cannot be decoded do not."""
    for name in ("folder.png", "loop.png", "nothing.png", "empty.png", "torn.png"):
        path = tmp_path / name
        match name:
            case "folder.png":
                path.mkdir()
            case "loop.png":
                path.symlink_to(path)
            case "nothing.png":
                path.symlink_to(tmp_path / "gone.png")
            case "empty.png":
                path.touch()
            case _:
                path.write_bytes(b"\x89PNG\r\n\x1a\n torn")
    asked = [str(path) for path in tmp_path.iterdir()] + [str(tmp_path / "absent.png"), "a\0b.png"]
    passing = {}
    for one in asked:
        with pytest.raises(BadImage) as caught:
            read_keyed(one)
        passing[Path(one).name] = is_passing(caught.value.reason)
    assert passing.pop("torn.png") is False
    assert passing == dict.fromkeys(passing, True)


def test_rows_come_back_in_the_order_asked_for(tmp_path: Path) -> None:
    """Summaries and patches, some rows twice."""
    rows = _rows()
    shard = Shard(write_shard(tmp_path, rows, "float32", [Unreadable(7, "empty")]))
    found = shard.read(np.array([4, 0, 4]))
    assert torch.equal(found.summary, rows.features.summary[[4, 0, 4]])
    assert found.patches is not None
    assert rows.features.patches is not None
    assert torch.equal(found.patches, rows.features.patches[[4, 0, 4]])
    assert shard.key.tolist() == rows.key.tolist()
    assert shard.view.tolist() == rows.view.tolist()
    assert shard.bad == [Unreadable(7, "empty")]
    assert [path.name for path in tmp_path.iterdir()] == [shard.path.name]


def test_a_shard_without_patches_gives_none(tmp_path: Path) -> None:
    """And float16 loses what it loses, which is written down."""
    shard = Shard(write_shard(tmp_path, _rows(patches=False), "float16"))
    assert shard.read(np.array([1])).patches is None
    assert 0 < shard.loss.error < 1e-3
    assert shard.loss.cosine_min > 1 - 1e-6


def test_equal_outputs_are_one_file(tmp_path: Path) -> None:
    """Its name and bytes follow from them alone, whoever writes it and how often; names of any script included."""
    rows = _rows()
    for _ in range(20):
        write_shard(tmp_path, rows, "float32", [Unreadable(7, "kein Bild: größer \u2028 als erlaubt")])
    (path,) = tmp_path.iterdir()
    assert is_intact(path)
    assert Shard(path).bad[0].reason.startswith("kein Bild: größer")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_flipped_byte_is_found(tmp_path: Path, data: st.DataObject) -> None:
    """By the reader, at the latest when the row is read, and by the check of the whole file."""
    torch.manual_seed(0)
    path = write_shard(tmp_path, _rows(), "int8")
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    assert not is_intact(path)
    with pytest.raises(StoreError, match="is damaged"):
        Shard(path).read(np.arange(5))
    path.unlink()


def test_a_cut_shard_is_refused(tmp_path: Path) -> None:
    """As a copy that was not finished leaves it."""
    path = write_shard(tmp_path, _rows(), "float16")
    content = path.read_bytes()
    for length in (0, 4, 100, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(StoreError, match="is damaged"):
            Shard(path)


def test_a_file_of_another_name_is_no_shard(tmp_path: Path) -> None:
    """Its name is how a shard is known."""
    path = write_shard(tmp_path, _rows(), "float16")
    with pytest.raises(StoreError, match="not named as a shard"):
        Shard(path.rename(tmp_path / "other.safetensors"))
    renamed = (tmp_path / "other.safetensors").rename(tmp_path / f"{'0' * 16}-{'1' * 16}.safetensors")
    assert not is_intact(renamed)
    with pytest.raises(StoreError, match="is damaged"):
        Shard(renamed)
