"""Pillow's process-wide switches, held as reading needs them and put back afterwards.

Python's warning filters (until 3.14) and Pillow's LOAD_TRUNCATED_IMAGES belong to the whole process. Other code may rely on them, so they
are changed only while some thread of ours reads; threads that read at once share one change.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from PIL import ImageFile


class Strict:
    """Hides Pillow's warnings (bombs, odd metadata: we judge those) and keeps truncated images an error."""

    def __init__(self) -> None:
        self._lock, self._readers, self._undo = threading.Lock(), 0, ExitStack()

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Holds the switches for the time of a `with` block; blocks may overlap."""
        with self._lock:
            self._readers += 1
            if self._readers == 1:
                self._hold()
        try:
            yield
        finally:
            with self._lock:
                self._readers -= 1
                if self._readers == 0:
                    self._undo.close()

    def _hold(self) -> None:
        self._undo.enter_context(warnings.catch_warnings())
        warnings.filterwarnings("ignore", module=r"PIL\.")
        if ImageFile.LOAD_TRUNCATED_IMAGES:  # a package in this process asked for half-grey pictures
            ImageFile.LOAD_TRUNCATED_IMAGES = False
            self._undo.callback(_allow_truncated)


def _allow_truncated() -> None:
    ImageFile.LOAD_TRUNCATED_IMAGES = True
