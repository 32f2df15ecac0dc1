"""A data set decoded once: every picture at a chosen short side, as plain pixels in tar shards, so that later epochs do no JPEG work.

    alumnus data pack images/ out=packed/ short_side=128

What comes out is a dataset folder like any other, which every command takes. It carries the columns of the source that we know (domain,
label, split, text, objects in the new px, mask, depth); other columns of a metadata file stay behind. Pictures are never enlarged and
keep their aspect; the source is only read.

Shards are made side by side in a hidden folder beside `out`, which becomes `out` when all is there. A run that was stopped goes on where it
was if source and settings are the same; what could not be read, or changed since, is read again. A process holds one picture at a time.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import re
import shutil
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from alumnus.curation.alone import alone
from alumnus.curation.licences import licences
from alumnus.curation.place import check_free, check_words, meaning
from alumnus.curation.scan import count_of_processes
from alumnus.curation.shards import Packed, Wanted, member_name, read_lines, smaller, write_shard
from alumnus.data.compact import Strings
from alumnus.data.dataset import Dataset, Objects, open_dataset, write_dataset
from alumnus.data.folder_facts import DATASET_FILE
from alumnus.data.locator import joined_locator
from alumnus.data.names import printable
from alumnus.data.quarantine import Quarantine
from alumnus.data.read import FORMATS, BadImage, opened
from alumnus.errors import ConfigError, DataError
from alumnus.lock import NAME as LOCK
from alumnus.log import bar, console

SHARDS, PLAN, QUARANTINE = "shards", "plan.json", "quarantine.jsonl"
VERSION = 1  # of what a shard holds
SHARD_IMAGES = (
    256  # at least; a large set has longer shards, for a process that reads keeps 1,024 indexes of shards
)
MOST_SHARDS = 512
SAMPLE = 256  # pictures whose headers are read for the estimate
TAR_BLOCK = 512
UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "MIB": 2**20, "GIB": 2**30}


def pack(
    data: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    out: Path,
    *,
    short_side: int = 128,
    budget: int | str | None = None,
    max_bad_fraction: float = 0.05,
    workers: int | None = None,
) -> Path:
    """Writes a packed dataset folder and returns it; pictures that cannot be read are named in its `quarantine.jsonl`.

    Args:
        data: anything that `open_dataset` reads.
        out: a new or empty folder.
        short_side: of the pictures in px. A view of S px that keeps at least a share s of the area shows every pixel it can from about
            S / sqrt(s) on, 152 px for views of 96 px at the default scale; less is cheaper and a little softer.
        budget: bytes that may be written, such as "20GB"; a set that needs more is refused before anything is written.
        max_bad_fraction: in [0, 1]; more unreadable pictures than that stop it, and so do more unreadable masks and depth maps.
        workers: processes; by default one a core, 0 works in this one.

    Raises:
        ConfigError: a setting is out of range.
        DataError: another process packs into `out`; the source cannot be opened, or a name in it cannot be written; `out` cannot be used;
            or the set is larger than the budget or the disk.
        TooManyBadImages: see max_bad_fraction.
    """
    if short_side < 8:
        raise ConfigError(f"short_side={short_side} must be at least 8 px")
    allowed = None if budget is None else bytes_of(budget)
    sources = [data] if isinstance(data, str | os.PathLike) else list(data)
    out = Path(os.path.abspath(out))
    check_free(out, sources)
    source = open_dataset(sources)
    check_words(source)
    first, code = _distinct(source)
    _check_room(source, first, out, short_side, allowed)

    facts: dict[str, object] = {
        "packed_from": [printable(os.path.abspath(each)) for each in sources],
        "short_side": short_side,
        "licences": dict(licences(sources)),
    }
    plan = {"version": VERSION, "short_side": short_side, "source": source.fingerprint}
    work = out.with_name(f".{out.name}.packing")
    with alone(work, out):
        check_free(out, sources)  # another process may just have ended there
        _begin(work, plan)
        pictures, dense = (_quarantine(work, len(first), max_bad_fraction) for _ in range(2))
        try:
            written = _write_shards(source, first, work, short_side, workers, pictures, dense, allowed)
        except OSError as error:
            hint = f"the same command goes on behind what is done; '{printable(work)}' may be deleted"
            raise DataError(f"'{printable(work)}' cannot be written: {error.strerror}; {hint}") from error
        shards = sorted((work / SHARDS).glob("*.tar"))
        write_dataset(_rows(source, first, code, shards), work)
        text = json.dumps({**facts, "unreadable": pictures.count, **meaning(source)}, indent=2)
        (work / DATASET_FILE).write_text(text, encoding="utf-8")
        for path in (work / PLAN, *(shard.with_suffix(".jsonl") for shard in shards)):
            path.unlink()
        os.rename(work, out)
    lost = f" and {dense.count:,} masks or depth maps" if dense.count else ""
    console.print(
        f"packed {len(first) - pictures.count:,} of {len(first):,} pictures into {len(shards):,} shards of {_size(written)} in all, "
        f"{pictures.count:,}{lost} could not be read. Use it as data={printable(out)}"
    )
    return out


def bytes_of(budget: int | str) -> int:
    """Returns a number of bytes.

    >>> bytes_of("1.5 GB"), bytes_of(1000)
    (1500000000, 1000)

    Raises:
        ConfigError: it is none.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", str(budget))
    if found is None or found[2].upper() not in UNITS:
        raise ConfigError(f"budget={budget!r} is no number of bytes; write 500MB, 20GB or 1.5TB")
    return int(float(found[1]) * UNITS[found[2].upper()])


