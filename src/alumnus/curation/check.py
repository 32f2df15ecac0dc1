"""What is wrong with a data set: broken files, copies, leaks from training into held-out splits, and one picture under two labels.

    alumnus data check images/ out=check/

Nothing is changed. Every picture is read once, whole; see `scan`, `candidates` and `verify` for how copies are found.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from alumnus.curation.duplicates import BLANK, HELD_OUT, Near, Rows, exact_groups, near_copies
from alumnus.curation.licences import Licence, licences
from alumnus.curation.scan import scan
from alumnus.data.dataset import SPLITS, Dataset, open_dataset
from alumnus.data.names import printable
from alumnus.disk import check_writable, replace_text

FILE = "check.json"
VERSION = 1
TINY_PX = 16  # a side shorter than this
EXTREME_ASPECT = 5.0  # longer side to shorter one, above this


class Leak(NamedTuple):
    """A held-out picture that is in training too."""

    train: int  # row
    held_out: int  # row
    likeness: float  # 1 if the pixels are equal
    is_exact: bool


@dataclass(frozen=True, eq=False)
class Check:
    """All that was found; numbers are rows of `data`."""

    data: Dataset
    sources: tuple[str, ...]
    unreadable: Mapping[int, str]  # row -> reason
    exact: Sequence[Rows]  # groups of equal pixels
    near: Sequence[Near]
    leaks: Sequence[Leak]
    conflicts: Sequence[Rows]  # groups of equal pixels, of one domain, under several labels
    sizes: NDArray[np.int64]  # (N, 2) width and height in px, 0 if unreadable
    tiny: Rows
    extreme: Rows
    blank: Rows  # of one colour or nearly; these take no part in the search for near copies
    licences: Sequence[Licence]

    @property
    def faults(self) -> dict[str, int]:
        """What should be mended -> how many; leaks and conflicts are among the copies too."""
        return {
            "unreadable files": len(self.unreadable),
            "leaks from train": len(self.leaks),
            "pictures under two labels": len(self.conflicts),
            "exact copies": sum(len(group) - 1 for group in self.exact),
            "near copies": len(self.near),
        }

    @property
    def oddities(self) -> dict[str, int]:
        """What may be meant to be so -> how many."""
        return {
            f"a side under {TINY_PX} px": len(self.tiny),
            f"longer than {EXTREME_ASPECT:g} : 1": len(self.extreme),
            "nearly one colour": len(self.blank),
            "near copies under two labels": sum(
                differ(self.data, pair.first, pair.second) for pair in self.near
            ),
        }

    @property
    def per_split(self) -> dict[str, dict[str, int]]:
        """Domain -> split -> images, splits that are used only."""
        used = [split for split in SPLITS if (self.data.split == split).any()]
        return {
            name: {split: int(((self.data.domain == d) & (self.data.split == split)).sum()) for split in used}
            for d, name in enumerate(self.data.domains)
        }

    @property
    def per_class(self) -> dict[str, dict[str, int]]:
        """Domain -> class -> images, of all splits."""
        found = {}
        for d, name in enumerate(self.data.domains):
            label = self.data.label[self.data.domain == d]
            counts = np.bincount(label[label >= 0], minlength=len(self.data.classes[d]))
            found[name] = dict(zip(self.data.classes[d], counts.tolist(), strict=True))
        return found


def check(
    data: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    out: Path | None = None,
    workers: int | None = None,
) -> Check:
    """Returns what is wrong with the images of one source or several.

    Args:
        data: anything that `open_dataset` reads.
        out: a folder into which `check.json` is written; `report.check.write_page` adds the page for people.
        workers: reading processes; by default one a core.

    Raises:
        DataError: the source cannot be opened.
        ConfigError: `out` cannot be written.
    """
    if out is not None:
        check_writable(out, is_folder=True)
    sources = [data] if isinstance(data, str | os.PathLike) else list(data)
    found = check_dataset(open_dataset(sources), sources=sources, workers=workers)
    if out is not None:
        write_json(found, out / FILE)
    return found


def check_dataset(
    data: Dataset, *, sources: Sequence[str | os.PathLike[str]] = (), workers: int | None = None
) -> Check:
    """Returns what is wrong with an open data set; `sources` are where its licences are looked for."""
    seen = scan(data.paths, workers=workers)
    exact, near = exact_groups(data, seen), near_copies(data, seen)
    short, long = seen.sizes.min(1), seen.sizes.max(1)
    return Check(
        data=data,
        sources=tuple(os.fspath(source) for source in sources),
        unreadable=seen.reasons,
        exact=exact,
        near=near,
        leaks=_leaks(data, exact, near),
        conflicts=[group for group in exact if _is_conflict(data, group)],
        sizes=seen.sizes,
        tiny=np.flatnonzero(seen.readable & (short < TINY_PX)),
        extreme=np.flatnonzero(seen.readable & (long > EXTREME_ASPECT * short)),
        blank=np.flatnonzero(seen.readable & (seen.contrast <= BLANK)),
        licences=licences(sources),
    )


def describe(data: Dataset, row: int) -> dict[str, str | None]:
    """Returns a row in words, for people and for JSON."""
    domain, label = int(data.domain[row]), int(data.label[row])
    return {
        "file_name": printable(data.file_names[row]),
        "split": str(data.split[row]),
        "domain": data.domains[domain],
        "label": data.classes[domain][label] if label >= 0 else None,
    }


def differ(data: Dataset, one: int, other: int) -> bool:
    """Returns whether two images of one domain have different labels."""
    label, other_label = int(data.label[one]), int(data.label[other])
    return bool(data.domain[one] == data.domain[other] and -1 != label != other_label != -1)


def write_json(found: Check, path: Path) -> Path:
    """Writes all findings; the same pictures give the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return replace_text(path, json.dumps(as_json(found), indent=1) + "\n")


