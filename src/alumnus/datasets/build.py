"""Known data sets by name: list them, describe them, and draw one as a dataset folder.

The folder of this file is the list: a module of it that has an `INFO` is a data set, called by its file's name.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import pkgutil
import random
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol, cast

from alumnus.data.dataset import SPLITS, write_dataset
from alumnus.datasets.dense import build_scenes
from alumnus.datasets.draw import Drawn, draw_all, thumbnails
from alumnus.datasets.folder import PROVENANCE, is_made, made_whole
from alumnus.datasets.known import DENSE, DatasetInfo, Entry, Folders, Scene
from alumnus.datasets.splits import assign_splits
from alumnus.disk import check_writable
from alumnus.errors import ConfigError, DataError, MissingExtra, nearest
from alumnus.log import console, progress
from alumnus.packages import cache_dir, fetch


class KnownDataset(Protocol):
    """What a file of this folder offers."""

    INFO: DatasetInfo

    def entries(self, folders: Folders, *, seed: int) -> Iterator[Entry]:
        """Every picture, in order of preference; `folders` maps package names to their content."""
        ...


class KnownDenseDataset(Protocol):
    """What a file offers whose task is a dense one."""

    INFO: DatasetInfo

    def scenes(self, folders: Folders, *, seed: int, size: int, limit: int) -> Iterator[Scene]:
        """Every picture, finished; at most `limit` of each split (0 for all). Twice the same for the same arguments."""
        ...


def names() -> list[str]:
    """Returns the names of all known data sets, in alphabetical order."""
    folder = str(Path(__file__).parent)
    modules = sorted(module.name for module in pkgutil.iter_modules([folder]))
    return [name for name in modules if "INFO" in vars(_module(name))]


def info(name: str) -> DatasetInfo:
    """Returns what is known of a data set without fetching it.

    Raises:
        ConfigError: there is no such data set.
    """
    return _known(name).INFO


def get(
    name: str,
    *,
    out: Path | None = None,
    size: int | None = None,
    seed: int = 0,
    limit_per_class: int | None = None,
    workers: int | None = None,
) -> Path:
    """Returns a dataset folder of a known data set, fetching and drawing it the first time.

    Args:
        out: the folder; the cache by default.
        size: side of the stored pictures in px, the longer one if they are not square; by default the data set's own.
        seed: of what is drawn at random (words of `fonts`) and of which pictures a limit keeps.
        limit_per_class: at most so many pictures of a class, or of a split where the task is a dense one; 0 for all, by default the
            data set's own limit.
        workers: drawing processes; by default one a core.

    Raises:
        ConfigError: there is no such data set, or a setting is out of range.
        DataError: `out` holds something else.
        FetchError: a package could not be had.
    """
    known = _known(name)
    size = known.INFO.size if size is None else size
    if size < 8 or seed < 0 or (limit_per_class or 0) < 0:
        raise ConfigError(f"size={size} must be at least 8, seed={seed} and limit_per_class not negative")
    limit = known.INFO.limit_per_class if limit_per_class is None else limit_per_class
    made_of = provenance(known.INFO, size=size, seed=seed, limit_per_class=limit)
    folder = out or _default_folder(known.INFO, size=size, seed=seed, limit=limit)
    if not is_made(folder, made_of):
        check_writable(folder, is_folder=True)
        _check_needs(known.INFO)
        packages = progress(known.INFO.packages, f"{name}: packages")
        folders = {package.name: fetch(package) for package in packages}
        if known.INFO.task in DENSE:
            scenes = cast(KnownDenseDataset, known).scenes(folders, seed=seed, size=size, limit=limit)
            return build_scenes(known.INFO, scenes, folder, made_of=made_of)
        entries = limited(known.entries(folders, seed=seed), limit, seed=seed)
        build(known.INFO, entries, folder, size=size, made_of=made_of, workers=workers)
    return folder


def build(
    info: DatasetInfo,
    entries: Sequence[Entry],
    folder: Path,
    *,
    size: int,
    made_of: Mapping[str, object],
    workers: int | None = None,
) -> Path:
    """Draws entries and writes the dataset folder, whole or not at all.

    Raises:
        DataError: no picture could be drawn.
    """
    started = time.monotonic()
    with made_whole(folder, made_of) as new:
        drawn = draw_all(entries, new, size=size, workers=workers, label=f"{info.name}: pictures")
        rows = _rows(info, entries, drawn)
        write_dataset(rows, new)
        counts = Counter(str(row["split"]) for row in rows)
        (new / PROVENANCE).write_text(json.dumps({**made_of, "images": counts}, indent=2), encoding="utf-8")
    shown = ", ".join(f"{counts[split]:,} {split}" for split in SPLITS if counts[split])
    seconds = time.monotonic() - started
    console.print(f"{info.name}: {shown} pictures in {seconds:.0f} s ({len(rows) / seconds:.0f} a second)")
    return folder


def limited(entries: Iterable[Entry], limit: int, *, seed: int) -> list[Entry]:
    """Returns at most `limit` entries of each class (0 for all), chosen at random, in their order."""
    listed = list(entries)
    if not limit:
        return listed
    order = list(range(len(listed)))
    random.Random(seed).shuffle(order)
    taken = Counter[str]()
    kept = set()
    for place in order:
        taken[listed[place].label] += 1
        if taken[listed[place].label] <= limit:
            kept.add(place)
    return [entry for place, entry in enumerate(listed) if place in kept]


def provenance(info: DatasetInfo, **settings: int) -> dict[str, object]:
    """Returns what a dataset folder is made of, by which it is known again."""
    packages = {
        str(package): {"sha256": package.sha256, "licence": package.licence} for package in info.packages
    }
    return {"name": info.name, "version": info.version, **settings, "packages": packages}


def _rows(info: DatasetInfo, entries: Sequence[Entry], drawn: Sequence[Drawn]) -> list[dict[str, object]]:
    pairs = [(entry, each) for entry, each in zip(entries, drawn, strict=True) if not each.reason]
    _tell_skipped(info.name, drawn)
    splits = assign_splits(
        [entry.label for entry, _ in pairs],
        [entry.family for entry, _ in pairs],
        thumbnails([each for _, each in pairs]),
        [each.digest for _, each in pairs],
        [entry.split for entry, _ in pairs],
        class_splits=info.class_splits,
        near_copy=info.near_copy,
    )
    rows: list[dict[str, object]] = []
    for (entry, each), split in zip(pairs, splits, strict=True):
        row = {
            "file_name": each.file_name,
            "domain": info.name,
            "label": entry.label,
            "split": split,
            "style": entry.style,
        }
        if entry.official_split is not None:
            row["official_split"] = entry.official_split
        if entry.text is not None:
            row["text"] = entry.text
        rows.append(dict(row))
    return rows


def _tell_skipped(name: str, drawn: Sequence[Drawn]) -> None:
    skipped = [each for each in drawn if each.reason]
    if len(skipped) == len(drawn):
        first = f"; the first says {skipped[0].reason}" if skipped else ""
        raise DataError(f"{name}: none of {len(drawn)} pictures could be drawn{first}")
    if skipped:
        first = f"{skipped[0].file_name}: {skipped[0].reason}"
        console.print(f"{name}: {len(skipped)} of {len(drawn)} pictures could not be drawn, such as {first}")


def _known(name: str) -> KnownDataset:
    if name not in names():
        raise ConfigError(
            f"there is no known data set {name!r}{nearest(name, names())}; known are {', '.join(names())}"
        )
    return cast(KnownDataset, _module(name))


def _module(name: str) -> object:
    return importlib.import_module(f"alumnus.datasets.{name}")


def _check_needs(info: DatasetInfo) -> None:
    for package, extra in (info.needs or {}).items():
        if importlib.util.find_spec(package) is None:
            raise MissingExtra(package, extra=extra)


def _default_folder(info: DatasetInfo, *, size: int, seed: int, limit: int) -> Path:
    other = (f"-seed{seed}" if seed else "") + (f"-limit{limit}" if limit != info.limit_per_class else "")
    return cache_dir() / "datasets" / f"{info.name}-{info.version}-{size}px{other}"
