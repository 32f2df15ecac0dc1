"""Whether a student gets better while it is trained: `watch` looks at it on images that it does not learn from, every some steps.

It changes nothing that is learnt, and no teacher is asked. The images are read once, before the first step. What is looked at is the
student that the run would end with now (its moving average), by the same code as `alumnus evaluate`.

Axes: N images, S side in px.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, zip_longest
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from alumnus.data.dataset import Dataset, open_dataset
from alumnus.data.loader import center_crop_batches
from alumnus.data.roles import generic_domains
from alumnus.errors import ConfigError
from alumnus.evaluation.encode import StudentEncode
from alumnus.evaluation.rank import effective_rank
from alumnus.evaluation.retrieval import macro, retrieve
from alumnus.log import number_of, warn
from alumnus.models.student import Student
from alumnus.training.config import Config, WatchSettings

BATCH = 64
RECALL, RANK = "watch/R@1", "watch/effective rank"
Ids = NDArray[np.int64]


class Watched(NamedTuple):
    """Images that a student is looked at on."""

    image: Tensor  # (N, 3, S, S) uint8
    domain: Ids  # (N,)
    label: Ids  # (N,) class within the domain, -1 without one
    domains: tuple[str, ...]
    split: str


def watched_images(config: Config) -> Watched | None:
    """Returns what `watch` asks for; None if it asks for nothing.

    Raises:
        ConfigError: there is no image of that split, or none can be read; or the student is to be sharded.
    """
    settings = config.watch
    if settings is None:
        return None
    if config.shard:
        raise ConfigError(
            "watch does not go with shard: true, where no process has the whole student; evaluate it when it is done"
        )
    dataset = _of_the_users(config, settings)
    dataset = dataset.rows(_chosen(dataset, settings, seed=config.seed))
    images, kept = list[Tensor](), list[Ids]()
    unreadable = 0
    for index, of_side, bad in center_crop_batches(
        list(dataset.paths), [config.size], batch_size=BATCH, workers=0
    ):
        kept.append(index)
        images.append(of_side[config.size])
        unreadable += len(bad)
    if unreadable == len(dataset):
        raise ConfigError(f"watch: not one of {number_of(len(dataset), 'image')} could be read")
    if unreadable:
        warn(f"watch: {number_of(unreadable, 'image')} of {len(dataset)} could not be read and are left out")
    rows = np.concatenate(kept)
    return Watched(
        torch.cat(images),
        dataset.domain[rows].astype(np.int64),
        dataset.label[rows].astype(np.int64),
        dataset.domains,
        settings.split,
    )


def look(student: Student, watched: Watched) -> dict[str, float]:
    """Returns how good a student is now; of several processes all call it alike.

    `watch/R@1` is the macro mean over domains of recall at 1, each labelled image among all others, as in `alumnus evaluate`, and
    `watch/R@1/DOMAIN` that of one; both are left out where no class has two images. `watch/effective rank` is of the embeddings, from 1
    (they differ along one direction) to their width, or 0 (they are alike); it needs no labels.
    """
    encode = StudentEncode(student)
    vectors = torch.cat([encode(part).cpu() for part in torch.split(watched.image, BATCH)]).numpy()
    found = {RANK: effective_rank(vectors)}
    every = np.arange(len(vectors))
    queries = every[watched.label >= 0]
    if _has_pairs(watched):
        retrieved = retrieve(
            vectors, domain=watched.domain, label=watched.label, queries=queries, index=every
        )
        right = retrieved.merged.recall
        found[RECALL] = macro(right, retrieved.domain)
        for domain in np.unique(retrieved.domain):
            found[f"{RECALL}/{watched.domains[domain]}"] = float(right[retrieved.domain == domain].mean())
    return found


def seen(found: dict[str, float], watched: Watched) -> str:
    """Returns it as words."""
    recall = f"R@1 {found[RECALL]:.3f}, " if RECALL in found else ""
    return f"{recall}effective rank {found[RANK]:.1f}, on {number_of(len(watched.label), 'image')} of {watched.split!r}"


def _of_the_users(config: Config, settings: WatchSettings) -> Dataset:
    """Returns the images that may be watched: of the domains that are trained, if they are the run's own, without generic ones."""
    dataset = open_dataset(settings.data or config.data)
    wanted = config.domains if settings.data is None and config.domains else dataset.domains
    generic = generic_domains(dataset.roles)
    return dataset.select(domains=[name for name in wanted if name not in generic])


def _chosen(dataset: Dataset, settings: WatchSettings, *, seed: int) -> Ids:
    """Returns at most so many rows of the split: whole classes, drawn by the seed, of all domains in turn."""
    here = np.flatnonzero(dataset.split == settings.split)
    if not len(here):
        there = ", ".join(f"{name} ({count})" for name, count in _splits(dataset))
        raise ConfigError(
            f"watch: there is no image of the split {settings.split!r}; give watch.split, one of: {there}; or watch.data, other images"
        )
    draw = np.random.default_rng(seed)
    of_domain = [
        _classes(here[dataset.domain[here] == domain], dataset.label, draw)
        for domain in np.unique(dataset.domain[here])
    ]
    in_turn = chain.from_iterable(zip_longest(*of_domain))
    chosen, count = list[Ids](), 0
    for rows in in_turn:
        if rows is not None and count + len(rows) <= settings.images:
            chosen.append(rows)
            count += len(rows)
    # A class alone may be larger than all that is wanted.
    return np.sort(np.concatenate(chosen)) if chosen else here[: settings.images]


def _classes(rows: Ids, label: NDArray[np.integer], draw: np.random.Generator) -> list[Ids]:
    """Returns the rows of each class of one domain, in drawn order; an image without a class stands by itself."""
    keys = np.where(label[rows] >= 0, label[rows].astype(np.int64), -1 - np.arange(len(rows)))
    groups = (
        [rows[keys == key] for key in np.unique(keys)] if (label[rows] >= 0).any() else list(rows[:, None])
    )
    return [groups[place] for place in draw.permutation(len(groups))]


def _splits(dataset: Dataset) -> Sequence[tuple[str, int]]:
    names, counts = np.unique(dataset.split, return_counts=True)
    return [(str(name), int(count)) for name, count in zip(names, counts, strict=True)]


def _has_pairs(watched: Watched) -> bool:
    """Whether two images are of one class."""
    pairs = np.stack([watched.domain, watched.label])[:, watched.label >= 0]
    return bool(np.unique(pairs, axis=1).shape[1] < pairs.shape[1])
