"""Ctrl-C and SIGTERM while the loop runs: the step is finished and saved first, then the signal does what it would have done at once.

A signal comes between any two instructions, and after half of an update the weights are those of no step. So it is only noted, the loop
ends after the step, and saves. A second signal does not wait. Signals that are ignored stay ignored (nohup, a job in the background),
and outside the main thread, where Python gives none, whoever owns that thread decides.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeVar

from alumnus.distributed import gathered, world_size
from alumnus.errors import RunError

T = TypeVar("T")

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stop:
    """Whether somebody asked the loop to stop."""

    def __init__(self) -> None:
        self.number: int | None = None  # of the signal that came

    @property
    def is_asked(self) -> bool:
        """True from the first signal on."""
        return self.number is not None

    def is_agreed(self) -> bool:
        """Whether somebody asked any of the processes that train together; from then on it came to all of them."""
        numbers = gathered([] if self.number is None else [self.number])
        if numbers and self.number is None:
            self.number = numbers[0]
        return bool(numbers)

    def before(self, items: Iterator[T]) -> Iterator[T]:
        """Yields items until the signal comes. If it came to reading processes too, that they are gone is no error.

        With several processes it is: others may wait for this one's item.
        """
        while not self.is_agreed():
            try:
                item = next(items)
            except StopIteration:
                return
            except RuntimeError:
                if self.is_asked and world_size() == 1:
                    return
                raise
            yield item


@contextmanager
def signals_noted() -> Iterator[Stop]:
    """Notes the first signal while a block runs, and lets it act at the block's end; a second one acts at once.

    Raises:
        RunError: a signal came whose own handler does nothing. (Usually it raises KeyboardInterrupt or ends the process.)
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    mine = {
        number: handler
        for number, handler in before.items()
        if handler is not None and handler is not signal.SIG_IGN
    }
    of_children = list[Any]()

    def restore() -> None:
        for number, handler in mine.items():
            signal.signal(number, handler)

    def note(number: int, frame: FrameType | None) -> None:
        restore()
        stop.number = number
        # torch raises an error, between any two instructions, when a reading process dies, as it may of the same signal.
        of_children.append(signal.signal(signal.SIGCHLD, lambda *_: None))

    for number in mine:
        signal.signal(number, note)
    try:
        yield stop
    finally:
        restore()
        if of_children and of_children[0] is not None:
            signal.signal(signal.SIGCHLD, of_children[0])
    if stop.number is not None:
        signal.raise_signal(stop.number)
        raise RunError(
            f"stopped by {signal.Signals(stop.number).name}; the same call goes on from the last step"
        )
