"""The target source that asks the teachers themselves, batch by batch.

Axes: B images in a batch, n of them on which a teacher is trusted, D width of its feature.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

from alumnus.errors import TeacherError, nearest
from alumnus.teachers.teacher import Teacher
from alumnus.types import Batch, Target, Targets


@final
class LiveTeachers:
    """Batch -> each teacher's features of the rows on which it is trusted."""

    def __init__(
        self, teachers: Sequence[Teacher], *, domains: Sequence[str], device: torch.device | str
    ) -> None:
        """Moves the teachers to the device.

        Args:
            domains: the dataset's, in its order.

        Raises:
            TeacherError: two teachers have one name, or one is trusted on a domain that the data has not.
        """
        _check_names(teachers)
        self.device = torch.device(device)
        self.teachers = tuple(teacher.to(self.device) for teacher in teachers)
        self.sizes = tuple(sorted({teacher.size for teacher in teachers}))  # px, that the loader must deliver
        self._trusted = {t.name: _trusted(t, domains).to(self.device) for t in teachers}

    def __call__(self, batch: Batch) -> Targets:
        """Returns the targets of a batch, in the order of the teachers; a teacher that knows no row of it does no work."""
        return {teacher.name: self._ask(teacher, batch) for teacher in self.teachers}

    def _ask(self, teacher: Teacher, batch: Batch) -> Target:
        known = self._trusted[teacher.name][batch.domain.to(self.device)]  # (B,) bool
        index = known.nonzero().squeeze(1)  # (n,) int64
        if len(index) == 0:
            return Target(teacher.silence(), index)
        image = batch.teacher_images[teacher.size].to(self.device)
        if len(index) < len(known):
            image = image[index]
        return Target(teacher(image.float().div_(255)), index)


def _check_names(teachers: Sequence[Teacher]) -> None:
    sources: dict[str, str] = {}
    for teacher in teachers:
        if teacher.name in sources:
            raise TeacherError(
                f"two teachers are called {teacher.name!r}: {sources[teacher.name]} and {teacher.source}; "
                "give one of them a `name`"
            )
        sources[teacher.name] = teacher.source


def _trusted(teacher: Teacher, domains: Sequence[str]) -> Tensor:
    """Which of the dataset's domains the teacher is trusted on: (number of domains,) bool."""
    for domain in teacher.domains or ():
        if domain not in domains:
            raise TeacherError(
                f"teacher {teacher.name} is trusted on {domain!r}, which the data has not"
                f"{nearest(domain, domains)}; it has {', '.join(domains)}"
            )
    return torch.tensor([teacher.domains is None or domain in teacher.domains for domain in domains])
