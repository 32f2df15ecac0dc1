"""Which column of a list holds what. Capitals and blanks around a name do not count, and some columns have other names too.

A name that is spelt nearly like one that is lacking is refused: read without it, test images would be learnt from, or labels be lost.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence

from alumnus.data.listing import LABEL_NAMES
from alumnus.errors import DataError
from alumnus.log import say_once

FILE_NAMES = ("file_name", "path", "image_path", "filename", "filepath", "file", "image")
NAMES: Mapping[str, Sequence[str]] = {
    "file_name": FILE_NAMES,
    "domain": ("domain",),
    "label": LABEL_NAMES,
    "split": ("split", "subset"),
    **{name: (name,) for name in ("text", "objects", "mask", "depth")},
}
MISSPELT: Mapping[str, Sequence[str]] = {
    **{name: (name,) for name in ("file_name", "domain", "split")},
    "label": ("label", "labels"),
}
NEAR = 0.8  # of difflib's ratio: `lable` is label, `table` is not
NOTES = ("source", "style", "official_split")  # what we write for people
MOST_NAMED = 10


def columns_read(columns: Sequence[str], where: str) -> dict[str, str]:
    """Returns for each thing that the list says the column that holds it.

    >>> columns_read(["Path", "class", "colour"], "list.csv")
    {'file_name': 'Path', 'label': 'class'}

    Raises:
        DataError: none holds file names; two mean the same, and neither is called as it should be; or one is nearly called so.
    """
    held = {name: found for name in NAMES if (found := _column_of(name, columns, where)) is not None}
    for name, words in MISSPELT.items():
        for column in columns if name not in held else ():
            if column not in held.values() and _is_near(_word(column), words):
                raise DataError(
                    f"{where} has a column {column!r} and no {name}; rename it to {name}, or to something else if it holds no {name}"
                )
    if "file_name" not in held:
        raise DataError(
            f"{where} has no column file_name; its columns are {listed(columns)}. Also understood: {', '.join(FILE_NAMES[1:])}"
        )
    return held


def tell_unread(columns: Iterable[str], read: Iterable[str], where: str) -> None:
    """Names the columns that are left alone, once in a process."""
    known = {*read, *NOTES}
    rest = [column for column in columns if column not in known]
    if rest:
        more = f" and {len(rest) - MOST_NAMED} more" if len(rest) > MOST_NAMED else ""
        say_once(f"{where}: columns not read: {listed(rest[:MOST_NAMED])}{more}")


def listed(columns: Sequence[str]) -> str:
    """Returns names of columns for a message."""
    return ", ".join(repr(name) for name in columns) or "(none)"


def _column_of(name: str, columns: Sequence[str], where: str) -> str | None:
    found = [column for known in NAMES[name] for column in columns if _word(column) == known]
    called = [column for column in found if _word(column) == name]
    if len(called or found) > 1:
        raise DataError(
            f"{where} has the columns {listed(called or found)}, which mean the same; "
            f"rename the one with the {'path' if name == 'file_name' else name.removesuffix('s')}s to {name}, and take the others out"
        )
    return next(iter(called or found), None)


def _word(column: str) -> str:
    return column.strip().lower()


def _is_near(word: str, names: Iterable[str]) -> bool:
    return bool(difflib.get_close_matches(word, [name for name in names if name[0] == word[:1]], cutoff=NEAR))
