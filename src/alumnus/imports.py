"""Where the modules are found that a recipe names: a teacher's function, a method."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def current_folder() -> Iterator[None]:
    """Lets the imports of a block find modules of the current folder too, as `python -m alumnus` does.

    It comes last, so that no file there stands for an installed package; not at all with `python -P`; and for what a recipe names alone: a
    folder of images that is called `datasets` must not be taken for the extra of that name, if that is not installed.
    """
    here = None
    with suppress(FileNotFoundError):  # it was removed
        if not sys.flags.safe_path and "" not in sys.path and os.getcwd() not in sys.path:
            here = os.getcwd()
    if here is None:
        yield
        return
    sys.path.append(here)
    try:
        yield
    finally:
        sys.path.remove(here)
