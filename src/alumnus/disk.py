"""Files and folders that are whole or as they were, whenever a kill or a power cut comes: written beside, synced to disk, then renamed."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from pathlib import Path

from alumnus.errors import ConfigError


def check_writable(path: Path, *, is_folder: bool, given: str | None = None) -> None:
    """Refuses a place for results where nothing can be written, before work is done for it; leaves nothing behind.

    Tried, not asked: root may write everywhere by its rights, and still not below /proc.

    Args:
        is_folder: whether results are a folder of that name, or a file.
        given: what the message calls it; `out=PATH` by default.

    Raises:
        ConfigError: what stands in the way.
    """
    named = f"out={path}" if given is None else given
    folder = path if is_folder else path.parent
    try:
        there = next(each for each in (folder, *folder.parents) if each.exists())
        if not there.is_dir():
            what = "a folder is needed" if there == path else "nothing can lie below it"
            raise ConfigError(f"{named} cannot be written: {there} is a file, and {what}; choose another")
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):  # told by `faults`: the place is right
            raise
        why = (error.strerror or str(error)).lower()
        raise ConfigError(f"{named} cannot be written: {why}; choose another") from error


def check_replaceable(folder: Path) -> None:
    """Refuses a folder for results that are put in its place as a whole, where that cannot be done: another takes its name.

    Raises:
        ConfigError: it is the current folder or one above it, or something is mounted there.
    """
    if folder.resolve() in (Path.cwd(), *Path.cwd().parents):
        raise ConfigError(
            f"out={folder} is the current folder, or above it, and cannot be replaced; give a new folder below it"
        )
    if os.path.ismount(folder):
        raise ConfigError(
            f"out={folder} is a disk of its own (a mount point) and cannot be replaced; give a new folder below it"
        )


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
