"""Do batch norms of single-domain batches cost what UDON's students lose? python benchmarks/claims/domain_statistics.py runs/udon UDON-0 …

A student that was trained on batches of one domain saw each with that domain's mean and variance, and is served with an average of all.
Here the running statistics of trained students (runs of `udon.py`) are measured again on training images: of all domains mixed, or of each
domain alone, which then encodes its own images; that one has to be told the domain. Nothing is trained, and nothing else changes. Scores
are macro R@1 of the validation classes, merged and within domains.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from torch import Tensor
from udon import DOMAINS

from alumnus import datasets
from alumnus.data.dataset import Dataset, open_dataset
from alumnus.data.loader import center_crop_batches
from alumnus.demo import SIZE
from alumnus.evaluation.encode import StudentEncode
from alumnus.evaluation.retrieval import macro, retrieve
from alumnus.evaluation.vectors import encode_paths
from alumnus.models.artifact import load_student
from alumnus.models.merge import reestimate
from alumnus.models.student import Student

IMAGES = 512  # of each domain, of which its statistics are measured
Ids = npt.NDArray[np.int64]


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, help="the folder that udon.py was given")
    parser.add_argument("names", nargs="+", help="such as UDON-0")
    parser.add_argument("--split", default="val")
    asked = parser.parse_args()
    dataset = open_dataset([str(datasets.get(name, size=SIZE)) for name in DOMAINS])
    rows = np.flatnonzero(dataset.split == asked.split)
    print("| run | statistics | merged | separate | " + " | ".join(DOMAINS) + " |")
    print("|---|---|" + "---:|" * (2 + len(DOMAINS)))
    for name in asked.names:
        folder = asked.runs / name / "student"
        mixed, alone = load_student(folder), np.empty((len(rows), load_student(folder).embed_dim), np.float32)
        _measure(mixed, dataset, range(len(DOMAINS)))
        for domain in range(len(DOMAINS)):
            student, here = load_student(folder), dataset.domain[rows] == domain
            _measure(student, dataset, [domain])
            alone[here] = _encoded(student, dataset, rows[here])
        ways = {
            "as trained": _encoded(load_student(folder), dataset, rows),
            "of all domains, mixed": _encoded(mixed, dataset, rows),
            "of its own domain": alone,
        }
        for way, vectors in ways.items():
            print(f"| {name} | {way} | {_scores(vectors, dataset, rows)} |", flush=True)


def _measure(student: Student, dataset: Dataset, domains: Sequence[int]) -> None:
    reestimate(student, _batches(student, dataset, domains))


def _batches(student: Student, dataset: Dataset, domains: Sequence[int]) -> Iterator[Tensor]:
    generator = np.random.default_rng(0)
    train = [np.flatnonzero((dataset.split == "train") & (dataset.domain == domain)) for domain in domains]
    rows = generator.permutation(np.concatenate([generator.permutation(each)[:IMAGES] for each in train]))
    paths = [dataset.paths[row] for row in rows]
    for _, images, _ in center_crop_batches(paths, sizes=(student.size,), batch_size=64, workers=1):
        if len(images[student.size]) > 1:
            yield images[student.size]


def _encoded(student: Student, dataset: Dataset, rows: Ids) -> npt.NDArray[np.float32]:
    paths = [dataset.paths[row] for row in rows]
    return encode_paths([StudentEncode(student)], paths, workers=1).of["student"]


def _scores(vectors: npt.NDArray[np.float32], dataset: Dataset, rows: Ids) -> str:
    label, every = dataset.label[rows], np.arange(len(rows))
    found = retrieve(
        vectors, domain=dataset.domain[rows], label=label, queries=every[label >= 0], index=every
    )
    merged, separate = (found.ranking(protocol).metric("R@1") for protocol in ("merged", "separate"))
    each = [merged[found.domain == domain].mean() for domain in range(len(DOMAINS))]
    means = macro(merged, found.domain), macro(separate, found.domain)
    return " | ".join(f"{value:.3f}" for value in (*means, *each))


if __name__ == "__main__":
    main()
