"""The views that a teacher is to see, read from images; and what keeps an image from being read, which is of two kinds.

Bytes that cannot be decoded never will be: that is noted in the store, and such an image is not tried again. All else (an error of the
disk, a file that went away or changed, too little memory) says nothing of the image: it is left missing, and tried again.

Axes: b views of a part, S side of the teacher's view in px.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset

from alumnus.data.read import BadImage, Keyed, key_of, read_keyed
from alumnus.data.views import ViewSettings, apply_geometry, draw_view
from alumnus.store.claims import Entries
from alumnus.store.folder import Geometry
from alumnus.store.identity import Files
from alumnus.store.shard import CHANGED, NOT_NOW, Unreadable, is_passing


class Part(NamedTuple):
    """Some views of some images."""

    key: NDArray[np.int64]  # (b,)
    view: NDArray[np.int64]  # (b,)
    image: Tensor  # (b, 3, S, S) uint8
    bad: list[Unreadable]  # images that cannot be decoded
    passing: list[Unreadable]  # images that could not be read this time
    asked: int  # outputs that this part was to give, of those images too


class Crops(TorchDataset[Part]):
    """Item k holds the views of the k-th images; an image is decoded once for all of its views."""

    def __init__(
        self, entries: Entries, files: Files, size: int, geometry: Geometry, batch_size: int
    ) -> None:
        """Divides outputs (n, 2), the views of an image one after another, among items of about `batch_size` views."""
        self.size, self.geometry = size, geometry
        # scale, ratio and flip alone: photometric change is never part of what a teacher sees
        self.views = ViewSettings(scale=geometry.scale, ratio=geometry.ratio, flip=geometry.flip)
        starts = np.flatnonzero(np.diff(entries[:, 0], prepend=-1))
        images = np.split(entries, starts[1:])
        per_item = max(1, batch_size // max(len(image) for image in images))
        chunks = [images[place : place + per_item] for place in range(0, len(images), per_item)]
        self.chunks = [
            [(files.of(int(image[0, 0])), int(image[0, 0]), image[:, 1]) for image in chunk]
            for chunk in chunks
        ]

    def __len__(self) -> int:
        """Number of items."""
        return len(self.chunks)

    def __getitem__(self, number: int) -> Part:
        """Reads an item; an image that cannot be read is told apart and left out."""
        keys, views, crops = list[int](), list[int](), list[NDArray[np.uint8]]()
        bad, passing = list[Unreadable](), list[Unreadable]()
        chunk = self.chunks[number]
        for paths, key, wanted in chunk:
            image = _read(paths, key)
            if isinstance(image, Unreadable):
                (passing if is_passing(image.reason) else bad).append(image)
                continue
            for view in map(int, wanted):
                drawn = draw_view(
                    self.views,
                    seed=self.geometry.seed,
                    key=key,
                    view=view,
                    aspect=image.image.width / image.image.height,
                )
                crops.append(apply_geometry(image.image, drawn, size=self.size))
                keys.append(key)
                views.append(view)
        stacked = np.stack(crops) if crops else np.empty((0, 3, self.size, self.size), np.uint8)
        asked = sum(len(wanted) for _, _, wanted in chunk)
        return Part(
            np.array(keys, np.int64),
            np.array(views, np.int64),
            torch.from_numpy(stacked),
            bad,
            passing,
            asked,
        )


def _read(paths: Sequence[str], key: int) -> Keyed | Unreadable:
    """Returns the image of a key from the first of its files that can be read, else why the last one could not."""
    reason = CHANGED
    for path in paths:
        try:
            found = read_keyed(path)
        except BadImage as error:
            reason = _reason(error, path, key)
            if not is_passing(reason):
                break  # the other files hold the same bytes
            continue
        if found.key == key:
            return found
        reason = CHANGED
    return Unreadable(key, reason)


def _reason(error: BadImage, path: str, key: int) -> str:
    """Returns why an image cannot be read: of decoding only if its bytes, read once more, are those of its key."""
    if is_passing(error.reason):
        return error.reason
    try:
        return error.reason if key_of(path) == key else CHANGED
    except BadImage as again:
        return again.reason if is_passing(again.reason) else f"{NOT_NOW}: {again.reason}"
