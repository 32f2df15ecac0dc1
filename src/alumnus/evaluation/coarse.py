"""Candidates for exact search from a pass in bfloat16, four times as fast as one in float32 where the processor has instructions for it.

Both sides are rounded to bfloat16 and multiplied block by block. Of every group of 16 scores only the largest is kept; the members of the
best groups are scored again in float32. What the rounding can have changed is known: for a query q and a vector x, rounded to q' and x',

    |q.x - q'.x'| <= |q - q'| |x| + |q'| |x - x'|

and both differences are measured, not assumed. So a vector whose group was left out has an inner product of at most the worst group taken,
plus that. `search` goes on until nothing left out can matter: its answer is the same as without this file.

Axes: Q queries, b of them at a time, n index vectors, D width, c candidates, g groups taken.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from alumnus.evaluation.arrays import Doubles, Floats, Ids

LOW = torch.bfloat16
ROUNDOFF = 1.01 * torch.finfo(LOW).eps / 2  # of a number rounded to it, relative
LEAST_INDEX, LEAST_QUERIES = 1 << 16, 1 << 8  # below which it does not matter
GROUP, BLOCK = 16, 1 << 11  # vectors; a block of scores stays in the processor's cache
LANES = BLOCK // GROUP  # groups of a block; members of a group lie that far apart
QUERIES = 256  # at once for each thread
MAXIMA = 1 << 26  # at most of them at once; 128 MiB
SPARE_GROUPS = 6  # taken beyond the candidates that are asked for
ELEMENTS = 1 << 23  # of the largest temporary array of members
SHARE = 4  # of the index, at least, that must be left out; else a plain search is as good
GAIN = 0.7  # of float32's time, at most, that bfloat16 must take
TRIALS = 5


class Candidates(NamedTuple):
    """What an exact search should look at."""

    ids: Ids  # (b, c), distinct
    beyond: Doubles  # (b,) no inner product with any other vector is larger


Propose = Callable[[Floats, int], Candidates]  # queries (b, D), c


class Coarse:
    """Proposes candidates from an index. Its large arrays are made once: asking for their memory each time would take half of the time."""

    def __init__(self, index: Floats, plain: Callable[[], Propose]) -> None:
        """Rounds the index.

        Args:
            index: (n, D).
            plain: makes what proposes when so many are wanted that nothing is saved.
        """
        self._table = torch.from_numpy(index)
        self._blocks, self._lost, self._longest = _rounded_blocks(self._table)
        self._plain = functools.cache(plain)
        most = max(1, MAXIMA // (len(self._blocks) * LANES))
        self._step = min(QUERIES * torch.get_num_threads(), most)
        self._scores = torch.empty(self._step, BLOCK, dtype=LOW)
        self._maxima = torch.empty(self._step, len(self._blocks), LANES, dtype=LOW)
        self._members = torch.empty(0)

    def __call__(self, queries: Floats, wanted: int) -> Candidates:
        """Returns `wanted` candidates for each query."""
        taken = wanted + SPARE_GROUPS
        if taken * GROUP * SHARE > len(self._table):
            return self._plain()(queries, wanted)
        parts = [
            self._propose(part, wanted, taken) for part in torch.split(torch.from_numpy(queries), self._step)
        ]
        return Candidates(*(np.concatenate(each) for each in zip(*parts, strict=True)))

    def _propose(self, queries: Tensor, wanted: int, taken: int) -> Candidates:
        rounded = queries.to(LOW)
        groups, least = _best_groups(self._group_maxima(rounded), taken)
        ids, scores = self._best_members(queries, groups, wanted)
        length, kept = queries.double().norm(dim=1), rounded.double().norm(dim=1)
        dropped = (queries.double() - rounded.double()).norm(dim=1)
        left_out = least + least.abs() * ROUNDOFF  # the sum was rounded too
        left_out += dropped * self._longest + kept * self._lost + self._float32_slack(kept)
        outdone = scores + self._float32_slack(length)
        return Candidates(ids.numpy(), torch.maximum(left_out, outdone).numpy())

    def _group_maxima(self, rounded: Tensor) -> Tensor:
        """Returns (b, n / BLOCK, LANES), each group's largest score."""
        count = len(rounded)
        scores, maxima = self._scores[:count], self._maxima[:count]
        for number, block in enumerate(self._blocks):
            torch.mm(rounded, block, out=scores)
            there = len(self._table) - number * BLOCK
            if there < BLOCK:
                scores[:, there:] = -torch.inf
            maxima[:, number] = scores.view(count, GROUP, LANES).amax(1)
        return maxima

    def _best_members(self, queries: Tensor, groups: Tensor, wanted: int) -> tuple[Tensor, Tensor]:
        """Returns the ids (b, c) of the groups' best members in float32, and the last one's score (b,)."""
        last, width = len(self._table) - 1, self._table.shape[1]
        ids = (groups[:, :, None] + torch.arange(0, BLOCK, LANES)).flatten(1)  # (b, g * GROUP)
        scores = torch.empty(ids.shape)
        step = max(1, ELEMENTS // (ids.shape[1] * width))
        if len(self._members) < step * ids.shape[1]:
            self._members = torch.empty(step * ids.shape[1], width)
        for start in range(0, len(ids), step):
            some, asked = ids[start : start + step], queries[start : start + step]
            members = self._members[: some.numel()]
            torch.index_select(self._table, 0, some.clamp(max=last).flatten(), out=members)
            found = torch.bmm(asked[:, None], members.view(*some.shape, width).mT)  # (step, 1, g * GROUP)
            scores[start : start + step] = found[:, 0]
        scores[ids > last] = -torch.inf
        best = scores.topk(wanted, dim=1)
        return ids.gather(1, best.indices), best.values[:, -1].double()

    def _float32_slack(self, lengths: Tensor) -> Tensor:
        return torch.from_numpy(float32_slack(self._table.shape[1], lengths.numpy(), self._longest))


@functools.cache
def pays() -> bool:
    """Returns whether this processor is much faster in bfloat16, and adds products up in float32 as the bound wants. Takes some ms."""
    draw = torch.Generator().manual_seed(0)
    one, other = (torch.rand(QUERIES, 64, generator=draw), torch.rand(64, BLOCK, generator=draw))
    rounded = one.to(LOW), other.to(LOW)
    true = rounded[0].double() @ rounded[1].double()
    if bool(((rounded[0] @ rounded[1]).double() - true).abs().gt(true * ROUNDOFF).any()):
        return False
    return _least_s(*rounded) < GAIN * _least_s(one, other)


def float32_slack(width: int, lengths: Doubles, longest: float) -> Doubles:
    """Returns (Q,) the most by which a float32 inner product can be wrong: D u |q| |x|, whatever the order of its sums."""
    unit_roundoff = float(np.finfo(np.float32).eps) / 2
    slack: Doubles = 1.01 * (width + 1) * unit_roundoff * lengths * longest
    return slack


def _rounded_blocks(table: Tensor) -> tuple[Tensor, float, float]:
    """Returns (n / BLOCK, D, BLOCK) bfloat16, the largest |x - x'|, and the largest of |x| and |x'|; the last block ends in zeros."""
    count, width = table.shape
    blocks = torch.zeros(-(-count // BLOCK), width, BLOCK, dtype=LOW)
    lost = longest = 0.0
    for block, part in zip(blocks, torch.split(table, BLOCK), strict=True):
        block[:, : len(part)] = part.T
        rounded = block[:, : len(part)].T.double()
        lost = max(lost, float((part.double() - rounded).norm(dim=1).max()))
        longest = max(longest, float(part.double().norm(dim=1).max()), float(rounded.norm(dim=1).max()))
    return blocks, lost, longest


def _best_groups(maxima: Tensor, taken: int) -> tuple[Tensor, Tensor]:
    """Returns the first members' ids (b, g) of the groups with the largest maxima, and the least of those maxima (b,).

    The best groups are in the blocks with the largest maxima, as many blocks as groups.
    """
    block = maxima.amax(2).float().topk(min(taken, maxima.shape[1]), dim=1).indices  # (b, blocks)
    inside = maxima.gather(1, block[:, :, None].expand(-1, -1, LANES)).flatten(1).float()
    best = inside.topk(taken, dim=1)
    place = best.indices
    return block.gather(1, place // LANES) * BLOCK + place % LANES, best.values[:, -1].double()


def _least_s(one: Tensor, other: Tensor) -> float:
    """Returns seconds of the fastest of some products."""
    found = []
    for _ in range(TRIALS):
        started = time.perf_counter()
        for _ in range(TRIALS):
            one @ other
        found.append(time.perf_counter() - started)
    return min(found)
