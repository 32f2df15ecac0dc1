"""The images that could not be read, with reasons, in `quarantine.jsonl`; too many of them stop the run.

One JSON object a line, `{"file_name": ..., "reason": ...}`, in ASCII so that any file name survives. A resumed run appends to the
file and writes no image twice; what an earlier part of it noted counts. What is always made anew begins an empty list.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from alumnus.data.names import printable
from alumnus.errors import ConfigError, TooManyBadImages

Ids = NDArray[np.int64]


class Quarantine:
    """Bad images of one run.

    Args:
        path: the JSONL file, made with the first row; None keeps rows in memory only.
        total: images in the dataset.
        max_bad_fraction: in [0, 1]; more distinct bad images than this part of `total` stop the run.
        names: of the dataset's images; rows of the file about others do not count. All rows count by default.
        anew: an older file is removed at once.
        what_next: what to do about too many, for the message.
        say: gets a line at the first image that is new, and one with the sum at the end, see `tell`; by default nothing is said.

    Raises:
        TooManyBadImages: the file holds more of them already.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        total: int,
        max_bad_fraction: float,
        names: Iterable[str] | None = None,
        anew: bool = False,
        what_next: str = "Mend or remove them, or raise max_bad_fraction",
        say: Callable[[str], None] | None = None,
    ) -> None:
        _check_fraction(max_bad_fraction)
        self.path, self.total, self.max_bad_fraction = path, total, max_bad_fraction
        self._what_next, self._say, self._is_told = what_next, say, False
        self._continues = path is not None and not anew and names != ()  # with none, the file only tells
        if path is not None and anew:
            path.unlink(missing_ok=True)
        self._reasons: dict[str, str] = {} if path is None else _read(path)
        self._bad = dict(self._reasons)  # those that count
        if names is not None and self._reasons:
            self._bad = {name: self._reasons[name] for name in names if name in self._reasons}
        self._check()

    @property
    def count(self) -> int:
        """Distinct bad images."""
        return len(self._bad)

    @property
    def rows(self) -> list[dict[str, str]]:
        """What the file holds, in order of arrival."""
        return [{"file_name": name, "reason": reason} for name, reason in self._reasons.items()]

    def add(self, file_name: str, reason: str) -> None:
        """Notes a bad image, once.

        Raises:
            TooManyBadImages: there are more than `max_bad_fraction` of `total`.
        """
        self.add_all([(file_name, reason)])

    def add_all(self, bad: Iterable[tuple[str, str]]) -> None:
        """Notes bad images (name, reason), each once, and all of them before it refuses.

        Raises:
            TooManyBadImages: there are more than `max_bad_fraction` of `total`.
        """
        for file_name, reason in bad:
            self._note(file_name, reason)
        self._check()

    def tell(self) -> None:
        """Says how many images were left out, if any were, and where their names are."""
        if self._say is not None and self.count:
            where = "" if self.path is None else f"; {self.path} has names and reasons"
            verb = "was" if self.count == 1 else "were"
            self._say(f"{self.count:,} of {self.total:,} images could not be read and {verb} left out{where}")

    def _note(self, file_name: str, reason: str) -> None:
        if file_name not in self._reasons:
            self._reasons[file_name] = reason
            if self.path is not None:
                _append(self.path, {"file_name": file_name, "reason": reason})
            self._warn(file_name, reason)
        self._bad.setdefault(file_name, reason)

    def _warn(self, file_name: str, reason: str) -> None:
        """Once: a line for each would bury everything else."""
        if self._say is None or self._is_told:
            return
        self._is_told = True
        where = "" if self.path is None else f", and listed in {self.path}"
        self._say(f"warning: '{printable(file_name)}': {reason}; it is left out{where}, as others will be")

    def _check(self) -> None:
        if self.count <= self.max_bad_fraction * self.total:
            return
        file_name, reason = next(reversed(self._bad.items()))
        where = "" if self.path is None else f"; all of them are in {self.path}"
        again = "; if they can be read again, delete that file" if self._continues else ""
        raise TooManyBadImages(
            f"{self.count} of {self.total} images could not be read, more than "
            f"max_bad_fraction={self.max_bad_fraction} allows; the last is '{printable(file_name)}': {reason}{where}. "
            f"{self._what_next}{again}"
        )


def passes_limit(
    names: Sequence[str], *, total: int, max_bad_fraction: float
) -> Callable[[Collection[int]], bool]:
    """Returns what says of places in `names` whether a quarantine of these images would refuse them.

    With it a long reading ends as soon as nothing can be made good any more, not at its end.

    Raises:
        ConfigError: the fraction is out of its range.
    """
    _check_fraction(max_bad_fraction)
    most = max_bad_fraction * total

    def passes(places: Collection[int]) -> bool:
        return len(places) > most and len({names[place] for place in places}) > most

    return passes


def check_parts(
    names: Sequence[str], bad: Mapping[int, str], parts: Iterable[Ids], *, max_bad_fraction: float
) -> None:
    """Refuses data of which too much of one part could not be read, as a small part could be lost as a whole within the limit of all.

    Args:
        names: of all rows.
        bad: row -> reason.
        parts: the rows of each.

    Raises:
        TooManyBadImages: names the last.
    """
    rows = np.array(sorted(bad), np.int64)
    for part in parts:
        quarantine = Quarantine(None, total=len(part), max_bad_fraction=max_bad_fraction)
        for row in part[np.isin(part, rows)].tolist():
            quarantine.add(names[row], bad[row])


def _check_fraction(max_bad_fraction: float) -> None:
    if not 0 <= max_bad_fraction <= 1:
        raise ConfigError(f"max_bad_fraction is {max_bad_fraction}; it must lie in [0, 1]")


def _read(path: Path) -> dict[str, str]:
    """Returns the rows of an earlier part of the run; a line torn by a kill is cut off or skipped, that image will come again."""
    if not path.exists():
        return {}
    text = path.read_bytes()
    whole = text[: text.rfind(b"\n") + 1]
    if whole != text:
        os.truncate(path, len(whole))
    rows = dict[str, str]()
    for line in whole.splitlines():
        try:
            row = json.loads(line)
            rows[str(row["file_name"])] = str(row["reason"])
        except (ValueError, KeyError, TypeError):
            continue  # torn, with what another process wrote behind it
    return rows


def _append(path: Path, row: dict[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="ascii") as file:
        file.write(json.dumps(row) + "\n")
