"""Small files of a run that are whole or as they were, whenever a kill comes."""

from __future__ import annotations

import os
from pathlib import Path


def replace_text(path: Path, text: str) -> None:
    """Writes a file in one step: beside it first (`new_name`), then under its name."""
    temporary = path.with_name(new_name(path.name))
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def new_name(name: str) -> str:
    """Returns what a file is called until it is whole."""
    return f".{name}.new"
