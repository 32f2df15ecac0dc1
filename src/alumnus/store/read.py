"""A teacher that speaks out of a store: the features that were computed for the very image and view, or an error.

Axes: B images in a batch, n of them that are asked for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import fields
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from alumnus.errors import DataError, StoreError
from alumnus.log import bar, warn
from alumnus.moments import Moments
from alumnus.store.claims import Entries, locked
from alumnus.store.folder import About, Folder, Geometry
from alumnus.teachers.targets import Speaker
from alumnus.types import Batch, Features

MOMENT_ROWS = (
    50_000  # twelve times the widest usual feature: more would move a covariance by less than a hundredth
)


@final
class Stored(Speaker):
    """A teacher whose outputs are in a store. Its network need not even be installed."""

    def __init__(
        self,
        folder: Folder,
        *,
        domains: tuple[str, ...] | None,
        weight: float,
        name: str,
        licence: str | None = None,
        entries: Entries | None = None,
        without: frozenset[int] = frozenset(),
    ) -> None:
        """Opens the outputs; domains, weight, name and licence are the recipe's, for they change no output.

        Args:
            licence: of its weights; what the store notes by default.
            entries: (m, 2), key and view, those of the run; all that are there by default.
            without: rows of the run's data of which outputs are wanted and not there, for their bytes could not be read.

        Raises:
            StoreError: a shard is damaged.
        """
        about = folder.about
        super().__init__(
            name=name,
            source=str(about.teacher["source"]),
            domains=domains,
            weight=weight,
            num_features=int(about.teacher["num_features"]),
            size=None,
            about={
                **about.teacher,
                "name": name,
                "domains": None if domains is None else list(domains),
                "weight": weight,
                "licence": licence or about.teacher["licence"],
                "stored": about.precision,
            },
            grid=about.grid,
        )
        self.folder, self._entries, self.without = folder, entries, without
        self._index, self._shards = folder.index, folder.shards

    def speak(self, batch: Batch, index: Tensor) -> Features:
        """Reads the features of the images at places (n,) of a batch.

        Raises:
            StoreError: one is not there, or is damaged.
        """
        place = index.cpu()
        found = self.read(batch.key.cpu()[place].numpy(), batch.view.cpu()[place].numpy())
        patches = None if found.patches is None else found.patches.to(index.device, non_blocking=True)
        return Features(found.summary.to(index.device, non_blocking=True), patches)

    def moments(self) -> Moments:
        """Returns the moments of its summaries, over at most MOMENT_ROWS of the run's outputs; kept beside them for the next time."""
        index, entries = self._index, self._entries
        found = np.arange(len(index)) if entries is None else index.find(entries[:, 0], entries[:, 1])
        found = _shared(np.unique(found[found >= 0]), MOMENT_ROWS)
        shard, row = index.places(found)
        names = [each.path.name for each in self._shards]
        digest = hashlib.sha256(json.dumps([names, found.tolist()]).encode()).hexdigest()[:16]
        kept = self.folder.path / f"moments-{digest}.safetensors"
        if kept.is_file():
            try:
                return Moments.load(kept)
            except DataError as error:
                warn(f"{error}, which is done now")
        moments = Moments(self.num_features, limit=MOMENT_ROWS)
        with bar(f"moments of {self.name}", total=len(found)) as line:
            for one in np.unique(shard):
                here = row[shard == one]
                moments.update(self._shards[one].read(here).summary)
                line.advance(len(here))
        with locked(self.folder.path):  # a prune that runs now is no danger to it
            moments.save(kept)
        return moments

    def read(self, key: NDArray[np.int64], view: NDArray[np.int64]) -> Features:
        """Returns the features (n, D) and (n, N, D) of images and views (n,), on the CPU, float32; n may be 0.

        Raises:
            StoreError: one is not there, or is damaged.
        """
        number = self._index.find(key, view)
        if (number < 0).any():
            first = int(np.flatnonzero(number < 0)[0])
            reason = self._index.bad.get(int(key[first]))
            if reason is not None:
                raise StoreError(
                    f"{self.folder.path} has no output of {self.name} for an image with the key {key[first]:016x}: it could not be decoded "
                    f"when the store was built ({reason}). Remove that image, or save it anew, which gives it another key; "
                    f"{self.folder.path.parent / 'quarantine.jsonl'} has the names"
                )
            raise StoreError(
                f"{self.folder.path} has no output of {self.name} for view {view[first]} of an image with the key {key[first]:016x} "
                f"({int((number < 0).sum())} of {len(key)} asked for are missing): images changed or were added since it was "
                "built, or could not be read then; `alumnus cache build` computes what is missing"
            )
        shard, row = self._index.places(number)
        summary = torch.empty(len(key), self.num_features)
        grid = self.folder.about.grid
        patches = None if grid is None else torch.empty(len(key), *grid)
        for one in np.unique(shard):
            here = np.flatnonzero(shard == one)
            found = self._shards[one].read(row[here])
            summary[here] = found.summary
            if patches is not None and found.patches is not None:
                patches[here] = found.patches
        return Features(summary, patches)


def _plain(value: object) -> str:
    """A setting as a recipe has it: the seed is the run's, the others are of `views`."""
    return str(list(value) if isinstance(value, tuple) else value)


def _shared(found: NDArray[np.int64], limit: int) -> NDArray[np.int64]:
    """At most so many of them, drawn at random, always the same ones."""
    if len(found) <= limit:
        return found
    return np.sort(np.random.default_rng(0).choice(found, limit, replace=False))


def explain_absence(
    known: Sequence[About], *, name: str, source: str, fingerprint: str, geometry: Geometry
) -> str:
    """Returns why a store has no outputs of a teacher, naming both fingerprints or both geometries where it has something close."""
    same = [about for about in known if about.teacher["name"] == name or about.teacher["source"] == source]
    other = next((about for about in same if about.fingerprint != fingerprint), None)
    if other is not None and all(about.fingerprint != fingerprint for about in same):
        changed = [
            f"{field} was {other.teacher[field]!r}"
            for field in ("source", "size", "mean", "std", "dtype", "output")
        ]
        return (
            f"the store's outputs of {name} are of a teacher with the fingerprint {other.fingerprint[:16]}, this one has "
            f"{fingerprint[:16]}: its weights, structure, size, normalisation, precision or output changed (there: {', '.join(changed)})"
        )
    views = next((about for about in same if about.fingerprint == fingerprint), None)
    if views is not None:
        changed = [
            f"{field.name} was {_plain(was)}, is {_plain(now)}"
            for field in fields(Geometry)
            if (was := vars(views.geometry)[field.name]) != (now := vars(geometry)[field.name])
        ]
        return f"the store's outputs of {name} are of other views: {', '.join(changed)}"
    return f"the store has nothing of {name} ({source}, fingerprint {fingerprint[:16]})"
