"""What is removed is nobody's."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import numpy as np
import pytest

from alumnus.errors import StoreError
from alumnus.store.folder import folders
from alumnus.store.prune import clear, leftovers, remove
from tests.store.made import Counting, speakers_of, spec_of, store_of

NAMES = (".0123-4567.safetensors.7.new", ".about.json.7.new", ".moments-0123.safetensors.7", ".job-0123")


@pytest.fixture
def folder(tmp_path: Path, tiny_images: Path) -> Path:
    """A teacher's folder in which killed processes left something of each kind."""
    speakers_of(store_of(tmp_path / "store", tiny_images), [spec_of(Counting())])
    path = next(iter(folders(tmp_path / "store"))).path
    for name in NAMES[:-1]:
        (path / name).touch()
    (path / NAMES[-1]).mkdir()
    np.save(path / NAMES[-1] / "entries.npy", np.array([[1, 0]]))
    return path


def test_what_killed_processes_left_is_removed(folder: Path) -> None:
    """Shards, claims and moments; shards that are whole stay."""
    assert [path.name for path in leftovers(folder.parent)] == sorted(NAMES)
    shards = sorted(folder.glob("*.safetensors"))
    clear(folder.parent)
    assert leftovers(folder.parent) == []
    assert not any((folder / name).exists() for name in NAMES)
    assert sorted(folder.glob("*.safetensors")) == shards


def test_a_running_build_keeps_its_files(folder: Path) -> None:
    """Its half-written shard, and the folder itself."""
    alive = os.open(folder / NAMES[-1] / "alive", os.O_RDWR | os.O_CREAT)
    fcntl.flock(alive, fcntl.LOCK_SH)
    clear(folder.parent)
    assert all((folder / name).exists() for name in NAMES)
    assert leftovers(folder.parent) == []
    with pytest.raises(StoreError, match="is being filled by another process"):
        remove([folder])
    os.close(alive)
    remove([folder])
    assert not folder.exists()
