"""The words of `alumnus bench` → the arguments of `bench`: options that take several values, which `alumnus bench --models a b c` has."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from alumnus.errors import ConfigError, nearest

OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "suite": {},
    "models": {"nargs": "+"},
    "out": {"type": Path},
    "fractions": {"nargs": "+", "type": float},
    "seeds": {"type": int},
    "tasks": {"nargs": "+"},
    "budget": {},
    "size": {"type": int},
    "compare": {"nargs": 2},
    "cache": {"type": Path},
    "cache-gb": {"type": float},
    "batch-size": {"type": int},
    "workers": {"type": int},
    "device": {},
    "resamples": {"type": int},
    "max-bad-fraction": {"type": float},
    "plan": {"action": "store_const", "const": True},
}


NEEDED = ("suite", "models", "out")  # asked for after unknown options: one of these may be what was misspelt


class _Parser(argparse.ArgumentParser):
    """Says what is wrong as everything else here does."""

    def error(self, message: str) -> NoReturn:
        """Raises the ConfigError."""
        raise ConfigError(f"{message}; see `alumnus bench --help`")


def read_options(words: Sequence[str]) -> dict[str, Any]:
    """Returns keyword arguments for `bench`; `suite=gvb26` is the same as `--suite gvb26`.

    Raises:
        ConfigError: an option is unknown, lacks its value, has one of another type, or comes twice.
    """
    parser = _Parser(prog="alumnus bench", add_help=False, allow_abbrev=False)
    for name, arguments in OPTIONS.items():
        parser.add_argument(f"--{name}", **arguments)
    parts = [part for word in words for part in _as_option(word)]
    for name in OPTIONS:
        if parts.count(f"--{name}") > 1:
            raise ConfigError(f"--{name} is given twice; give it once, with all of its values behind it")
    given, rest = parser.parse_known_args(parts)
    if rest:
        flags = [f"--{name}" for name in OPTIONS]
        name = rest[0].partition("=")[0]
        hint = nearest(name if name.startswith("-") else f"--{name}", flags)
        raise ConfigError(f"there is no option {rest[0]!r}{hint}; allowed are {', '.join(flags)}")
    missing = [f"--{name}" for name in NEEDED if vars(given)[name] is None]
    if missing:
        raise ConfigError(f"{', '.join(missing)}: needed, and not given; see `alumnus bench --help`")
    return {name: value for name, value in vars(given).items() if value is not None}


def _as_option(word: str) -> list[str]:
    name, equals, value = word.partition("=")
    return [f"--{name}", value] if equals and name in OPTIONS else [word]
