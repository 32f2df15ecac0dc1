"""The folder of a known data set: made whole or not at all, and known again by what it was made of."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from alumnus.errors import DataError

PROVENANCE = "dataset.json"  # inside a dataset folder: what it was made of


@contextmanager
def made_whole(folder: Path, made_of: Mapping[str, object]) -> Iterator[Path]:
    """Gives an empty folder to fill, and puts it into place if nothing goes wrong until the end of the `with` block.

    Args:
        folder: where it shall be.
        made_of: what its `dataset.json`, which the block writes, will say at least.

    Raises:
        DataError: something else came into the place meanwhile.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".new-", dir=folder.parent) as scratch:
        new = Path(scratch) / folder.name
        new.mkdir()
        yield new
        _move(new, folder, made_of)


def is_made(folder: Path, made_of: Mapping[str, object]) -> bool:
    """Whether a folder holds what is wanted.

    Raises:
        DataError: it holds anything else.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    try:
        found = json.loads((folder / PROVENANCE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = {}
    if {key: found.get(key) for key in made_of} == made_of:
        return True
    raise DataError(
        f"{folder} exists and is not this data set with these settings; name another folder, or delete it"
    )


def _move(new: Path, folder: Path, made_of: Mapping[str, object]) -> None:
    """Puts the folder into place in one step; another process may have done so first."""
    try:
        new.rename(folder)
    except OSError:
        if not is_made(folder, made_of):
            raise
