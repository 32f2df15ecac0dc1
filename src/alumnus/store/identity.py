"""The key of every image of a dataset, hashed once: a file whose size, time of change and time of its inode's change are as they were is
not read again. (A copy that keeps the first two cannot set the third.)

Keys are remembered in `images.jsonl` of the store; several processes may add to it at once, and a torn last line is skipped.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from alumnus.data.dataset import Dataset
from alumnus.data.loader import give_way, handed_over
from alumnus.data.locator import container_of
from alumnus.data.read import BadImage, key_of
from alumnus.log import bar

FILE = "images.jsonl"
UNREADABLE = -1
CHUNK = 64  # files that a worker hashes at once


class Files:
    """Which files have a key: copies of an image share one."""

    def __init__(self, keys: NDArray[np.int64], paths: Sequence[str]) -> None:
        """Takes the keys (N,) and paths of images; those without a key are left out."""
        self._first: dict[int, str] = {}
        self._copies: dict[int, list[str]] = {}
        for key, path in zip(keys.tolist(), paths, strict=True):
            if key != UNREADABLE and self._first.setdefault(key, path) != path:
                self._copies.setdefault(key, []).append(path)

    def __contains__(self, key: int) -> bool:
        """Whether a file has that key."""
        return key in self._first

    def of(self, key: int) -> list[str]:
        """Returns the paths of a key's files, in the order of the data."""
        return [self._first[key], *self._copies.get(key, [])]


def identify(data: Dataset, store: Path, *, workers: int, remembers: bool = True) -> NDArray[np.int64]:
    """Returns the key of each image (N,), -1 where its bytes cannot be read.

    Args:
        remembers: write the keys down; false writes nothing.
    """
    states = _states(data.paths)
    known = _remembered(store / FILE)
    keys = np.array(
        [known.get((name, *state), UNREADABLE) for name, state in zip(data.paths, states, strict=True)]
    )
    unknown = np.flatnonzero(keys == UNREADABLE)
    if len(unknown):
        rows = [int(row) for row in unknown]
        keys[unknown] = _hashed([data.paths[row] for row in rows], workers=workers)
        found = [(data.paths[row], *states[row], int(keys[row])) for row in rows if keys[row] >= 0]
        if remembers:
            _remember(store / FILE, found)
    return keys


def _states(paths: Sequence[str]) -> list[tuple[int, int, int]]:
    """Size in bytes, time of change and of the inode's change in ns of each path's file; -1 each where there is none."""
    states: dict[str, tuple[int, int, int]] = {}
    for path in map(container_of, paths):
        if path not in states:
            try:
                found = os.stat(path)
                states[path] = (found.st_size, found.st_mtime_ns, found.st_ctime_ns)
            except (OSError, ValueError):
                states[path] = (-1, -1, -1)
    return [states[container_of(path)] for path in paths]


def _remembered(file: Path) -> dict[tuple[str, int, int, int], int]:
    known: dict[tuple[str, int, int, int], int] = {}
    if file.exists():
        for line in file.read_text(encoding="utf-8").splitlines():
            try:
                path, size, changed, inode_changed, key = json.loads(line)
                known[(path, size, changed, inode_changed)] = key
            except (ValueError, TypeError):
                continue  # torn, or of an older Alumnus, which noted less
    return known


def _remember(file: Path, rows: Sequence[tuple[Any, ...]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    with file.open("a", encoding="utf-8") as opened:
        opened.write("\n" + lines)  # the line before may be torn


def _hashed(paths: Sequence[str], *, workers: int) -> NDArray[np.int64]:
    keys = [np.empty(0, np.int64)]
    with bar("identify images", total=len(paths)) as line:
        for part in _in_workers(_Chunks(paths), workers):
            keys.append(part)
            line.advance(len(part))
    return np.concatenate(keys)


class _Chunks(TorchDataset[NDArray[np.int64]]):
    """Item k holds the keys of the k-th chunk of paths."""

    def __init__(self, paths: Sequence[str]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return math.ceil(len(self.paths) / CHUNK)

    def __getitem__(self, chunk: int) -> NDArray[np.int64]:
        return np.array([_key(path) for path in self.paths[chunk * CHUNK : (chunk + 1) * CHUNK]], np.int64)


def _key(path: str) -> int:
    try:
        return key_of(path)
    except BadImage:
        return UNREADABLE


def _in_workers(items: _Chunks, workers: int) -> Iterator[NDArray[np.int64]]:
    yield from DataLoader(
        items,
        batch_size=None,
        collate_fn=handed_over,
        num_workers=min(workers, len(items)),
        worker_init_fn=give_way,
    )
