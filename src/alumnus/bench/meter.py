"""The one progress bar of a whole run, in seconds of forecast work, with the time left as it has turned out so far."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from alumnus.log import Bar, bar

TRUST_AFTER = 0.02  # share of the forecast that must be done before the run's own pace corrects it


class Meter:
    """Counts cells and forecast seconds."""

    def __init__(self, line: Bar, *, cells: int, seconds: float) -> None:
        """Args: cells and seconds are what the whole run has to do."""
        self._line, self._cells, self._forecast = line, cells, seconds
        self.done, self.gone, self._started = 0, 0.0, time.monotonic()

    def say(self, what: str) -> None:
        """Shows what is being done."""
        self._line.say(
            f"cell {min(self.done + 1, self._cells)} of {self._cells}, {spoken(self.left_s())} left: {what}"
        )
        self._line.advance(0)

    def spent(self, seconds: float) -> None:
        """Counts forecast seconds as gone."""
        before = int(self.gone)
        self.gone += seconds
        self._line.advance(int(self.gone) - before)

    def cell_done(self, seconds: float) -> None:
        """Counts a cell, forecast to take so long."""
        self.done += 1
        self.spent(seconds)

    def left_s(self) -> float:
        """Returns how long the rest will take."""
        rest = max(0.0, self._forecast - self.gone)
        if self.gone < TRUST_AFTER * self._forecast or not self.gone:
            return rest
        return rest * (time.monotonic() - self._started) / self.gone


@contextmanager
def metered(cells: int, seconds: float) -> Iterator[Meter]:
    """Gives the meter of a run for the time of a `with` block."""
    with bar("bench, s of work", total=max(1, int(seconds))) as line:
        yield Meter(line, cells=cells, seconds=seconds)


def spoken(seconds: float) -> str:
    """Returns a time as people say it.

    >>> spoken(3), spoken(125), spoken(8000)
    ('3 s', '2 min', '2 h 13 min')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
