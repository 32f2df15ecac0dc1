"""How every configuration of `train.py` is timed: seconds from one optimiser step to the next, in a process of its own, in turns.

torch calls a global hook at the start of every `Optimizer.step`, whoever's loop it is in, so a bare loop, Alumnus and its peers are
measured alike and none of them is changed. After the steps of a turn the process prints their pace and stops itself and its readers with
SIGSTOP; `train.py` lets it go on when its next turn has come. So a second in which the machine is slow falls on all configurations, and
queues of loaded batches are at the start of a turn what they were at the end of the last. Before the first turn they are full: warm-up
steps let them drain. Whoever started the process ends it. Only the standard library and torch are imported: this also runs in the
environments of the peers.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import sys
import time
from collections.abc import Callable
from itertools import pairwise

AGAIN = 2  # steps that are not measured at the start of a turn: threads wake, caches fill


def measure(run: Callable[[], object], *, warm: int, steps: int, batch: int) -> None:
    """Runs something that trains, and prints a JSON line after each turn. The process must lead a process group of its own.

    Args:
        run: trains for as many steps as it is let.
        warm: steps before the first turn.
        steps: measured steps of a turn.
        batch: images a step.
    """
    import torch
    from torch.optim.optimizer import register_optimizer_step_pre_hook

    starts = list[float]()
    skipped = warm  # steps, of this turn

    def note(*_: object) -> None:
        nonlocal skipped
        starts.append(time.perf_counter())
        if len(starts) > skipped + steps:
            found = _pace(starts[skipped:], batch=batch)
            line = json.dumps(found | {"threads": torch.get_num_threads()})
            print(f"\n{line}", flush=True)  # a bar may stand in the line before
            os.killpg(0, signal.SIGSTOP)
            starts.clear()
            skipped = AGAIN

    register_optimizer_step_pre_hook(note)
    run()
    sys.exit("the run ended by itself; it was to be much longer")


def _pace(starts: list[float], *, batch: int) -> dict[str, float]:
    """Of the median step, and of all measured steps together; they differ where single steps wait."""
    each = [after - before for before, after in pairwise(starts)]
    return {"images/s": batch / statistics.median(each), "mean images/s": batch * len(each) / sum(each)}
