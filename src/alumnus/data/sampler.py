"""Samplers: step -> the global list of rows, the same whatever the number of processes.

No sampler keeps a position: the rows of a step are a pure function of `(seed, step)`, so a resumed run continues exactly, and each process
takes its slice of one global list. Every pool of rows is walked in passes: pass k is a permutation seeded by `(seed, pool, k)`, and k is
also the view index, so a row's k-th use is its k-th view.

    proportional   one pool of all rows
    balanced       the places of each batch go round the domains, so every domain gets the same share
    square_root    every domain's share is as the square root of its number of images (Kang et al. 2020, arXiv 1910.09217, eq. 1, q = 1/2,
                   with domains for classes): small domains are seen more often than their share, but not as often as if balanced
    round_robin    batch t holds domain t mod D alone (UnED's name; single-domain batches as in UDON)
    dataset_size   each batch holds one domain alone, and a domain has as many batches as its share of the images (UnED's name)

One whose draws depend on losses, and so has a state, is in `dynamic`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Literal, NamedTuple, Protocol

import numpy as np
from torch import Tensor

from alumnus.data.views import PERMUTATIONS, counter_random
from alumnus.errors import DataError

SamplerName = Literal["proportional", "balanced", "square_root", "round_robin", "dataset_size"]
ROUND = 1024  # draws, or batches of `dataset_size`, in which every domain gets its share


class Draw(NamedTuple):
    """What one step uses, over all processes."""

    rows: np.ndarray  # (B,) int64
    views: np.ndarray  # (B,) int64, how often each row was used before


class Sampling(Protocol):
    """All that loader and loop know of a sampler."""

    seed: int

    @property
    def weights(self) -> Mapping[int, float]:
        """Domain -> its weight in the present schedule, of samplers that follow losses; of others nothing."""
        ...

    def draw(self, step: int) -> Draw:
        """Returns the rows and view indices of a step."""
        ...

    def windows(self, start: int, steps: int) -> Iterator[range]:
        """Yields steps `start` to `steps` - 1 in windows; each is asked for after the last step before it, and its draws are known then."""
        ...

    def observe(self, domain: np.ndarray, loss: np.ndarray) -> None:
        """Takes notice of the domains (n,) and losses (n,) of a step's images that have one, once a step and in order; n may be 0."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """Returns its state, for a checkpoint."""
        ...

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Puts the state of `tensors()` back."""
        ...


class Sampler:
    """Deterministic draws of rows.

    Args:
        domain: (N,) int64, the domain of each row.
        batch_size: rows a step, over all processes.
        views_per_image: 0 for ever new views, else view indices repeat after so many.
    """

    def __init__(
        self, domain: np.ndarray, *, name: SamplerName, batch_size: int, seed: int, views_per_image: int = 0
    ) -> None:
        if len(domain) == 0:
            raise DataError("there is no image to train on; the training split is empty")
        pools = [np.arange(len(domain))] if name == "proportional" else _pools(domain)
        self.name, self.batch_size, self.seed, self.views_per_image = name, batch_size, seed, views_per_image
        self._pools = pools
        sizes = np.array([len(pool) for pool in pools], np.float64)
        self._round = _spread(np.sqrt(sizes) if name == "square_root" else sizes)
        self._permutation = lru_cache(maxsize=2 * len(pools) + 2)(self._permute)

    @property
    def weights(self) -> Mapping[int, float]:
        """Returns nothing: these samplers follow no losses."""
        return {}

    def draw(self, step: int) -> Draw:
        """Returns the rows and view indices of a step."""
        pool, place = self._places(step)
        rows, views = np.empty(self.batch_size, np.int64), np.empty(self.batch_size, np.int64)
        for number in np.unique(pool):
            here = pool == number
            rows[here], views[here] = self._take(int(number), place[here])
        return Draw(rows, views % self.views_per_image if self.views_per_image else views)

    def batch(self, pool: int, number: int) -> Draw:
        """Returns a batch of one pool alone: the one that `number` such batches came before."""
        rows, views = self._take(pool, self._alone(pool, number)[1])
        return Draw(rows, views % self.views_per_image if self.views_per_image else views)

    def windows(self, start: int, steps: int) -> Iterator[range]:
        """Yields all steps at once."""
        yield range(start, steps)

    def observe(self, domain: np.ndarray, loss: np.ndarray) -> None:
        """Takes notice of the losses of a step; these samplers do not depend on them."""

    def tensors(self) -> dict[str, Tensor]:
        """Returns nothing: these samplers have no state."""
        return {}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Puts nothing back."""

    def _places(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """For each place of the batch: which pool it draws from, and how many draws that pool has had before."""
        first, count = step * self.batch_size, len(self._pools)
        global_place = np.arange(first, first + self.batch_size)
        if self.name == "round_robin":
            return self._alone(step % count, step // count)
        if self.name == "dataset_size":
            pool, before = self._turn(np.array([step]))
            return self._alone(int(pool[0]), int(before[0]))
        if self.name == "square_root":
            return self._turn(global_place)
        return global_place % count, global_place // count

    def _alone(self, pool: int, number: int) -> tuple[np.ndarray, np.ndarray]:
        """For a batch of one pool that `number` such batches came before."""
        return np.full(self.batch_size, pool), number * self.batch_size + np.arange(self.batch_size)

    def _turn(self, place: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """For each place in endless rounds: whose turn it is, and how many turns that pool has had before."""
        rounds, slot = np.divmod(place, len(self._round[0]))
        pool, before, total = (column[slot] for column in self._round)
        return pool, rounds * total + before

    def _take(self, pool: int, place: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        passes, inside = np.divmod(place, len(self._pools[pool]))
        rows = np.empty_like(place)
        for number in np.unique(passes):
            here = passes == number
            rows[here] = self._permutation(pool, int(number))[inside[here]]
        return rows, passes

    def _permute(self, pool: int, number: int) -> np.ndarray:
        order = counter_random(self.seed, PERMUTATIONS, pool, number).permutation(len(self._pools[pool]))
        return self._pools[pool][order]


def _spread(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns for each draw of a round its pool, how many draws of the round that pool has had, and how many it gets, (R,) each.

    A pool's draws are spread evenly over the round, and every pool has at least one.
    """
    draws = max(ROUND, 4 * len(weights))
    counts = 1 + np.floor((draws - len(weights)) * weights / weights.sum()).astype(np.int64)
    counts[np.argmax(counts)] += draws - counts.sum()
    pool = np.repeat(np.arange(len(counts)), counts)
    number = np.concatenate([np.arange(count) for count in counts])
    order = np.argsort((number + 0.5) / counts[pool], kind="stable")
    return pool[order], number[order], counts[pool[order]]


def _pools(domain: np.ndarray) -> list[np.ndarray]:
    return [np.flatnonzero(domain == number) for number in np.unique(domain)]
