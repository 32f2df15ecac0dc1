"""Who speaks in a run: every teacher of the recipe, live or out of the store."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from alumnus.data.dataset import Dataset
from alumnus.data.views import ViewSettings
from alumnus.errors import ConfigError, StoreError
from alumnus.log import console
from alumnus.store.build import Wanted
from alumnus.store.folder import Folder, Geometry
from alumnus.store.identity import identify
from alumnus.store.make import Estimate, Store
from alumnus.store.read import Stored
from alumnus.store.settings import StoreSettings, show_bytes
from alumnus.teachers import describe, load_teacher
from alumnus.teachers.spec import TeacherSpec
from alumnus.teachers.targets import Live, Speaker


def live_speakers(specs: Sequence[TeacherSpec], *, device: torch.device) -> list[Speaker]:
    """Returns the teachers themselves, all in memory at once."""
    teachers = [load_teacher(spec, device=device) for spec in specs]
    return [Live(teacher, about=describe(teacher)) for teacher in teachers]


def stored_speakers(store: Store, specs: Sequence[TeacherSpec]) -> list[Speaker]:
    """Returns the teachers as the store has them; what is missing is computed first, if the settings allow it.

    Raises:
        StoreError: the store has other outputs under a teacher's name, or lacks some and may not be filled.
    """
    estimates = store.estimate(specs, refuse_changed=True)
    lacking = [each for each in estimates if each.num_missing]
    if lacking and not store.settings.fill:
        names = ", ".join(f"{each.about.teacher['name']} {each.num_missing:,}" for each in lacking)
        raise StoreError(
            f"{store.path} lacks outputs ({names}); `alumnus cache build` or store.fill=true computes them"
        )
    if lacking:
        tell(store, estimates)
    return [_stored(folder, spec) for folder, spec in zip(store.fill(estimates, specs), specs, strict=True)]


def open_store(
    settings: StoreSettings,
    dataset: Dataset,
    views: ViewSettings,
    *,
    seed: int,
    device: torch.device,
    workers: int,
    memory_limit: int | None,
    sources: Sequence[str],
) -> Store:
    """Returns the store for a run's images and views.

    Raises:
        ConfigError: views never repeat, so they cannot be stored.
    """
    if views.per_image == 0:
        raise ConfigError(
            "a store holds a fixed number of views of each image, and views.per_image=0 draws new ones for ever; set "
            "views.per_image, for example to 8 (each costs one output an image and teacher)"
        )
    wanted = Wanted(dataset, identify(dataset, settings.path, workers=workers), views.per_image)
    return Store(
        settings,
        wanted,
        Geometry.of(views, seed=seed),
        device=device,
        workers=workers,
        memory_limit=memory_limit,
        sources=sources,
    )


def tell(store: Store, estimates: Sequence[Estimate]) -> None:
    """Says what filling a store will take, before anything is written."""
    precision = store.choose_precision(estimates)
    for each in estimates:
        if each.num_missing:
            kept = each.about.precision if each.exists else precision
            console.print(
                f"store: {each.about.teacher['name']}: {each.num_missing:,} of {each.num_wanted:,} outputs to compute, "
                f"{show_bytes(each.bytes_in(kept))} in {kept}, about {each.seconds:.0f} s"
            )


def _stored(folder: Folder, spec: TeacherSpec) -> Stored:
    name = spec.name or str(folder.about.teacher["name"])
    return Stored(folder, domains=spec.domains, weight=spec.weight, name=name)
