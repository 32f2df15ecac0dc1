"""Score a student folder: `evaluate`, of the student alone or beside those that taught it.

Only beside its teachers and its own first weights can be seen what learning from several of them did to a student: in which domains it
gained, and in which one teacher cost it what another gave (see evaluation/interference.py). `beside_teachers` makes the models of that
comparison from a run's configuration.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from alumnus.data.dataset import Dataset, open_dataset
from alumnus.data.roles import generic_domains
from alumnus.distributed import joined, main_first, wait
from alumnus.encoder import load
from alumnus.errors import ConfigError, DataError, TeacherError, UserError
from alumnus.evaluation.encode import PixelEncode, Scored, StudentEncode, TeacherEncode
from alumnus.evaluation.run import score
from alumnus.log import console, warn
from alumnus.models.artifact import read_about, student_folder
from alumnus.models.student import Student
from alumnus.models.weights import fingerprint
from alumnus.teachers import load_teacher
from alumnus.teachers.spec import Given, TeacherSpec
from alumnus.teachers.teacher import Teacher
from alumnus.training.build import build_student
from alumnus.training.config import Config
from alumnus.training.recipe import load_config
from alumnus.training.run import Run


def evaluate(
    model: str | Path,
    *,
    data: str | Path | Sequence[str],
    split: str = "test",
    index_split: str | None = None,
    teachers: bool | Sequence[Given] = False,
    generalist: str | None = None,
    out: str | Path | None = None,
    batch_size: int = 64,
    workers: int = 2,
    seed: int = 0,
    max_bad_fraction: float = 0.05,
    knn: bool = True,
) -> dict[str, float]:
    """Returns the scores of a student folder, or of a run folder that holds one.

    >>> evaluate("runs/demo/student", data="dataset/")  # doctest: +SKIP
    {'merged/R@1': 0.557, 'merged/R@1/emoji': 0.61, ..., 'separate/mMP@5': 0.41, ...}

    Domains that were generic when the student was trained (see `data.roles`) are left out.

    Args:
        data: anything that `open_dataset` reads.
        split: which images are queries and index; `test+query` is both.
        index_split: the images that answer, if others than those that ask: `index`, or `test+index` as in UnED's merged index.
        teachers: score the teachers of the student's run and its first weights beside it, on the same queries, with what is made of them
            and the matrix of interference, all for `out`. Every teacher sees every image. A list takes the place of the run's own, each
            as in a recipe: for teachers that lie elsewhere now, or that were Python objects.
        generalist: name of the teacher that the matrix of interference is relative to; by default the one that the method names, or as
            `score` finds it.
        out: folder for results.json, gallery.json and evaluate.quarantine.jsonl; nothing is written without it.
        knn: whether to score nearest-neighbour classification too, where classes of the training split are tested.

    Raises:
        ConfigError: teachers are asked for, and there is no run, none in it, or no `out`.
        TeacherError: one of them cannot be loaded any more.
    """
    with joined():
        folder = student_folder(model)
        config = _config(folder, teachers) if teachers else None
        _refuse_idle(folder, config, generalist=generalist, out=out)
        with main_first():
            dataset = _without_generic(open_dataset(data), folder)
            student = load(model).student
            models = [StudentEncode(student)] if config is None else beside_teachers(student, config)
        if config is not None:
            generalist = _generalist(generalist, config, models)
            _warn_of_others(folder, models)
        results = score(
            models,
            dataset,
            split=split,
            index_split=index_split,
            generalist=generalist,
            out=None if out is None else Path(out),
            batch_size=batch_size,
            workers=workers,
            seed=seed,
            max_bad_fraction=max_bad_fraction,
            knn=knn,
        )
        wait()  # for the files to be written
        _tell_more(folder, config, out=out)
    return results.flat()


def beside_teachers(student: Student, config: Config) -> list[Scored]:
    """Returns a student, its first weights, its teachers and 8x8 pixels, as they are to be scored, on the student's device.

    First weights that cannot be made again are left out, and a line says why.

    Args:
        student: on its device.
        config: of the run that trained it.

    Raises:
        TeacherError: a teacher cannot be loaded; names it.
    """
    device = next(student.parameters()).device
    first = _first_weights(config, device)
    teachers = [TeacherEncode(_teacher(spec, device)) for spec in config.teachers]
    return [StudentEncode(student), *first, *teachers, PixelEncode()]


def _first_weights(config: Config, device: torch.device) -> list[StudentEncode]:
    try:
        student = build_student(config)
    except UserError as error:
        console.print(f"the student's first weights are left out: {error}")
        return []
    began = read_about(Run(config.out).student)["provenance"].get("first_weights")
    if began not in (None, fingerprint(student)):
        console.print(
            f"the student's first weights are left out: {config.student.model} holds other ones than when the run began",
        )
        return []
    return [StudentEncode(student.to(device).eval(), name="student's first weights", kind="initial")]


def _teacher(spec: TeacherSpec, device: torch.device) -> Teacher:
    try:
        return load_teacher(spec, device=device)
    except UserError as error:
        raise TeacherError(
            f"the teacher {spec.name or spec.source} cannot be loaded any more: {error}\n"
            "Say how the run's teachers are to be had now: teachers=[…], each as in a recipe; config.yaml of the run has the old ones. "
            "Relative paths begin at the folder in which alumnus is started"
        ) from error


def _run_folder(student: Path) -> Path | None:
    """The run folder around a student folder, if it is in one."""
    student = student.absolute()
    folder = student.parent
    return folder if student.name == "student" and (folder / "config.yaml").is_file() else None


def _config(student: Path, teachers: bool | Sequence[Given]) -> Config:
    """Returns the configuration of the student's run, with the teachers that are to be scored."""
    folder = _run_folder(student)
    if folder is None:
        raise ConfigError(
            f"teachers: {student} is not in the folder of a run, whose config.yaml says what the student was; give a run, or leave "
            "`teachers` away"
        )
    given = {} if isinstance(teachers, bool) else {"teachers": list(teachers)}
    config = load_config(folder / "config.yaml", out=folder, **given)
    if not config.teachers:
        raise ConfigError(
            f"teachers=true: the run {folder} had none (method={config.method.name}); name some, teachers=[timm/NAME, …], or leave it away"
        )
    return config


