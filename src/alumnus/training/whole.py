"""The whole batch: what an objective sees, whatever the number of processes.

Each process reads its share of the images of a step, asks its own teachers about it and runs the student on it. Then all that an objective
works with is gathered: what the student says, what the teachers say, and the columns of the batch. So every process computes the same
loss of the same global batch, and methods are written as for one process: a mean over the images on which a teacher is trusted,
a contrast with all others in the batch, running statistics, and what a sampler observes are global without a word in the method.

Gradients: the loss is the same number everywhere, so a process keeps that part of the loss's gradient which belongs to its own rows and
takes it through its student; the sum over processes is the gradient of the global batch. What an objective trains itself (projectors,
classifiers) has the whole gradient in every process at once.

Why not DistributedDataParallel: it takes the mean of the gradients of per-process losses, which is another loss wherever processes have
different numbers of trusted or labelled images; and it wants every parameter in every step, or searches for the unused ones. Here a
head without an image has no gradient anywhere, and the optimiser passes it over as it does in one process. The price: heads are computed
for the whole batch in each process, features travel (B D numbers for each teacher and the student), and gradients are summed after
the backward pass, not during it.

Axes: B images of the global batch, b of them in this process, n trusted, D and E widths of the student's summary and embedding.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from alumnus.distributed import gather_rows, rank, share_of, world_size
from alumnus.models.student import Student, StudentOutput, over_tensors
from alumnus.types import Batch, Features, Target, Targets

APART = (
    0xD1342543DE82EF95  # between the seeds of processes; odd, and none that a method takes for its own draws
)


def whole(batch: Batch, targets: Targets, *, total: int) -> tuple[Batch, Targets]:
    """Returns the global batch and its targets from this process's; images stay those of this process.

    Args:
        total: B.
    """
    if world_size() == 1:
        return batch, targets
    columns = torch.stack([batch.row, batch.key, batch.view, batch.domain, batch.label], dim=1)  # (b, 5)
    rest = gather_rows(columns, total=total).T.contiguous()
    own = slice(rank(), None, world_size())
    return Batch(batch.image, batch.teacher_images, *rest)._replace(own=own), {
        name: _whole_target(target, share=len(batch.row), total=total) for name, target in targets.items()
    }


def gather_outputs(student: Student, *, total: int, device: torch.device) -> None:
    """From now on `student(image)` gives the outputs (B, ...) of all processes from the images (b, ...) of each."""
    if world_size() > 1:
        gathering = _Gathering(total, device)
        student.register_forward_pre_hook(gathering.before)
        student.register_forward_hook(gathering.after)


def check_share(output: StudentOutput, share: int) -> None:
    """Refuses what a student said of another number of images than its process's share of a batch.

    Raises:
        ValueError: with both numbers.
    """
    if len(output.embedding) != share:
        raise ValueError(
            f"the student was given {len(output.embedding)} images, this process's share of a batch is {share}; "
            "with several processes a method calls it once for each view of the batch"
        )


class _Gathering:
    """Gathers a student's outputs, and keeps what it draws at random (dropout, drop path) apart from what the objective draws.

    An objective's draws have to be the same in all processes, a student's must not be: they are of different images. So the student has a
    generator of its own, which begins anew with each step.
    """

    def __init__(self, total: int, device: torch.device) -> None:
        self._total, self._generators = total, _generators(device)
        self._seed: int | None = None  # of the step
        self._own: list[Tensor] = []  # states of the generators for the student
        self._common: list[Tensor] = []  # and for everything else

    def before(self, student: nn.Module, images: tuple[Any, ...]) -> None:
        """Changes to the student's draws."""
        seed = torch.initial_seed()
        self._common = self._states()
        if seed == self._seed:
            self._set(self._own)
            return
        self._seed = seed
        for each in self._generators:
            each.manual_seed((seed + (rank() + 1) * APART) % 2**63)

    def after(self, student: nn.Module, images: tuple[Any, ...], output: StudentOutput) -> StudentOutput:
        """Changes back, and gathers."""
        self._own = self._states()
        self._set(self._common)
        check_share(output, share_of(self._total))
        return over_tensors(self._all, output)

    def _states(self) -> list[Tensor]:
        return [each.get_state() for each in self._generators]

    def _set(self, states: list[Tensor]) -> None:
        for each, state in zip(self._generators, states, strict=True):
            each.set_state(state)

    def _all(self, share: Tensor) -> Tensor:
        rows: Tensor = _Gather.apply(share, self._total)
        return rows


class _Gather(torch.autograd.Function):
    """(b, ...) -> (B, ...). The gradient of the same loss is in every process, so its own rows of it are all that it needs."""

    @staticmethod
    def forward(ctx: Any, share: Tensor, total: int) -> Tensor:
        return gather_rows(share, total=total)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0][rank() :: world_size()], None


def _whole_target(target: Target, *, share: int, total: int) -> Target:
    speaks = torch.zeros(share, dtype=torch.uint8, device=target.places.device)
    speaks[target.places] = 1
    places = gather_rows(speaks, total=total).nonzero().squeeze(1)  # (n,)

    def spread(features: Tensor) -> Tensor:
        rows = features.new_zeros(share, *features.shape[1:])
        rows[target.places] = features
        return gather_rows(rows, total=total)[places]

    summary, patches = target.features
    return Target(Features(spread(summary), None if patches is None else spread(patches)), places)


def _generators(device: torch.device) -> list[torch.Generator]:
    gpu = [torch.cuda.default_generators[device.index]] if device.type == "cuda" else []
    return [torch.default_generator, *gpu]
