"""Exact retrieval at UnED's size beside faiss's flat index alone: python benchmarks/speed/retrieval.py

242,000 queries, 1.4 million index vectors of 64 numbers, 8 domains. Ours includes unit lengths, both protocols, ties by id and the
metrics; faiss's is building its index and searching once. Each measurement is a process of its own; the two alternate. About half an hour a
round on 2 cores; `--scale 0.1` takes a tenth of both and a hundredth of the time. `--peer` compares with pytorch-metric-learning's
accuracy calculator on 60,000 vectors instead, in whatever environment runs this file (it must have that package).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time

import numpy as np

QUERIES, INDEX, WIDTH, DOMAINS, CLASS = 242_000, 1_400_000, 64, 8, 6
PEER = 60_000


def vectors(count: int, *, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns (count, 64) float32 in classes of six around their middles, and domain and label of each."""
    draw = np.random.default_rng(seed)
    label = draw.integers(0, count // CLASS, count)
    middles = draw.standard_normal((count // CLASS, WIDTH), dtype=np.float32)
    noise = draw.standard_normal((count, WIDTH), dtype=np.float32)
    return middles[label] + 0.7 * noise, label % DOMAINS, label


def ours(queries: int, index: int) -> float:
    """Seconds of the whole evaluation."""
    from alumnus.evaluation.retrieval import macro, retrieve

    x, domain, label = vectors(index + (queries if queries != index else 0), seed=0)
    rows = np.arange(len(x))
    asked = rows[-queries:]
    started = time.perf_counter()
    found = retrieve(x, domain=domain, label=label, queries=asked, index=rows[:index])
    for ranking in (found.merged, found.separate):
        for metric in ("R@1", "mMP@5"):
            macro(ranking.metric(metric), found.domain)
    return time.perf_counter() - started


def faiss_alone(queries: int, index: int) -> float:
    """Seconds of one search of five neighbours."""
    import faiss

    x, _, _ = vectors(index + (queries if queries != index else 0), seed=0)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    started = time.perf_counter()
    flat = faiss.IndexFlatIP(WIDTH)
    flat.add(x[:index])
    flat.search(np.ascontiguousarray(x[-queries:]), 5)
    return time.perf_counter() - started


def metric_learning(queries: int, index: int) -> float:
    """Seconds of pytorch-metric-learning's calculator: precision at 1 and at R, leave one out."""
    import torch
    from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator

    x, _, label = vectors(index, seed=0)
    calculator = AccuracyCalculator(include=("precision_at_1",), k=5)
    started = time.perf_counter()
    calculator.get_accuracy(torch.from_numpy(x), torch.from_numpy(label))
    return time.perf_counter() - started


WAYS = {"ours": ours, "faiss": faiss_alone, "pytorch-metric-learning": metric_learning}


def measure(way: str, queries: int, index: int) -> dict[str, float]:
    """Seconds and peak resident GiB, in a process of its own."""
    command = [sys.executable, __file__, "--way", way, "--sizes", str(queries), str(index)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main() -> None:
    """Prints one JSON line a round, then the medians."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--peer", action="store_true")
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--sizes", type=int, nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.way:
        seconds = WAYS[asked.way](*asked.sizes)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(json.dumps({"seconds": seconds, "GiB": peak}))
        return
    sizes = (PEER, PEER) if asked.peer else (int(QUERIES * asked.scale), int(INDEX * asked.scale))
    other = "pytorch-metric-learning" if asked.peer else "faiss"
    ratios = []
    for _ in range(asked.rounds):
        found = {way: measure(way, *sizes) for way in (other, "ours")}
        ratios.append(found["ours"]["seconds"] / found[other]["seconds"])
        print(json.dumps({**found, "ours / other": ratios[-1]}), flush=True)
    print(json.dumps({"sizes": sizes, "median": statistics.median(ratios), "cores": os.cpu_count()}))


if __name__ == "__main__":
    main()
