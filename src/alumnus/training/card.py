"""The model card of a trained student, its README.md: how to load it, who taught it, on what, and what licences ask.

Names come from the world, so in tables they are text: no name ends its cell or brings markup.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from alumnus.data.dataset import Dataset
from alumnus.licences import licence_warning
from alumnus.models.student import Student
from alumnus.training.config import RANDOM, Config, StudentSpec

DOMAINS_SHOWN = 20
HEADER = (
    "---\nlibrary_name: timm\npipeline_tag: image-feature-extraction\ntags: [alumnus, image-embedding]\n---\n"
)
TWO_NETWORKS = (
    "\nTwo networks make this student: what they say is added. alumnus.load takes both, as above; timm loads the first alone, without the "
    "assistant in assistant.safetensors.\n"
)


def card(
    config: Config,
    student: Student,
    *,
    dataset: Dataset,
    teachers: Sequence[Mapping[str, Any]],
    best_step: int | None = None,
) -> str:
    """Returns the text of a student's README.md.

    Args:
        dataset: its training images.
        teachers: as in teachers.json, in the order of the recipe.
        best_step: of which it is the student, if not of the last one.
    """
    return (
        f"{HEADER}# {_text(config.out.name)}\n\n"
        f"{_text(config.student.model)}, {config.embed_dim}-D embedding at {config.size} px, trained by Alumnus with "
        f"method={config.method.name}.\n\n{_use(student)}\n{_lineage(config, dataset, teachers, best_step)}\n{_licence(teachers)}"
    )


def _use(student: Student) -> str:
    return (
        "## Use\n\n```python\nimport alumnus\n\n"
        'encoder = alumnus.load("path/to/this/folder")\n'
        f'encoder.encode(["a.jpg"])  # (1, {student.embed_dim}) float32, unit length\n```\n\n'
        "The backbone alone, without the head that makes the embedding, is an ordinary timm folder:\n\n"
        "```python\nimport timm\n\n"
        'backbone = timm.create_model("local-dir:path/to/this/folder", pretrained=True).eval()\n'
        f"backbone(images)  # (B, {student.backbone_dim}) features, not of unit length; "
        "timm.data.resolve_model_data_config(backbone) has the mean and std of its input\n```\n"
        + ("" if student.assistant is None else TWO_NETWORKS)
    )


def _lineage(
    config: Config, dataset: Dataset, teachers: Sequence[Mapping[str, Any]], best_step: int | None
) -> str:
    kept = "" if best_step is None else f"; it is the student of step {best_step:,}, the best that was seen"
    return (
        f"## Where it is from\n\n{_teachers(config, teachers)}\n"
        f"- first weights: {_start(config.student)}\n"
        f"- images: {len(dataset):,} for training; {_domains(dataset)}\n"
        f"- steps: {config.steps:,} of {config.batch_size:,} images, seed {config.seed}{kept}\n\n"
        "`alumnus.json` has fingerprints, versions and the method's settings too; `alumnus evaluate` scores this folder.\n"
    )


def _teachers(config: Config, teachers: Sequence[Mapping[str, Any]]) -> str:
    if not teachers:
        return "It learnt from labels, without teachers.\n"
    rows = [
        (
            str(teacher["name"]),
            str(teacher["source"]),
            {None: "its own", RANDOM: "**random**"}.get(spec.weights, "from a file"),
            ", ".join(teacher["domains"] or ()) or "all",
            str(teacher["licence"]),
        )
        for spec, teacher in zip(config.teachers, teachers, strict=True)
    ]
    lines = ["| teacher | source | weights | trusted on | licence |", "|---|---|---|---|---|"]
    for name, source, weights, domains, licence in rows:
        lines.append(f"| {_text(name)} | {_text(source)} | {weights} | {_text(domains)} | {_text(licence)} |")
    return "\n".join(lines) + "\n"


def _start(spec: StudentSpec) -> str:
    if spec.model.startswith("alumnus:"):
        return f"the student {_text(spec.model.removeprefix('alumnus:'))}"
    if spec.is_fetched:
        return f"timm's, {_text(spec.model)}"
    return "random" if spec.weights in (None, RANDOM) else f"the file {_text(str(spec.weights))}"


def _domains(dataset: Dataset) -> str:
    counts = np.bincount(dataset.domain, minlength=len(dataset.domains))
    named = [f"{_text(name)} {count:,}" for name, count in zip(dataset.domains, counts, strict=True) if count]
    more = f" and {len(named) - DOMAINS_SHOWN} more" if len(named) > DOMAINS_SHOWN else ""
    return f"by domain {', '.join(named[:DOMAINS_SHOWN])}{more}"


def _licence(teachers: Sequence[Mapping[str, Any]]) -> str:
    warned = [(teacher["name"], licence_warning(teacher["licence"])) for teacher in teachers]
    asked = "".join(f"- teacher {_text(str(name))}: {_text(said)}\n" for name, said in warned if said)
    return (
        "## Licence\n\nAlumnus claims nothing: the students that you train are yours. What the licences of the teachers' weights and of "
        "the images ask of a student made of them is for you to see to"
        + (f"; of the teachers, as far as names tell:\n\n{asked}" if asked else ".\n")
    )


def _text(name: str) -> str:
    """A name that cannot leave its cell, begin markup or bring HTML."""
    safe = html.escape(" ".join(name.split()), quote=False)
    for mark in "\\|`*[]~":
        safe = safe.replace(mark, f"\\{mark}")
    return safe
