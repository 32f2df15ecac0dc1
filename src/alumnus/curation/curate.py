"""A better data set from a given one: without copies and broken files, evenly spread, and as small as wanted.

    alumnus data curate images/ out=curated/ balance=cluster limit=20000

Many sets are redundant (the facial representation benchmark says so of face videos, arXiv 2103.16554); choosing evenly over clusters rather
than over pictures makes the same number of them more varied. Only training pictures are thinned out; what is held out stays as it is,
but for files that cannot be read and for copies.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from alumnus.curation.balance import Rows, at_most, evenly
from alumnus.curation.clusters import clusters_of, colour_layouts
from alumnus.curation.duplicates import without_copies
from alumnus.curation.licences import licences
from alumnus.curation.place import Files, check_free, check_words, place
from alumnus.curation.scan import Scan, count_of_processes, scan
from alumnus.data.dataset import SPLITS, Dataset, open_dataset
from alumnus.data.fractions import label_fraction
from alumnus.data.names import printable
from alumnus.errors import ConfigError, DataError
from alumnus.log import bar, console

Balance = Literal["domain", "cluster"]


def curate(
    data: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    out: Path,
    *,
    drop_duplicates: bool | Literal["exact"] = True,
    fraction: float | None = None,
    per_class: int | None = None,
    balance: Balance | None = None,
    limit: int | None = None,
    clusters: int | None = None,
    vectors: Path | None = None,
    seed: int = 0,
    files: Files = "link",
    workers: int | None = None,
) -> Path:
    """Writes a new dataset folder and returns what to give as `data=`: the folder or, with files=list, the list in it.

    What is asked for is done in the order of the arguments. `left_out.jsonl` in the folder names copies and broken files.

    Args:
        data: anything that `open_dataset` reads.
        out: a new or empty folder.
        drop_duplicates: whether of copies only the best stays: the held-out one, else the larger one; "exact" for equal pixels only. With
            false pictures are read only for balance=cluster; otherwise broken ones stay too.
        fraction: of each class's training images, at least one; see `label_fraction`.
        per_class: at most so many training images of a class.
        balance: the same number of training images from each domain, or from each cluster of look-alikes.
        limit: training images in all. With balance=domain it may be left out: then as many of each as the smallest domain has.
        clusters: their number; by default the square root of the number of images, at most 1024.
        vectors: a student or run folder, by whose vectors pictures are clustered; else by the layout of their colours.
        seed: of what is chosen at random.
        files: "link" (hard links), "copy", or "list" (a list of absolute paths; the pictures stay where they are).
        workers: reading processes; by default one a core.

    Raises:
        ConfigError: settings that contradict each other, or out of range.
        DataError: the source cannot be opened, a name in it cannot be written, `out` cannot be used, or nothing is left.
    """
    _check_settings(fraction, per_class, balance, limit, clusters, vectors, seed)
    sources = [data] if isinstance(data, str | os.PathLike) else list(data)
    check_free(out, sources)
    opened = open_dataset(sources)
    check_words(opened)  # before all pictures are read
    seen = scan(opened.paths, workers=workers) if drop_duplicates or balance == "cluster" else None
    dropped = without_copies(opened, seen, near=drop_duplicates is True) if seen and drop_duplicates else {}
    broken = seen.reasons if seen else {}
    rows = np.setdiff1d(np.arange(len(opened)), [*dropped, *broken])
    counts = {"images": len(opened), "unreadable": len(broken), "copies": len(dropped)}

    train = rows[opened.split[rows] == "train"]
    if fraction is not None:
        train = train[label_fraction(_strata(opened)[train], fraction, seed)]
    if per_class is not None:
        train = train[at_most(_classes(opened)[train], per_class, seed=seed)]
    if balance is not None or limit is not None:
        parts = np.zeros(len(train), np.int64) if balance is None else opened.domain[train]
        if seen is not None and balance == "cluster":
            parts = _clustered(opened, seen, train, clusters, vectors, seed, workers)
        train = train[evenly(parts, limit, seed=seed)]
    kept = np.sort(np.concatenate([train, rows[opened.split[rows] != "train"]]))
    if not len(kept):
        raise DataError(f"nothing is left of {len(opened)} images: {counts['unreadable']} could not be read")
    counts |= {"not chosen": len(rows) - len(kept), "kept": len(kept)}

    settings: dict[str, object] = {
        "drop_duplicates": drop_duplicates,
        "fraction": fraction,
        "per_class": per_class,
    }
    settings |= {"balance": balance, "limit": limit, "clusters": clusters, "seed": seed}
    settings["vectors"] = None if vectors is None else str(vectors)
    facts = {
        "curated_from": [printable(os.path.abspath(source)) for source in sources],
        "settings": settings,
        "counts": counts,
        "licences": dict(licences(sources)),
    }
    new = opened.rows(kept)
    path = place(new, out, files=files, facts=facts, left_out=_left_out(opened, broken, dropped))
    _tell(new, counts, path, is_scanned=seen is not None)
    return path


def _check_settings(
    fraction: float | None,
    per_class: int | None,
    balance: Balance | None,
    limit: int | None,
    clusters: int | None,
    vectors: Path | None,
    seed: int,
) -> None:
    if fraction is not None and not 0 < fraction <= 1:
        raise ConfigError(f"fraction={fraction} must be above 0 and at most 1, such as 0.1 for 10 %")
    for name, value in (("per_class", per_class), ("limit", limit), ("clusters", clusters)):
        if value is not None and value < 1:
            raise ConfigError(f"{name}={value} must be at least 1")
    if seed < 0:
        raise ConfigError(f"seed={seed} must not be negative")
    if balance == "cluster" and limit is None:
        raise ConfigError(
            "balance=cluster needs limit=N: how many training images to choose, evenly over clusters"
        )
    for name, given in (("clusters", clusters), ("vectors", vectors)):
        if given is not None and balance != "cluster":
            raise ConfigError(f"{name}={given} has no effect without balance=cluster")


def _classes(data: Dataset) -> Rows:
    """(N,) one number a class of a domain; -1 where there is no label."""
    starts = np.cumsum([0, *(len(words) for words in data.classes)])
    return np.where(data.label < 0, -1, starts[data.domain] + data.label)


def _strata(data: Dataset) -> Rows:
    """(N,) one number a class of a domain; what has no label is a class of its own in each domain."""
    first = sum(len(words) for words in data.classes)
    return np.where(data.label < 0, first + data.domain, _classes(data))


def _clustered(
    data: Dataset,
    seen: Scan,
    rows: Rows,
    count: int | None,
    vectors: Path | None,
    seed: int,
    workers: int | None,
) -> Rows:
    if vectors is None:
        return clusters_of(colour_layouts(seen.thumbnails, rows), count, seed=seed, spherical=False)
    from alumnus.encoder import load

    with bar("vectors", total=len(rows)) as line:
        found, unreadable = load(vectors).encode_paths(
            [data.paths[row] for row in rows], workers=count_of_processes(workers), advance=line.advance
        )
    if unreadable:
        raise DataError(
            f"{len(unreadable)} images can no longer be read; the first: {next(iter(unreadable.values()))}"
        )
    return clusters_of(found, count, seed=seed, spherical=True)


def _left_out(data: Dataset, broken: dict[int, str], dropped: dict[int, int]) -> list[dict[str, object]]:
    reasons = broken | {row: f"a copy of {printable(data.file_names[kept])}" for row, kept in dropped.items()}
    return [
        {"file_name": data.file_names[row], "split": str(data.split[row]), "reason": reasons[row]}
        for row in sorted(reasons)
    ]


def _tell(new: Dataset, counts: dict[str, int], path: Path, *, is_scanned: bool) -> None:
    splits = Counter(new.split.tolist())
    shown = ", ".join(f"{splits[split]:,} {split}" for split in SPLITS if splits[split])
    unreadable = (
        f"{counts['unreadable']:,} unreadable" if is_scanned else "unreadable ones were not looked for"
    )
    console.print(
        f"kept {counts['kept']:,} of {counts['images']:,} images ({shown}); left out: {unreadable}, "
        f"{counts['copies']:,} copies, {counts['not chosen']:,} not chosen. Use it as data={printable(path)}"
    )
