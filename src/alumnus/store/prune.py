"""Removing what a store no longer needs: whole teachers, crops of other views, and what killed builds left."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from pathlib import Path

from alumnus.errors import StoreError, nearest
from alumnus.store.claims import is_at_work, locked
from alumnus.store.folder import folders
from alumnus.store.kept import crops_folders

LEFT = (".*.new", ".moments-*", ".job-*")  # of shards and about.json, of Moments.save, of claims


def unneeded(store: Path, *, keep: Collection[str] = (), teachers: Collection[str] = ()) -> list[Path]:
    """Returns what `prune` would remove.

    Args:
        keep: names of folders to keep; all others go, of outputs and of crops.
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
    every = [*(folder.path for folder in found), *(folder.path for folder in crops_folders(store))]
    return [path for path in every if path.name not in keep]


def remove(paths: Collection[Path]) -> None:
    """Removes folders of a store.

    Raises:
        StoreError: a process computes outputs of one now; it and those after it stay.
    """
    for path in paths:
        with locked(path):
            if is_at_work(path):
                raise StoreError(
                    f"{path} is being filled by another process, and was not removed; stop it, or wait for it"
                )
            shutil.rmtree(path)


def leftovers(store: Path) -> list[Path]:
    """Returns what killed processes left half-written or claimed, in folders at which nobody is at work; nobody reads it."""
    return [path for folder in _with_leftovers(store) for path in _of_nobody(folder)]


def clear(store: Path) -> None:
    """Removes the leftovers."""
    for folder in _with_leftovers(store):
        with locked(folder):
            for path in [] if is_at_work(folder) else _matching(folder):
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def _of_nobody(folder: Path) -> list[Path]:
    with locked(folder):
        return [] if is_at_work(folder) else _matching(folder)


def _with_leftovers(store: Path) -> list[Path]:
    return sorted({path.parent for name in LEFT for path in store.glob(f"*/{name}")})


def _matching(folder: Path) -> list[Path]:
    return sorted(path for name in LEFT for path in folder.glob(name))
