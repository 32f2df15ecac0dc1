"""Knowing a teacher again without loading it.

A fingerprint says what a teacher is, but costs loading it. Where everything that decides it is in files and versions, those are noted
beside the fingerprint; as long as the recipe's words, the files' sizes and times, and the versions are the same, so is the teacher. This
is the rule by which git and make know a file again; `alumnus cache verify` asks the teacher itself.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from alumnus.errors import AlumnusError
from alumnus.packages import resolve_file
from alumnus.teachers.spec import TeacherSpec

LIBRARIES = ("alumnus", "torch", "torchvision", "timm", "transformers", "open_clip_torch", "onnxruntime")
BY_NAME = ("timm/", "torchvision/")  # published weights of a name and a version do not change
BY_FILE = ("onnx:", "torchscript:", "export:")
BY_FOLDER = ("alumnus:", "hf:")
SCHEME = 2  # of fingerprints: raised when the same teacher gets another one, so that what was noted before is asked again
IRRELEVANT = frozenset({"name", "domains", "weight", "licence"})  # change no output


def origin_of(spec: TeacherSpec) -> dict[str, Any] | None:
    """Returns what decides a teacher's outputs, JSON values; None if only the loaded teacher can tell."""
    if not isinstance(spec.model, str):
        return None
    files = _files(spec)
    if files is None:
        return None
    words = {key: value for key, value in spec.model_dump(mode="json").items() if key not in IRRELEVANT}
    try:
        states = {str(path): [path.stat().st_size, path.stat().st_mtime_ns] for path in files}
    except OSError:
        return None
    return {"scheme": SCHEME, "spec": words, "files": states, "versions": _versions()}


def is_same(noted: Mapping[str, Any] | None, now: Mapping[str, Any] | None) -> bool:
    """Whether a teacher noted earlier is certain to be the one of now."""
    return noted is not None and now is not None and dict(noted) == dict(now)


def _versions() -> dict[str, str]:
    found = dict[str, str]()
    for name in LIBRARIES:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def _files(spec: TeacherSpec) -> list[Path] | None:
    """The files that a teacher is read from; None if that is not known: code may change without leaving a trace."""
    prefix = next(
        (prefix for prefix in (*BY_NAME, *BY_FILE, *BY_FOLDER) if spec.source.startswith(prefix)), None
    )
    if prefix is None:
        return None
    rest = spec.source.removeprefix(prefix)
    try:
        weights = [] if spec.weights in (None, "random") else [resolve_file(str(spec.weights))]
        if prefix in BY_NAME:
            return weights
        if prefix == "onnx:":
            return _graph_files(resolve_file(rest))
        if prefix in BY_FILE:
            return [resolve_file(rest)]
    except AlumnusError:
        return None
    from alumnus.models.artifact import student_folder

    folder = student_folder(rest) if prefix == "alumnus:" else Path(rest)
    if not folder.is_dir():
        return None  # a name on a hub, whose content may change
    return [path for path in sorted(folder.iterdir()) if path.suffix in (".safetensors", ".json")]


def _graph_files(path: Path) -> list[Path] | None:
    """The file of a graph and those of its weights beside it; None if it cannot be read here."""
    from alumnus.teachers.from_onnx import files_of

    return files_of(path) if path.is_file() else None


def absolute(spec: TeacherSpec) -> dict[str, Any] | None:
    """Returns a specification that means the same from any working folder, JSON values; None for a Python object."""
    if not isinstance(spec.model, str):
        return None
    values = spec.model_dump(mode="json", exclude_none=True)
    for field in ("model", "weights"):
        prefix, colon, rest = str(values.get(field, "")).rpartition(":")
        if rest and f"{prefix}:" in ("", ":", *BY_FILE, *BY_FOLDER) and os.path.exists(rest):
            values[field] = f"{prefix}{colon}{os.path.abspath(rest)}"
    return values
