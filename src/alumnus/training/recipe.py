"""A recipe file, `a.b=c` words and keyword arguments, in that order, give one `Config`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from alumnus.errors import ConfigError
from alumnus.training.config import Config
from alumnus.training.messages import explain


def load_config(recipe: str | Path | None = None, words: Sequence[str] = (), /, **settings: object) -> Config:
    """Returns the configuration of a recipe file, changed by `a.b=c` words and keyword arguments, in that order.

    Raises:
        ConfigError: one line for each wrong setting, with its path, what is allowed and the nearest name.
    """
    values = _read_recipe(Path(recipe)) if recipe is not None else {}
    for word in words:
        _set(values, word)
    values |= settings
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise ConfigError(explain(error, Config)) from error


def _read_recipe(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"the recipe {path} cannot be read: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"the recipe {path} holds {type(values).__name__}, needed are `name: value` lines")
    return values


def _set(values: dict[str, Any], word: str) -> None:
    """Puts the value of `a.b.0=c` in its place; values are read as YAML."""
    path, equals, text = word.partition("=")
    if not equals or not path:
        raise ConfigError(f"{word!r} is not of the form name=value")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"the value of {path} is not YAML: {error}") from error
    *parents, last = path.split(".")
    place: Any = values
    for depth, part in enumerate(parents):
        place = _open(place, part, ".".join(parents[: depth + 1]))
    if isinstance(place, list):
        place[_index(place, last, path)] = value
    else:
        place[last] = value


def _open(place: Any, part: str, path: str) -> Any:
    """Returns the mapping or list behind a name; a short form becomes the mapping that it stands for."""
    if isinstance(place, list):
        key: int | str = _index(place, part, path)
    else:
        key = part
        place.setdefault(part, {})
    if isinstance(place[key], str) and (part in ("method", "student") or isinstance(place, list)):
        short = "name" if part == "method" else "model"  # teachers.0.weight=2 where teachers.0 is only a name
        place[key] = {short: place[key]}
    if not isinstance(place[key], dict | list):
        raise ConfigError(f"{path} is {place[key]!r}; there is nothing inside it to set")
    return place[key]


def _index(place: list[Any], part: str, path: str) -> int:
    if not part.isdigit() or int(part) >= len(place):
        raise ConfigError(f"{path}: {part!r} is not a place of a list of {len(place)}; they count from 0")
    return int(part)
