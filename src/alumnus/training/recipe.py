"""A recipe file, `a.b=c` words and keyword arguments, in that order, give one `Config`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from alumnus.errors import ConfigError, nearest
from alumnus.recipes import shipped
from alumnus.training.config import STAGES, Config
from alumnus.training.messages import explain

SHORT = {
    "method": "name",
    "student": "model",
    "students": "model",
    "teachers": "model",
    "data": "path",
    "store": "path",
    "sampler": "name",
    "weighting": "name",
}  # a text in the place of a mapping is that key of it
MANY = ("data", "teachers")  # of which one alone may stand in the place of a list of one


def load_config(recipe: str | Path | None = None, words: Sequence[str] = (), /, **settings: object) -> Config:
    """Returns the configuration of a recipe file, changed by `a.b=c` words and keyword arguments, in that order.

    Args:
        recipe: a path, or `recipe:NAME` of one that comes with Alumnus.

    Raises:
        ConfigError: one line for each wrong setting, with its path, what is allowed and the nearest name.
    """
    values = read_values(recipe, words, **settings)
    _refuse_stages(values)
    return validated(values)


def load_without_student(
    recipe: str | Path | None = None, words: Sequence[str] = (), /, **settings: object
) -> Config:
    """Returns a configuration of which only data, views and teachers are used: it may lack students and the run's folder.

    Raises:
        ConfigError: see `load_config`; students that are given are checked, too.
    """
    values = read_values(recipe, words, **settings)
    _refuse_stages(values)
    if not values.get("student") and not values.get("students"):
        values["student"] = "timm/none"
    return validated(values | {"out": Path()})


def _refuse_stages(values: Mapping[str, Any]) -> None:
    if STAGES in values:
        raise ConfigError(
            f"a recipe with stages ({', '.join(_stage_names(values[STAGES]))}) is for `alumnus train`; elsewhere one run is needed. Each "
            "stage leaves its own recipe when it begins, OUT/stages/NAME/config.yaml, and the last one OUT/config.yaml: give one of them. "
            "Before that, a recipe without stages with the same teachers, data, views and seed does; what a `store` lacks, `alumnus train` "
            "computes itself before each stage"
        )


def read_values(
    recipe: str | Path | None = None, words: Sequence[str] = (), /, **settings: object
) -> dict[str, Any]:
    """Returns the settings as they were given, not yet checked; see `load_config`."""
    values = _read_recipe(recipe) if recipe is not None else {}
    for word in words:
        _set(values, word)
    return values | settings


def validated(values: Mapping[str, Any]) -> Config:
    """Returns the configuration of some settings.

    Raises:
        ConfigError: see `load_config`.
    """
    try:
        return Config.model_validate(dict(values))
    except ValidationError as error:
        raise ConfigError(explain(error, Config)) from error


def laid_over(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Returns settings with others laid over them, key by key as `a.b=c` words would do it; lists are replaced as a whole.

    >>> laid_over({"views": {"flip": 0}, "method": "plain"}, {"views": {"contrast": 0.2}, "method": {"projector": "mlp"}})
    {'views': {'flip': 0, 'contrast': 0.2}, 'method': {'name': 'plain', 'projector': 'mlp'}}
    """
    result: dict[str, Any] = _copied(values)
    for key, value in changes.items():
        _lay(result, key, value, key)
    return result


def _stage_names(stages: object) -> list[str]:
    """As far as they have any; whether they are right is checked elsewhere."""
    return (
        [str(each.get("name")) for each in stages if isinstance(each, Mapping)]
        if isinstance(stages, list)
        else []
    )


def _lay(place: Any, part: str, value: Any, path: str) -> None:
    if isinstance(value, Mapping) and _goes_inside(place, part, value):
        inside = _open(place, part, path)
        for key, each in value.items():
            _lay(inside, str(key), each, f"{path}.{key}")
    elif isinstance(place, list):
        place[_index(place, part, path)] = _copied(value)
    else:
        place[part] = _copied(value)


def _goes_inside(place: Any, part: str, value: Mapping[str, Any]) -> bool:
    """Whether a mapping changes what is there; one that names another method, network or folder replaces it."""
    if isinstance(place, list):
        return True
    old, short = place.get(part), SHORT.get(part)
    if isinstance(old, list):
        return all(str(key).isdigit() for key in value)
    if isinstance(old, Mapping):
        return short is None or short not in value or value[short] == old.get(short)
    return isinstance(old, str) and short is not None and value.get(short, old) == old


def _copied(value: Any) -> Any:
    """A copy of the containers; what is in them stays the same object, for it may be a network."""
    if isinstance(value, Mapping):
        return {key: _copied(each) for key, each in value.items()}
    return [_copied(each) for each in value] if isinstance(value, list | tuple) else value


def _read_recipe(recipe: str | Path) -> dict[str, Any]:
    path, text = Path(recipe), shipped(str(recipe))
    if text is None and not path.exists():
        raise ConfigError(f"there is no recipe {path}{_near(path)}")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8") if text is None else text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"the recipe {path} cannot be read: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"the recipe {path} holds {type(values).__name__}, needed are `name: value` lines")
    return values


def _near(path: Path) -> str:
    """A hint at the file of nearly that name, or at where recipes come from."""
    if not path.parent.is_dir():
        return f"; there is no folder {path.parent}"
    files = [each.name for each in path.parent.iterdir() if each.suffix in (".yaml", ".yml")]
    return (
        nearest(path.name, files)
        or "; give a YAML file, or recipe:NAME of those that `alumnus recipes` lists"
    )


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
    for depth, (part, following) in enumerate(pairwise(path.split("."))):
        is_place = part in MANY and following.isdigit() and isinstance(place, dict)
        if is_place and isinstance(place.get(part), str | Mapping):
            place[part] = [place[part]]
        place = _open(place, part, ".".join(parents[: depth + 1]))
    if isinstance(place, list):
        place[_index(place, last, path)] = value
    else:
        place[last] = value


def _open(place: Any, part: str, path: str) -> Any:
    """Returns the mapping or list behind a name; a short form becomes the mapping that it stands for."""
    if isinstance(place, list):
        key: int | str = _index(place, part, path)
        short = SHORT.get(path.split(".")[-2])  # teachers.0.weight=2 where teachers.0 is only a name
    else:
        key, short = part, SHORT.get(part)
        place.setdefault(part, {})
        if place[part] in (None, "none"):  # as a run writes down what it was not given
            place[part] = {}
    if isinstance(place[key], str) and short is not None:
        place[key] = {short: place[key]}
    if not isinstance(place[key], dict | list):
        raise ConfigError(f"{path} is {place[key]!r}; there is nothing inside it to set")
    return place[key]


def _index(place: list[Any], part: str, path: str) -> int:
    """The place of a list's entry: its number or, of a stage, its name too."""
    if part.isdigit() and int(part) < len(place):
        return int(part)
    if path == f"{STAGES}.{part}":
        names = [str(stage.get("name")) for stage in place if isinstance(stage, dict)]
        if part in names:
            return names.index(part)
        raise ConfigError(
            f"{path}: there is no stage {part!r}{nearest(part, names)}; there are {', '.join(names)}"
        )
    raise ConfigError(f"{path}: {part!r} is not a place of a list of {len(place)}; they count from 0")
