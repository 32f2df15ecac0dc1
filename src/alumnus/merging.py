"""`alumnus merge`: one student folder from several of one architecture; the arithmetic is in models/merge.py."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from alumnus.data.dataset import open_dataset
from alumnus.data.loader import center_crop_batches
from alumnus.data.names import printable
from alumnus.disk import check_replaceable, check_writable
from alumnus.errors import ArtifactError, ConfigError, DataError
from alumnus.log import console, warn
from alumnus.models.artifact import (
    ALL_FILES,
    CLASSES,
    STALE,
    load_student,
    read_about,
    save_student,
    student_folder,
)
from alumnus.models.merge import add_tasks, average, batch_norms, reestimate
from alumnus.models.student import Student

FEWEST = 2  # images of a batch that have a variance


def merge(
    models: Sequence[str | Path],
    *,
    out: str | Path,
    weights: Sequence[float] | None = None,
    base: str | Path | None = None,
    scale: float | Sequence[float] | None = None,
    data: str | Path | Sequence[str] | None = None,
    split: str = "train",
    num_images: int = 2048,
    batch_size: int = 64,
    workers: int = 2,
    seed: int = 0,
) -> Path:
    """Returns the folder of one student whose weights are made of those of several students.

    >>> merge(["runs/a/student", "runs/b/student"], out="runs/soup", data="dataset/")  # doctest: +SKIP

    Args:
        models: student folders, or run folders that hold one, of one architecture.
        out: a new folder, or a student to be replaced.
        weights: of the average, relative, one a model; equal by default.
        base: what the models were fine-tuned from: then it is task arithmetic, the base plus scaled differences.
        scale: of the differences, one for all models or one for each; needed with `base`, and best chosen on validation images.
        data: anything that `open_dataset` reads; on its images the batch norms are measured again, otherwise their statistics are averages.
        split: whose images.
        num_images: at most so many, drawn at random.
        batch_size: of that measurement; large ones measure better.
        workers: of the reading.
        seed: of the draw.

    Raises:
        ConfigError: too few models, architectures that differ, or settings that contradict each other.
        ArtifactError: a folder is no student, or `out` is something else than a student.
        DataError: there is no image to measure on.
    """
    sources = [_read(model) for model in models]
    origin = None if base is None else _read(base)
    out = Path(out)
    if seed < 0:
        raise ConfigError(f"seed={seed} must be 0 at least")
    _check_out(out, [*sources, *([] if origin is None else [origin])])
    merged, shares = _merged(sources, origin, weights=weights, scale=scale)
    console.print(f"merged {len(sources)} students" + ("" if origin is None else f" into {origin.folder}"))
    measured = None
    if batch_norms(merged):
        measured = _measured(
            merged, data, split, num_images, batch_size=batch_size, workers=workers, seed=seed
        )
    elif data is not None:
        warn("data= has no effect, this network has no batch norms to measure again")
    about = _provenance(sources, origin, shares=shares, measured=measured)
    out.parent.mkdir(parents=True, exist_ok=True)
    return save_student(merged, out, provenance=about, card=_card(merged, out.name, about["merged"]))


class _Source(NamedTuple):
    """A student and where it came from."""

    folder: Path
    student: Student
    about: Mapping[str, Any]  # its provenance


def _read(model: str | Path) -> _Source:
    folder = student_folder(model)
    return _Source(folder, load_student(folder), read_about(folder)["provenance"])


def _check_out(out: Path, sources: Sequence[_Source]) -> None:
    if any(out.resolve() == source.folder.resolve() for source in sources):
        raise ConfigError(f"out={out} is one of the students to be merged; choose another folder")
    check_replaceable(out)
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        check_writable(out, is_folder=True)
        return
    try:
        read_about(out)
    except ArtifactError as error:
        raise ArtifactError(
            f"out={out} is there and is no student, so it is not replaced; choose another folder"
        ) from error
    if foreign := sorted({path.name for path in out.iterdir()} - ALL_FILES):
        raise ArtifactError(
            f"out={out} is there and holds {printable(foreign[0])!r}, which is no part of a student, so it is not replaced; choose another "
            "folder"
        )


def _merged(
    sources: Sequence[_Source],
    base: _Source | None,
    *,
    weights: Sequence[float] | None,
    scale: float | Sequence[float] | None,
) -> tuple[Student, list[float]]:
    """The student, and the factor of each source."""
    students = {str(source.folder): source.student for source in sources}
    folders = {source.folder.resolve() for source in sources}
    every = [*sources, *([] if base is None else [base])]
    if len({tuple(found) for each in every if (found := each.about.get(CLASSES))}) > 1:
        raise ConfigError(
            "the students' classifiers tell different classes apart, and an average of them would mean nothing; merge students that were "
            "adapted to the same classes, or before they are adapted"
        )
    if len(folders) < len(sources):
        raise ConfigError("a student is given twice; to count it more, give weights=")
    if base is None:
        if scale is not None:
            raise ConfigError(
                "scale= is of differences from a base; give base=FOLDER, or weights= for an average"
            )
        if len(students) < 2:
            raise ConfigError(
                f"an average is of two students or more, got {len(students)}; or give base=FOLDER and scale="
            )
        shares = [1.0] * len(students) if weights is None else list(weights)
        return average(students, shares), shares
    if weights is not None:
        raise ConfigError("weights= is of an average; with a base, give scale=")
    if base.folder.resolve() in folders:
        raise ConfigError(
            f"base={base.folder} is one of the students too, and its difference from itself is nothing"
        )
    if not students or scale is None:
        raise ConfigError(
            "task arithmetic needs one student or more and a scale, such as scale=0.4 for all or scale=[0.4,0.3]; "
            "choose it on validation images"
        )
    scales = [scale] * len(students) if isinstance(scale, int | float) else list(scale)
    return add_tasks((str(base.folder), base.student), students, scales), scales


def _measured(
    student: Student,
    data: str | Path | Sequence[str] | None,
    split: str,
    num_images: int,
    *,
    batch_size: int,
    workers: int,
    seed: int,
) -> dict[str, Any] | None:
    """Measures the batch norms again; returns on what."""
    if data is None:
        warn(
            "the statistics of batch norms are averages, and fit the merged weights badly; "
            "give data=IMAGES to measure them again"
        )
        return None
    if num_images < FEWEST or batch_size < FEWEST:
        raise ConfigError(
            f"num_images={num_images} and batch_size={batch_size} have to be {FEWEST} or more: one image has no variance"
        )
    dataset = open_dataset(data)
    rows = np.flatnonzero(dataset.split == split)
    if len(rows) < FEWEST:
        there = ", ".join(sorted(set(dataset.split.tolist())))
        raise DataError(
            f"there are {len(rows)} images in the split {split!r}; needed are {FEWEST}; give split= one of: {there}"
        )
    drawn = np.random.default_rng(seed).permutation(rows)[
        :num_images
    ]  # mixed, as the batches of training were
    if len(drawn) > batch_size:
        drawn = drawn[: len(drawn) // batch_size * batch_size]  # every batch counts alike, so none is small
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    student.to(device).to(memory_format=torch.channels_last)
    bad: dict[str, str] = {}
    paths = [dataset.paths[row] for row in drawn]
    batches = _images(
        paths, size=student.size, batch_size=batch_size, workers=workers, device=device, bad=bad
    )
    if reestimate(student, batches) == 0:
        raise DataError(f"no batch of images could be read; the first: {next(iter(bad.items()))}")
    if bad:
        console.print(f"{len(bad)} of {len(paths)} images could not be read")
    read = len(paths) - len(bad)
    console.print(f"batch norms measured again on {read:,} images")
    return {
        "data": dataset.fingerprint,
        "split": split,
        "images": read,
        "batch_size": batch_size,
        "seed": seed,
    }


def _images(
    paths: Sequence[str],
    *,
    size: int,
    batch_size: int,
    workers: int,
    device: torch.device,
    bad: dict[str, str],
) -> Iterator[Tensor]:
    """Yields (b, 3, size, size) uint8, and notes in `bad` what cannot be read."""
    for _, images, unreadable in center_crop_batches(paths, [size], batch_size=batch_size, workers=workers):
        bad |= {paths[place]: reason for place, reason in unreadable}
        if size in images and len(images[size]) >= FEWEST:
            yield images[size].to(device)


def _provenance(
    sources: Sequence[_Source],
    base: _Source | None,
    *,
    shares: Sequence[float],
    measured: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """What the student is made of: each student's own provenance, and all their teachers."""
    key = "weight" if base is None else "scale"
    every = [*([] if base is None else [base]), *sources]
    kept = {key: source.about[key] for source in every for key in (CLASSES, STALE) if key in source.about}
    teachers: list[Any] = []
    for source in every:
        teachers += [teacher for teacher in source.about.get("teachers", ()) if teacher not in teachers]
    return {
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in ("alumnus", "torch", "timm")},
        "merged": {
            "how": "average" if base is None else "task arithmetic",
            "students": [
                {"folder": str(source.folder), key: share, "provenance": source.about}
                for source, share in zip(sources, shares, strict=True)
            ],
            **({} if base is None else {"base": {"folder": str(base.folder), "provenance": base.about}}),
            "batch_norm": measured,
        },
        **_data([source.about for source in every]),
        "teachers": teachers,
        **kept,
    }


