"""pydantic's findings about a recipe in words that help."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from alumnus.errors import nearest


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """Returns one line for each wrong setting of a model: its path, what is allowed, and the nearest name."""
    return "\n".join(_line(item["loc"], item, model) for item in error.errors(include_url=False))


def _line(location: tuple[int | str, ...], item: Any, model: type[BaseModel]) -> str:
    path = ".".join(str(part) for part in location) or "the recipe"
    if item["type"] == "extra_forbidden":
        allowed = _fields_at(model, location[:-1])
        return f"{path}: unknown setting{nearest(str(location[-1]), allowed)}; allowed: {', '.join(allowed)}"
    if item["type"] == "missing":
        return f"{path}: needed, and not given"
    if item["type"] == "value_error":
        return f"{path}: {item['ctx']['error']}"
    return f"{path}: {item['msg'].lower()}; got {item['input']!r}"


def _fields_at(model: type[BaseModel], location: Sequence[int | str]) -> list[str]:
    """Names allowed where a location points, following the annotations of nested models."""
    for part in location:
        if (
            isinstance(part, int) or part not in model.model_fields
        ):  # a place in a list, the kind of a setting
            continue
        (model, *_) = _models_in(model.model_fields[part].annotation)
    return list(model.model_fields)


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models_in(inner)