def as_json(found: Check) -> dict[str, object]:
    """Returns all findings in words."""

    def rows(chosen: Sequence[int] | Rows) -> list[dict[str, str | None]]:
        return [describe(found.data, int(row)) for row in chosen]

    return {
        "version": VERSION,
        "sources": [printable(source) for source in found.sources],
        "images": len(found.data),
        "faults": found.faults,
        "oddities": found.oddities,
        "unreadable": [
            {**describe(found.data, row), "reason": reason} for row, reason in found.unreadable.items()
        ],
        "leaks": [
            {
                "pictures": rows([leak.train, leak.held_out]),
                "exact": leak.is_exact,
                "likeness": round(leak.likeness, 4),
            }
            for leak in found.leaks
        ],
        "conflicts": [rows(group) for group in found.conflicts],
        "exact": [rows(group) for group in found.exact],
        "near": [
            {"pictures": rows([pair.first, pair.second]), "likeness": round(pair.likeness, 4)}
            for pair in found.near
        ],
        "tiny": rows(found.tiny),
        "extreme": rows(found.extreme),
        "blank": rows(found.blank),
        "sizes": _size_summary(found.sizes),
        "per_split": found.per_split,
        "per_class": found.per_class,
        "licences": dict(found.licences),
    }


def _leaks(data: Dataset, exact: Sequence[Rows], near: Sequence[Near]) -> list[Leak]:
    """By the held-out row; of equal training pictures the first is named, of equal held-out ones each."""
    found = []
    same = {int(row): group for group in exact for row in group}
    for group in exact:
        train = [int(row) for row in group if data.split[row] == "train"]
        for row in map(int, group[np.isin(data.split[group], HELD_OUT)]):
            elsewhere = [other for other in train if data.paths[other] != data.paths[row]]
            found += [Leak(other, row, 1.0, True) for other in elsewhere[:1]]
    for pair in near:
        for one, other in ((pair.first, pair.second), (pair.second, pair.first)):
            if data.split[one] == "train" and data.split[other] in HELD_OUT:
                group = same.get(other, np.array([other]))
                held_out = group[np.isin(data.split[group], HELD_OUT)].tolist()
                found += [Leak(one, row, pair.likeness, False) for row in held_out]
    return sorted(found, key=lambda leak: (leak.held_out, leak.train))


def _is_conflict(data: Dataset, group: Rows) -> bool:
    labels = {(int(data.domain[row]), int(data.label[row])) for row in group if data.label[row] >= 0}
    return len(labels) > len({domain for domain, _ in labels})


def _size_summary(sizes: NDArray[np.int64]) -> dict[str, list[float]]:
    """What -> minimum, 5 %, median, 95 %, maximum."""
    known = sizes[sizes[:, 0] > 0]
    if not len(known):
        return {}
    wanted = {"width": known[:, 0], "height": known[:, 1], "aspect": known[:, 0] / known[:, 1]}
    return {
        name: [round(float(value), 3) for value in np.quantile(values, [0, 0.05, 0.5, 0.95, 1])]
        for name, values in wanted.items()
    }
