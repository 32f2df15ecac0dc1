"""A teacher whose every call is counted, images to show it, and a store for both."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from alumnus.data.dataset import Dataset, open_dataset
from alumnus.data.views import ViewSettings
from alumnus.store.make import Store
from alumnus.store.settings import StoreSettings
from alumnus.teachers.spec import TeacherSpec
from alumnus.teachers.targets import Speaker
from alumnus.training.targets import open_store, stored_speakers

VIEWS = ViewSettings(per_image=2)


class Counting(nn.Module):
    """Says the mean colour of each quarter times a weight, (B, 12), and counts the images that it saw."""

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight))
        self.seen = 0

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, 12)."""
        self.seen += int((image.amax((1, 2, 3)) > 0).sum())  # small batches are filled up with black ones
        return nn.functional.adaptive_avg_pool2d(image, 2).flatten(1) * self.weight


def spec_of(teacher: nn.Module, **settings: object) -> TeacherSpec:
    """A recipe's entry for it."""
    return TeacherSpec.model_validate({"model": teacher, "name": "counting", "size": 16, **settings})


def store_of(
    folder: Path,
    data: Dataset | Path,
    views: ViewSettings = VIEWS,
    *,
    sources: Sequence[str] = (),
    max_bad_fraction: float = 0.05,
    **settings: object,
) -> Store:
    """The store at `folder` for some images."""
    dataset = data if isinstance(data, Dataset) else open_dataset(data)
    return open_store(
        StoreSettings.model_validate({"path": folder, "precision": "float32", **settings}),
        dataset,
        views,
        seed=0,
        device=torch.device("cpu"),
        workers=0,
        memory_limit=None,
        sources=sources,
        max_bad_fraction=max_bad_fraction,
    )


def speakers_of(store: Store, specs: Sequence[TeacherSpec]) -> list[Speaker]:
    """The teachers as a run would have them, what is missing computed."""
    return stored_speakers(store, store.estimate(specs, refuse_changed=True), specs)
