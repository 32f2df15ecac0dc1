"""What does one student save beside a specialist for each domain? python benchmarks/speed/specialists.py runs/udon

Of the students in a folder of `benchmarks/claims/udon.py` and what that wrote down: parameters, steps of training, the time from an image
in memory to its ten nearest (encode and exact search, one query at a time), and the index. Specialists come in two ways: told each image's
domain, one of them encodes it and its domain's part of the index is searched, which is the oracle; not told, each encodes every image,
and each searches an index of its own. The three take turns. Run it on an idle machine.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import faiss
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from alumnus.evaluation.encode import StudentEncode
from alumnus.log import progress
from alumnus.models.artifact import load_student

COSTS = Path(__file__).parents[1] / "claims" / "udon.json"
ORACLE = "specialists, oracle"  # what udon.py calls all of them together
NEAREST = 10
Ask = Callable[[Tensor], object]


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, help="the folder that udon.py was given")
    parser.add_argument("--arm", default="UDON")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--index", type=int, default=100_000, help="images in the index, of all domains")
    parser.add_argument("--rounds", type=int, default=100, help="queries")
    asked = parser.parse_args()
    costs = json.loads(COSTS.read_text(encoding="utf-8"))["costs"]
    folders = sorted(asked.runs.glob(f"specialist-*-{asked.seed}"))
    student = _encode(asked.runs / f"{asked.arm}-{asked.seed}")
    specialists = [_encode(folder) for folder in folders]
    count = len(specialists)
    vectors = _vectors(asked.index)
    index, part = _searchable(vectors), _searchable(np.array_split(vectors, count)[0])
    ways: dict[str, tuple[str, int, int, Ask]] = {
        f"one student ({asked.arm})": (asked.arm, 1, len(vectors), lambda image: _ask(student, image, index)),
        f"{count} specialists, domain told": (
            ORACLE,
            1,
            len(vectors),
            lambda image: _ask(specialists[0], image, part),
        ),
        f"{count} specialists, not told": (
            ORACLE,
            count,
            count * len(vectors),
            lambda image: [_ask(specialist, image, index) for specialist in specialists],
        ),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    size = student.size
    for _ in progress(range(asked.rounds), "queries"):
        image = torch.randint(0, 256, (1, 3, size, size), dtype=torch.uint8)
        for name, (*_, ask) in ways.items():
            began = time.perf_counter()
            ask(image)
            times[name].append(time.perf_counter() - began)
    print(f"{torch.get_num_threads()} threads, index of {len(vectors):,} images, {size} px\n")
    print("| | M parameters | steps of training | passes a query | ms a query | index in MB |")
    print("|---|---:|---:|---:|---:|---:|")
    for name, (arm, passes, stored, _) in ways.items():
        spent = costs[arm]
        print(
            f"| {name} | {spent['parameters'] / 1e6:.1f} | {spent['steps']:,} | {passes} "
            f"| {1000 * float(np.median(times[name])):.1f} | {stored * vectors.nbytes / len(vectors) / 1e6:.0f} |"
        )


def _encode(run: Path) -> StudentEncode:
    return StudentEncode(load_student(run / "student"))


def _ask(encode: StudentEncode, image: Tensor, index: faiss.IndexFlatIP) -> object:
    return index.search(encode(image).numpy(), NEAREST)


def _searchable(vectors: npt.NDArray[np.float32]) -> faiss.IndexFlatIP:
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    return index


def _vectors(count: int) -> npt.NDArray[np.float32]:
    vectors = np.random.default_rng(0).standard_normal((count, 64), np.float32)
    unit: npt.NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


if __name__ == "__main__":
    main()
