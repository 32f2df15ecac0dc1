"""Columns of a million cells in little memory: strings in one Arrow buffer, words as numbers.

A million Python strings of 60 characters take about 110 MB, and a tuple of absolute paths and one of relative ones twice that, in the
process that trains and, sooner or later, in every worker process too, for Python counts references inside its objects. Here the same names
take 60 MB once, and worker processes share them.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Generic, NamedTuple, TypeVar, cast, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

CHUNK = 4096  # strings turned into Python's at a time when iterating

S_co = TypeVar("S_co", bound=str | None, covariant=True)


class Strings(Sequence[S_co]):
    """A tuple of strings, some of which may be None, kept in one buffer.

    Args:
        values: Arrow large_binary, UTF-8 in which lone surrogates are kept.
        prefix: set before each string that is read (not before None).
    """

    def __init__(self, values: pa.Array, prefix: str = "") -> None:
        self.values, self.prefix = values, prefix

    @classmethod
    def of(cls, strings: Iterable[S_co]) -> Strings[S_co]:
        """Returns the strings of any iterable."""
        return cls(pa.array(list(map(_encoded, strings)), pa.large_binary()))

    def __len__(self) -> int:
        return len(self.values)

    @overload
    def __getitem__(self, place: int) -> S_co: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[S_co]: ...
    def __getitem__(self, place: int | slice) -> S_co | Sequence[S_co]:
        """One string, or some of them."""
        if isinstance(place, slice):
            return self.take(np.arange(len(self))[place])
        return cast(S_co, self._decoded(self.values[int(place)].as_py()))

    def __iter__(self) -> Iterator[S_co]:
        for start in range(0, len(self), CHUNK):
            yield from map(self._decoded, self.values.slice(start, CHUNK).to_pylist())

    def __eq__(self, other: object) -> bool:
        """Equal to any tuple or Strings of the same strings."""
        if not isinstance(other, (Strings, tuple)):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        shown = ", ".join(repr(word) for word in self[:3])
        return f"Strings({shown}{', …' if len(self) > 3 else ''}; {len(self)})"

    def take(self, rows: NDArray[np.int64]) -> Strings[S_co]:
        """Returns the strings of these rows."""
        return Strings(self.values.take(pa.array(rows, pa.int64())), self.prefix)

    def below(self, folder: str) -> Strings[S_co]:
        """Returns the strings with `folder/` before each; as they are if the folder is ""."""
        if not folder:
            return self
        start = pa.scalar(_encoded(f"{folder}/"), pa.large_binary())
        empty = pa.scalar(b"", pa.large_binary())
        return Strings(pc.binary_join_element_wise(start, self.values, empty), self.prefix)

    def _decoded(self, value: bytes | None) -> Any:
        return None if value is None else self.prefix + value.decode("utf-8", "surrogatepass")


def joined(parts: Sequence[Strings[S_co]]) -> Strings[S_co]:
    """Returns the strings of several columns one after another; prefixes are dropped."""
    return Strings(pa.concat_arrays([part.values for part in parts]))


def nothing(count: int) -> Strings[None]:
    """Returns a column of None."""
    return Strings(pa.nulls(count, pa.large_binary()))


class Coded(NamedTuple):
    """N words, each kept as its place among the distinct ones."""

    codes: NDArray[np.int32]  # (N,), index into words; -1 for None
    words: tuple[str, ...]  # distinct, in order of first appearance


class StringsBuilder(Generic[S_co]):
    """Strings that arrive in batches."""

    def __init__(self) -> None:
        self._parts: list[pa.Array] = []

    def add(self, strings: Iterable[S_co]) -> None:
        """Appends some."""
        self._parts.append(Strings.of(strings).values)

    def built(self) -> Strings[S_co]:
        """Returns all."""
        return Strings(pa.concat_arrays(self._parts or [pa.array([], pa.large_binary())]))


class CodedBuilder:
    """Words that arrive in batches."""

    def __init__(self) -> None:
        self._codes, self._place = array("i"), dict[str | None, int]({None: -1})

    def add(self, words: Iterable[str | None]) -> None:
        """Appends some."""
        place = self._place
        self._codes.extend([place.setdefault(word, len(place) - 1) for word in words])

    def built(self) -> Coded:
        """Returns all."""
        words = tuple(word for word in self._place if word is not None)
        return Coded(np.array(self._codes, np.int32), words)


def joined_codes(parts: Sequence[Coded]) -> Coded:
    """Returns the words of several columns one after another."""
    place: dict[str, int] = {}
    codes = []
    for part in parts:
        new = np.array([*(place.setdefault(word, len(place)) for word in part.words), -1], np.int32)
        codes.append(new[part.codes])  # code -1 takes the last one, which is -1
    return Coded(np.concatenate(codes), tuple(place))


def _encoded(word: str | None) -> bytes | None:
    return None if word is None else word.encode("utf-8", "surrogatepass")
