"""The numbers of an audit, domain after domain, so that the memory does not grow with their number.

Held at once are the features of one domain's sample, and of `MOST` images of all domains; agreement is taken on `MOST` images at most.

Axes: N images of a domain, D width of a teacher, Q queries, T teachers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import numpy as np

from alumnus.auditing.facts import DomainAudit, Scores
from alumnus.auditing.sample import ENOUGH, Sample
from alumnus.data.dataset import Dataset
from alumnus.data.quarantine import Quarantine
from alumnus.errors import DataError
from alumnus.evaluation.arrays import Floats, Ids
from alumnus.evaluation.compare import Interval, Resampled, resample
from alumnus.evaluation.encode import PixelEncode
from alumnus.evaluation.knn import knn_predict
from alumnus.evaluation.pairwise import Pair, pairwise
from alumnus.evaluation.rank import effective_rank
from alumnus.evaluation.retrieval import retrieve
from alumnus.evaluation.vectors import encode_paths
from alumnus.log import progress
from alumnus.types import Encode

MOST = 1000  # images of an agreement, and of the sample of all domains


@dataclass(frozen=True)
class Reading:
    """How images are read and compared."""

    batch_size: int
    workers: int
    device: str  # of the search
    seed: int


class Measured(NamedTuple):
    """All domains, and features of a sample of them all."""

    domains: list[DomainAudit]
    overall: Mapping[str, Floats]  # teacher -> (up to MOST, D)


class _Seen(NamedTuple):
    """What the encoders say of the readable images of a domain."""

    vectors: dict[str, Floats]  # teacher -> (N, D)
    pixels: Floats  # (N, 192)
    label: Ids  # (N,), -1 where there is none


def measure(
    teachers: Sequence[Encode],
    data: Dataset,
    samples: Sequence[Sample],
    reading: Reading,
    quarantine: Quarantine,
) -> Measured:
    """Returns the numbers of each domain of which an image can be read; what cannot be read goes into the quarantine.

    Raises:
        DataError: not one image can be read.
    """
    domains, overall = list[DomainAudit](), list[Mapping[str, Floats]]()
    share = -(-MOST // len(samples))
    for number, sample in enumerate(samples, start=1):
        name = data.domains[sample.domain]
        seen = _encode(teachers, data, sample, reading, quarantine, label=f"{name} ({number}/{len(samples)})")
        if len(seen.label):
            domains.append(_domain(name, sample, seen, reading))
            chosen = _some(len(seen.label), share, seed=reading.seed)
            overall.append({teacher: vectors[chosen] for teacher, vectors in seen.vectors.items()})
    if not domains:
        raise DataError(
            f"not one of {quarantine.count} images could be read; {quarantine.rows[-1]['reason']}"
        )
    return Measured(domains, {t.name: np.concatenate([part[t.name] for part in overall]) for t in teachers})


def _encode(
    teachers: Sequence[Encode],
    data: Dataset,
    sample: Sample,
    reading: Reading,
    quarantine: Quarantine,
    *,
    label: str,
) -> _Seen:
    pixels = PixelEncode()
    paths = [data.paths[row] for row in sample.rows]
    found = encode_paths(
        [*teachers, pixels], paths, batch_size=reading.batch_size, workers=reading.workers, label=label
    )
    for place, reason in sorted(found.bad.items()):
        quarantine.add(data.file_names[sample.rows[place]], reason)
    readable = np.setdiff1d(np.arange(len(paths)), list(found.bad))
    vectors = {name: vectors[readable] for name, vectors in found.of.items()}
    return _Seen(vectors, vectors.pop(pixels.name), data.label[sample.rows[readable]])


def _domain(name: str, sample: Sample, seen: _Seen, reading: Reading) -> DomainAudit:
    queries = _queries(seen.label) if sample.is_labelled else np.empty(0, np.int64)
    best, pixels, scores, differences = _scores(name, seen, queries, reading) if len(queries) else _NO_SCORES
    some = _some(len(seen.label), MOST, seed=reading.seed)
    return DomainAudit(
        name,
        split=sample.split,
        num_images=len(seen.label),
        num_queries=len(queries),
        num_classes=len(np.unique(seen.label[queries])),
        best=best,
        pixels=pixels,
        scores=scores,
        differences=differences,
        agreement=pairwise(
            {teacher: vectors[some] for teacher, vectors in seen.vectors.items()},
            seed=reading.seed,
            device=reading.device,
            label=f"{name}, agreement",
        ),
        effective_rank={
            teacher: effective_rank(vectors)
            for teacher, vectors in progress(seen.vectors.items(), f"{name}, rank")
        },
        note=_note(sample, len(queries), pixels, scores, best),
    )


_Found = tuple[str | None, Interval | None, dict[str, Scores], dict[Pair, Interval]]
_NO_SCORES: _Found = (None, None, {}, {})


def _scores(name: str, seen: _Seen, queries: Ids, reading: Reading) -> _Found:
    """Returns the best teacher, the pixels' R@1, each teacher's scores and the differences of each pair."""
    teachers = list(seen.vectors)
    table = [*seen.vectors.values(), seen.pixels]
    recall = np.stack(
        [_recall(v, seen.label, queries, reading) for v in progress(table, f"{name}, retrieval")]
    )
    knn = [_knn(v, seen.label, queries, reading) for v in progress(table[:-1], f"{name}, kNN")]
    top, pixels = int(recall[:-1].mean(1).argmax()), len(teachers)
    half = (recall[top] + recall[pixels]) / 2
    columns = np.stack([*recall, half, *knn], axis=1)  # (Q, 2 T + 2)
    drawn = resample(columns, np.zeros(len(queries), np.int64), seed=reading.seed)
    scores = {t: _of_teacher(drawn, place, top, len(teachers)) for place, t in enumerate(teachers)}
    differences = {
        (teachers[a], teachers[b]): drawn.difference(a, b, domain=0)
        for a, b in combinations(range(len(teachers)), 2)
    }
    return teachers[top], drawn.of_domain(0, pixels), scores, differences


def _of_teacher(drawn: Resampled, place: int, top: int, num_teachers: int) -> Scores:
    """Columns: R@1 of T teachers, of the pixels, the middle; then kNN of T teachers."""
    return Scores(
        recall=drawn.of_domain(0, place),
        knn=drawn.of_domain(0, num_teachers + 2 + place),
        versus_best=drawn.difference(place, top, domain=0),
        versus_pixels=drawn.difference(place, num_teachers, domain=0),
        versus_half=drawn.difference(place, num_teachers + 1, domain=0),
    )


def _recall(vectors: Floats, label: Ids, queries: Ids, reading: Reading) -> Floats:
    """Returns (Q,) whether the nearest other image is of the same class."""
    domain, index = np.zeros(len(label), np.int64), np.arange(len(label))
    found = retrieve(vectors, domain=domain, label=label, queries=queries, index=index, device=reading.device)
    return found.separate.recall


def _knn(vectors: Floats, label: Ids, queries: Ids, reading: Reading) -> Floats:
    """Returns (Q,) whether the vote of the nearest other images is right."""
    _, code = np.unique(label, return_inverse=True)
    guess = knn_predict(vectors[queries], vectors, code, exclude=queries, device=reading.device)
    right: Floats = (guess == code[queries]).astype(np.float32)
    return right


def _queries(label: Ids) -> Ids:
    """Returns the places whose class has another image."""
    _, code, counts = np.unique(label, return_inverse=True, return_counts=True)
    return np.flatnonzero((label >= 0) & (counts[code] > 1))


def _some(count: int, most: int, *, seed: int) -> Ids:
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, most, replace=False))


def _note(
    sample: Sample, num_queries: int, pixels: Interval | None, scores: Mapping[str, Scores], best: str | None
) -> str:
    if not num_queries or pixels is None or best is None:
        return "no two images of one class have a label: no scores, agreement only"
    notes = []
    if num_queries < ENOUGH:
        notes.append(f"{num_queries} images with a partner of their class decide nothing; {ENOUGH} would")
    elif scores[best].versus_pixels.low <= 0:
        notes.append("no teacher is better than 8x8 pixels: there is little here to learn from them")
    if sample.split == "train":
        notes.append(
            "scored on the training split: a teacher that learnt these labels looks better than it is"
        )
    return "; ".join(notes)
