"""What the names of sources do or do not say, told and not refused.

Sources become one domain only because their folders have one name, such as `faces/train` and `photos/train`.

A source that says no domain is called after its folder, and domains of one name are one, with one class for classes of one name. That is
meant where a data set is given in parts, and a mistake that spoils training and scores where two happen to have folders of one name.
Which of the two it is, only the user knows; a `domain` of each source says it, and then nothing is told.

And a folder `set/test` that is a source by itself is one of training images, as any folder is.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from alumnus.data.listing import SPLIT_WORDS, Listing
from alumnus.data.names import printable
from alumnus.data.readers.sources import Source, folder_of
from alumnus.log import console


def tell_shared_names(sources: Sequence[Source], listings: Sequence[Listing]) -> None:
    """Names two sources of each domain that has its name from different folders.

    Args:
        sources: those of which the user said no domain.
        listings: what was read of each.
    """
    for domain, folders in _folders_by_domain(sources, listings).items():
        if len(folders) > 1:
            first, other = list(folders.values())[:2]
            console.print(
                f"'{printable(os.fspath(first))}' and '{printable(os.fspath(other))}' are one domain, '{domain}', for their folders have "
                "one name, and classes of one name in them are one class; if they are different data, give each a name: "
                "{path: …, domain: …}",
            )


def tell_split_names(sources: Sequence[Source], listings: Sequence[Listing]) -> None:
    """Names each folder, one of several, that is called like a split and whose images are for training all the same."""
    for source, rows in zip(sources, listings, strict=True) if len(sources) > 1 else ():
        folder = folder_of(source)
        is_called_so = SPLIT_WORDS.get(folder.name.lower()) in ("val", "test")
        is_folder = Path(os.path.expanduser(source)).is_dir()
        if is_called_so and is_folder and rows.splits.words == ("train",):
            console.print(
                f"'{printable(os.fspath(source))}' is a source by itself, so its images are for training; if '{folder.name}' says their "
                f"split, give the folder around it and the other splits, '{printable(os.fspath(folder.parent))}'",
            )


def _folders_by_domain(
    sources: Sequence[Source], listings: Sequence[Listing]
) -> Mapping[str, dict[tuple[str, ...], Source]]:
    """Returns for each domain that is called after folders the first source in each, splits of one data set counted as one."""
    found: dict[str, dict[tuple[str, ...], Source]] = {}
    for source, rows in zip(sources, listings, strict=True):
        folder = folder_of(source)
        domain = printable(folder.name)
        if domain in rows.domains.words:
            found.setdefault(domain, {}).setdefault(_without_splits(folder), source)
    return found


def _without_splits(folder: Path) -> tuple[str, ...]:
    """Returns the parts of a path that name no split, the same for set/train/images and set/test/images."""
    return tuple(part for part in folder.parts if part.lower() not in SPLIT_WORDS)
