"""Who speaks in a run: every teacher of the recipe, live or out of the store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from alumnus.data.dataset import Dataset
from alumnus.data.views import ViewSettings
from alumnus.distributed import decided, main_first, wait
from alumnus.errors import ConfigError, StoreError
from alumnus.log import console
from alumnus.store.build import BATCH, Wanted
from alumnus.store.folder import Folder, Geometry, check_place
from alumnus.store.identity import identify
from alumnus.store.make import Estimate, Store
from alumnus.store.measure import cost_of, in_use
from alumnus.store.read import Stored
from alumnus.store.settings import StoreSettings, show_bytes
from alumnus.teachers import describe, load_teacher
from alumnus.teachers.spec import TeacherSpec
from alumnus.teachers.targets import Live, Speaker, trusted_domains
from alumnus.teachers.teacher import Teacher
from alumnus.training.config import Config
from alumnus.training.plan import Mode, Need, Plan, arrange

CPU = torch.device("cpu")


class Speaking(NamedTuple):
    """The teachers of a run."""

    speakers: list[Speaker]  # in the order of the recipe
    modes: dict[str, Mode]  # how each speaks
    why: dict[str, str]  # it does so
    keys: NDArray[np.int64] | None = None  # (N,) of the run's images, if a store was looked into


def choose_speakers(
    config: Config, dataset: Dataset, *, device: torch.device, began: Plan | None
) -> Speaking:
    """Returns the teachers, and how each speaks.

    Args:
        began: the run's plan, if it is resumed: they speak as they did when it began, in the precision that was stored.
    """
    if config.store is None or config.targets == "live" or not config.teachers:
        if config.targets == "stored":
            raise ConfigError("targets=stored needs store=FOLDER")
        speakers, modes = live_speakers(config.teachers, device=device, memory_limit=config.memory_limit)
        return Speaking(speakers, modes, {})
    store = store_of(config, config.store, dataset, device=device)
    with main_first():
        stored_as = {} if began is None else began.stored
        estimates = store.estimate(config.teachers, refuse_changed=True, stored_as=stored_as)
    wait()  # nobody adds to the store while another process looks at what is missing
    names = [_name(estimate, spec) for estimate, spec in zip(estimates, config.teachers, strict=True)]
    draws = [_draws(config, dataset, spec) for spec in config.teachers]
    stored = decided(
        lambda: [
            began.modes[name] == "stored"
            if began is not None and name in began.modes
            else config.targets == "stored" or each.num_missing <= drawn
            for name, each, drawn in zip(names, estimates, draws, strict=True)
        ]
    )
    why = {
        name: f"{each.num_missing:,} of {each.num_wanted:,} outputs are missing, the run asks for about {drawn:,}"
        for name, each, drawn in zip(names, estimates, draws, strict=True)
    }
    kept = [(e, s) for e, s, is_stored in zip(estimates, config.teachers, stored, strict=True) if is_stored]
    speaking = iter(stored_speakers(store, [e for e, _ in kept], [s for _, s in kept]))
    asked = [spec for spec, is_stored in zip(config.teachers, stored, strict=True) if not is_stored]
    alive, modes = live_speakers(asked, device=device, memory_limit=config.memory_limit)
    others = iter(alive)
    speakers = [next(speaking) if is_stored else next(others) for is_stored in stored]
    modes = {each.name: modes.get(each.name, "stored") for each in speakers}
    return Speaking(speakers, modes, why, store.wanted.keys)


def live_speakers(
    specs: Sequence[TeacherSpec], *, device: torch.device, memory_limit: int | None
) -> tuple[list[Speaker], dict[str, Mode]]:
    """Returns the teachers themselves; on a GPU, those that do not fit together wait in main memory for their turn.

    Of several processes each has all of them, and the first one's memory decides for all.

    Raises:
        ConfigError: they do not fit into the memory allowed.
    """
    if device.type == "cpu" and memory_limit is None:
        with main_first():
            teachers = [load_teacher(spec, device=device) for spec in specs]
        return [Live(each, about=describe(each)) for each in teachers], {
            each.name: "live" for each in teachers
        }
    teachers, needs = list[Teacher](), list[Need]()
    with main_first():
        for spec in specs:
            before = in_use(device)
            teacher = load_teacher(spec, device=device)
            weights = max(0, in_use(device) - before)
            _, cost = cost_of(lambda teacher=teacher: _try(teacher), device)  # type: ignore[misc]
            needs.append(Need(teacher.name, weights, max(0, cost.peak_bytes - before - weights)))
            teachers.append(teacher.to(CPU))
    modes = decided(
        lambda: arrange(needs, free=_free(device, memory_limit, needs), can_rest=device.type == "cuda")
    )
    speakers: list[Speaker] = [
        Live(each.to(device), about=describe(each), rests_on=CPU if modes[each.name] == "offloaded" else None)
        for each in teachers
    ]
    return speakers, modes


def stored_speakers(
    store: Store, estimates: Sequence[Estimate], specs: Sequence[TeacherSpec]
) -> list[Speaker]:
    """Returns teachers as the store has them; what is missing is computed first, if the settings allow it, by all processes together.

    Raises:
        StoreError: the store lacks some outputs and may not be filled.
    """
    lacking = [each for each in estimates if each.num_missing]
    if lacking and not store.settings.fill:
        names = ", ".join(f"{each.about.teacher['name']} {each.num_missing:,}" for each in lacking)
        raise StoreError(
            f"{store.path} lacks outputs ({names}); `alumnus cache build` or store.fill=true computes them"
        )
    tell(store, estimates)
    precision = decided(lambda: store.choose_precision(estimates))
    wait()  # nobody writes while another process still weighs what is there against the budget
    folders = store.fill(estimates, specs, precision=precision)
    return [_stored(folder, spec, store.wanted) for folder, spec in zip(folders, specs, strict=True)]


def store_of(
    config: Config,
    settings: StoreSettings,
    dataset: Dataset,
    *,
    device: torch.device,
    remembers: bool = True,
) -> Store:
    """Returns the store for a run's images and views.

    Args:
        remembers: note in the store what the key of each image is; false writes nothing.
    """
    return open_store(
        settings,
        dataset,
        config.views,
        seed=config.seed,
        device=device,
        workers=config.num_workers,
        memory_limit=config.memory_limit,
        sources=config.paths,
        max_bad_fraction=config.max_bad_fraction,
        remembers=remembers,
    )


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
    max_bad_fraction: float = 0.05,
    remembers: bool = True,
) -> Store:
    """Returns the store for some images and views.

    Args:
        remembers: see `store_of`.

    Raises:
        ConfigError: views never repeat, so they cannot be stored; or the folder cannot be written.
        StoreError: the folder holds something else.
    """
    if views.per_image == 0:
        raise ConfigError(
            "a store holds a fixed number of views of each image, and views.per_image=0 draws new ones for ever; set "
            "views.per_image, for example to 8 (each costs one output an image and teacher)"
        )
    check_place(settings.path, writes=remembers)
    with main_first():
        keys = identify(dataset, settings.path, workers=workers, remembers=remembers)
    wanted = Wanted(dataset, keys, views.per_image)
    return Store(
        settings,
        wanted,
        Geometry.of(views, seed=seed),
        device=device,
        workers=workers,
        memory_limit=memory_limit,
        sources=sources,
        max_bad_fraction=max_bad_fraction,
    )


def tell(store: Store, estimates: Sequence[Estimate]) -> None:
    """Says what filling a store will take, before anything is written."""
    precision = store.choose_precision(estimates)
    for each in estimates:
        if each.num_missing:
            kept = each.about.precision if each.keeps_precision else precision
            console.print(
                f"store: {each.about.teacher['name']}: {each.num_missing:,} of {each.num_wanted:,} outputs to compute, "
                f"{show_bytes(each.bytes_in(kept))} in {kept}, about {each.seconds:.0f} s"
            )


def _draws(config: Config, dataset: Dataset, spec: TeacherSpec) -> int:
    """How many outputs of a teacher a run asks for, if domains are drawn as often as they have images."""
    trusted = trusted_domains(spec.domains, dataset.domains)[dataset.domain]
    return int(config.steps * config.batch_size * float(trusted.mean()))


def _try(teacher: Teacher) -> None:
    teacher(torch.zeros(BATCH, 3, teacher.size, teacher.size, device=teacher.device))


def _free(device: torch.device, memory_limit: int | None, needs: Sequence[Need]) -> int:
    """Bytes for the teachers: what is allowed less what is in use, their own weights not counted."""
    if device.type == "cuda":
        free = torch.cuda.mem_get_info(device)[0]
        return free if memory_limit is None else min(free, memory_limit - in_use(device))
    return (memory_limit or 0) - in_use(device) + sum(need.weights for need in needs)


def _name(estimate: Estimate, spec: TeacherSpec) -> str:
    return spec.name or str(estimate.about.teacher["name"])


def _stored(folder: Folder, spec: TeacherSpec, wanted: Wanted) -> Stored:
    name = spec.name or str(folder.about.teacher["name"])
    return Stored(
        folder,
        domains=spec.domains,
        weight=spec.weight,
        name=name,
        licence=spec.licence,
        entries=wanted.of(spec.domains),
        without=wanted.lacking(folder, spec.domains),
    )