def _refuse_idle(
    student: Path, config: Config | None, *, generalist: str | None, out: str | Path | None
) -> None:
    """Settings without effect are mistakes."""
    if config is None and generalist is not None:
        raise ConfigError(f"generalist={generalist} has no effect on a student alone; give teachers=true too")
    if config is not None and out is None:
        raise ConfigError(
            f"teachers: their scores are for results.json and the report; give a folder for them, such as out={student.parent}"
        )


def _generalist(given: str | None, config: Config, models: Sequence[Scored]) -> str | None:
    """The one asked for; else the one that the method names, if it is scored."""
    named = config.method.generalist_name
    return given or (named if named in [model.name for model in models] else None)


def _warn_of_others(student: Path, models: Sequence[Scored]) -> None:
    """Says which teachers are not what they were in training: what is said of them then explains nothing about the student."""
    taught = read_about(student)["provenance"].get("teachers", [])
    before = {teacher["name"]: teacher["fingerprint"] for teacher in taught}
    for model in models:
        if isinstance(model, TeacherEncode) and before.get(model.name) != model.teacher.fingerprint:
            why = "its fingerprint is another" if model.name in before else "no teacher of that name did"
            warn(f"{model.name} is not who taught this student: {why}")


def _tell_more(student: Path, config: Config | None, *, out: str | Path | None) -> None:
    """Where the scores of teachers are; or that they can be had."""
    if config is not None:
        console.print(f"scores of the teachers, and interference: alumnus report {out}")
        return
    taught = read_about(student)["provenance"].get("teachers")
    if taught and _run_folder(student) is not None:
        console.print(
            f"teachers=true out={student.parent} scores this run's teachers too ({len(taught)}), and interference among them",
        )


def _without_generic(data: Dataset, student: Path) -> Dataset:
    """Leaves out the domains that were nobody's when the student was trained."""
    seen = read_about(student)["provenance"].get("data")
    # An adapted student of an earlier version has a fingerprint there.
    roles = seen.get("roles", {}) if isinstance(seen, dict) else {}
    generic = [domain for domain in generic_domains(roles) if domain in data.domains]
    if not generic:
        return data
    rest = [domain for domain in data.domains if domain not in generic]
    if not rest:
        raise DataError(
            f"nothing to score: {', '.join(generic)} was generic when {student} was trained; give data of your own domains"
        )
    console.print(f"left out, generic in training: {', '.join(generic)}")
    return data.select(domains=rest)
