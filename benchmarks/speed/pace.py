"""How every configuration of `train.py` is timed: seconds from one optimiser step to the next, in a process of its own.

torch calls a global hook at the start of every `Optimizer.step`, whoever's loop it is in, so a bare loop, Alumnus and its peers are
measured alike and none of them is changed. After the last measured step the run is broken off, so that neither the end of an epoch nor the
saving of a model is in the pace, and loading processes are as busy at the last measured step as at the first: runs are set to be
much longer. Warm-up steps let the queues of loaded batches, filled before the first step, drain. Only the standard library and torch are
imported: this also runs in the environments of the peers.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import time
from collections.abc import Callable
from itertools import pairwise
from typing import NoReturn


class Enough(BaseException):
    """Breaks off a run of which enough has been seen; no handler of `Exception` takes it."""


def measure(run: Callable[[], object], *, warm: int, steps: int, batch: int) -> None:
    """Runs something that trains, and prints its pace as one JSON line.

    Args:
        run: trains for more than `warm` + `steps` steps.
        batch: images a step.
    """
    from torch.optim.optimizer import register_optimizer_step_pre_hook

    starts = list[float]()

    def note(*_: object) -> None:
        starts.append(time.perf_counter())
        if len(starts) > warm + steps:
            raise Enough

    hook = register_optimizer_step_pre_hook(note)
    began = time.perf_counter()
    with contextlib.suppress(Enough):
        run()
    hook.remove()
    _leave(_pace(starts, warm=warm, steps=steps, batch=batch) | {"to first step, s": starts[0] - began})


def _pace(starts: list[float], *, warm: int, steps: int, batch: int) -> dict[str, float]:
    """Of the median step, and of all measured steps together; they differ where single steps wait."""
    if len(starts) <= warm + steps:
        raise SystemExit(f"only {len(starts)} steps were made, {warm + steps + 1} are needed")
    kept = starts[warm:]
    each = [after - before for before, after in pairwise(kept)]
    return {
        "images/s": batch / statistics.median(each),
        "mean images/s": batch * steps / (kept[-1] - kept[0]),
    }


def _leave(found: dict[str, float]) -> NoReturn:
    """Prints and ends at once: what a library does when it is left may take long, and is not measured."""
    import torch

    found |= {"cpu s": sum(os.times()[:4]), "threads": torch.get_num_threads()}
    print("\n" + json.dumps(found | {"torch": torch.__version__}), flush=True)  # a bar may stand in the line
    os._exit(0)
