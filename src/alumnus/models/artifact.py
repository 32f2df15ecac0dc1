"""The student folder: written and read here, and nowhere else.

    model.safetensors   the backbone under timm's names; with config.json it is a timm `local-dir:` folder,
    config.json         so timm.create_model("local-dir:FOLDER", pretrained=True) and TimmWrapper load the backbone
    heads.safetensors   the embedding head; the classifier, and adaptors to teachers' spaces, if there are some
    assistant.safetensors   only of a student of two networks: the second one, and the layers that join them; timm loads the first alone
    alumnus.json        version, architecture, preprocessing, groups of classes, provenance
    README.md           the model card

Tensors are safetensors, the rest is JSON: nothing is unpickled and nothing is executed on loading.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import safetensors
import safetensors.torch
import timm
import torch

from alumnus.disk import new_name, replace_folder
from alumnus.errors import ArtifactError, ConfigError
from alumnus.models.adaptors import AdaptorKind, AdaptorShape
from alumnus.models.assistant import AssistantShape
from alumnus.models.backbone import size_arguments
from alumnus.models.student import Architecture, Student
from alumnus.models.tensors import savable

VERSION = 1
FILES = ("model.safetensors", "config.json", "heads.safetensors", "alumnus.json")
BACKBONE, HEADS = "backbone.", ("embed.", "classifier.", "spaces.")
ASSISTANT = "assistant.safetensors"
ALL_FILES = frozenset({*FILES, ASSISTANT, "README.md"})  # that a student folder may hold
CLASSES = (
    "classes"  # in the provenance: the names of what a classifier of one group tells apart, in its order
)
STALE = "stale_embedding"  # in the provenance: why the vectors of this student are not those that its head was trained for


def save_student(
    student: Student, folder: Path, *, provenance: Mapping[str, Any] | None = None, card: str = ""
) -> Path:
    """Writes the student folder, replacing an older one in one step.

    Args:
        provenance: what the student came from (teachers, data, seed, versions); JSON values.
        card: text of README.md.
    """
    state = savable(student.state_dict())
    temporary = folder.with_name(new_name(folder.name))
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    safetensors.torch.save_file(
        _under(state, BACKBONE), temporary / "model.safetensors", metadata={"format": "pt"}
    )
    heads = {name: tensor for name, tensor in state.items() if name.startswith(HEADS)}
    safetensors.torch.save_file(heads, temporary / "heads.safetensors", metadata={"format": "pt"})
    if student.assistant is not None:
        joined = {name: tensor for name, tensor in state.items() if name.startswith(("assistant.", "join."))}
        safetensors.torch.save_file(joined, temporary / ASSISTANT, metadata={"format": "pt"})
    _write_json(temporary / "config.json", _timm_config(student))
    about = {
        "version": VERSION,
        "architecture": _fields(student.architecture),
        **({"classes": student.classes} if student.classes else {}),
        "provenance": dict(provenance or {}),
    }
    _write_json(temporary / "alumnus.json", about)
    (temporary / "README.md").write_text(card, encoding="utf-8")
    return replace_folder(temporary, folder)


def student_folder(folder: str | Path) -> Path:
    """Returns the student folder of a run folder; any other folder as it is."""
    inner = Path(folder) / "student"
    return inner if inner.is_dir() else Path(folder)


def load_student(folder: str | Path) -> Student:
    """Returns the student of a folder, in eval mode on the CPU.

    Raises:
        ArtifactError: the folder is missing, incomplete, of another version, or its tensors do not fit.
    """
    folder = Path(folder)
    about = read_about(folder)
    try:
        student = Student(_architecture(about["architecture"]))
        student.classify(_classes(about))
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, ConfigError) as error:
        # RuntimeError is what torch says of sizes that cannot be, such as embed_dim: -1.
        raise ArtifactError(f"{folder / 'alumnus.json'} does not describe a student: {error!r}") from error
    tensors = {f"{BACKBONE}{name}": value for name, value in _read(folder / "model.safetensors").items()}
    tensors |= _read(folder / "heads.safetensors")
    if student.assistant is not None:
        tensors |= _read(folder / ASSISTANT)
    try:
        student.load_state_dict(tensors)
    except RuntimeError as error:
        raise ArtifactError(f"the tensors in {folder} do not fit its alumnus.json: {error}") from error
    return student.eval()


def read_about(folder: Path) -> dict[str, Any]:
    """Returns the content of `alumnus.json`, after checking that the folder is a student of this version."""
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise ArtifactError(
            f"{folder} is not a student folder: {', '.join(missing)} missing{where_students_are(folder)}"
        )
    try:
        about: dict[str, Any] = json.loads((folder / "alumnus.json").read_text(encoding="utf-8"))
        version = about["version"]
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"{folder / 'alumnus.json'} is not readable: {error!r}") from error
    if version != VERSION:
        raise ArtifactError(f"{folder} has version {version!r}; this Alumnus reads version {VERSION}")
    return about


def is_whole(folder: Path) -> bool:
    """Whether a folder has all files of a student, and each file of tensors is as long as its header says."""
    return all((folder / name).is_file() for name in FILES) and all(
        _has_all_bytes(path) for path in folder.glob("*.safetensors")
    )


def stale_embedding(folder: Path) -> str | None:
    """Returns why a student's embedding is not to be used, or None if it is."""
    why = read_about(folder).get("provenance", {}).get(STALE)
    return None if why is None else f"the vectors of {folder} mean nothing: {why}"


