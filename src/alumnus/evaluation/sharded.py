"""Exact search by several processes: each answers a share of the queries, and all get the whole answer.

torchrun --nproc-per-node 4 score.py      # which calls torch.distributed.init_process_group and then `retrieve`
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

from alumnus.distributed import world_size
from alumnus.evaluation.arrays import Floats, Ids
from alumnus.evaluation.search import Neighbours, search


def sharded_search(
    queries: Floats, index: Floats, k: int, *, exclude: Ids | None = None, device: str = "cpu"
) -> Neighbours:
    """Returns what `search` returns. Where torch.distributed has several processes, all of them must call this with the same arguments."""
    world = world_size()
    if world == 1:
        return search(queries, index, k, exclude=exclude, device=device)
    share = -(-len(queries) // world)
    mine = slice(dist.get_rank() * share, (dist.get_rank() + 1) * share)
    found = search(queries[mine], index, k, exclude=None if exclude is None else exclude[mine], device=device)
    place = device if dist.get_backend() == "nccl" else "cpu"
    ids, scores = (_gathered(torch.from_numpy(part), share, place)[: len(queries)] for part in found)
    return Neighbours(ids.numpy(), scores.numpy())


def _gathered(part: Tensor, share: int, place: str) -> Tensor:
    """Returns the rows (world * share, k) of all processes; all but the last ones have `share` rows, and those are filled up."""
    padded = part.new_zeros((share, part.shape[1]), device=place)
    padded[: len(part)] = part
    parts = [torch.empty_like(padded) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, padded)
    return torch.cat(parts).cpu()
