"""Teachers that are students of Alumnus themselves: experts, or the result of an earlier run."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from torch import Tensor, nn

from alumnus.errors import ArtifactError, TeacherError
from alumnus.log import warn
from alumnus.models.artifact import load_student, stale_embedding, student_folder
from alumnus.teachers.network import Loaded, TorchNetwork
from alumnus.teachers.spec import TeacherSpec, check_output, refuse, short_name
from alumnus.types import Features

OUTPUTS = ("summary", "embedding", "logits")
SPACE = "space:"


def load(folder: Path, spec: TeacherSpec) -> Loaded:
    """Returns the student of a folder, its own or a run's.

    Its outputs are the backbone's summary, the embedding of unit length, the logits if it has a classifier, and `space:NAME` for each
    teacher's space that was kept with it.

    Raises:
        TeacherError: the folder is no student, or a setting contradicts it.
    """
    refuse(spec, "weights", because="a student folder has its own")
    refuse(spec, "mean", "std", because="a student normalises its own input")
    try:
        student = load_student(student_folder(folder))
    except ArtifactError as error:
        raise TeacherError(f"teacher alumnus:{folder}: {error}") from error
    check_output(spec, (*OUTPUTS, *(SPACE + name for name in student.architecture.spaces)))
    if spec.size not in {None, student.size}:
        raise TeacherError(
            f"teacher alumnus:{folder}: size={spec.size}, and the student was made for {student.size}"
        )
    if spec.output == "logits" and not student.classes:
        raise TeacherError(
            f"teacher alumnus:{folder}: output=logits, and the student has no classifier; those of method=cfl or dmc have one, and "
            "so have what `alumnus adapt` makes with method=linear or finetune"
        )
    if spec.output not in ("summary", "logits") and (why := stale_embedding(student_folder(folder))):
        warn(f"teacher alumnus:{folder}: {why}; output=summary is its backbone's")
    space = spec.output.removeprefix(SPACE)
    read = READERS[spec.output] if spec.output in READERS else partial(_space, name=space)
    network = TorchNetwork(student, read)
    resolved = folder.resolve()
    return Loaded(
        network,
        name=short_name(resolved.parent.name if resolved.name == "student" else resolved.name),
        size=student.size,
        num_parameters=network.num_parameters,
    )


def _summary(student: nn.Module, image: Tensor) -> Features:
    features: Features = student(image).features
    return features


def _embedding(student: nn.Module, image: Tensor) -> Features:
    return Features(student(image).embedding)


def _logits(student: nn.Module, image: Tensor) -> Features:
    return Features(student(image).logits)


def _space(student: nn.Module, image: Tensor, *, name: str) -> Features:
    return Features(student(image, spaces=(name,)).spaces[name])


READERS = {"summary": _summary, "embedding": _embedding, "logits": _logits}
