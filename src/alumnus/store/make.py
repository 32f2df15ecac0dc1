"""Making a store complete: for each teacher, what is there, what is missing, what that will cost, and then doing it.

One teacher is in memory at a time, so any number of them fit where the largest does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Literal, TypeVar

import torch

from alumnus.data.quarantine import Quarantine
from alumnus.data.readers.sources import absolute_source
from alumnus.errors import StoreError
from alumnus.log import console
from alumnus.store.build import (
    BATCH,
    Wanted,
    fill,
    missing,
    note_undecodable,
    note_unopened,
    trial,
    unit_rows,
)
from alumnus.store.claims import Entries
from alumnus.store.folder import QUARANTINE, About, Folder, Geometry, folders, open_or_make
from alumnus.store.kept import crops_bytes
from alumnus.store.measure import cost_of, give_back, in_use
from alumnus.store.precision import Precision
from alumnus.store.read import explain_absence
from alumnus.store.settings import StoreSettings, show_bytes
from alumnus.teachers import describe, load_teacher
from alumnus.teachers.origin import absolute, is_same, origin_of
from alumnus.teachers.spec import TeacherSpec
from alumnus.teachers.targets import check_domains
from alumnus.teachers.teacher import Teacher

T = TypeVar("T")

DEFAULT: Precision = "float16"
LOWER: Precision = "int8"


@dataclass(frozen=True)
class Estimate:
    """What one teacher's missing outputs will take. Times are of this machine, measured on a few images."""

    about: About
    num_missing: int
    num_wanted: int
    keeps_precision: (
        bool  # whether that of `about` is settled: the store has such a folder, or the run began with it
    )
    seconds: float = 0.0  # to compute what is missing
    peak_bytes: int = 0  # of the process while it works; 0 where it was not measured
    batch_size: int = BATCH  # that fits the memory allowed

    def bytes_in(self, precision: Precision) -> int:
        """On disk, of what is missing: rows, and the heads of their shards."""
        about = replace(self.about, precision=precision)
        num_shards = math.ceil(self.num_missing / unit_rows(about))
        return self.num_missing * about.row_bytes + num_shards * about.head_bytes


