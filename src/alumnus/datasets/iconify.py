"""Icon sets in Iconify's JSON format, as npm's `@iconify-json/*` packages hold them → SVG drawings by name."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alumnus.datasets.raster import Svg
from alumnus.errors import DataError
from alumnus.packages import Package

XMLNS = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'


@dataclass(frozen=True)
class Icon:
    """One drawing of a set."""

    name: str
    aliases: tuple[str, ...]  # other names of the same drawing
    picture: Svg


def package(prefix: str, version: str, sha256: str, licence: str) -> Package:
    """Returns the pinned npm package of one icon set."""
    return Package("npm", f"@iconify-json/{prefix}", version, sha256, licence)


def read_icons(folder: Path) -> Iterator[Icon]:
    """Yields the icons of a package, those that their set has withdrawn (hidden) left out.

    Raises:
        DataError: the package holds no icon set.
    """
    content = _read(folder / "icons.json")
    aliases = _plain_aliases(content)
    for name, icon in content["icons"].items():
        if not icon.get("hidden"):
            yield Icon(name, tuple(aliases[name]), Svg(_markup(icon, content)))


def read_characters(folder: Path) -> dict[str, str]:
    """Returns which icon draws which Unicode characters, such as {"1f43b": "bear"}; empty if the set says nothing of them."""
    return _read(folder / "chars.json")


def _read(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is no icon set that can be read: {error}") from error
    return content


def _plain_aliases(content: Mapping[str, Any]) -> Mapping[str, list[str]]:
    """Name of an icon -> other names; aliases that flip or turn their parent are other drawings, and left out."""
    found: dict[str, list[str]] = defaultdict(list)
    for name, alias in content.get("aliases", {}).items():
        if alias.keys() == {"parent"}:
            found[alias["parent"]].append(name)
    return found


def _markup(icon: Mapping[str, Any], content: Mapping[str, Any]) -> str:
    left, top, width, height = (
        icon.get(key, content.get(key, default))
        for key, default in (("left", 0), ("top", 0), ("width", 16), ("height", 16))
    )
    # currentColor is what single-colour sets paint with; black on white is how they are meant
    return (
        f'<svg {XMLNS} width="{width}" height="{height}" viewBox="{left} {top} {width} {height}" color="#000">'
        f"{icon['body']}</svg>"
    )
