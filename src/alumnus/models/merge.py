"""One student from several of one architecture, by arithmetic on their weights; nothing is trained.

    average           theta = sum_i w_i theta_i,  sum w_i = 1
    task arithmetic   theta = theta_0 + sum_i s_i (theta_i - theta_0)

The average with equal weights is the uniform soup of "Model soups" (Wortsman et al. 2022, arXiv 2203.05482, section 2). Of first and
fine-tuned weights it is WiSE-FT, "Robust fine-tuning of zero-shot models" (Wortsman et al. 2021, arXiv 2109.01903, eq. 1). The other is
"Editing models with task arithmetic" (Ilharco et al. 2022, arXiv 2212.04089, section 2): a negative scale forgets.

All of them rest on students that went out from the same weights: otherwise their units do not correspond, and the result knows nothing.

What is no weight. Integers, such as how many batches a batch norm saw, are the first student's. Running means and variances of batch norms
are combined like weights, but kept between the smallest and the largest of those given, because an extrapolated variance may fall below
zero. Whatever they become, they are those of no network: `reestimate` measures them again (needed after averaging, as for stochastic weight
averaging, Izmailov et al. 2018, arXiv 1803.05407, section 3.2).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from alumnus.errors import ConfigError
from alumnus.models.student import Student

SHOWN = 3  # differences in a message


def average(students: Mapping[str, Student], weights: Sequence[float]) -> Student:
    """Returns the weighted average, a new student in eval mode on the CPU; weights are relative.

    Args:
        students: name for messages -> student, all of one architecture.
        weights: one for each, none below zero.

    Raises:
        ConfigError: architectures differ, which names where; or the weights are no shares.
    """
    if (
        len(weights) != len(students)
        or not all(0 <= weight < math.inf for weight in weights)
        or sum(weights) == 0
    ):
        raise ConfigError(
            f"weights: needed are {len(students)} numbers, none below 0 and not all 0, one for each student; got {list(weights)}"
        )
    return _combined(students, [weight / sum(weights) for weight in weights])


def add_tasks(base: tuple[str, Student], students: Mapping[str, Student], scales: Sequence[float]) -> Student:
    """Returns the base plus each student's scaled difference from it, a new student in eval mode on the CPU.

    Args:
        base: what the students were fine-tuned from, with its name for messages.
        students: name -> student, all of the base's architecture.
        scales: one for each; below zero takes away what a student learned.

    Raises:
        ConfigError: architectures differ, which names where; or there is another number of scales.
    """
    if len(scales) != len(students) or not all(map(math.isfinite, scales)):
        raise ConfigError(
            f"scale: needed is one finite number, or one for each of {len(students)} students; got {list(scales)}"
        )
    return _combined({base[0]: base[1], **students}, [1 - sum(scales), *scales])


@torch.no_grad()
def reestimate(student: Student, batches: Iterable[Tensor]) -> int:
    """Measures the running statistics of a student's batch norms again, and returns over how many batches.

    They are reset, and become the plain mean over batches. All else stays in eval mode, so that no dropout disturbs what is measured.

    Args:
        batches: images (B, 3, S, S), uint8 or float in [0, 1], B >= 2; each should be of mixed images.
    """
    norms = batch_norms(student)
    momenta = [norm.momentum for norm in norms.values()]
    count = 0
    student.eval()
    for norm in norms.values():
        norm.reset_running_stats()
        norm.momentum = None  # torch's cumulative mean
        norm.train()
    try:
        for images in batches:
            student(images, spaces=True)
            count += 1
    finally:
        for norm, momentum in zip(norms.values(), momenta, strict=True):
            norm.momentum = momentum
        student.eval()
    return count


def batch_norms(module: nn.Module) -> dict[str, _BatchNorm]:
    """Returns the batch norms that keep running statistics, by name."""
    return {
        name: part
        for name, part in module.named_modules()
        if isinstance(part, _BatchNorm) and part.running_mean is not None
    }


def _combined(students: Mapping[str, Student], shares: Sequence[float]) -> Student:
    """The sum of shares, which make 1, of all the tensors of numbers; in float64, so that equal tensors stay what they are."""
    _refuse_others(students)
    first, *_ = students.values()
    states = [student.state_dict() for student in students.values()]
    within = {f"{name}.{part}" for name in batch_norms(first) for part in ("running_mean", "running_var")}
    merged = Student(first.architecture)
    merged.classify(first.classes)
    merged.load_state_dict(
        {name: _sum([state[name] for state in states], shares, bounded=name in within) for name in states[0]}
    )
    return merged.eval()


def _sum(tensors: Sequence[Tensor], shares: Sequence[float], *, bounded: bool) -> Tensor:
    first = tensors[0].cpu()
    if not first.is_floating_point():
        return first
    every = torch.stack([tensor.cpu().double() for tensor in tensors])  # (students, ...)
    total = torch.tensordot(torch.tensor(shares, dtype=torch.float64), every, dims=1)
    if bounded:
        total = total.clamp(every.amin(0), every.amax(0))
    summed: Tensor = total.to(first.dtype)
    return summed


def _refuse_others(students: Mapping[str, Student]) -> None:
    (name, first), *others = students.items()
    known = _shape(first)
    for other, student in others:
        shape = _shape(student)
        different = [key for key in {**known, **shape} if known.get(key) != shape.get(key)]
        if different:
            said = "; ".join(
                f"{key} is {known.get(key, 'not there')} and {shape.get(key, 'not there')}"
                for key in different[:SHOWN]
            )
            more = f"; and {len(different) - SHOWN} more" if len(different) > SHOWN else ""
            raise ConfigError(
                f"{name} and {other} are of two architectures, whose weights cannot be added up: {said}{more}. "
                "Merge students that were fine-tuned from one, or distil them: alumnus train"
            )


def _shape(student: Student) -> dict[str, object]:
    """What has to agree: the architecture, classes, and every tensor's shape. A tag of timm's name says where weights came from."""
    fields = dataclasses.asdict(student.architecture)
    tensors = {name: list(tensor.shape) for name, tensor in student.state_dict().items()}
    return {
        **fields,
        "model": student.architecture.model.partition(".")[0],
        "classes": student.classes,
        **tensors,
    }
