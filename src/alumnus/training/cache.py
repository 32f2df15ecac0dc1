"""`alumnus cache`: the store of a recipe's teachers, planned, built, looked at, checked and cleared, apart from any run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from alumnus.distributed import decided, joined, main_first, wait
from alumnus.errors import ConfigError, DataError, StoreError
from alumnus.store.folder import Folder, Geometry, folders, shard_paths
from alumnus.store.kept import CropsFolder, crops_folders, folder_of
from alumnus.store.make import Estimate, Store
from alumnus.store.prune import clear, leftovers, remove, unneeded
from alumnus.store.settings import StoreSettings, show_bytes
from alumnus.store.verify import Again, Verdict
from alumnus.store.verify import verify as verify_store
from alumnus.teachers import load_teacher
from alumnus.training.build import pick_device
from alumnus.training.config import Config
from alumnus.training.data import training_data
from alumnus.training.messages import explain
from alumnus.training.recipe import load_without_student
from alumnus.training.targets import store_of, tell

# Words of these verbs; all others are the recipe's.
OWN = ("out", *(name for name in StoreSettings.model_fields if name != "path"))
NOTED = ("data", "device", "workers")  # words of `verify` that leave the teachers to the store
Row = tuple[str, ...]


def plan(recipe: Path | None, words: Sequence[str]) -> tuple[Store, list[Estimate]]:
    """Returns a recipe's store and what is missing in it, measured on a few images; nothing is written."""
    config, settings = _config(recipe, words)
    store = _store(config, settings)
    return store, store.estimate(config.teachers)


def build(recipe: Path | None, words: Sequence[str]) -> list[Folder]:
    """Computes what is missing, and returns each teacher's folder. May run in several processes, started one by one or by torchrun.

    Raises:
        DataError: there is no training image.
    """
    with joined():
        config, settings = _config(recipe, words)
        if not settings.fill:
            raise ConfigError(
                "fill=false computes nothing, and a build computes what is missing; leave it out"
            )
        with main_first():
            dataset = training_data(config)
        if not len(dataset):
            raise DataError(
                f"there is no training image in {', '.join(config.paths)}, so there is nothing to store"
            )
        store = store_of(config, settings, dataset, device=pick_device(config.device))
        with main_first():
            estimates = store.estimate(config.teachers)
        wait()  # nobody adds to the store while another process looks at what is missing
        tell(store, estimates)
        precision = decided(lambda: store.choose_precision(estimates))
        wait()
        made = store.fill(estimates, config.teachers, precision=precision)
        wait()  # for what the others are at
        return [folder.refreshed() for folder in made]


def verify(
    store: Path, recipe: Path | None, words: Sequence[str], *, sample: int = 32, repair: bool = False
) -> list[Verdict]:
    """Returns a verdict on each teacher's folder; with a recipe its data and teachers are asked, else those noted in the store.

    Without a recipe, words may still say where the images are and what reads them: NOTED.
    """
    if recipe is None and not any(word.startswith("teachers") for word in words):
        return verify_store(store, _as_noted(sample, words), repair=repair)
    config, _ = _config(recipe, [f"out={store}", *words])
    device = pick_device(config.device)
    specs = {load_teacher(spec, device=device).fingerprint: spec for spec in config.teachers}
    how = Again(sample, data=config.paths, specs=specs, device=device, workers=config.num_workers)
    return verify_store(store, how, repair=repair)


def _as_noted(sample: int, words: Sequence[str]) -> Again:
    given = {word.partition("=")[0] for word in words}
    if unknown := sorted(given - set(NOTED)):
        raise ConfigError(
            f"{unknown[0]}: without a recipe verify takes sample=, {', '.join(f'{word}=' for word in NOTED)} alone; give the recipe "
            "behind the store"
        )
    config = load_without_student(None, words, **({} if "data" in given else {"data": "."}))
    values: dict[str, Any] = {
        "data": config.paths,
        "device": pick_device(config.device),
        "workers": config.num_workers,
    }
    return replace(Again(sample), **{name: value for name, value in values.items() if name in given})


def prune(
    store: Path,
    recipe: Path | None,
    words: Sequence[str],
    *,
    teachers: Sequence[str] = (),
    really: bool = False,
) -> list[Path]:
    """Returns what a recipe does not need (or the folders of the teachers named) and what killed builds left, and removes it if really.

    Of crops a recipe needs those of its views, unless crops=false is given.
    """
    keep = list[str]()
    if recipe is not None:
        config, settings = _config(recipe, [f"out={store}", *words])
        keep = [each.about.name for each in _store(config, settings).estimate(config.teachers)]
        crops = folder_of(store, Geometry.of(config.views, seed=config.seed))
        keep += [crops.path.name] if settings.crops is not False else []
    found = [*unneeded(store, keep=keep, teachers=teachers)] if keep or teachers else []
    left = [path for path in leftovers(store) if path.parent not in found]
    if not keep and not teachers and not left:
        unneeded(store)  # says what to give
    if really:
        remove(found)
        clear(store)
    return [*found, *left]


