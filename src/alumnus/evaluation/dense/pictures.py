"""Pictures as a model wants them, in order, with where each came to lie; and a model's predictions on them.

Axes: b pictures of a batch, S side in px.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from alumnus.data.loader import Bad, check_reading, give_way, handed_over
from alumnus.data.read import BadImage, read_image
from alumnus.evaluation.dense.letterbox import Letterbox, letterbox, placed
from alumnus.log import bar
from alumnus.types import DenseEncode

T = TypeVar("T")

BATCH = 32


class Pictures(NamedTuple):
    """Some pictures."""

    places: list[int]  # which of the paths these are; unreadable ones are missing
    image: Tensor  # (b, 3, S, S) uint8
    boxes: list[Letterbox]
    bad: list[Bad]


class Predicted(NamedTuple, Generic[T]):
    """What a head says about one picture."""

    place: int  # which of the paths
    box: Letterbox
    output: T


def pictures(
    paths: Sequence[str], *, size: int, batch_size: int = BATCH, workers: int = 0, label: str
) -> Iterator[Pictures]:
    """Yields all pictures in order, with a progress bar.

    Args:
        workers: reading processes; 0 reads in this one.

    Raises:
        ConfigError: there is no batch of that size, or no such number of workers.
    """
    check_reading(batch_size=batch_size, workers=workers)
    chunks = _Chunks(paths, size, batch_size)
    workers = min(workers, len(chunks))
    loader = DataLoader(
        chunks,
        batch_size=None,
        collate_fn=handed_over,
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        worker_init_fn=give_way,
    )
    with bar(label, total=len(paths)) as line:
        for batch in loader if len(chunks) else ():
            yield batch
            line.advance(len(batch.places) + len(batch.bad))


def predictions(
    encoder: DenseEncode,
    head: Callable[[tuple[Tensor, ...]], Sequence[T]],
    paths: Sequence[str],
    *,
    label: str,
    batch_size: int = BATCH,
    workers: int = 0,
    device: torch.device,
) -> Iterator[Predicted[T] | Bad]:
    """Yields what the head says about each picture, in order within a batch, or why one cannot be read.

    Args:
        head: from levels on the device to one output for each picture.
    """
    for batch in pictures(paths, size=encoder.size, batch_size=batch_size, workers=workers, label=label):
        yield from batch.bad
        if not batch.places:
            continue
        with torch.inference_mode():
            outputs = head(tuple(level.float().to(device) for level in encoder.levels(batch.image)))
        for place, box, output in zip(batch.places, batch.boxes, outputs, strict=True):
            yield Predicted(place, box, output)


class _Chunks(TorchDataset[Pictures]):
    """Item i is the i-th chunk of the paths."""

    def __init__(self, paths: Sequence[str], size: int, batch_size: int) -> None:
        self.paths, self.size, self.batch_size = paths, size, batch_size

    def __len__(self) -> int:
        return math.ceil(len(self.paths) / self.batch_size)

    def __getitem__(self, chunk: int) -> Pictures:
        places, images, boxes, bad = list[int](), list[np.ndarray](), list[Letterbox](), list[Bad]()
        first = chunk * self.batch_size
        for place, path in enumerate(self.paths[first : first + self.batch_size], start=first):
            try:
                image = read_image(path)
            except BadImage as error:
                bad.append(Bad(place, error.reason))
                continue
            box = letterbox(image.width, image.height, self.size)
            places.append(place)
            images.append(placed(image, box))
            boxes.append(box)
        stacked = np.stack(images) if images else np.empty((0, 3, self.size, self.size), np.uint8)
        return Pictures(places, torch.from_numpy(stacked), boxes, bad)
