"""`audit`: what each teacher of a recipe is worth, on which domains, at what cost, under which licence; before anything is trained.

    alumnus teachers audit recipe.yaml out=audit/

The way: a sample of each domain (`sample`), its numbers (`measure`), the three rules (`suggest`), all of it as values (`facts`).
"""

from __future__ import annotations

import datetime
import importlib.metadata
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import yaml

from alumnus.auditing.facts import Audit, DataLicence, Suggestion, TeacherAudit, write_json
from alumnus.auditing.measure import Reading, measure
from alumnus.auditing.sample import samples
from alumnus.auditing.suggest import suggest
from alumnus.curation.licences import licences
from alumnus.data.dataset import open_dataset
from alumnus.data.quarantine import Quarantine
from alumnus.disk import check_writable
from alumnus.errors import ConfigError
from alumnus.evaluation.arrays import Floats
from alumnus.evaluation.encode import TeacherEncode
from alumnus.evaluation.pairwise import pairwise
from alumnus.evaluation.rank import effective_rank, top_variance
from alumnus.evaluation.vectors import ms_per_image
from alumnus.licences import licence_warning
from alumnus.log import progress
from alumnus.models.cost import counted
from alumnus.teachers import describe, load_teacher
from alumnus.teachers.spec import Given, TeacherSpec
from alumnus.teachers.targets import Live, TargetSource, is_constant
from alumnus.teachers.teacher import SMALLEST_BATCH, Teacher
from alumnus.training.build import pick_device
from alumnus.training.config import Config
from alumnus.training.recipe import load_without_student

TIMED_BATCH = 8  # images: teachers work in batches when they teach, and 8 of them fit everywhere
LIMIT = 1000  # images of a domain: R@1 to three points or so


