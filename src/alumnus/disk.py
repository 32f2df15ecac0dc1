"""Files and folders that are whole or as they were, whenever a kill or a power cut comes: written beside, synced to disk, then renamed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


def replace_text(path: Path, text: str, *, errors: str = "strict") -> Path:
    """Writes a file in UTF-8 in one step, and returns its path.

    Args:
        errors: as of `str.encode`: what becomes of characters that UTF-8 has not.
    """
    temporary = path.with_name(new_name(path.name))
    try:
        temporary.write_text(text, encoding="utf-8", errors=errors)
        sync(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def replace_folder(new: Path, folder: Path) -> Path:
    """Puts a new folder of files in an older one's place, and returns it.

    A kill between the two renames leaves `.NAME.old`, never a mixture.
    """
    sync_folder(new)
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        os.replace(folder, old)
    os.replace(new, folder)
    sync(folder.parent)
    shutil.rmtree(old, ignore_errors=True)
    return folder


def new_name(name: str) -> str:
    """Returns what a file or folder is called until it is whole."""
    return f".{name}.new"


def sync_folder(folder: Path) -> None:
    """Waits until a folder and the files in it are on the disk."""
    for path in folder.iterdir():
        sync(path)
    sync(folder)


def sync(path: Path) -> None:
    """Waits until a file, or a folder's list of names, is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
