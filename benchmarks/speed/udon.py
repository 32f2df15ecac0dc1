"""What does UDON's step cost? python benchmarks/speed/udon.py

Whole steps (forward, backward, clipping, AdamW) on a batch in memory: of UDON, of classification with the same heads (UDON
without distillation) and of `supervised`, which has no teacher heads, each on batches of one domain after another; and of UDON with
imprinting on batches of all domains. They take turns, so that a busy moment of the machine falls on all; what is printed are medians and
their ratios. `--domains 1 --classes 200000 --sampled 4096` measures the sampled softmax too.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from itertools import cycle

import numpy as np
import torch
from torch import nn

from alumnus.memory import keep_freed_memory
from alumnus.methods import supervised, udon
from alumnus.models.student import Architecture, Student
from alumnus.objective import Objective, Setup
from alumnus.training.optim import OptimSettings, make_optimizer
from alumnus.types import Batch


def main() -> None:
    """Prints one JSON line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--student", default="mobilenetv2_100")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--classes", type=int, default=1000, help="of each domain")
    parser.add_argument("--domains", type=int, default=8)
    parser.add_argument(
        "--sampled", type=int, help="classes that a batch is compared with, in an arm of its own"
    )
    parser.add_argument("--rounds", type=int, default=20)
    asked = parser.parse_args()
    torch.manual_seed(0)
    keep_freed_memory()
    made = {
        "udon": udon.Settings(),
        "same heads": udon.Settings(weights=udon.Weights(logits=0, relations=0)),
        "supervised": supervised.Settings(normalise_summary=True),
        "udon, mixed+imprinted": udon.Settings(imprint=True),
    }
    if asked.sampled:
        made["udon, sampled"] = udon.Settings(max_classes=asked.sampled)
    steps = {name: _step(settings, asked, mixed="mixed" in name) for name, settings in made.items()}
    times: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(asked.rounds + asked.domains):
        for name, step in steps.items():
            began = time.perf_counter()
            step()
            if number >= asked.domains:  # until then the optimiser has not the state of all classifiers
                times[name].append(time.perf_counter() - began)
    found = {name: float(np.median(each)) for name, each in times.items()}
    ratios = {
        f"{name} / {other}": round(found[name] / found[other], 3)
        for name in found
        for other in found
        if name != other
    }
    milliseconds = {name: round(1000 * value, 1) for name, value in found.items()}
    print(
        json.dumps(
            {"options": vars(asked), "threads": torch.get_num_threads(), "ms": milliseconds, "ratios": ratios}
        )
    )


def _step(
    settings: udon.Settings | supervised.Settings, asked: argparse.Namespace, *, mixed: bool
) -> Callable[[], None]:
    """Returns a step of a student and an objective of its own."""
    student = Student(Architecture(asked.student, asked.size, 64, normalise_summary=True)).train()
    student.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    setup = Setup(student.num_features, 64, {}, {f"domain {d}": asked.classes for d in range(asked.domains)})
    objective: Objective = (
        udon.build(settings, setup)
        if isinstance(settings, udon.Settings)
        else supervised.build(settings, setup)
    )
    optimizer = make_optimizer(student, objective, OptimSettings(), lr=1e-4)
    batches = cycle([_batch(asked, None if mixed else domain) for domain in range(asked.domains)])

    def run() -> None:
        loss = objective(student, next(batches), {}, 0.5).loss
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], 1.0)
        optimizer.step()

    return run


def _batch(asked: argparse.Namespace, alone: int | None) -> Batch:
    """A batch of one domain, or of all."""
    zeros, order = torch.zeros(asked.batch, dtype=torch.int64), torch.arange(asked.batch)
    domain = order % asked.domains if alone is None else torch.full_like(zeros, alone)
    image = torch.randint(0, 256, (asked.batch, 3, asked.size, asked.size), dtype=torch.uint8)
    return Batch(image, {}, zeros, zeros, zeros, domain, torch.randint(0, asked.classes, (asked.batch,)))


if __name__ == "__main__":
    main()