def _distinct(data: Dataset) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Returns the first row of each picture, ascending, and each row's place among them: a picture may be listed twice."""
    names = Strings.of(data.file_names).values.dictionary_encode().indices.to_numpy(zero_copy_only=False)
    _, first, code = np.unique(names, return_index=True, return_inverse=True)
    return first.astype(np.int64), code.astype(
        np.int64
    )  # codes are numbered by first appearance, so first ascends


def _check_room(
    data: Dataset, first: NDArray[np.int64], out: Path, short_side: int, budget: int | None
) -> None:
    """Says how much will be written, and refuses what is too much."""
    needed = _estimate(data, first, short_side)
    folder = next(parent for parent in out.parents if parent.exists())
    free = shutil.disk_usage(folder).free
    console.print(
        f"{len(first):,} pictures at a short side of {short_side} px need about {_size(needed)}; {_size(free)} are free"
    )
    hint = "a smaller short_side needs less, and `alumnus data curate` makes a smaller set"
    if budget is not None and needed > budget:
        raise DataError(f"about {_size(needed)} are needed, but budget allows {_size(budget)}; {hint}")
    if needed > free:
        raise DataError(
            f"about {_size(needed)} are needed, but the disk of '{printable(folder)}' has {_size(free)} free; {hint}"
        )


