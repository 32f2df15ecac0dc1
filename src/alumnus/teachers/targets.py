"""Where targets come from: each teacher speaks about the images on which it is trusted, live or out of a store, and nobody can tell which.

Axes: B images in a batch, n of them on which a teacher is trusted, D width of its feature.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from alumnus.errors import TeacherError, told_domains
from alumnus.teachers.teacher import Teacher
from alumnus.types import Batch, Features, Target, Targets

ROUNDING = 1e-6  # of a feature


class Speaker(ABC):
    """One teacher as the training loop knows it."""

    def __init__(
        self,
        *,
        name: str,
        source: str,
        domains: tuple[str, ...] | None,
        weight: float,
        num_features: int,
        size: int | None,
        about: Mapping[str, Any],
        grid: tuple[int, int] | None = None,
    ) -> None:
        self.name, self.source, self.domains, self.weight = name, source, domains, weight
        self.num_features, self.size = num_features, size  # size: px of the view that it needs; None: none
        self.about = about  # its entry in teachers.json
        self.grid = grid  # (N, D) of its patches, if it gives them

    @abstractmethod
    def speak(self, batch: Batch, index: Tensor) -> Features:
        """Returns its features, on the batch's device, of the images at places (n,) of a batch; n may be 0."""


@final
class Live(Speaker):
    """A teacher that is asked, batch by batch."""

    def __init__(
        self, teacher: Teacher, *, about: Mapping[str, Any], rests_on: torch.device | None = None
    ) -> None:
        """Wraps a teacher.

        Args:
            rests_on: where its weights wait between batches, if not where it runs: several large teachers then share one device's memory.
        """
        super().__init__(
            name=teacher.name,
            source=teacher.source,
            domains=teacher.domains,
            weight=teacher.weight,
            num_features=teacher.num_features,
            size=teacher.size,
            about=about,
            grid=teacher.grid,
        )
        self._teacher, self._runs_on, self._rests_on = teacher, teacher.device, rests_on
        if rests_on is not None:
            teacher.to(rests_on)

    def speak(self, batch: Batch, index: Tensor) -> Features:
        """Runs the teacher; without an image it does no work."""
        if len(index) == 0:
            silent = self._teacher.silence()
            patches = None if silent.patches is None else silent.patches.to(index.device)
            return Features(silent.summary.to(index.device), patches)
        image = batch.teacher_images[self._teacher.size]
        if len(index) < len(image):
            image = image[index.to(image.device)]
        if self._rests_on is not None:
            self._teacher.to(self._runs_on)
        try:
            return self._teacher(image.to(self._runs_on, non_blocking=True).float().div_(255))
        finally:
            if self._rests_on is not None:
                self._teacher.to(self._rests_on)


@final
class TargetSource:
    """Batch -> each teacher's features of the images on which it is trusted."""

    def __init__(
        self, speakers: Sequence[Speaker], *, domains: Sequence[str], device: torch.device | str
    ) -> None:
        """Checks that the teachers fit the data and each other.

        Args:
            domains: the dataset's, in its order.

        Raises:
            TeacherError: two teachers have one name, or one is trusted on a domain that the data has not.
        """
        _check_names(speakers)
        for speaker in speakers:
            check_domains(speaker.name, speaker.domains, domains)
        self.device = torch.device(device)
        self.speakers = tuple(speakers)
        self.sizes = tuple(
            sorted({each.size for each in speakers if each.size is not None})
        )  # px, of views to load
        self._trusted = {
            each.name: torch.from_numpy(trusted_domains(each.domains, domains)).to(self.device)
            for each in speakers
        }

    def __call__(self, batch: Batch) -> Targets:
        """Returns the targets of a batch, in the order of the teachers; a teacher that knows no row of it does no work."""
        return self.of(self.speakers, batch)

    def of(self, speakers: Iterable[Speaker], batch: Batch) -> Targets:
        """Returns the targets of some of them."""
        return {speaker.name: self._ask(speaker, batch) for speaker in speakers}

    def _ask(self, speaker: Speaker, batch: Batch) -> Target:
        known = self._trusted[speaker.name][batch.domain.to(self.device)]  # (B,) bool
        index = known.nonzero().squeeze(1)  # (n,) int64
        return Target(speaker.speak(batch, index), index)


def is_constant(features: Tensor) -> bool:
    """Returns whether features (n, …) are the same for all images, but for rounding; of one image that cannot be said."""
    if len(features) < 2:
        return False
    spread = (features - features[:1]).abs().amax(0)
    return bool((spread <= ROUNDING * features.abs().amax(0)).all())


def constant_teachers(targets: Targets) -> list[str]:
    """Returns the teachers that tell no image of a batch from another, neither by their summaries nor by their patches."""
    parts = {name: [part for part in target.features if part is not None] for name, target in targets.items()}
    return [name for name, said in parts.items() if all(is_constant(part) for part in said)]


def trusted_domains(trusted: Sequence[str] | None, domains: Sequence[str]) -> NDArray[np.bool_]:
    """Returns on which of the dataset's domains a teacher is trusted, (number of domains,); None means on all."""
    return np.array([trusted is None or domain in trusted for domain in domains], bool)


def _check_names(speakers: Sequence[Speaker]) -> None:
    sources: dict[str, str] = {}
    for each in speakers:
        if each.name in sources:
            raise TeacherError(
                f"two teachers are called {each.name!r}: {sources[each.name]} and {each.source}; "
                "give one of them a `name`"
            )
        sources[each.name] = each.source


def check_domains(name: str, trusted: Sequence[str] | None, domains: Sequence[str]) -> None:
    """Refuses a teacher that is trusted on a domain which the data has not.

    Raises:
        TeacherError: naming the nearest one.
    """
    for domain in trusted or ():
        if domain not in domains:
            raise TeacherError(
                f"teacher {name} is trusted on {domain!r}, which the data has not{told_domains(domain, domains)}"
            )
