"""Whether a student gets better while it is trained: `watch` looks at it on images that it does not learn from, every some steps.

It changes nothing that is learnt, and no teacher is asked. The images are read once, before the first step. What is looked at is the
student that the run would end with now (its moving average), by the same code as `alumnus evaluate`.

Axes: N images, S side in px.
"""

from __future__ import annotations

import hashlib
import math
import os
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import chain, zip_longest
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from alumnus.data.dataset import Dataset, open_dataset
from alumnus.data.loader import center_crop_batches
from alumnus.data.locator import container_of
from alumnus.data.names import printable
from alumnus.data.roles import generic_domains
from alumnus.data.samples import SPARE
from alumnus.distributed import world_size
from alumnus.errors import ConfigError
from alumnus.evaluation.encode import StudentEncode
from alumnus.evaluation.rank import effective_rank
from alumnus.evaluation.retrieval import macro, retrieve
from alumnus.log import number_of, warn
from alumnus.models.student import Student
from alumnus.training.config import Config, WatchSettings
from alumnus.training.data import training_data

BATCH = 64
RECALL, RANK = "watch/R@1", "watch/effective rank"
WITHOUT = "watch=none looks at nothing"
PER_CLASS = 10  # images, before there are more classes
CLASSES = 3  # of each domain, before there are more images of one
Ids = NDArray[np.int64]


class Watched(NamedTuple):
    """Images that a student is looked at on."""

    image: Tensor  # (N, 3, S, S) uint8
    domain: Ids  # (N,)
    label: Ids  # (N,) class within the domain, -1 without one
    domains: tuple[str, ...]

    @property
    def fingerprint(self) -> str:
        """Of the images and their classes."""
        parts = (
            *(part.tobytes() for part in (self.image.numpy(), self.domain, self.label)),
            " ".join(self.domains).encode(),
        )
        return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()


def watched_images(config: Config) -> Watched | None:
    """Returns what `watch` asks for; None if it asks for nothing.

    Raises:
        ConfigError: there is no image of that split, or none can be read; or the student is to be sharded; or the best is to be kept,
            and there are no classes to go by.
    """
    if config.watch is None:
        return None
    dataset = watched_rows(config, config.watch)
    if config.watch.data is not None:
        _warn_of_training_images(dataset, training_data(config))
    images, kept, unreadable = list[Tensor](), list[Ids](), list[str]()
    for index, of_side, bad in center_crop_batches(
        list(dataset.paths), [config.size], batch_size=BATCH, workers=0
    ):
        kept.append(index)
        images.append(of_side[config.size])
        unreadable += [f"'{printable(dataset.file_names[each.row])}': {each.reason}" for each in bad]
    if unreadable:
        told = f"of {number_of(len(dataset), 'image')} {len(unreadable):,} could not be read; the last is {unreadable[-1]}"
        if len(unreadable) == len(dataset):
            raise ConfigError(f"watch: {told}; mend them, or give others in watch.data; {WITHOUT}")
        warn(f"watch: {told}; they are left out")
    rows = np.concatenate(kept)
    found = Watched(
        torch.cat(images),
        dataset.domain[rows].astype(np.int64),
        dataset.label[rows].astype(np.int64),
        dataset.domains,
    )
    if config.watch.keep == "best" and not _has_pairs(found):
        raise ConfigError(
            f"watch.keep=best goes by R@1, and of {number_of(len(rows), 'watched image')} no two are of one class; watch images with "
            "labels, or leave it at keep=last"
        )
    return found


def look(student: Student, watched: Watched) -> dict[str, float]:
    """Returns how good a student is now; of several processes all call it alike.

    `watch/R@1` is the macro mean over domains of recall at 1, each labelled image among all others, as in `alumnus evaluate`, and
    `watch/R@1/DOMAIN` that of one; they are left out if no class at all has two images. `watch/effective rank` is of the embeddings, from 1
    (they differ along one direction) to their width, or 0 (they are alike); it needs no labels. If an embedding is not finite,
    the rank is NaN, and nothing else is said.
    """
    encode = StudentEncode(student)
    vectors = torch.cat([encode(part).cpu() for part in torch.split(watched.image, BATCH)]).numpy()
    if not np.isfinite(vectors).all():
        return {RANK: math.nan}
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
    return f"{recall}effective rank {found[RANK]:.1f}, on {number_of(len(watched.label), 'watched image')}"


def watched_rows(config: Config, settings: WatchSettings) -> Dataset:
    """Returns at most so many images, without reading one: classes of all domains in turn, of each up to a fair share; drawn by the seed.

    Generic domains are left out, as in `alumnus evaluate`; of the run's own images those of domains that are not trained too.

    Raises:
        ConfigError: there are none, or the student is to be sharded.
    """
    if config.shard and world_size() > 1:
        raise ConfigError(
            f"watch does not go with shard: true, where no process has the whole student; evaluate it when it is done; {WITHOUT}"
        )
    dataset = open_dataset(settings.data or config.data)
    generic = generic_domains(dataset.roles)
    trained = dataset.domains if settings.data or not config.domains else config.domains
    rows = np.flatnonzero(
        np.isin(dataset.split, _split(dataset, settings))
        & np.isin(
            dataset.domain, [d for d, n in enumerate(dataset.domains) if n in trained and n not in generic]
        )
    )
    if not len(rows):
        raise ConfigError(
            f"watch: there is no image of a trained domain that is not generic in the split {_split(dataset, settings)!r}, of "
            f"{_splits(dataset)}; give watch.split, or other images in watch.data; {WITHOUT}"
        )
    if settings.data is None and settings.split == "train":
        warn("watch: the student learns from images of the split 'train'; they say little about others")
    chosen = dataset.rows(_chosen(rows, dataset, limit=settings.images, seed=config.seed))
    _warn_of_few(dataset.rows(rows), chosen)
    return chosen