class Store:
    """A store for one dataset and one geometry of views."""

    def __init__(
        self,
        settings: StoreSettings,
        wanted: Wanted,
        geometry: Geometry,
        *,
        device: torch.device,
        workers: int,
        memory_limit: int | None = None,
        sources: Sequence[str] = (),
        max_bad_fraction: float = 0.05,
    ) -> None:
        self.path, self.settings, self.wanted, self.geometry = settings.path, settings, wanted, geometry
        self.device, self.workers, self.memory_limit = device, workers, memory_limit
        self.max_bad_fraction = max_bad_fraction
        self._sources = tuple(map(absolute_source, sources))

    def known(self, spec: TeacherSpec, entries: Entries, stored_as: Mapping[str, Precision]) -> Folder | None:
        """Returns the folder of a teacher that is certain to be the one that made it, without loading it; of several, the best one."""
        now = origin_of(spec)
        return self._best(spec, entries, stored_as, lambda about: is_same(about.origin, now))

    def estimate(
        self,
        specs: Sequence[TeacherSpec],
        *,
        refuse_changed: bool = False,
        stored_as: Mapping[str, Precision] = MappingProxyType({}),
    ) -> list[Estimate]:
        """Returns what each teacher's missing outputs will take; nothing is written.

        A teacher is loaded only if it is not known again or something of it is missing, and tried on one batch.

        Args:
            refuse_changed: refuse a teacher under whose name the store holds only outputs of other weights, settings or views.
            stored_as: teacher's name -> precision, where only that one will do: a run goes on with the outputs that it began with.

        Raises:
            TeacherError: a teacher cannot be built.
            StoreError: a teacher does not fit in the memory allowed; or it changed: names both fingerprints or both geometries.
        """
        return [self._estimate(spec, stored_as, refuse_changed=refuse_changed) for spec in specs]

    def fill(
        self,
        estimates: Sequence[Estimate],
        specs: Sequence[TeacherSpec],
        *,
        precision: Precision | None = None,
    ) -> list[Folder]:
        """Computes all that is missing; returns each teacher's folder.

        Args:
            precision: of new outputs, where several processes have agreed on it; by default it is chosen here.

        Raises:
            StoreError: the budget is too small, or something is damaged.
            TooManyBadImages: more than `max_bad_fraction` of the images cannot be read.
        """
        precision = precision or self.choose_precision(estimates)
        # What the file holds already does not count: it may be of other data, and the shards say which of these images are bad.
        quarantine = Quarantine(
            self.path / QUARANTINE,
            total=len(self.wanted.data),
            max_bad_fraction=self.max_bad_fraction,
            names=(),
            say=console.print,
        )
        if estimates:
            note_unopened(self.wanted, quarantine)
        made = []
        for estimate, spec in zip(estimates, specs, strict=True):
            about = _kept_as(estimate, precision)
            self.path.mkdir(parents=True, exist_ok=True)
            folder = open_or_make(self.path, about)
            note_undecodable(folder, spec.domains, self.wanted, quarantine)
            if estimate.num_missing:
                self._with_teacher(spec, partial(self._fill, folder, quarantine, estimate.batch_size))
                note_undecodable(folder, spec.domains, self.wanted, quarantine)  # other processes' too
            made.append(folder.refreshed())
        quarantine.tell()
        return made

    def choose_precision(self, estimates: Sequence[Estimate]) -> Precision:
        """Returns the precision in which new outputs are kept.

        Raises:
            StoreError: what is missing does not fit the budget.
        """
        budget, used = self.settings.budget, disk_bytes(self.path)
        asked = self.settings.precision
        if not any(each.num_missing for each in estimates):
            return DEFAULT if asked == "auto" else asked
        choices: list[Precision] = [DEFAULT, LOWER] if asked == "auto" else [asked]
        needed = {
            choice: sum(each.bytes_in(_kept_as(each, choice).precision) for each in estimates)
            for choice in choices
        }
        for choice in choices:
            if budget is None or used + needed[choice] <= budget:
                if choice == LOWER and asked == "auto":
                    console.print(
                        f"float16 would need {show_bytes(used + needed[DEFAULT])}, over the budget: int8 is kept"
                    )
                return choice
        raise StoreError(
            f"the store holds {show_bytes(used)}{_of_crops(self.path)} and needs {show_bytes(min(needed.values()))} more in {choices[-1]}; "
            f"the budget is {show_bytes(budget or 0)}. Fewer views an image, fewer teachers, output=summary or a larger budget help"
        )

    def _estimate(
        self, spec: TeacherSpec, stored_as: Mapping[str, Precision], *, refuse_changed: bool
    ) -> Estimate:
        check_domains(spec.name or spec.source, spec.domains, self.wanted.data.domains)
        entries = self.wanted.of(spec.domains)
        folder = self.known(spec, entries, stored_as)
        if folder is not None:
            about = replace(folder.about, spec=absolute(spec), data=self._sources)
            if not len(missing(folder, entries)):
                return Estimate(about, 0, len(entries), True)
        return self._with_teacher(
            spec, partial(self._estimate_loaded, spec, entries, stored_as, refuse_changed)
        )

    def _estimate_loaded(
        self,
        spec: TeacherSpec,
        entries: Entries,
        stored_as: Mapping[str, Precision],
        refuse_changed: bool,
        teacher: Teacher,
    ) -> Estimate:
        if refuse_changed:
            self._refuse_changed(teacher)
        about = self._about(spec, teacher)
        existing = self._best(
            spec, entries, stored_as, lambda about: about.fingerprint == teacher.fingerprint
        )
        asked = self._asked(teacher.name, stored_as)
        if existing is not None:  # it keeps its name and precision, by which its folder is called
            about = replace(about, teacher=existing.about.teacher, precision=existing.about.precision)
        elif asked != "auto":
            about = replace(about, precision=asked)
        lacking = len(missing(existing, entries)) if existing else len(entries)
        keeps_precision = existing is not None or asked != "auto"
        if not lacking:
            return Estimate(about, 0, len(entries), keeps_precision)
        batch_size, seconds, peak = self._tried(teacher)
        return Estimate(about, lacking, len(entries), keeps_precision, lacking * seconds, peak, batch_size)

    def _best(
        self,
        spec: TeacherSpec,
        entries: Entries,
        stored_as: Mapping[str, Precision],
        is_of: Callable[[About], bool],
    ) -> Folder | None:
        """Returns the folder of a teacher, in the precision asked for, that lacks least; of equals the most precise."""
        fitting = [
            folder
            for folder in folders(self.path)
            if folder.about.geometry == self.geometry
            and is_of(folder.about)
            and self._asked(spec.name or str(folder.about.teacher["name"]), stored_as)
            in ("auto", folder.about.precision)
        ]
        if len(fitting) < 2:
            return fitting[0] if fitting else None
        return min(fitting, key=lambda folder: (len(missing(folder, entries)), -folder.about.row_bytes))

    def _asked(self, name: str, stored_as: Mapping[str, Precision]) -> Literal["auto"] | Precision:
        """The precision that a teacher's outputs have to have: the recipe's, or that with which the run began."""
        asked = self.settings.precision
        return stored_as.get(name, "auto") if asked == "auto" else asked

    def _fill(self, folder: Folder, quarantine: Quarantine, batch_size: int, teacher: Teacher) -> None:
        if teacher.fingerprint != folder.about.fingerprint:
            raise StoreError(
                f"teacher {teacher.name} changed while its outputs were computed; build again. If that happens again, it is another "
                "network each time that it is made: seed what its code draws at random, or load all of its weights from a file"
            )
        fill(folder, teacher, self.wanted, quarantine=quarantine, workers=self.workers, batch_size=batch_size)

    def _with_teacher(self, spec: TeacherSpec, use: Callable[[Teacher], T]) -> T:
        """Loads a teacher for one use; its memory is given back after it."""
        try:
            return use(load_teacher(spec, device=self.device))
        finally:
            give_back(self.device)

    def _about(self, spec: TeacherSpec, teacher: Teacher) -> About:
        asked = self.settings.precision
        return About(
            teacher=describe(teacher),
            geometry=self.geometry,
            precision=DEFAULT if asked == "auto" else asked,
            grid=teacher.grid,
            spec=absolute(spec),
            origin=origin_of(spec),
            data=self._sources,
        )

    def _tried(self, teacher: Teacher) -> tuple[int, float, int]:
        """Returns the batch size that fits the memory allowed, seconds an output, and the peak of memory."""
        batch_size = BATCH
        while True:
            attempt = partial(trial, teacher, self.wanted, self.geometry, batch_size=batch_size)
            speed, cost = cost_of(attempt, self.device)
            if self.memory_limit is None or cost.peak_bytes <= self.memory_limit:
                return batch_size, speed.s_per_image, cost.peak_bytes
            if batch_size == 2:
                raise StoreError(
                    f"teacher {teacher.name} takes {show_bytes(cost.peak_bytes)} with 2 images at once, memory_limit is "
                    f"{show_bytes(self.memory_limit)}; the process holds {show_bytes(in_use(self.device))} before. A larger limit, a "
                    "smaller size or a smaller teacher helps"
                )
            give_back(self.device)
            batch_size //= 2

    def _refuse_changed(self, teacher: Teacher) -> None:
        known = [folder.about for folder in folders(self.path)]
        if any(
            about.fingerprint == teacher.fingerprint and about.geometry == self.geometry for about in known
        ):
            return
        if any(about.teacher["name"] == teacher.name for about in known):
            why = explain_absence(
                known,
                name=teacher.name,
                source=teacher.source,
                fingerprint=teacher.fingerprint,
                geometry=self.geometry,
            )
            raise StoreError(f"{self.path}: {why}; if that is meant, `alumnus cache build` adds it")


def disk_bytes(store: Path) -> int:
    """Returns how much a store takes on disk: outputs, and crops."""
    outputs = sum(path.stat().st_size for path in store.glob("*/*.safetensors"))
    return outputs + crops_bytes(store)


def _of_crops(store: Path) -> str:
    crops = crops_bytes(store)
    said = f" ({show_bytes(crops)} of it crops, which `alumnus cache prune STORE RECIPE crops=false` removes)"
    return said if crops else ""


def _kept_as(estimate: Estimate, precision: Precision) -> About:
    """What was there keeps its precision: a teacher's outputs are never of two."""
    return estimate.about if estimate.keeps_precision else replace(estimate.about, precision=precision)