def _estimate(data: Dataset, first: NDArray[np.int64], short_side: int) -> int:
    """Bytes, from the headers of some pictures spread evenly; masks and depth maps count as if PNG did not compress."""
    sizes = list[int]()
    for row in first[:: max(1, len(first) // SAMPLE)]:
        try:
            with opened(data.paths[row], FORMATS) as image:
                width, height = smaller(image.size, short_side)
        except BadImage:
            continue
        channels = 3 + (data.masks is not None and data.masks[row] is not None)
        channels += 2 * (data.depths is not None and data.depths[row] is not None)
        sizes.append(width * height * channels + 2 * TAR_BLOCK)
    if not sizes:
        raise DataError(
            f"none of {min(SAMPLE, len(first))} pictures looked at can be read; see `alumnus data check`"
        )
    return math.ceil(sum(sizes) / len(sizes) * len(first))


def _begin(work: Path, plan: dict[str, object]) -> None:
    """Readies the folder in which the set grows: what an earlier run with the same plan left stays, all else goes."""
    text = json.dumps(plan)
    if (work / PLAN).exists() and (work / PLAN).read_text(encoding="utf-8") == text:
        return
    for path in work.iterdir():
        if path.name != LOCK:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    (work / SHARDS).mkdir()
    (work / PLAN).write_text(text, encoding="utf-8")


def _quarantine(work: Path, total: int, max_bad_fraction: float) -> Quarantine:
    """Returns a list of what cannot be read, empty at first: shards that are done name theirs again."""
    return Quarantine(
        work / QUARANTINE,
        total=total,
        max_bad_fraction=max_bad_fraction,
        anew=True,
        what_next="Mend them, and the same command tries them again; or remove them, or raise max_bad_fraction",
    )


def _write_shards(
    data: Dataset,
    first: NDArray[np.int64],
    work: Path,
    short_side: int,
    workers: int | None,
    pictures: Quarantine,
    dense: Quarantine,
    budget: int | None,
) -> int:
    """Returns how many bytes the shards have. Args: dense notes masks and depth maps, without which a picture is packed all the same."""
    long = max(SHARD_IMAGES, math.ceil(len(first) / MOST_SHARDS))
    parts = [first[start : start + long] for start in range(0, len(first), long)]
    tasks = (
        (work / SHARDS / f"{k:05d}.tar", _wanted(data, part), short_side) for k, part in enumerate(parts)
    )
    written = 0
    with bar("packing pictures", total=len(first)) as line:
        for part, shard in zip(parts, _in_processes(tasks, count_of_processes(workers)), strict=True):
            for row, packed in zip(part, read_lines(shard), strict=True):
                if packed.member is None:
                    pictures.add(data.file_names[row], packed.reason)
                for path, reason in packed.faults:
                    dense.add(os.path.relpath(path, data.root), reason)
            written += shard.stat().st_size
            if budget is not None and written > budget:
                raise DataError(
                    f"{_size(written)} are written and more are to come, but budget allows {_size(budget)}: the estimate was too low. "
                    f"The same command with a larger budget goes on; '{printable(work)}' may be deleted"
                )
            line.advance(len(part))
    return written


def _wanted(data: Dataset, rows: NDArray[np.int64]) -> list[Wanted]:
    return [
        Wanted(
            name=member_name(data.file_names[row]),
            path=data.paths[row],
            mask=None if data.masks is None else data.masks[row],
            depth=None if data.depths is None else data.depths[row],
            is_exact=data.objects is not None and data.objects[row] is not None,
        )
        for row in rows
    ]


def _in_processes(tasks: Iterator[tuple[Path, list[Wanted], int]], processes: int) -> Iterator[Path]:
    """Yields shards that are done, in order; no more tasks wait than keep every process busy."""
    if processes <= 1:
        yield from (write_shard(tar, pictures, short_side=side) for tar, pictures, side in tasks)
        return
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else None)
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        waiting = deque[Future[Path]]()
        try:
            for tar, pictures, side in tasks:
                waiting.append(pool.submit(write_shard, tar, pictures, short_side=side))
                if len(waiting) > 2 * processes:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _rows(
    data: Dataset, first: NDArray[np.int64], code: NDArray[np.int64], shards: Sequence[Path]
) -> Iterator[dict[str, object]]:
    """Yields the rows of the new metadata; those of unreadable pictures are left out."""
    found = ((shard, packed) for shard in shards for packed in read_lines(shard))
    is_shared = np.bincount(code) > 1
    shared: dict[int, tuple[Path, Packed]] = {}  # pictures that are listed again
    for row, place in enumerate(code.tolist()):
        shard, packed = next(found) if first[place] == row else shared[place]
        if is_shared[place]:
            shared[place] = (shard, packed)
        if packed.member is not None:
            yield _row(data, row, f"{SHARDS}/{shard.name}", packed)


def _row(data: Dataset, row: int, shard: str, packed: Packed) -> dict[str, object]:
    def inside(member: str | None) -> str | None:
        return None if member is None else joined_locator(shard, member)

    domain, label = int(data.domain[row]), int(data.label[row])
    cells: dict[str, object] = {
        "file_name": inside(packed.member),
        "domain": data.domains[domain],
        "label": None if label < 0 else data.classes[domain][label],
        "split": str(data.split[row]),
        "source": printable(data.file_names[row]),
    }
    if data.text is not None:
        text = data.text[row]
        cells["text"] = None if text is None else text.split("\n")
    if data.objects is not None:
        cells["objects"] = _scaled(data.objects[row], data.object_classes, packed.scale)
    if data.masks is not None:
        cells["mask"] = inside(packed.mask)
    if data.depths is not None:
        cells["depth"] = inside(packed.depth)
    return cells


def _scaled(
    found: Objects | None, classes: Sequence[str], scale: tuple[float, float]
) -> dict[str, object] | None:
    if found is None:
        return None
    boxes = found.boxes.astype(np.float64) * (*scale, *scale)
    return {"bbox": boxes.tolist(), "categories": [classes[label] for label in found.labels]}


def _size(count: int) -> str:
    """A number of bytes for people."""
    unit = next(unit for unit in ("TB", "GB", "MB", "kB") if count >= UNITS[unit.upper()] or unit == "kB")
    return f"{count / UNITS[unit.upper()]:.1f} {unit}"
