"""How much more do UDON's teachers know than the student that they teach? python benchmarks/claims/udon_heads.py runs/udon-heads

UDON as `udon.py` has it, but its teachers (a 256-D head for each domain on the common backbone) are kept with the student. Each image of
the validation classes is searched among those of its own domain, by the student's 64 dimensions and by its domain's teacher: a student
cannot learn from a teacher what the teacher does not know. `mixed` has mixed batches. Five minutes a seed and arm on an idle core; what is
there is kept. Intervals: bootstrap over queries of the mean over seeds, paired.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from udon import BASE, DOMAINS, arms

import alumnus
from alumnus import datasets
from alumnus.data.dataset import Dataset, open_dataset
from alumnus.demo import SIZE
from alumnus.evaluation.compare import Interval, resample
from alumnus.evaluation.retrieval import retrieve
from alumnus.training.loop import train
from alumnus.training.recipe import laid_over, read_values, validated


def main() -> None:
    """Prints a table for each arm."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, help="folder of the runs; what is there already is kept")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--arms", nargs="*", default=["UDON", "mixed"], choices=["UDON", "mixed"])
    parser.add_argument("--set", nargs="*", default=[], metavar="a.b=c", help="settings of all arms")
    asked = parser.parse_args()
    data = [str(datasets.get(name, size=SIZE)) for name in DOMAINS]
    dataset = open_dataset(data)
    for arm in asked.arms:
        found = []
        for seed in range(asked.seeds):
            settings: Mapping[str, Any] = {**BASE, "data": data, "seed": seed, "steps": asked.steps}
            settings = {**settings, **arms(asked.steps)[arm]}
            method = (
                settings["method"] if isinstance(settings["method"], dict) else {"name": settings["method"]}
            )
            settings = {**settings, "method": {**method, "keep_heads": True}}
            out = asked.out / f"{arm}-{seed}"
            run = train(validated({**laid_over(settings, read_values(None, asked.set)), "out": out}))
            found.append(recalls(run.student, dataset))
        print(markdown(arm, found, dataset.domains))


def recalls(student: Path, dataset: Dataset) -> dict[str, np.ndarray]:
    """Returns whether the nearest image of its domain is of its class, for every labelled validation image: by student, by teacher (Q,)."""
    encoder = alumnus.load(student)
    rows = np.flatnonzero((dataset.split == "val") & (dataset.label >= 0))
    parts: dict[str, list[np.ndarray]] = {"student": [], "teacher": [], "domain": []}
    for number, name in enumerate(dataset.domains):
        own = rows[dataset.domain[rows] == number]
        paths = [dataset.paths[row] for row in own]
        every, domain = np.arange(len(own)), np.zeros(len(own), np.int64)
        for who, space in (("student", None), ("teacher", name)):
            vectors = encoder.encode(paths, space=space)
            said = retrieve(vectors, domain=domain, label=dataset.label[own], queries=every, index=every)
            parts[who].append(said.merged.recall)
        parts["domain"].append(np.full(len(parts["student"][-1]), number))
    return {who: np.concatenate(each) for who, each in parts.items()}


def markdown(arm: str, found: list[dict[str, np.ndarray]], domains: tuple[str, ...]) -> str:
    """Returns R@1 in percent within each domain, and the teacher's minus the student's."""
    domain = found[0]["domain"]
    student, teacher = (np.mean([seed[who] for seed in found], axis=0) for who in ("student", "teacher"))
    drawn = resample(np.stack([student, teacher], axis=1), domain)
    lines = [
        f"\n{arm}, R@1 within the domain, {len(found)} seeds\n",
        "| domain | student, 64-D | teacher, 256-D | teacher minus student |",
        "|---|---:|---:|---:|",
        f"| macro | {_shown(drawn.macro(0))} | {_shown(drawn.macro(1))} | {_shown(drawn.difference(1, 0))} |",
    ]
    for number in drawn.domains:
        cells = [
            drawn.of_domain(number, 0),
            drawn.of_domain(number, 1),
            drawn.difference(1, 0, domain=number),
        ]
        lines.append(f"| {domains[number]} | {' | '.join(map(_shown, cells))} |")
    return "\n".join(lines)


def _shown(interval: Interval) -> str:
    mean, low, high = (100 * value for value in interval)
    return f"{mean:.1f} ({low:.1f} to {high:.1f})"


if __name__ == "__main__":
    main()