def where_students_are(folder: Path) -> str:
    """Returns what to give instead of the folder of a run, of one student or of several."""
    if (folder / "student").is_dir():
        return "; the student of a run is in its sub-folder student/"
    inner = sorted(path for path in (folder / "students").glob("*") if (path / "student").is_dir())
    return f"; it holds several runs, give one of them, such as {inner[0]}" if inner else ""


def _fields(architecture: Architecture) -> dict[str, Any]:
    fields = dataclasses.asdict(architecture)
    if not fields["spaces"]:
        del fields["spaces"]  # so that a student without them is read by an Alumnus that knows none
    if fields["assistant"] is None:
        del fields["assistant"]
    return fields


def _architecture(fields: Mapping[str, Any]) -> Architecture:
    lists = ("mean", "std", "embed_hidden")
    fields = {key: tuple(value) if key in lists else value for key, value in fields.items()}
    fields["spaces"] = {name: _shape(shape) for name, shape in fields.get("spaces", {}).items()}
    if fields.get("assistant") is not None:
        fields["assistant"] = AssistantShape(**fields["assistant"])
    return Architecture(**fields)


def _shape(fields: Mapping[str, Any]) -> AdaptorShape:
    shape = AdaptorShape(**{**fields, "stage_dims": tuple(fields["stage_dims"])})
    if shape.kind not in get_args(AdaptorKind):
        raise ValueError(f"there is no adaptor {shape.kind!r}; known are {', '.join(get_args(AdaptorKind))}")
    return shape


def _classes(about: Mapping[str, Any]) -> dict[str, int]:
    """The groups of a classifier, group -> how many classes; none without one."""
    classes = about.get("classes", {})
    if not isinstance(classes, dict) or not all(
        type(count) is int and count > 0 for count in classes.values()
    ):
        raise TypeError(f"classes: needed are numbers of classes by group, got {classes!r}")
    return classes


def _timm_config(student: Student) -> dict[str, Any]:
    architecture = student.architecture
    name, _, _ = architecture.model.partition(".")
    known = timm.get_pretrained_cfg(name, allow_unregistered=True)
    return {
        "architecture": name,
        "num_classes": 0,
        "num_features": student.backbone_dim,
        "model_args": {**size_arguments(name, architecture.size), **architecture.model_args},
        "pretrained_cfg": {
            "input_size": [3, architecture.size, architecture.size],
            "fixed_input_size": bool(known is not None and known.fixed_input_size),
            "interpolation": "bilinear",
            "crop_pct": 1.0,
            "crop_mode": "center",
            "mean": list(architecture.mean),
            "std": list(architecture.std),
            "num_classes": 0,
            "pool_size": None,
            "first_conv": known.first_conv if known is not None else None,
            "classifier": known.classifier if known is not None else None,
        },
    }


def _under(state: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


def _has_all_bytes(path: Path) -> bool:
    try:
        with safetensors.safe_open(path, framework="pt"):
            return True
    except (safetensors.SafetensorError, OSError):
        return False


def _read(path: Path) -> dict[str, torch.Tensor]:
    try:
        return safetensors.torch.load_file(path)
    except (safetensors.SafetensorError, OSError) as error:
        raise ArtifactError(f"{path} is not a readable safetensors file: {error}") from error


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
