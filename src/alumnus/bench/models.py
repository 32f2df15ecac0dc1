"""What is compared: student folders, any teacher source, ONNX files among them, and two baselines.

    runs/demo/student                a student, or a run folder that holds one
    timm/NAME, onnx:FILE, python:…   any teacher source; `{model: timm/NAME, weights: FILE, size: 96, name: short}` says more of it
    models.yaml                      a list of the above
    pixels                           8x8 pixels as a vector: the floor
    untrained:timm/NAME              a network of random weights: what the architecture brings

Retrieval uses a student's embedding, all else its backbone's features; of a teacher, its summary; dense tasks use patches.

Axes: B images, S side in px, D width.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from pydantic import ValidationError
from torch import Tensor

from alumnus.bench.suite import DENSE, Kind
from alumnus.data.names import printable
from alumnus.encoder import load
from alumnus.errors import ConfigError, UserError, nearest
from alumnus.evaluation.dense.encode import PixelDense, StudentDense, TeacherDense
from alumnus.evaluation.encode import CallableEncode, PixelEncode, Scored, StudentEncode, TeacherEncode
from alumnus.evaluation.vectors import check_names
from alumnus.models.artifact import student_folder, where_students_are
from alumnus.models.cost import num_parameters
from alumnus.models.student import Student
from alumnus.models.weights import fingerprint
from alumnus.teachers import FORMS, PREFIXES, load_teacher
from alumnus.teachers.spec import TeacherSpec, describe_object, short_name
from alumnus.training.messages import explain
from alumnus.types import DenseEncode

PIXELS, UNTRAINED = "pixels", "untrained:"
PIXEL_SIDE = 96  # px, of the pixels of a dense task where the suite says none
RESIZABLE = ("timm/", "torchvision/")  # sources that take the suite's side; others have their own

Given = str | Path | Mapping[str, Any] | Callable[..., Any]


@dataclass(frozen=True)
class Entry:
    """A model as it was asked for; nothing of it is loaded."""

    name: str
    spec: TeacherSpec | None = None  # a teacher
    folder: Path | None = None  # a student; neither: pixels


class Model:
    """A loaded model, for images of one side."""

    def __init__(self, entry: Entry, *, size: int | None, device: torch.device) -> None:
        """Loads it.

        Args:
            size: side in px for models that take any and name none; their own default if None.
        """
        self.name, self._entry, self._device = entry.name, entry, device
        self._student: Student | None = None
        self._spec = entry.spec if entry.spec is None else _sized(entry.spec, size)
        self._asked = size or PIXEL_SIDE
        if entry.folder is not None:
            self._student = load(entry.folder).student.to(device)
            shape = json.dumps(asdict(self._student.architecture), sort_keys=True)
            self._summary: Scored = _student_summary(self._student, self.name)
            self.fingerprint = _hash("student", shape, fingerprint(self._student))
        elif self._spec is not None:
            teacher = load_teacher(self._spec, device=device)
            self._summary = TeacherEncode(teacher, name=self.name)
            self.fingerprint = _hash("teacher", teacher.fingerprint)
        else:
            self._summary = PixelEncode(name=self.name)
            self.fingerprint = _hash("pixels", str(PixelEncode.GRID))
        self.size = self._summary.size
        self.num_parameters = self._summary.num_parameters

    def encode(self, kind: Kind) -> Scored:
        """Returns the vectors' side of it for a kind of task."""
        if kind == "retrieval" and self._student is not None:
            return StudentEncode(self._student, name=self.name)
        return self._summary

    def dense(self) -> DenseEncode:
        """Returns the grids' side of it.

        Raises:
            TeacherError, ConfigError: it has none.
        """
        if self._student is not None:
            return StudentDense(self._student, name=self.name)
        if isinstance(self._summary, TeacherEncode):
            return TeacherDense(self._summary.teacher, name=self.name)
        cell = PixelDense.CELL
        return PixelDense(size=max(cell, self._asked // cell * cell), name=self.name)

    def mark(self, kind: Kind) -> str:
        """Returns the fingerprint of what `encode` gives."""
        if kind == "retrieval" and self._student is not None:
            return _hash(self.fingerprint, "embedding")
        if kind in DENSE and self._entry.spec is None and self._student is None:
            return _hash(self.fingerprint, str(self._asked))  # pixels have the side that they are asked for
        return self.fingerprint


class Zoo:
    """Models by name, each loaded once for each side that is asked for."""

    def __init__(self, entries: Sequence[Entry], *, device: torch.device) -> None:
        """Loads nothing yet."""
        check_names([entry.name for entry in entries])
        self.entries = {entry.name: entry for entry in entries}
        self._device = device
        self._loaded: dict[tuple[str, int | None], Model] = {}

    def get(self, name: str, size: int | None) -> Model:
        """Returns a model for images of a side, or of its own."""
        entry = self.entries[name]
        own = entry.folder is not None or (
            entry.spec is not None
            and (entry.spec.size is not None or not entry.spec.source.startswith(RESIZABLE))
        )
        key = (name, None if own else size)
        if key not in self._loaded:
            self._loaded[key] = Model(entry, size=size, device=self._device)
        return self._loaded[key]


def read_models(given: Sequence[Given]) -> list[Entry]:
    """Returns the models that were asked for, in their order.

    Raises:
        ConfigError: one is nothing that is known, or two have one name.
    """
    entries = [entry for one in given for entry in _read(one)]
    if not entries:
        raise ConfigError(
            "no model was given; --models takes student folders, teacher sources, pixels and untrained:timm/NAME"
        )
    check_names([entry.name for entry in entries])
    return entries


def named_pair(given: Sequence[str], entries: Sequence[Entry]) -> list[str]:
    """Returns the names of the two models to compare, each given by its name or as it is given among the models; nothing for nothing.

    Raises:
        ConfigError: they are not two, or one is not among the entries.
    """
    pair = [_name_among(one, entries) for one in given]
    if pair and (len(pair) != 2 or pair[0] == pair[1]):
        raise ConfigError(f"compare takes two of the models; got {', '.join(given)}")
    return pair


def _name_among(given: str, entries: Sequence[Entry]) -> str:
    names = [entry.name for entry in entries]
    if given in names:
        return given
    try:
        (same,) = [entry for entry in _read(given) if entry in entries]
    except (UserError, ValueError):  # it is no model, or not one of them
        raise ConfigError(
            f"compare: there is no model {given!r}{nearest(given, names)}; there are {', '.join(names)}"
            " (a student is called after its run's folder)"
        ) from None
    return same.name


def _read(given: Given, *, above: tuple[Path, ...] = ()) -> list[Entry]:
    """Args: above: the lists that it stands in, the outermost first."""
    if isinstance(given, str) and given.lstrip().startswith("{"):
        given = _mapping(given)
    if isinstance(given, Mapping) or (callable(given) and not isinstance(given, (str, Path))):
        return [_from_values(given if isinstance(given, Mapping) else {"model": given})]
    text = str(given)
    if text.endswith((".yaml", ".yml")):
        return _from_file(Path(text), above)
    return [_from_values({"model": text})]


def _from_values(values: Mapping[str, Any]) -> Entry:
    source, name = values.get("model"), values.get("name")
    if isinstance(source, Path):
        source = str(source)
    if source == PIXELS:
        _only(values, "model", "name")
        return Entry(_own_name(source, name) or PIXELS)
    if isinstance(source, str) and source.startswith(UNTRAINED):
        inner = source.removeprefix(UNTRAINED)
        if not inner.startswith(PREFIXES):
            hint = f"; did you mean '{UNTRAINED}timm/{inner}'?" if inner.isidentifier() else ""
            raise ConfigError(f"the model {source!r} names no architecture; write {UNTRAINED}timm/NAME{hint}")
        spec = _spec({**values, "model": inner, "weights": "random", "name": name})
        return Entry(spec.name or f"untrained-{_name_of(spec)}", spec=spec)
    if isinstance(source, str) and not source.startswith(PREFIXES):
        folder = _student_folder(source)
        _only(values, "model", "name")
        return Entry(_own_name(source, name) or _name_of_folder(folder), folder=folder)
    spec = _spec(values)
    if spec.source.startswith("alumnus:") and set(values) <= {"model", "name"}:
        folder = _student_folder(spec.source.removeprefix("alumnus:"))  # the whole of it, its embedding too
        return Entry(spec.name or _name_of_folder(folder), folder=folder)
    return Entry(_name_of(spec), spec=spec)


def _spec(values: Mapping[str, Any]) -> TeacherSpec:
    try:
        return TeacherSpec.model_validate(dict(values))
    except ValidationError as error:
        raise ConfigError(
            f"the model {values.get('model')!r} is wrong:\n{explain(error, TeacherSpec)}"
        ) from error


def _own_name(source: str, name: object) -> str | None:
    """Returns the name that was given to what is no teacher, if any: of a teacher's letters, for cells lie in a folder of that name."""
    return _spec({"model": source, "name": name}).name


def _sized(spec: TeacherSpec, size: int | None) -> TeacherSpec:
    if size is None or spec.size is not None or not spec.source.startswith(RESIZABLE):
        return spec
    return spec.model_copy(update={"size": size})


def _only(values: Mapping[str, Any], *allowed: str) -> None:
    more = [key for key in values if key not in allowed]
    if more:
        raise ConfigError(
            f"the model {values['model']!r} takes no {more[0]!r}; allowed are {', '.join(allowed)}"
        )


def _student_folder(source: str) -> Path:
    folder = Path(source).expanduser()
    inner = student_folder(folder)
    if (inner / "alumnus.json").is_file():
        return inner
    if folder.exists():
        raise ConfigError(
            f"'{printable(folder)}' is no student folder and holds none; a student has an alumnus.json"
            f"{where_students_are(folder)}"
        )
    forms = (PIXELS, UNTRAINED, *PREFIXES)
    start = source[: min((source.find(mark) + 1 for mark in ":/" if mark in source), default=len(source))]
    hint = f"; did you mean 'onnx:{source}'?" if source.endswith(".onnx") else nearest(start, forms)
    raise ConfigError(
        f"there is no model {source!r}{hint}; allowed are student folders, {FORMS}, {PIXELS} and {UNTRAINED}timm/NAME"
    )


def _name_of(spec: TeacherSpec) -> str:
    """The model's short name; its source has a known prefix."""
    if spec.name is not None:
        return spec.name
    if not isinstance(spec.model, str):
        return short_name(describe_object(spec.model).rpartition(".")[2])
    prefix = next(prefix for prefix in PREFIXES if spec.model.startswith(prefix))
    rest = spec.model.removeprefix(prefix)
    if prefix in RESIZABLE:
        return short_name(rest.partition(".")[0])
    if prefix in {"hf:", "open_clip:"}:
        return short_name(Path(rest).name if prefix == "hf:" else rest)
    return short_name(rest.rpartition(":")[2] if prefix in {"python:", "hub:"} else Path(rest).stem)


def _name_of_folder(folder: Path) -> str:
    resolved = folder.resolve()
    return short_name(resolved.parent.name if resolved.name == "student" else resolved.name)


def _from_file(path: Path, above: tuple[Path, ...]) -> list[Entry]:
    if path.resolve() in above:
        raise ConfigError(
            f"the models in {printable(above[-1])} name {printable(path)}, the list that they stand in; take it out"
        )
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"the models in {printable(path)} cannot be read: {error}") from error
    if not isinstance(found, list):
        raise ConfigError(
            f"{printable(path)} holds {type(found).__name__}, needed is a list of models, each a line beginning with -"
        )
    wrong = next((one for one in found if not isinstance(one, str | Mapping)), None)
    if wrong is not None:
        raise ConfigError(
            f"{printable(path)}: {wrong!r} is no model; write a source or {{model: …, name: …}}"
        )
    return [entry for one in found for entry in _read(one, above=(*above, path.resolve()))]


def _mapping(text: str) -> Mapping[str, Any]:
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"the model {text!r} is not YAML: {error}") from error
    if not isinstance(found, Mapping) or "model" not in found:
        raise ConfigError(
            f"the model {text!r} does not say model:; write {{model: timm/NAME, weights: FILE, size: 96}}"
        )
    return found


def _student_summary(student: Student, name: str) -> CallableEncode:
    def summary(image: Tensor) -> Tensor:
        device = next(student.parameters()).device
        return student(image.to(device)).features.summary  # type: ignore[no-any-return]

    student.eval()
    return CallableEncode(
        summary, name=name, size=student.size, kind="student", num_parameters=num_parameters(student)
    )


def _hash(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
