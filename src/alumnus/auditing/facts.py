"""What an audit found, as values, and as the JSON of `audit.json` (its keys are the names of the fields; NaN is null).

R@1 is leave-one-out within a domain: the nearest other image of the sample is of the same class. kNN is the vote of the 20 nearest.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from alumnus.disk import replace_text
from alumnus.evaluation.agreement import Agreement
from alumnus.evaluation.compare import Interval
from alumnus.evaluation.pairwise import Pair

VERSION = 1
FILE = "audit.json"


class Scores(NamedTuple):
    """One teacher on one domain; differences are paired, on the same queries."""

    recall: Interval  # R@1
    knn: Interval
    versus_best: Interval  # R@1 minus that of the domain's best teacher
    versus_pixels: Interval  # R@1 minus that of 8x8 pixels
    versus_half: Interval  # R@1 minus the middle between pixels and the best teacher


@dataclass(frozen=True)
class DomainAudit:
    """One domain. Without labels there are no scores, and `best` and `pixels` are None."""

    name: str
    split: str  # where its images are from: val, train or val+train
    num_images: int  # that could be read
    num_queries: int  # that have a class with another image
    num_classes: int
    best: str | None
    pixels: Interval | None  # R@1 of 8x8 pixels
    scores: Mapping[str, Scores]  # by teacher
    differences: Mapping[Pair, Interval]  # R@1 of the first minus the second
    agreement: Mapping[Pair, Agreement]
    effective_rank: Mapping[str, float]
    note: str = ""


@dataclass(frozen=True)
class TeacherAudit:
    """One teacher: what it is, what it costs, what its features look like on a sample of all domains."""

    name: str
    source: str
    fingerprint: str
    output: str
    size: int  # px
    licence: str
    warning: str | None  # about the licence
    domains: tuple[str, ...] | None  # on which the recipe trusts it; None is all
    weight: float  # in the recipe
    num_parameters: int | None  # None: not known
    multiply_adds: int | None  # of one image; None: not known
    ms_per_image: float  # see Audit.timing
    num_features: int  # D
    norm: float  # mean length of its features
    norm_spread: float  # standard deviation of the length over that mean
    effective_rank: float  # at most the smaller of D and the number of images - 1
    top_variance: float  # share of the variance along the first principal direction
    is_constant: bool = False  # its features are the same for all images


@dataclass(frozen=True)
class Suggestion:
    """What to write into the recipe about a teacher, and why."""

    teacher: str
    is_kept: bool
    domains: tuple[str, ...] | None  # to trust it on; None is all
    weight: float
    redundant_with: str | None
    reasons: tuple[str, ...]


class DataLicence(NamedTuple):
    """A licence that the data's folders name."""

    what: str
    licence: str
    warning: str | None


@dataclass(frozen=True)
class Audit:
    """Everything."""

    teachers: tuple[TeacherAudit, ...]
    domains: tuple[DomainAudit, ...]
    agreement: Mapping[Pair, Agreement]  # on a sample of all domains
    suggestions: tuple[Suggestion, ...]  # in the order of the teachers
    recipe: str  # the suggested `teachers:` part, as YAML
    data_licences: tuple[DataLicence, ...]
    num_images: int  # that could be read
    num_bad: int  # that could not
    limit: int  # images of a domain, at most
    seed: int
    fingerprint: str  # of the dataset
    timing: str  # how ms_per_image was measured
    date: str
    versions: Mapping[str, str]

    @property
    def warnings(self) -> dict[str, list[str]]:
        """What there is to say about a licence -> the teachers and parts of the data that it is said of."""
        found: dict[str, list[str]] = {}
        teachers = [(teacher.name, teacher.warning) for teacher in self.teachers]
        for name, warning in [*teachers, *((part.what, part.warning) for part in self.data_licences)]:
            if warning:
                found.setdefault(warning, []).append(name)
        return found

    def suggestion(self, teacher: str) -> Suggestion:
        """Returns what is suggested about a teacher."""
        return next(each for each in self.suggestions if each.teacher == teacher)


def write_json(found: Audit, folder: Path) -> Path:
    """Writes `audit.json` into a folder in one step, and returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {"version": VERSION, **_plain(found)}
    return replace_text(folder / FILE, json.dumps(content, indent=1, allow_nan=False) + "\n")


def _plain(value: Any) -> Any:
    """Named fields become keys, but intervals stay three numbers; pairs of names become `one | other`."""
    if isinstance(value, Interval):
        return [_plain(number) for number in value]
    if dataclasses.is_dataclass(value):
        return {field.name: _plain(vars(value)[field.name]) for field in dataclasses.fields(value)}
    if isinstance(value, tuple) and isinstance(value, (Scores, Agreement, DataLicence)):
        return {name: _plain(part) for name, part in value._asdict().items()}
    if isinstance(value, Mapping):
        return {
            " | ".join(key) if isinstance(key, tuple) else key: _plain(part) for key, part in value.items()
        }
    if isinstance(value, tuple):
        return [_plain(part) for part in value]
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    return value