def _data(abouts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The roles of domains, which evaluation wants to know: a domain is generic if it was so for all who saw it."""
    found: dict[str, list[str]] = {}
    for about in abouts:
        data = about.get("data")
        if not isinstance(data, dict):  # an adapted student of an earlier version has a fingerprint there
            continue
        for domain in data.get("domains", ()):
            roles = data.get("roles", {}).get(domain, ["labelled"])
            found[domain] = list(dict.fromkeys((*found.get(domain, ()), *roles)))
    found = {d: [role for role in roles if role != "generic"] or ["generic"] for d, roles in found.items()}
    return {"data": {"domains": list(found), "roles": found}} if found else {}


def _card(student: Student, name: str, merged: Mapping[str, Any]) -> str:
    key = "weight" if merged["how"] == "average" else "scale"
    lines = [f"- {part['folder']}, {key} {part[key]:g}" for part in merged["students"]]
    if "base" in merged:
        lines.insert(0, f"- {merged['base']['folder']}, the base")
    return (
        "---\nlibrary_name: timm\npipeline_tag: image-feature-extraction\ntags: [alumnus, image-embedding, merge]\n---\n"
        f"# {name}\n\n{student.architecture.model}, {student.embed_dim}-D embedding at {student.size} px, made by `alumnus merge` "
        f"({merged['how']}) of the weights of:\n\n" + "\n".join(lines) + "\n\n"
        '```python\nimport alumnus\n\nencoder = alumnus.load("path/to/this/folder")\n'
        f'encoder.encode(["a.jpg"])  # (1, {student.embed_dim}) float32, unit length\n```\n'
    )
