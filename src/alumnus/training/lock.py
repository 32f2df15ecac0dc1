"""One run in one folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from alumnus.errors import ConfigError
from alumnus.lock import Busy, give_back, take


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Holds a run's folder while a block runs; makes it if it is not there, and removes it if it is still empty then.

    Raises:
        ConfigError: another run holds it, or it cannot be written.
    """
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"out={folder} is a file; give a folder")
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        handle = take(folder)
    except Busy as busy:
        raise ConfigError(
            f"out={folder} is in use by another run{busy}; wait until it has ended, or choose another folder"
        ) from None
    except OSError as error:
        raise ConfigError(
            f"out={folder} cannot be written: {(error.strerror or str(error)).lower()}; choose another folder"
        ) from error
    try:
        yield
    finally:
        give_back(handle, folder)
        with suppress(OSError):  # not empty: the run began
            for path in made:
                path.rmdir()
