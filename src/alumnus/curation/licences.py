"""Under which licences pictures may be used, as far as the `dataset.json` in their folder says."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from alumnus.data.folder_facts import DATASET_FILE
from alumnus.data.names import printable


class Licence(NamedTuple):
    """What may be used how."""

    what: str  # a package, or a folder
    licence: str


def licences(sources: Sequence[str | os.PathLike[str]]) -> list[Licence]:
    """Returns the licences that the folders of these sources name, each once, in order.

    Understood are `"licence": "CC0"` (or `license`), `"licences": {"what": "CC0"}`, and `"packages": {"what": {"licence": "CC0"}}`.
    """
    found: dict[Licence, None] = {}
    for source in sources:
        path = Path(os.path.abspath(os.path.expanduser(source)))
        folder = path if path.is_dir() else path.parent
        found.update(dict.fromkeys(_named(_content(folder), printable(folder.name))))
    return list(found)


def _content(folder: Path) -> Mapping[str, object]:
    """A damaged file is an error where the data set is opened; here it just says nothing."""
    try:
        found = json.loads((folder / DATASET_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _named(content: Mapping[str, object], name: str) -> list[Licence]:
    found = [Licence(name, str(content[key])) for key in ("licence", "license") if content.get(key)]
    for key in ("licences", "packages"):
        parts = content.get(key)
        for what, said in parts.items() if isinstance(parts, dict) else ():
            licence = said.get("licence") if isinstance(said, dict) else said
            found.append(Licence(str(what), str(licence or "unknown")))
    return found
