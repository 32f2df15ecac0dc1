"""The adapted model folder: written and read here, and nowhere else.

    the student's files   as in `models.artifact`; the backbone is another one after fine-tuning, and a linear head is its classifier
    head.safetensors      what was learnt on it
    adapted.json          version, task, classes, method, settings, scores, provenance
    test.csv              classification: what is said of each test image
    quarantine.jsonl      images that could not be read, if there are any

Tensors are safetensors, the rest is text: nothing is unpickled and nothing is executed on loading.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import safetensors
import safetensors.torch
from torch import Tensor

from alumnus.datasets.known import Task
from alumnus.disk import check_replaceable, replace_folder
from alumnus.errors import ArtifactError
from alumnus.evaluation.compare import Interval
from alumnus.models.artifact import ALL_FILES, CLASSES, STALE, load_student, save_student
from alumnus.models.student import Student
from alumnus.models.tensors import savable

Method = Literal["linear", "finetune", "prototype"]
Start = Literal["student", "scratch"]

VERSION = 1
ABOUT, HEAD, TEST, QUARANTINE = "adapted.json", "head.safetensors", "test.csv", "quarantine.jsonl"
OWN = frozenset({*ALL_FILES, ABOUT, HEAD, TEST, QUARANTINE})


@dataclass(frozen=True, kw_only=True)
class About:
    """What `adapted.json` says."""

    task: Task
    method: Method
    start: Start
    domain: str | None
    classes: tuple[str, ...]  # of each output; none in depth
    head: Mapping[str, str]  # how the head is built
    fraction: float  # of the labels
    seed: int
    settings: Mapping[str, Any]  # given or chosen
    num_train: int
    num_test: int
    num_bad: int  # images of both that could not be read
    held_out: float | None  # accuracy on training images that had a say in the choices: it flatters
    scores: Mapping[str, Interval]  # on the test part; empty where there is none
    note: str
    provenance: Mapping[str, Any]

    def to_json(self) -> str:
        """Returns the text of `adapted.json`."""
        scores = {name: [_plain(value) for value in interval] for name, interval in self.scores.items()}
        return json.dumps({"version": VERSION, **dataclasses.asdict(self), "scores": scores}, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str, name: str) -> About:
        """Returns what a text says.

        Raises:
            ArtifactError: it is not what `to_json` writes; speaks of it by `name`.
        """
        try:
            found = json.loads(text)
            version = found.pop("version")
            if version != VERSION:
                raise ArtifactError(f"{name} has version {version!r}; this Alumnus reads version {VERSION}")
            found["scores"] = {key: _interval(values) for key, values in found["scores"].items()}
            return cls(**{**found, "classes": tuple(found["classes"])})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            if isinstance(error, ArtifactError):
                raise
            raise ArtifactError(f"{name} is damaged ({error!r}); adapt again") from error


def check_out(out: Path) -> None:
    """Checks, before anything is learnt, that a folder can be written, and may be replaced.

    Raises:
        ConfigError: it is the current folder, or a mount point.
        ArtifactError: it cannot; or it is something else than an adapted model, or holds more.
    """
    check_replaceable(out)
    _try_to_write(out)
    if not out.exists():
        return
    names = sorted(path.name for path in out.iterdir()) if out.is_dir() else [out.name]
    foreign = [name for name in names if name not in OWN] if ABOUT in names else names
    if foreign:
        raise ArtifactError(
            f"{out} is there and holds {foreign[0]!r}, which is not from adapting; it is not overwritten. Choose another out"
        )


def save_adapted(
    student: Student,
    head: Mapping[str, Tensor],
    about: About,
    folder: Path,
    *,
    texts: Mapping[str, str],
    card: str = "",
    was_stale: str | None = None,
) -> Path:
    """Writes the folder, replacing an older one in one step.

    Args:
        head: tensors by name.
        was_stale: why the embedding was none any more in the folder that the student came from.
        texts: further files, name -> content.
    """
    new = _unfinished(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = _classifying(student, head, about)
    provenance = {
        **about.provenance,
        **({CLASSES: about.classes} if made.classes else {}),
        **({STALE: why} if (why := _why_stale(about) or was_stale) else {}),
    }
    save_student(made, new, provenance=provenance, card=card)
    safetensors.torch.save_file(savable(head), new / HEAD, metadata={"format": "pt"})
    for name, text in {**texts, ABOUT: about.to_json()}.items():
        (new / name).write_text(text, encoding="utf-8")
    return replace_folder(new, folder)


def _unfinished(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.adapted")


def _try_to_write(out: Path) -> None:
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        _unfinished(out).mkdir(exist_ok=True)
        shutil.rmtree(_unfinished(out))
    except OSError as error:
        raise ArtifactError(
            f"out={out} cannot be written: {error.strerror or error}; choose another"
        ) from error


def _why_stale(about: About) -> str:
    """Why the student's own embedding, and the spaces kept beside it, are none any more; empty if they are as they were."""
    if about.start == "scratch":
        return "it began with random weights, and only what it was adapted to was learnt"
    if about.method == "finetune":
        return "its backbone was fine-tuned for another task, and the embedding head was not trained with it"
    return ""


def _classifying(student: Student, head: Mapping[str, Tensor], about: About) -> Student:
    """A copy that holds a linear classifier as its own, so that the folder can teach logits; or none, as an older one is stale."""
    made = copy.deepcopy(student)
    made.classify({})
    if about.head.get("kind") == "linear" and about.task == "classification":
        made.classify({about.domain or "classes": len(about.classes)})
        assert made.classifier is not None
        made.classifier.load_state_dict(dict(head))
    return made


def read_adapted(folder: Path) -> tuple[Student, dict[str, Tensor], About]:
    """Returns the student, the head's tensors and what is known of them.

    Raises:
        ArtifactError: the folder is missing, incomplete, damaged or of another version.
    """
    about = read_about_adapted(folder)
    try:
        head = safetensors.torch.load_file(folder / HEAD)
    except (safetensors.SafetensorError, OSError) as error:
        raise ArtifactError(f"{folder / HEAD} is not a readable safetensors file: {error}") from error
    return load_student(folder), head, about


def read_about_adapted(folder: Path) -> About:
    """Returns the content of `adapted.json`.

    Raises:
        ArtifactError: it is missing, damaged or of another version.
    """
    path = folder / ABOUT
    if not path.is_file():
        raise ArtifactError(
            f"{folder} is not an adapted model: {ABOUT} is missing; `alumnus adapt` makes one"
        )
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{path} cannot be read: {error}") from error
    return About.from_json(text, str(path))


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None  # JSON has no NaN


def _interval(found: Sequence[float | None]) -> Interval:
    mean, low, high = (math.nan if number is None else float(number) for number in found)
    return Interval(mean, low, high)
