"""What a person sees while something runs: progress bars, short lines, and the files `log.txt` and `metrics.jsonl`.

On a terminal a progress bar is drawn; elsewhere one line is printed every few seconds, so that a log file stays readable.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sized
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from alumnus.disk import replace_text

# Without markup: names of files, classes and models stand in what is said, and may look like it.
console = Console(stderr=True, highlight=False, soft_wrap=True, markup=False)

T = TypeVar("T")

_told = set[str]()

LINE_EVERY_S = 10.0  # without a terminal
LOG_BYTES = 1 << 20  # of log.txt; one older file of that size is kept


class Bar:
    """One running line of progress: `advance` moves it, `say` sets the words behind it."""

    def __init__(self, label: str, *, total: int | None, progress: Progress | None, lines: int = 0) -> None:
        self.label, self.total, self.done, self.words = label, total, 0, ""
        self._lines = lines
        self._progress = progress
        self._task = progress.add_task(label, total=total, words="") if progress is not None else None
        self._said_at = self._started = time.monotonic()

    def say(self, words: str) -> None:
        """Sets the words behind the bar, such as the loss."""
        self.words = words

    def advance(self, count: int = 1) -> None:
        """Counts `count` more pieces as done."""
        before, self.done = self.done, self.done + count
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=self.done, words=self.words)
        elif time.monotonic() - self._said_at >= LINE_EVERY_S or self._is_due(before):
            self._said_at = time.monotonic()
            console.print(self._line())

    def _is_due(self, before: int) -> bool:
        """Whether one of the lines that are wanted in any case has come, and there is something to say in it."""
        if not self.total or not self.words:
            return False
        return self.done * self._lines // self.total > before * self._lines // self.total

    def _line(self) -> str:
        passed = time.monotonic() - self._started
        if not self.total or not self.done:
            return f"{self.label}: {self.done} {self.words}".rstrip()
        left = passed / self.done * (self.total - self.done)
        words = f", {self.words}" if self.words else ""
        return f"{self.label}: {self.done}/{self.total}, {left:.0f} s left{words}"


@contextmanager
def bar(label: str, *, total: int | None, lines: int = 0) -> Iterator[Bar]:
    """Gives a progress bar for the time of a `with` block.

    Args:
        lines: how many are printed at least where there is no terminal, at equal shares of the whole; of quick work else none is.
    """
    if not console.is_terminal:
        yield Bar(label, total=total, progress=None, lines=lines)
        return
    columns = (
        TextColumn("{task.description:<24}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[words]}", markup=False),
    )
    with Progress(*columns, console=console) as progress:
        yield Bar(label, total=total, progress=progress)


def progress(items: Iterable[T], label: str, *, total: int | None = None) -> Iterator[T]:
    """Yields the items, with a progress bar of that label.

    >>> list(progress([1, 2, 3], "counting"))
    [1, 2, 3]
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    with bar(label, total=total) as line:
        for item in items:
            yield item
            line.advance()


def warn(text: str) -> None:
    """Prints a line that begins with a yellow `warning`."""
    console.print(Text.assemble(("warning", "yellow"), ": ", text))


def say_once(text: str) -> None:
    """Prints a line, unless this process did before: a file may be read for a teacher, and again when it is loaded a second time."""
    if text not in _told:
        _told.add(text)
        console.print(text)


def number_of(count: int, noun: str) -> str:
    """Returns a count with its noun, which makes its plural by an s.

    >>> number_of(1, "domain"), number_of(6473, "image")
    ('1 domain', '6,473 images')
    """
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def append_line(path: Path, text: str, *, limit: int = LOG_BYTES) -> None:
    """Adds a line to a log; one that has grown beyond `limit` bytes becomes NAME.1.SUFFIX first, in place of an older one.

    logging.handlers.RotatingFileHandler does as much, but holds the file open, prints a full disk's traceback in place of raising it, and
    glues a line to one that a kill tore.
    """
    if path.exists() and path.stat().st_size > limit:
        os.replace(path, path.with_suffix(f".1{path.suffix}"))
    with path.open("ab") as file:
        file.write(_line_end(path) + text.encode() + b"\n")


class MetricsFile:
    """`metrics.jsonl`: one JSON object a line, the same keys every time, flushed so that a kill loses at most a line.

    JSON has no NaN and no infinity: they are null.
    """

    def __init__(self, path: Path, *, keep_before_step: int | None = None) -> None:
        """Opens the file for appending, first dropping lines of `keep_before_step` and later (they will come again)."""
        if keep_before_step is not None and path.exists():
            _truncate(path, keep_before_step)
        self._file: IO[str] = path.open("a", encoding="utf-8")
        self._file.write(_line_end(path).decode())

    def write(self, values: Mapping[str, float | int | str]) -> None:
        """Appends one line."""
        self._file.write(_json_line(values))
        self._file.flush()

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Returns the lines of a `metrics.jsonl`, NaN for null; a torn one is left out."""
    lines: list[dict[str, float]] = []
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            found = json.loads(text)
        except json.JSONDecodeError:
            continue
        lines.append({name: math.nan if value is None else value for name, value in found.items()})
    return lines


def _json_line(values: Mapping[str, float | int | str]) -> str:
    known = {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in values.items()
    }
    return json.dumps(known) + "\n"


def _line_end(path: Path) -> bytes:
    """What a file lacks for its last line to be whole: a line that a kill tore must not be glued to the next."""
    with path.open("rb") as file:
        if file.seek(0, os.SEEK_END) == 0:
            return b""
        file.seek(-1, os.SEEK_END)
        return b"" if file.read() == b"\n" else b"\n"


def _truncate(path: Path, step: int) -> None:
    kept = [line for line in read_metrics(path) if line["step"] < step]
    replace_text(path, "".join(map(_json_line, kept)))
