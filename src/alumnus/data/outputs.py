"""What is written of images must have a place, and not be written over them, or over the lists that name them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from alumnus.data.listing import split_folders
from alumnus.data.names import printable
from alumnus.data.readers.sources import METADATA, Source
from alumnus.disk import check_writable
from alumnus.errors import ConfigError


def check_file(out: Path, images: Source | Sequence[Source]) -> None:
    """Refuses a file that is one of the given lists, or the list in a given folder, or that cannot be written.

    Raises:
        ConfigError: it is so.
    """
    check_writable(out, is_folder=False)
    for source in _paths(images):
        folders = [source, *(source / name for name in _splits(source))] if source.is_dir() else []
        for known in (source, *(folder / name for folder in folders for name in METADATA)):
            if out.exists() and known.exists() and out.samefile(known):
                raise ConfigError(
                    f"out={printable(out)} is the list of the images that are read, and would be lost; name another file"
                )


def check_folder(out: Path, images: Source | Sequence[Source]) -> None:
    """Refuses a folder of pictures that is a given folder, lies in one whose pictures are found by looking, or cannot be written.

    Raises:
        ConfigError: it is so: the next reading would take results for images.
    """
    check_writable(out, is_folder=True)
    for source in _paths(images):
        inside = source.is_dir() and out.resolve().is_relative_to(source.resolve())
        has_list = any((source / name).is_file() for name in METADATA)
        if inside and (not has_list or out.resolve() == source.resolve()):
            raise ConfigError(
                f"out={printable(out)} is in '{printable(source)}', whose images are read: results among them would be taken for images; "
                "name a folder outside"
            )


def _paths(images: Source | Sequence[Source]) -> list[Path]:
    sources = [images] if isinstance(images, str | os.PathLike) else list(images)
    return [Path(os.path.expanduser(source)) for source in sources]


def _splits(folder: Path) -> list[str]:
    return list(split_folders(os.listdir(folder)))
