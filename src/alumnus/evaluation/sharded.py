"""Exact search by several processes: each answers a share of the queries, and all get the whole answer.

torchrun --nproc-per-node 4 score.py      # which calls torch.distributed.init_process_group and then `retrieve`
"""

from __future__ import annotations

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray

from alumnus.evaluation.arrays import Floats, Ids
from alumnus.evaluation.search import Neighbours, search


def sharded_search(
    queries: Floats, index: Floats, k: int, *, exclude: Ids | None = None, device: str = "cpu"
) -> Neighbours:
    """Returns what `search` returns. Where torch.distributed has several processes, all of them must call this with the same arguments."""
    world = dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
    if world == 1:
        return search(queries, index, k, exclude=exclude, device=device)
    share = -(-len(queries) // world)
    mine = slice(dist.get_rank() * share, (dist.get_rank() + 1) * share)
    found = search(queries[mine], index, k, exclude=None if exclude is None else exclude[mine], device=device)
    place = device if dist.get_backend() == "nccl" else "cpu"
    return Neighbours(*(_gathered(part, share, place)[: len(queries)] for part in found))


def _gathered(part: NDArray[np.generic], share: int, place: str) -> NDArray[np.generic]:
    """Returns the rows (world * share, k) of all processes; all but the last ones have `share` rows, and those are filled up."""
    padded = torch.zeros(share, part.shape[1], dtype=torch.from_numpy(part).dtype, device=place)
    padded[: len(part)] = torch.from_numpy(part).to(place)
    parts = [torch.empty_like(padded) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, padded)
    return torch.cat(parts).cpu().numpy()
