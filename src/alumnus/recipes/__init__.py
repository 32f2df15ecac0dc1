"""Recipes that come with Alumnus: the YAML files beside this one, each opened by a comment that says in a line what it is for.

alumnus recipes                            the list
alumnus recipes experts > mine.yaml        one of them, to change
alumnus train recipe:experts data=images/  one of them as it is
"""

from __future__ import annotations

from pathlib import Path

from alumnus.errors import ConfigError, nearest

FOLDER = Path(__file__).parent
PREFIX = "recipe:"


def names() -> list[str]:
    """Returns the names of all of them."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def text(name: str) -> str:
    """Returns one of them as it is written.

    Raises:
        ConfigError: there is none of that name; the nearest is named.
    """
    if name not in names():
        raise ConfigError(
            f"there is no recipe {name!r}{nearest(name, names())}; with Alumnus come {', '.join(names())}"
        )
    return (FOLDER / f"{name}.yaml").read_text(encoding="utf-8")


def title(name: str) -> str:
    """Returns what it is for: its first line."""
    return text(name).splitlines()[0].removeprefix("#").strip()


def shipped(reference: str) -> str | None:
    """Returns the text behind `recipe:NAME`; None for any other reference, such as a path.

    Raises:
        ConfigError: there is none of that name.
    """
    return text(reference.removeprefix(PREFIX)) if reference.startswith(PREFIX) else None
