"""Vectors of models on data sets, each computed once: a file for each (model, state of the data, side), kept in a folder of limited size.

A file holds the rows that were ever asked for, so tasks that use parts of one data set share it; what is missing is computed for
all models from one reading of the pictures. What could not be read is not kept: it is tried again. When the folder grows beyond its
limit, the files that were not used for longest go.

Axes: P rows asked for, D width.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import safetensors
import safetensors.numpy

from alumnus.data.dataset import Dataset
from alumnus.data.names import printable
from alumnus.distributed import gathered, local_rank, wait
from alumnus.evaluation.arrays import Floats, Ids
from alumnus.evaluation.vectors import try_paths
from alumnus.log import console
from alumnus.types import Encode


class Known(NamedTuple):
    """What a file holds, or what was computed just now."""

    row: Ids  # (n,) of the data set, ascending
    vector: Floats  # (n, D); zeros where the image cannot be read
    bad: Mapping[int, str]  # row -> reason; a file holds none


class Vectors(NamedTuple):
    """What a model says about the rows asked for, or why it says nothing."""

    vector: Floats  # (P, D)
    bad: Mapping[int, str]  # row -> reason
    error: Exception | None = None


class FeatureStore:
    """The folder."""

    def __init__(self, folder: Path, *, limit_bytes: int) -> None:
        """Limit 0 keeps nothing."""
        self.folder, self.limit_bytes = folder, limit_bytes
        self._has_told = False  # that nothing can be kept

    def missing(self, model: str, state: str, rows: Ids, *, size: int) -> Ids:
        """Returns the rows that are still to be computed for a model's fingerprint and a state of the data."""
        known = self._read(self._path(model, state, size))
        return rows if known is None else np.setdiff1d(rows, known.row)

    def vectors(
        self,
        models: Mapping[str, Encode],
        data: Dataset,
        rows: Ids,
        *,
        state: str,
        batch_size: int = 64,
        workers: int = 2,
    ) -> dict[str, Vectors]:
        """Returns fingerprint -> vectors of rows (P,), ascending; what is not known is computed, and kept.

        A model that fails is told in its `error`; the others go on. Of several processes all call this alike, and share the work.

        Args:
            state: of the data, by which vectors are known again; see `tasks.state_of`.
        """
        known = {mark: self._read(self._path(mark, state, model.size)) for mark, model in models.items()}
        if not _is_same_everywhere(
            {mark: None if found is None else found.row for mark, found in known.items()}
        ):
            known = dict.fromkeys(known)  # machines that keep vectors of their own: all compute the same
        wanted: dict[bytes, list[str]] = {}
        for mark, found in known.items():
            lacking = rows if found is None else np.setdiff1d(rows, found.row)
            wanted.setdefault(lacking.tobytes(), []).append(mark)
        answers = dict[str, Vectors]()
        for lacking_bytes, marks in wanted.items():
            lacking = np.frombuffer(lacking_bytes, np.int64)
            new = _encode({mark: models[mark] for mark in marks}, data, lacking, batch_size, workers)
            for mark in marks:
                fresh = new[mark]
                if isinstance(fresh, Exception):
                    answers[mark] = Vectors(np.empty((0, 0), np.float32), {}, fresh)
                    continue
                whole = _merged(known[mark], fresh)
                if len(fresh.bad) < len(fresh.row) and local_rank() == 0:
                    self._write(self._path(mark, state, models[mark].size), _readable(whole))
                place = np.searchsorted(whole.row, rows)
                asked = set(rows.tolist())
                answers[mark] = Vectors(
                    whole.vector[place], {row: why for row, why in whole.bad.items() if row in asked}
                )
        wait()  # for the files
        return answers

    def _path(self, model: str, state: str, size: int) -> Path:
        return self.folder / f"{model[:24]}-{state[:24]}-{size}px.safetensors"

    def _read(self, path: Path) -> Known | None:
        """A damaged file counts as none."""
        if not path.is_file():
            return None
        try:
            with safetensors.safe_open(path, framework="numpy") as file:
                known = Known(file.get_tensor("row"), file.get_tensor("vector"), {})
        except (safetensors.SafetensorError, OSError, ValueError):
            return None
        now = time.time_ns()
        with suppress(OSError):  # of a folder that can only be read
            os.utime(path, ns=(now, now))  # by which the oldest is known
        return known

    def _write(self, path: Path, known: Known) -> None:
        """A folder that cannot be written costs the time to encode again, and is told once."""
        if known.vector.nbytes > self.limit_bytes:
            return
        temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
        tensors: dict[str, np.ndarray] = {"row": known.row, "vector": np.ascontiguousarray(known.vector)}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._make_room(known.vector.nbytes, besides=path)
            safetensors.numpy.save_file(tensors, temporary)
            os.replace(temporary, path)
        except (OSError, safetensors.SafetensorError) as error:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            if not self._has_told:
                console.print(
                    f"vectors cannot be kept in {printable(self.folder)} ({error}); another run will encode again",
                )
            self._has_told = True

    def _make_room(self, needed: int, *, besides: Path) -> None:
        found = list[tuple[int, int, Path]]()
        for path in self.folder.glob("*.safetensors"):
            with suppress(FileNotFoundError):  # another process made room, too
                state = path.stat()
                found.append((state.st_mtime_ns, state.st_size, path))
        files = sorted(each for each in found if each[2] != besides)
        total = needed + sum(size for _, size, _ in files)
        for _, size, path in files:
            if total <= self.limit_bytes:
                return
            path.unlink(missing_ok=True)
            total -= size


def _is_same_everywhere(rows: Mapping[str, Ids | None]) -> bool:
    """Whether all processes know the same rows of the same models."""
    digest = hashlib.sha256()
    for mark, known in rows.items():
        digest.update(mark.encode() + (b"-" if known is None else known.tobytes()))
    return len(set(gathered([digest.hexdigest()]))) == 1


def _encode(
    models: Mapping[str, Encode], data: Dataset, rows: Ids, batch_size: int, workers: int
) -> dict[str, Known | Exception]:
    """Returns what is new of each model, from one reading of the pictures; if one fails, each is tried alone to see which."""
    if not len(rows):
        return {mark: Known(rows, np.empty((0, 0), np.float32), {}) for mark in models}
    names = {model.name: mark for mark, model in models.items()}
    paths = [data.paths[row] for row in rows]
    found = try_paths(list(models.values()), paths, batch_size=batch_size, workers=workers, together=True)
    if isinstance(found, Exception):
        if len(models) == 1:
            return dict.fromkeys(models, found)
        return {
            mark: each
            for mark, model in models.items()
            for each in _encode({mark: model}, data, rows, batch_size, workers).values()
        }
    bad = {int(rows[place]): why for place, why in found.bad.items()}
    return {names[name]: Known(rows, vector, bad) for name, vector in found.of.items()}


def _merged(old: Known | None, new: Known) -> Known:
    if old is None:
        return new
    if not len(new.row):
        return old
    vector = new.vector
    if len(new.bad) == len(new.row):  # nothing could be read, so the width is not known
        vector = np.zeros((len(new.row), old.vector.shape[1]), np.float32)
    row = np.concatenate([old.row, new.row])
    order = np.argsort(row, kind="stable")
    return Known(row[order], np.concatenate([old.vector, vector])[order], new.bad)


def _readable(known: Known) -> Known:
    """Returns it without the rows that could not be read."""
    keep = ~np.isin(known.row, list(known.bad))
    return Known(known.row[keep], known.vector[keep], {})
