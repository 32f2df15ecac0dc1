"""The words of a command line: plain ones (paths, names) and `key=value` ones, bound to a function's own parameters.

A verb has no list of options of its own: what `alumnus evaluate MODEL k=5` may set is what `alumnus.evaluate(model, k=5)` may
set, with the same names and types, read from the function's signature. (`train` differs: its words belong to `Config`.)
"""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Callable, Sequence
from typing import Any, get_type_hints

from alumnus.errors import ConfigError, nearest

SETTING = re.compile(r"[A-Za-z_][\w.]*=")  # so that ./a=b.jpg stays a path


def split(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Returns the plain words and the `key=value` words, each in their order.

    >>> split(["recipe.yaml", "steps=20"])
    (['recipe.yaml'], ['steps=20'])

    Raises:
        ConfigError: a word looks like an option, or a setting comes twice.
    """
    for word in words:
        if word.startswith("-") and word != "-":
            name, _, value = word.lstrip("-").partition("=")
            setting = f"{name.replace('-', '_')}={value or 'VALUE'}"
            raise ConfigError(f"there is no option {word!r} here; settings are words, such as {setting}")
    settings = [word for word in words if SETTING.match(word)]
    given: dict[str, str] = {}
    for word in settings:
        key = word.partition("=")[0]
        if key in given:
            raise ConfigError(
                f"{key} is given twice, {given[key]} and {word}; give it once (several values are a list, {key}=[A,B])"
            )
        given[key] = word
    return [word for word in words if not SETTING.match(word)], settings


def plain(words: Sequence[str], *names: str) -> tuple[list[str], list[str]]:
    """Returns exactly as many plain words as there are names, and the `key=value` words.

    Raises:
        ConfigError: some are missing or too many; says what the missing one is.
    """
    found, settings = split(words)
    _check_all_there(found, names)
    if len(found) > len(names):
        raise ConfigError(f"unexpected word {found[len(names)]!r}; settings are written key=value")
    return found, settings


def with_sources(words: Sequence[str], *names: str) -> tuple[list[str], str | list[str], list[str]]:
    """Returns the plain words before the last name, the sources that it stands for, and the `key=value` words.

    >>> with_sources(["student/", "[photos, seg]", "out=x"], "MODEL", "IMAGES")
    (['student/'], ['photos', 'seg'], ['out=x'])

    Raises:
        ConfigError: some are missing, or a list is none of paths.
    """
    found, settings = split(words)
    _check_all_there(found, names)
    sources = [source for word in found[len(names) - 1 :] for source in _listed(word)]
    return found[: len(names) - 1], sources[0] if len(sources) == 1 else sources, settings


def bind(function: Callable[..., object], settings: Sequence[str], *, skip: int = 0) -> dict[str, Any]:
    """Returns keyword arguments for a function from `key=value` words, converted to the annotated types.

    Args:
        skip: how many leading parameters the verb gives itself, from its plain words.

    Raises:
        ConfigError: a key that the function lacks, or a value of another type.
    """
    allowed = _parameters(function, skip)
    types = get_type_hints(function)
    values: dict[str, Any] = {}
    for word in settings:
        key, _, text = word.partition("=")
        if key not in allowed:
            raise ConfigError(f"{key}: unknown setting{nearest(key, allowed)}; allowed: {', '.join(allowed)}")
        values[key] = _convert(key, text, types[key])
    missing = [key for key, needed in allowed.items() if needed and key not in values]
    if missing:
        raise ConfigError(f"{missing[0]}: needed, and not given; add {missing[0]}=VALUE")
    return values


def _parameters(function: Callable[..., object], skip: int) -> dict[str, bool]:
    """Parameter -> whether it must be given."""
    parameters = list(inspect.signature(function).parameters.values())[skip:]
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {p.name: p.default is p.empty for p in parameters if p.kind in named}


def _convert(key: str, text: str, annotation: Any) -> Any:
    """The text itself where the type takes it (a path named 10, say), else what it means as YAML: lists, null."""
    from pydantic import ConfigDict, TypeAdapter, ValidationError  # here, for an instant --help

    adapter: TypeAdapter[Any] = TypeAdapter(annotation, config=ConfigDict(arbitrary_types_allowed=True))
    candidates = [_yaml(key, text), text] if text.startswith(("[", "{")) else [text, _yaml(key, text)]
    for candidate in candidates:
        try:
            return adapter.validate_python(candidate)
        except ValidationError as error:
            reason = error.errors(include_url=False)[0]["msg"].lower()
    raise ConfigError(f"{key}: {reason}; got {text!r}")


def _check_all_there(found: Sequence[str], names: Sequence[str]) -> None:
    if len(found) < len(names):
        raise ConfigError(f"{names[len(found)]} is missing; wanted: {' '.join(names)} and key=value words")


def _listed(word: str) -> list[str]:
    """`[a,b]` -> its sources, any other word -> itself."""
    if not (word.startswith("[") and word.endswith("]")) or os.path.exists(word):
        return [word]
    found = _yaml("IMAGES", word)
    if not found or not all(isinstance(each, str) for each in found):
        raise ConfigError(f"{word!r} is no list of sources; write [photos,other] or both one after another")
    return list(found)


def _yaml(key: str, text: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"the value of {key} is not YAML: {error}") from error