def _warn_of_few(there: Dataset, chosen: Dataset) -> None:
    """Says where the numbers mean less than they seem to."""
    if left_out := [there.domains[d] for d in np.setdiff1d(there.domain, chosen.domain)]:
        warn(
            f"watch: {number_of(len(chosen), 'image')} leave out the domains {', '.join(left_out)}; raise watch.images"
        )
    labelled = chosen.label >= 0
    pairs = np.unique(np.stack([chosen.domain, chosen.label])[:, labelled], axis=1)
    if pairs.shape[1] == 1 and labelled.sum() > 1:
        domain, label = pairs[:, 0]
        warn(
            f"watch: all watched images with a label are of one class, '{printable(there.classes[domain][label])}', so R@1 says nothing; "
            "watch images of several classes"
        )


def _warn_of_training_images(watched: Dataset, trained: Dataset) -> None:
    """Counts those that the student learns from, whatever links lead to them."""
    common = set(_resolved(watched.paths)).intersection(_resolved(trained.paths))
    if common:
        warn(
            f"watch: of {number_of(len(watched), 'image')} in watch.data the student learns from {len(common):,}, such as "
            f"'{printable(min(common))}'; they say little about others"
        )


def _resolved(paths: Iterable[str]) -> Iterator[str]:
    folder_of = cache(os.path.realpath)
    for path in paths:
        container = container_of(path)
        folder, name = os.path.split(container)
        found = os.path.join(folder_of(folder), name)
        if os.path.islink(found):
            found = os.path.realpath(found)
        yield found + path[len(container) :]


def _split(dataset: Dataset, settings: WatchSettings) -> str:
    """Returns the split that is meant: `val`, or the only one that other images have."""
    there = [str(name) for name in np.unique(dataset.split) if name != SPARE]
    if settings.split is not None:
        return settings.split
    return there[0] if settings.data and len(there) == 1 else "val"


def _splits(dataset: Dataset) -> str:
    """Returns which splits there are, and how large."""
    names, counts = np.unique(dataset.split, return_counts=True)
    return ", ".join(f"{name} ({count})" for name, count in zip(names, counts, strict=True) if name != SPARE)


def _chosen(rows: Ids, dataset: Dataset, *, limit: int, seed: int) -> Ids:
    """Returns at most `limit` of the rows: classes first, of each up to a fair share, then images without one."""
    if len(rows) <= limit:
        return rows
    draw = np.random.default_rng(seed)
    of_domain = [
        _classes(rows[dataset.domain[rows] == domain], dataset.label, draw)
        for domain in np.unique(dataset.domain[rows])
    ]
    share = _share(dataset.domain[rows], dataset.label[rows], limit=limit)
    chosen, count = list[Ids](), 0
    for group in chain.from_iterable(zip_longest(*of_domain)):
        if group is not None:
            part = group if len(group) <= share else draw.choice(group, share, replace=False)
            if count + len(part) <= limit:
                chosen.append(part)
                count += len(part)
    return np.sort(np.concatenate(chosen))


def _share(domain: Ids, label: Ids, *, limit: int) -> int:
    """Returns how many images of a class are watched at most.

    As many as let all classes in; but where that would be few, more of some classes: neighbours need company.
    """
    pairs = np.stack([domain, label])[:, label >= 0]
    if not pairs.size:
        return limit
    sizes = np.unique(pairs, axis=1, return_counts=True)[1]
    domains = len(np.unique(domain))
    room = limit * len(np.unique(pairs[0])) // domains  # domains without labels have their part too
    fitting = bisect_right(range(sizes.max() + 1), room, key=lambda each: np.minimum(sizes, each).sum()) - 1
    return max(fitting, min(PER_CLASS, max(2, limit // (CLASSES * domains))))


def _classes(rows: Ids, label: NDArray[np.integer], draw: np.random.Generator) -> list[Ids]:
    """Returns the rows of each class of one domain, in drawn order, then its images without a class one by one."""
    rows = rows[np.argsort(label[rows], kind="stable")]
    starts = np.flatnonzero(np.diff(label[rows])) + 1
    groups = np.split(rows, starts)
    alone = groups.pop(0)[:, None] if label[rows[0]] < 0 else rows[:0, None]
    return [groups[place] for place in draw.permutation(len(groups))] + list(draw.permutation(alone))


def _has_pairs(watched: Watched) -> bool:
    """Whether two images are of one class."""
    pairs = np.stack([watched.domain, watched.label])[:, watched.label >= 0]
    return bool(np.unique(pairs, axis=1).shape[1] < pairs.shape[1])
