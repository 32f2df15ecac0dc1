"""Teachers from a local folder in torch.hub's form: a `hubconf.py` with entry points, as many research repositories have one.

The recipe names the folder, and its code is executed, as `python:` executes the module that it names. Nothing is downloaded by Alumnus; an
entry point may do so. What the module may return is as for `python:`.
"""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from alumnus.errors import TeacherError, nearest
from alumnus.models.weights import load_into, load_state
from alumnus.teachers.from_python import as_callable, from_object, seeded
from alumnus.teachers.network import Loaded
from alumnus.teachers.spec import TeacherSpec, short_name

HUBCONF = "hubconf.py"


def load(path: str, spec: TeacherSpec) -> Loaded:
    """Returns what the entry point of `FOLDER:ENTRY` makes from the recipe's arguments; with `weights`, filled from that file.

    Raises:
        TeacherError: there is no such folder or entry point, or it fails.
    """
    text, colon, entry = path.rpartition(":")
    folder = Path(text).expanduser()
    if not colon or not entry:
        raise TeacherError(f"teacher hub:{path} is not of the form hub:FOLDER:ENTRY")
    if not (folder / HUBCONF).is_file():
        raise TeacherError(f"teacher hub:{path}: {folder} is no folder with a {HUBCONF}")
    with _modules_of(folder), seeded():
        made = as_callable(_call(folder, entry, spec), spec)
    if spec.weights is not None:
        _fill(made, spec)
    loaded = from_object(made, spec.model_copy(update={"weights": None}), code=_hash(folder))
    return loaded._replace(name=short_name(entry))


def _call(folder: Path, entry: str, spec: TeacherSpec) -> object:
    try:
        return torch.hub.load(str(folder), entry, source="local", **spec.arguments)  # type: ignore[no-untyped-call]
    except Exception as error:  # somebody's code: anything may come
        reason = f"{type(error).__name__}: {error}"
        if "Cannot find callable" in reason:
            entries = _entries(folder)
            reason = f"it has no entry point {entry!r}{nearest(entry, entries)}; it has {', '.join(entries) or 'none'}"
        raise TeacherError(f"teacher {spec.source} cannot be made: {reason}") from error


def _entries(folder: Path) -> list[str]:
    """Names that the hubconf defines or imports."""
    body = ast.parse((folder / HUBCONF).read_text(encoding="utf-8")).body
    names = [part.name for part in body if isinstance(part, ast.FunctionDef | ast.ClassDef)]
    names += [a.asname or a.name for part in body if isinstance(part, ast.ImportFrom) for a in part.names]
    return [name for name in names if not name.startswith("_")]


def _fill(made: object, spec: TeacherSpec) -> None:
    if not isinstance(made, nn.Module):
        raise TeacherError(
            f"teacher {spec.source}: weights={spec.weights} cannot be given: the entry point made no nn.Module, "
            f"but an object of type {type(made).__name__}"
        )
    load_into(made, load_state(str(spec.weights)), source=str(spec.weights))


@contextmanager
def _modules_of(folder: Path) -> Iterator[None]:
    """Lets Python forget what was imported from the folder: the next repository may call its own code `models`, too."""
    before = set(sys.modules)
    try:
        yield
    finally:
        for name in set(sys.modules) - before:
            file = vars(sys.modules[name]).get("__file__")
            if file is not None and Path(file).resolve().is_relative_to(folder.resolve()):
                del sys.modules[name]


def _hash(folder: Path) -> str:
    """Of all Python code in the folder."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(f"{path.relative_to(folder)}\n".encode() + path.read_bytes())
    return digest.hexdigest()
