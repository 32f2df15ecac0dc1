"""What an evaluation found, as values that are written to and read from `results.json`.

    {"version": 1, "split", "index_split", "seed", "resamples", "fingerprint", "date", "versions", "timing",
     "domains": [{"name", "num_queries", "num_index", "num_without_relevant"}],
     "num_images", "num_bad", "runs",
     "models": [{"name", "kind", "dim", "num_parameters", "ms_per_image", "note",
                 "scores": {"merged/R@1": {"macro": [mean, low, high], "domains": {name: [...]}}, ...},
                 "knn": {domain: [mean, low, high], ...}}],
     "knn_note": why a domain has no kNN score,
     "reference": name, "differences": [{"other", "key", "scores": {"macro": [...], "domains": {...}}}],
     "interference": null or {"baseline", "why", "key", "rows": {name: {"macro": [...], "domains": {...}}}}}

A mean and its 95 % interval are three numbers in [0, 1] (differences: [-1, 1]); NaN is null.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alumnus.data.names import printable
from alumnus.disk import replace_text
from alumnus.errors import ArtifactError
from alumnus.evaluation.compare import Interval
from alumnus.evaluation.encode import Kind
from alumnus.evaluation.retrieval import METRICS, PROTOCOLS

VERSION = 1
KEYS = tuple(f"{protocol}/{metric}" for protocol in PROTOCOLS for metric in METRICS)


@dataclass(frozen=True)
class Scores:
    """One metric of one model."""

    macro: Interval  # over domains, of equal weight
    domains: Mapping[str, Interval]  # those that have queries


@dataclass(frozen=True)
class DomainCount:
    """What a domain was scored on."""

    name: str
    num_queries: int
    num_index: int
    num_without_relevant: int  # queries whose class has no other image in the index; they score 0


@dataclass(frozen=True)
class ModelScores:
    """One model."""

    name: str
    kind: Kind
    dim: int | None  # width of the vector; None for the oracle, which has several
    num_parameters: int | None
    ms_per_image: float | None  # one image alone
    scores: Mapping[str, Scores]  # "merged/R@1", … -> scores
    knn: Mapping[str, Interval] = dataclasses.field(default_factory=dict)  # top-1 accuracy, by domain
    note: str = ""


@dataclass(frozen=True)
class Difference:
    """The reference model minus another, on the same queries."""

    other: str
    key: str
    scores: Scores


@dataclass(frozen=True)
class Interference:
    """Models minus a baseline, on the same queries: see interference.py."""

    baseline: str
    why: str  # it is the baseline
    key: str  # of the scores
    rows: Mapping[str, Scores]  # model -> difference


@dataclass(frozen=True)
class Results:
    """All models on one dataset."""

    split: str
    index_split: str | None  # None: leave-one-out within the split
    seed: int
    resamples: int
    fingerprint: str  # of the dataset
    date: str
    versions: Mapping[str, str]
    timing: str  # how ms_per_image was measured
    domains: tuple[DomainCount, ...]
    num_images: int
    num_bad: int
    models: tuple[ModelScores, ...]
    knn_note: str
    reference: str
    differences: tuple[Difference, ...]
    runs: int = 1  # more than 1: means over seeds, see seeds.py
    interference: Interference | None = None  # where teachers were scored

    def model(self, name: str | None = None) -> ModelScores:
        """Returns the model of that name, the reference model by default."""
        return next(model for model in self.models if model.name == (name or self.reference))

    def of_kind(self, *kinds: Kind) -> list[ModelScores]:
        """Returns the models of those kinds, in order."""
        return [model for model in self.models if model.kind in kinds]

    def difference(self, other: str, key: str) -> Scores | None:
        """Returns reference minus other, or None if they were not compared."""
        found = (d.scores for d in self.differences if d.other == other and d.key == key)
        return next(found, None)

    def flat(self, name: str | None = None) -> dict[str, float]:
        """Returns 'merged/R@1' (macro), 'merged/R@1/<domain>', …, 'knn/<domain>' -> mean, of one model."""
        model, flat = self.model(name), dict[str, float]()
        for key, scores in model.scores.items():
            flat[key] = scores.macro.mean
            flat |= {f"{key}/{domain}": interval.mean for domain, interval in scores.domains.items()}
        return flat | {f"knn/{domain}": interval.mean for domain, interval in model.knn.items()}

    def to_json(self) -> str:
        """Returns the text of `results.json`."""
        return json.dumps({"version": VERSION, **_plain(dataclasses.asdict(self))}, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Results:
        """Returns the results in a text.

        Raises:
            ArtifactError: it is not what `to_json` writes.
        """
        try:
            found = json.loads(text)
            if (version := found.pop("version")) != VERSION:
                raise ArtifactError(f"results.json is of version {version!r}, not {VERSION}; evaluate again")
            found["models"] = tuple(_model(model) for model in found["models"])
            found["domains"] = tuple(DomainCount(**domain) for domain in found["domains"])
            found["differences"] = tuple(
                Difference(d["other"], d["key"], _scores(d["scores"])) for d in found["differences"]
            )
            if (matrix := found.get("interference")) is not None:
                rows = {name: _scores(row) for name, row in matrix["rows"].items()}
                found["interference"] = Interference(**{**matrix, "rows": rows})
            return cls(**found)
        except ArtifactError:
            raise
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            raise ArtifactError(f"results.json is damaged ({error!r}); evaluate again") from error


def read_results(path: Path) -> Results:
    """Returns the results of a file.

    Raises:
        ArtifactError: there is none, or it is damaged.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{printable(path)} cannot be read: {error}") from error
    return Results.from_json(text)


def write_results(results: Results, path: Path) -> Path:
    """Writes the file in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return replace_text(path, results.to_json())


def _plain(value: Any) -> Any:
    """JSON has no NaN."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _interval(found: Sequence[float | None]) -> Interval:
    mean, low, high = (math.nan if number is None else float(number) for number in found)
    return Interval(mean, low, high)


def _intervals(found: Mapping[str, Sequence[float | None]]) -> dict[str, Interval]:
    return {name: _interval(numbers) for name, numbers in found.items()}


def _scores(found: Mapping[str, Any]) -> Scores:
    return Scores(_interval(found["macro"]), _intervals(found["domains"]))


def _model(found: Mapping[str, Any]) -> ModelScores:
    scores = {key: _scores(value) for key, value in found["scores"].items()}
    return ModelScores(**{**found, "scores": scores, "knn": _intervals(found["knn"])})