def info(store: Path) -> list[Row]:
    """Returns a line for each teacher of a store, and for the crops beside their outputs: COLUMNS.

    Raises:
        StoreError: there is no store.
    """
    found = [*map(_line, folders(store)), *map(_crops_line, crops_folders(store))]
    if not found:
        raise StoreError(f"{store} holds no teacher outputs; `alumnus cache build` makes a store")
    return found


COLUMNS = (
    "teacher",
    "fingerprint",
    "px",
    "views",
    "images",
    "outputs",
    "unreadable",
    "size",
    "kept as",
    "cosine mean, least",
    "largest error",
)


def _line(folder: Folder) -> Row:
    about, shards = folder.about, folder.shards
    weights = np.array([len(shard) for shard in shards], float)
    cosine = (
        float(np.average([shard.loss.cosine_mean for shard in shards], weights=weights))
        if weights.sum()
        else 1.0
    )
    keys = {int(key) for shard in shards for key in shard.key}
    views = {int(view) for shard in shards for view in shard.view}
    return (
        str(about.teacher["name"]),
        about.fingerprint[:16],
        str(about.teacher["size"]),
        str(len(views)),
        f"{len(keys):,}",
        f"{len(folder.index):,}",
        str(len(folder.index.bad)),
        show_bytes(sum(path.stat().st_size for path in shard_paths(folder.path))),
        about.precision,
        f"{cosine:.6f}, {min((shard.loss.cosine_min for shard in shards), default=1.0):.6f}",
        f"{max((shard.loss.error for shard in shards), default=0.0):.2g}",
    )


def _crops_line(folder: CropsFolder) -> Row:
    files = folder.files
    sides = sorted({side for side, _, _ in files})
    views = {view for _, view, _ in files}
    return (
        folder.path.name,
        "–",
        ", ".join(map(str, sides)),
        str(len(views)),
        f"{len(folder.keys):,}",
        "–",
        "–",
        show_bytes(folder.disk_bytes),
        "uint8",
        "–",
        "–",
    )


def estimate_rows(store: Store, estimates: Sequence[Estimate]) -> list[Row]:
    """Returns a line for each teacher, and the sum: PLAN_COLUMNS."""
    precision = store.choose_precision(estimates)
    rows, total, seconds = list[Row](), 0, 0.0
    for each in estimates:
        kept = each.about.precision if each.keeps_precision else precision
        total, seconds = total + each.bytes_in(kept), seconds + each.seconds
        rows.append(
            (
                str(each.about.teacher["name"]),
                f"{each.num_wanted:,}",
                f"{each.num_missing:,}",
                kept,
                show_bytes(each.bytes_in(kept)),
                f"{each.seconds:.0f} s",
                show_bytes(each.peak_bytes) if each.peak_bytes else "–",
                str(each.batch_size),
            )
        )
    return [*rows, ("all", "", "", "", show_bytes(total), f"{seconds:.0f} s", "", "")]


PLAN_COLUMNS = ("teacher", "outputs", "missing", "kept as", "size", "time here", "memory", "batch")


def _config(recipe: Path | None, words: Sequence[str]) -> tuple[Config, StoreSettings]:
    own = dict(word.split("=", 1) for word in words if word.partition("=")[0] in OWN)
    rest = [word for word in words if word.partition("=")[0] not in OWN]
    config = load_without_student(recipe, rest)
    if not config.teachers:
        raise ConfigError("there is no teacher to store; give a recipe with `teachers`")
    path = own.pop("out", None)
    if path is None and config.store is None:
        raise ConfigError("out=FOLDER is missing: where the store is or shall be")
    base = config.store or StoreSettings(path=Path(str(path)))
    changed = {**base.model_dump(), **own, **({} if path is None else {"path": path})}
    try:
        return config, StoreSettings.model_validate(changed)
    except ValidationError as error:
        raise ConfigError(explain(error, StoreSettings)) from error


def _store(config: Config, settings: StoreSettings) -> Store:
    """The store, to be looked at alone."""
    device = pick_device(config.device)
    return store_of(config, settings, training_data(config), device=device, remembers=False)
