"""What can go wrong, as a tree. `UserError` is about the input (exit code 2), `RunError` about the run (exit code 1).

AlumnusError
├── UserError                 also a ValueError
│   ├── ConfigError           a recipe, keyword or a.b=c
│   ├── DataError             a dataset, list or folder
│   │   └── TooManyBadImages
│   ├── TeacherError          a teacher's source, weights or output
│   ├── StoreError            stored teacher outputs
│   ├── ArtifactError         a student or run folder
│   └── MissingExtra          an optional package that is not installed
└── RunError                  also a RuntimeError
    ├── NonFiniteError        NaN or Inf in a target, term or gradient
    ├── CheckpointError       torn, or from another run
    ├── ResourceError         memory, disk or shared memory ran out
    └── FetchError            a package that could not be had
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence


class AlumnusError(Exception):
    """Anything that Alumnus says on purpose."""


class UserError(AlumnusError, ValueError):
    """The input is wrong; the message says what came, what is allowed and what to do next."""


class ConfigError(UserError):
    """A setting is unknown, of the wrong type, or contradicts another."""


class DataError(UserError):
    """A dataset cannot be read as one."""


class TooManyBadImages(DataError):
    """More images than `max_bad_fraction` could not be read."""


class TeacherError(UserError):
    """A teacher cannot be built, or is not what it was."""


class StoreError(UserError):
    """Stored teacher outputs are damaged, incomplete, or another teacher's or view's."""


class ArtifactError(UserError):
    """A student or run folder is missing, incomplete, or of another version."""


class MissingExtra(UserError):
    """An optional package is not installed.

    >>> str(MissingExtra("onnxruntime", extra="onnx"))
    "this needs the package 'onnxruntime', which is not installed; pip install 'alumnus[onnx]'"
    """

    def __init__(self, package: str, *, extra: str) -> None:
        super().__init__(
            f"this needs the package {package!r}, which is not installed; pip install 'alumnus[{extra}]'"
        )


class RunError(AlumnusError, RuntimeError):
    """The run cannot go on; what was saved stays."""


class NonFiniteError(RunError):
    """A target, loss term or gradient became NaN or infinite.

    Args:
        terms: name -> value of each term of the step, as far as it came.
    """

    def __init__(self, message: str, *, terms: Mapping[str, float] | None = None) -> None:
        super().__init__(message)
        self.terms = dict(terms or {})


class CheckpointError(RunError):
    """A checkpoint is torn or belongs to another run."""


class ResourceError(RunError):
    """Memory, disk space, shared memory or open files ran out, or a folder was closed to us; see `faults`."""


class FetchError(RunError):
    """A package could not be downloaded, or is not the one that was pinned."""


def nearest(word: str, allowed: Iterable[str]) -> str:
    """Returns a hint naming the allowed word that is closest to a misspelt one, or nothing.

    >>> nearest("stpes", ["steps", "seed"])
    "; did you mean 'steps'?"
    """
    close = difflib.get_close_matches(word, list(allowed), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


def told_domains(word: str, domains: Sequence[str]) -> str:
    """Returns what to say after a domain that the data has not: the nearest and all of them, or how a second one comes about.

    >>> told_domains("faces", ["images"])
    '; all of it is images: each entry of `data` is a domain, so give several folders, or {path: …, domain: …}'
    """
    if len(domains) == 1:
        return f"; all of it is {domains[0]}: each entry of `data` is a domain, so give several folders, or {{path: …, domain: …}}"
    return f"{nearest(word, domains)}; it has {', '.join(domains)}"
