"""Whether a run stays below its `memory_limit`: what the students' step takes is measured on a copy, before the first step.

Teachers are looked at before (`targets.py`). What a method does beside one pass of the student, such as further views, is not known here:
after the first step the memory in use is compared with the limit again, and a line says so if it is over.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import nn

from alumnus.distributed import decided
from alumnus.errors import ConfigError
from alumnus.models.student import Student
from alumnus.store.measure import cost_of, give_back, in_use
from alumnus.store.settings import show_bytes

MOMENTS = 2  # numbers that AdamW keeps of each parameter
GLANCE = 8  # images of the trial: a whole batch might not fit, and activations grow with the images


class StepNeed(NamedTuple):
    """What one student takes beyond what is there before its first step."""

    kept: int  # bytes of gradients and moments, from step to step
    passing: int  # bytes of a step: mostly activations


def step_need(
    student: Student, objective: nn.Module, *, images: int, size: int, low: torch.dtype | None
) -> StepNeed:
    """Returns what a student's step takes; the student stays as it is.

    Args:
        images: that this process has in a step.
        size: of their side in px.
        low: the precision under autocast, if any.
    """
    device = next(student.parameters()).device
    kept = (1 + MOMENTS) * _num_bytes([*student.parameters(), *objective.parameters()])
    piece = -(-images // student.micro_batches)  # whose activations are held at once
    seen = min(piece, GLANCE)
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        image = torch.zeros(seen, 3, size, size, dtype=torch.uint8, device=device)
        passing = _passing(student, image, low)
    give_back(device)
    return StepNeed(kept, passing * piece // seen)


def _passing(student: Student, image: torch.Tensor, low: torch.dtype | None) -> int:
    """Bytes that a step takes beyond weights and gradients, measured on a copy after a first step in which libraries make their buffers."""
    trial = copy.deepcopy(student)
    trial.micro_batches = 1
    _step(trial, image, low)
    give_back(image.device)
    before = in_use(image.device)
    _, cost = cost_of(partial(_step, trial, image, low), image.device)
    return max(0, cost.peak_bytes - before)


def check_limit(
    needs: Sequence[StepNeed], *, memory_limit: int, batch_size: int, num_live: int, device: torch.device
) -> None:
    """Refuses a run that will not stay below its limit; the first process decides for all.

    Args:
        num_live: live teachers.

    Raises:
        ConfigError: with what is held, what a step needs, and what helps.
    """
    held, more = in_use(device), sum(need.kept for need in needs) + max(need.passing for need in needs)
    if decided(lambda: held + more <= memory_limit):
        return
    helps = ["a larger accumulate", "a smaller batch_size or size"]
    helps += ["store=FOLDER views.per_image=8 in place of live teachers"] if num_live else []
    helps += ["together=false"] if len(needs) > 1 else []
    raise ConfigError(
        f"memory_limit={show_bytes(memory_limit)}: {show_bytes(held)} are held before the first step, and the steps of {batch_size} images "
        f"need about {show_bytes(more)} more, {show_bytes(sum(need.kept for need in needs))} of it for gradients and moments: "
        f"{', '.join(helps)}, several processes with shard=true, or a larger limit help"
    )


def over_limit(memory_limit: int | None, device: torch.device) -> str | None:
    """Returns what to say after a step that took more than the limit; None if it did not."""
    if memory_limit is None:
        return None
    # On a CPU the memory of a step stays with the process, see memory.py.
    used = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else in_use(device)
    if used <= memory_limit:
        return None
    return (
        f"warning: the first step took {show_bytes(used)}, memory_limit is {show_bytes(memory_limit)}; a larger accumulate, a smaller "
        "batch_size or size, or a store in place of live teachers helps"
    )


def _step(student: Student, image: torch.Tensor, low: torch.dtype | None) -> None:
    with torch.autocast(image.device.type, low, enabled=low is not None):
        loss = student(image).embedding.float().square().sum()
    loss.backward()


def _num_bytes(parameters: Iterable[nn.Parameter]) -> int:
    return sum(each.numel() * each.element_size() for each in parameters if each.requires_grad)
