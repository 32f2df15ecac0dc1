"""The plan of a run: which teachers speak live, offloaded or out of the store, and in which precision the student computes.

What has to be known for that is measured in a dry run, on this machine, now; what is decided is kept in `plan.json`, so that a resumed run
goes on as it began.

    live         in memory all the time
    offloaded    its weights wait in main memory and visit the GPU for its turn: one teacher at a time
    stored       read from the store
"""

from __future__ import annotations

import copy
import json
import statistics
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch

from alumnus.disk import replace_text
from alumnus.distributed import decided
from alumnus.errors import ConfigError
from alumnus.log import number_of
from alumnus.models.student import Student
from alumnus.store.precision import Precision
from alumnus.store.settings import show_bytes

Mode = Literal["live", "offloaded", "stored"]
StudentPrecision = Literal["float32", "bfloat16", "float16"]
FILE = "plan.json"
ROUNDS = 3  # of timing, alternating
GLANCE = 4  # images of a first look
HOPELESS = (
    3  # times slower at first look: processors without bfloat16 take up to a minute for a step of a batch
)
GAIN = 1.1  # bfloat16 has to be so much faster: less is within the noise, and float32 is what results were measured in


@dataclass(frozen=True)
class Plan:
    """What was decided, and why."""

    precision: StudentPrecision
    modes: Mapping[str, Mode]  # teacher -> how it speaks
    why: Mapping[str, str] = field(default_factory=dict)  # teacher, or "precision" -> reason
    stored: Mapping[str, Precision] = field(
        default_factory=dict
    )  # stored teacher -> how its outputs are kept

    @property
    def summary(self) -> str:
        """A few words for the log."""
        counts = Counter(self.modes.values())
        said = ", ".join(f"{counts[mode]} {mode}" for mode in ("live", "offloaded", "stored") if counts[mode])
        return f"{number_of(len(self.modes), 'teacher')}{f' ({said})' if said else ''}, {self.precision}"

    def save(self, folder: Path) -> None:
        """Writes plan.json."""
        replace_text(folder / FILE, json.dumps(asdict(self), indent=1) + "\n")


def read_plan(folder: Path) -> Plan | None:
    """Returns the plan by which a run began, or None; of several processes, the first reads it."""
    values = decided(lambda: _values(folder))
    return None if values is None else Plan(**values)


def _values(folder: Path) -> dict[str, Any] | None:
    try:
        values: dict[str, Any] = json.loads((folder / FILE).read_text(encoding="utf-8"))
        return asdict(Plan(**values))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"{folder / FILE} cannot be read: {error}; resume=never starts again") from error


class Need(NamedTuple):
    """What a teacher takes where it runs."""

    name: str
    weights: int  # bytes
    work: int  # bytes beyond its weights, for one batch


def arrange(needs: Sequence[Need], *, free: int, can_rest: bool) -> dict[str, Mode]:
    """Returns which teachers stay and which only visit: as few visit as memory asks for, those with the largest weights first.

    Args:
        free: bytes for all teachers together.
        can_rest: whether weights can wait elsewhere.

    Raises:
        ConfigError: they do not fit, or one alone does not.
    """
    resting = set[str]()
    for each in [*sorted(needs, key=lambda need: -need.weights), None]:
        staying = sum(need.weights for need in needs if need.name not in resting)
        turn = max((need.work + (need.weights if need.name in resting else 0) for need in needs), default=0)
        if staying + turn <= free:
            return {need.name: "offloaded" if need.name in resting else "live" for need in needs}
        if each is None or not can_rest:
            break
        resting.add(each.name)
    largest = max(needs, key=lambda need: need.weights + need.work)
    raise ConfigError(
        f"{len(needs)} live teachers need {show_bytes(sum(need.weights for need in needs))} of weights and up to "
        f"{show_bytes(max(need.work for need in needs))} to work (the largest, {largest.name}, "
        f"{show_bytes(largest.weights + largest.work)}), and {show_bytes(max(free, 0))} are free: a store, which runs them one after "
        "another before training, needs the largest one alone: store=FOLDER views.per_image=8; or raise memory_limit"
    )


def fastest_precision(
    student: Student, *, batch_size: int, device: torch.device
) -> tuple[StudentPrecision, str]:
    """Returns the precision in which the student's step is faster, and what was measured, in its present mode; it stays as it is."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        trial = copy.deepcopy(student)
        image = torch.randint(
            0, 256, (batch_size, 3, student.size, student.size), dtype=torch.uint8, device=device
        )
        whole, half = _medians_s(trial, image[:GLANCE], rounds=1)
        measured = min(GLANCE, batch_size)
        if half < HOPELESS * whole:
            whole, half = _medians_s(trial, image, rounds=ROUNDS)
            measured = batch_size
    why = (
        f"a step of {measured} images takes {1e3 * whole:.0f} ms in float32, {1e3 * half:.0f} ms in bfloat16 "
        f"(needed: {GAIN} times faster)"
    )
    return ("bfloat16" if half * GAIN <= whole else "float32"), why


def _medians_s(student: Student, image: torch.Tensor, *, rounds: int) -> tuple[float, float]:
    """Seconds of a step in float32 and in bfloat16, after one of each in which libraries choose their kernels."""
    pairs = [[_step_s(student, image, halved=halved) for halved in (False, True)] for _ in range(1 + rounds)]
    whole, half = (statistics.median(times) for times in zip(*pairs[1:], strict=True))
    return whole, half


def _step_s(student: Student, image: torch.Tensor, *, halved: bool) -> float:
    """Seconds of forward and backward."""
    start = time.perf_counter()
    with torch.autocast(image.device.type, torch.bfloat16, enabled=halved):
        loss = student(image).embedding.float().square().sum()
    student.zero_grad(set_to_none=True)
    loss.backward()
    if image.device.type == "cuda":
        torch.cuda.synchronize(image.device)
    return time.perf_counter() - start
