"""How a recipe speaks of a store. Imports no torch, so that a recipe can be checked at once."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

UNITS = {
    "": 1,
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KIB": 2**10,
    "MIB": 2**20,
    "GIB": 2**30,
    "TIB": 2**40,
}


def parse_bytes(value: object) -> object:
    """Returns bytes of a text such as 4GiB or 500 MB; a number stays what it is.

    >>> parse_bytes("1.5 KiB")
    1536

    Raises:
        ValueError: it is of another form.
    """
    if not isinstance(value, str):
        return value
    found = re.fullmatch(r"\s*([\d.]+)\s*([A-Za-z]*)\s*", value)
    if found is None or found[2].upper() not in UNITS or found[1].count(".") > 1:
        raise ValueError(f"{value!r} is no size; write it as 4GiB, 500MB or a number of bytes")
    return int(float(found[1]) * UNITS[found[2].upper()])


def show_bytes(count: float) -> str:
    """Returns a size for people.

    >>> show_bytes(3 * 2**30)
    '3.0 GiB'
    """
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


Bytes = Annotated[int, BeforeValidator(parse_bytes), Field(gt=0)]


class StoreSettings(BaseModel):
    """A store of teacher outputs; a plain path is short for `{path: …}`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: Path = Field(description="the store's folder")
    precision: Literal["auto", "float32", "float16", "int8"] = Field(
        "auto", description="of what is kept; auto is float16, or int8 where the budget asks for it"
    )
    budget: Bytes | None = Field(None, description="how large the store may become, such as 20GiB")
    crops: Literal["auto"] | bool = Field(
        "auto",
        description="keep what a run cuts out of its images beside the outputs, so that later epochs neither decode nor resize; auto "
        "where a run sees each view twice or more and they take at most half of the memory and a tenth of the free disk",
    )
    fill: bool = Field(True, description="compute what is missing before training; false refuses to start")

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: object) -> object:
        return {"path": value} if isinstance(value, str | Path) else value
