"""A small student, a batch, and teachers' targets, for the tests of methods that learn from several teachers."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from alumnus.models.backbone import taps_of
from alumnus.models.student import Architecture, Student
from alumnus.objective import Setup, TeacherWidth
from alumnus.types import Batch, Features, Target, Targets

COUNT, EMBED = 6, 8


def make_student(model: str = "test_resnet", *, size: int = 32) -> Student:
    """The same weights every time."""
    torch.manual_seed(0)
    return Student(Architecture(model=model, size=size, embed_dim=EMBED)).eval()


def make_setup(teachers: dict[str, TeacherWidth], student: Student) -> Setup:
    """A setup with all that is known of the student."""
    taps = taps_of(student.backbone, size=student.size)
    return Setup(student.num_features, EMBED, teachers, {"a": 0}, taps)


def make_batch(count: int = COUNT, *, size: int = 32) -> Batch:
    """Random pixels."""
    generator = torch.Generator().manual_seed(3)
    image = torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=generator)
    zeros = torch.zeros(count, dtype=torch.int64)
    return Batch(image, {}, zeros, zeros, zeros, zeros, zeros - 1)


def make_targets(
    teachers: dict[str, TeacherWidth],
    places: Mapping[str, tuple[int, ...]] | None = None,
    *,
    count: int = COUNT,
) -> dict[str, Target]:
    """Random features of each teacher, with patches if it has a grid, for all images or for those at its places.

    What a teacher says depends on its name, not on the order of the recipe.
    """
    found = {}
    for name, teacher in teachers.items():
        generator = torch.Generator().manual_seed(sum(map(ord, name)))
        summary = torch.randn(count, teacher.num_features, generator=generator) * 3 + 1
        patches = None if teacher.grid is None else torch.randn(count, *teacher.grid, generator=generator) + 2
        where = torch.tensor((places or {}).get(name, tuple(range(count))), dtype=torch.int64)
        features = Features(summary[where], None if patches is None else patches[where])
        found[name] = Target(features, where)
    return found


def reordered(targets: Targets) -> dict[str, Target]:
    """The same ones, the other way round."""
    return dict(reversed(list(targets.items())))