def audit(
    recipe: str | Path | None = None,
    words: Sequence[str] = (),
    /,
    *,
    data: str | Path | Sequence[str] | None = None,
    teachers: str | Sequence[Given] | None = None,
    domains: Sequence[str] | None = None,
    out: Path | None = None,
    limit: int = LIMIT,
    batch_size: int = 64,
    workers: int = 2,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    seed: int = 0,
) -> Audit:
    """Returns what the teachers of a recipe, or those given, are worth on a sample of the data.

    >>> audit(data="dataset/", teachers=["timm/resnet18", "timm/vit_tiny_patch16_224"]).recipe  # doctest: +SKIP
    'teachers:\\n- model: timm/resnet18\\n  weight: 1.0\\n...'

    Args:
        recipe: a YAML file as for training; of it only teachers, data and domains are used.
        words: `a.b=c` changes of the recipe, such as `teachers.0.size=160`.
        data, teachers, domains: instead of the recipe's.
        out: a folder for `audit.json` and `quarantine.jsonl`; `report.audit.write_page` adds the page for people.
        limit: images of a domain, at most.
        batch_size, workers: of the reading.
        device: where the teachers run.
        seed: of the sample and the intervals.

    Raises:
        UserError: a setting, a teacher or the data is wrong.
        NonFiniteError: a teacher gives NaN or infinity.
    """
    if limit < 2:
        raise ConfigError(
            f"limit={limit}: an audit needs 2 images of a domain at least, and 50 with labels to decide anything"
        )
    if out is not None:
        check_writable(out, is_folder=True)
    config = _config(recipe, words, data=data, teachers=teachers, domains=domains)
    opened = open_dataset(config.data)
    chosen = opened.select(domains=config.domains)
    drawn = samples(chosen, limit=limit, seed=seed)
    place = pick_device(device)
    loaded = [load_teacher(spec, device=place) for spec in progress(config.teachers, "load teachers")]
    speakers = [Live(teacher, about=describe(teacher)) for teacher in loaded]
    TargetSource(speakers, domains=opened.domains, device=place)  # refuses what training would refuse
    encoders = [TeacherEncode(teacher) for teacher in loaded]
    quarantine = _quarantine(out, sum(len(sample.rows) for sample in drawn))
    reading = Reading(batch_size, workers, "cuda" if place.type == "cuda" else "cpu", seed)
    found = measure(encoders, chosen, drawn, reading, quarantine)
    times = ms_per_image(encoders, batch_size=TIMED_BATCH)
    facts = tuple(
        _teacher(teacher, found.overall[teacher.name], times[teacher.name])
        for teacher in progress(loaded, "cost and rank")
    )
    suggestions = suggest(facts, found.domains)
    result = Audit(
        teachers=facts,
        domains=tuple(found.domains),
        agreement=pairwise(found.overall, seed=seed, device=reading.device, label="all domains, agreement"),
        suggestions=suggestions,
        recipe=_recipe(config.teachers, suggestions),
        data_licences=tuple(
            DataLicence(*each, licence_warning(each.licence)) for each in licences(config.paths)
        ),
        num_images=sum(domain.num_images for domain in found.domains),
        num_bad=quarantine.count,
        limit=limit,
        seed=seed,
        fingerprint=opened.fingerprint,
        timing=f"median, batches of {TIMED_BATCH}, {torch.get_num_threads()} CPU threads, {_machine(place)}",
        date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        versions={"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in ("alumnus", "torch", "timm")},
    )
    if out is not None:
        write_json(result, out)
    return result


def _config(recipe: str | Path | None, words: Sequence[str], **given: Any) -> Config:
    """The whole recipe is checked; but it may lack what only training needs."""
    given = {name: value for name, value in given.items() if value is not None}
    if isinstance(given.get("teachers"), str):
        given["teachers"] = [given["teachers"]]
    config = load_without_student(recipe, words, **given)
    if not config.teachers:
        raise ConfigError("teachers: there is none to audit; give a recipe, or teachers=[timm/NAME, …]")
    return config


def _quarantine(out: Path | None, total: int) -> Quarantine:
    """An audit tells of bad images and goes on, however many; it is not resumed, so an old list goes."""
    path = None if out is None else out / "quarantine.jsonl"
    if path is not None:
        path.unlink(missing_ok=True)
    return Quarantine(path, total=total, max_bad_fraction=1.0)


def _teacher(teacher: Teacher, features: Floats, time_ms: float) -> TeacherAudit:
    norms = np.linalg.norm(features.astype(np.float64), axis=1)
    mean = float(norms.mean())
    grey = torch.full((2, 3, teacher.size, teacher.size), 0.5, device=teacher.device)
    return TeacherAudit(
        name=teacher.name,
        source=teacher.source,
        fingerprint=teacher.fingerprint,
        output=teacher.output,
        size=teacher.size,
        licence=teacher.licence,
        warning=licence_warning(teacher.licence),
        domains=teacher.domains,
        weight=teacher.weight,
        num_parameters=teacher.num_parameters,
        multiply_adds=counted(lambda: teacher(grey)) // SMALLEST_BATCH
        or None,  # 0: another library does the work
        ms_per_image=time_ms,
        num_features=teacher.num_features,
        norm=mean,
        norm_spread=float(norms.std()) / mean if mean else float("nan"),
        effective_rank=effective_rank(features),
        top_variance=top_variance(features),
        is_constant=is_constant(torch.from_numpy(features)),
    )


def _recipe(specs: Sequence[TeacherSpec], suggestions: Sequence[Suggestion]) -> str:
    """The `teachers:` part with what is suggested, a line a teacher; what is left out is named in a comment."""
    lines = list[str]()
    for spec, suggestion in zip(specs, suggestions, strict=True):
        if suggestion.is_kept:
            lines.append(f"  - {_flow(_entry(spec, suggestion))}")
        else:
            why = suggestion.reasons[-1].partition(" (")[0]
            lines.append(f"  # left out: {' '.join(f'{suggestion.teacher}, {spec.source}: {why}'.split())}")
    return "\n".join(["teachers:", *lines]) + "\n"


def _entry(spec: TeacherSpec, suggestion: Suggestion) -> dict[str, Any]:
    """What the recipe says, but for weight and domains; they are left out where they are the default."""
    entry = spec.model_dump(mode="json", exclude_unset=True, exclude={"weight", "domains"})
    if suggestion.weight != 1:
        entry["weight"] = suggestion.weight
    return entry if suggestion.domains is None else entry | {"domains": list(suggestion.domains)}


def _flow(entry: Mapping[str, Any]) -> str:
    return yaml.safe_dump(
        entry, sort_keys=False, allow_unicode=True, default_flow_style=True, width=1 << 16
    ).strip()


def _machine(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else (platform.machine() or "CPU")
