"""Removing what a store no longer needs: whole teachers, and what killed builds left."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from pathlib import Path

from alumnus.errors import StoreError, nearest
from alumnus.store.folder import folders


def unneeded(store: Path, *, keep: Collection[str] = (), teachers: Collection[str] = ()) -> list[Path]:
    """Returns what `prune` would remove.

    Args:
        keep: names of folders to keep; all others go.
        teachers: names of teachers that go, whatever their fingerprint.

    Raises:
        StoreError: neither is given, or there is no teacher of such a name.
    """
    found = list(folders(store))
    names = {str(folder.about.teacher["name"]) for folder in found}
    for name in teachers:
        if name not in names:
            raise StoreError(
                f"{store} has no teacher {name!r}{nearest(name, names)}; it has {', '.join(sorted(names)) or 'none'}"
            )
    if not keep and not teachers:
        raise StoreError("say what to remove: a recipe, whose teachers are kept, or teachers=NAME,…")
    if teachers:
        return [folder.path for folder in found if folder.about.teacher["name"] in teachers]
    return [folder.path for folder in found if folder.path.name not in keep]


def remove(paths: Collection[Path]) -> None:
    """Removes folders of a store."""
    for path in paths:
        shutil.rmtree(path)


def leftovers(store: Path) -> list[Path]:
    """Returns files that a killed process left half-written; nobody reads them."""
    return sorted(store.glob("*/.*.new"))
