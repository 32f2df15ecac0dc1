"""What every page of ours shares: how its template is read, its style, and that it is written whole."""

from __future__ import annotations

from pathlib import Path

import jinja2
from markupsafe import Markup

from alumnus.disk import replace_text

TEMPLATES = Path(__file__).parent / "templates"


def templates(folder: Path = TEMPLATES) -> jinja2.Environment:
    """Returns an environment that escapes everything and stops at a name that is not given."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def style() -> Markup:
    """Returns the style sheet of all pages."""
    return Markup((TEMPLATES / "report.css").read_text(encoding="utf-8"))


def write_whole(path: Path, text: str) -> Path:
    """Writes a page, whole or not at all, and returns its path. A name that is not UTF-8 does not end it."""
    return replace_text(path, text, errors="backslashreplace")
