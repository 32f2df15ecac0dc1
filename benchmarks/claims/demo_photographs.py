"""Can the demo's student keep its first weights' photographs?

python benchmarks/claims/demo_photographs.py runs/demo runs/photographs --seeds 3

The demo's student (MobileNetV2 from ImageNet weights, four experts and a generalist, drawings and satellite pictures) again, in other
settings, from the experts of a demo that is there. No test image takes part. Scored are R@1 on the demo's validation classes, all domains
in one index, macro mean; and photographs of GCompris and Tux Paint, their training and validation parts together: nearest class mean of
the backbone's summary from 10 % and from half of the labels, asked of the rest, mean of 20 draws. Some arms see the training part of those
photographs, without labels, of which the generalist alone speaks.

Prints a Markdown table, and writes demo_photographs.json beside this file. Eight minutes an arm on one idle core; what is there already is
kept. `--seeds 3` repeats the decisive arms from the experts of `alumnus demo --seeds 3`; `--steps 4` is a smoke run, with a folder of its
own, and does not write that file.

Axes: Q images.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from classifiers import kept, settle

from alumnus import datasets
from alumnus.adaptation.prototype import fit_prototypes
from alumnus.data.dataset import Dataset, open_dataset
from alumnus.data.fractions import label_fraction
from alumnus.demo import DOMAINS, PHOTOGRAPHS, SIZE, STEPS, folder_of
from alumnus.evaluation.arrays import Floats, Ids
from alumnus.evaluation.encode import CallableEncode, StudentEncode
from alumnus.evaluation.retrieval import macro, retrieve
from alumnus.evaluation.search import unit_length
from alumnus.evaluation.vectors import encode_paths
from alumnus.models.artifact import load_student
from alumnus.models.student import Student
from alumnus.training.build import build_student
from alumnus.training.config import Config
from alumnus.training.loop import train
from alumnus.training.recipe import load_config
from alumnus.types import Encode

SHARES, DRAWS = (0.1, 0.5), 20  # of the labels
PLAIN, AGGLOMERATE = {"method": "plain"}, {"method": "agglomerate"}
FROZEN = {"batch_norm": "frozen"}
ARMS: dict[str, dict[str, Any]] = {  # "photographs" adds them to the data
    "plain": PLAIN,
    "plain, backbone .3, norms frozen": {**PLAIN, "optim": {"backbone_lr": 0.3, **FROZEN}},
    "agglomerate, backbone .3, norms frozen": {**AGGLOMERATE, "optim": {"backbone_lr": 0.3, **FROZEN}},
    "agglomerate, backbone .1, norms frozen": {**AGGLOMERATE, "optim": {"backbone_lr": 0.1, **FROZEN}},
    "the same, photographs": {
        **AGGLOMERATE,
        "optim": {"backbone_lr": 0.1, **FROZEN},
        "photographs": True,
    },
    "agglomerate, backbone .3": {**AGGLOMERATE, "optim": {"backbone_lr": 0.3}},
    "agglomerate, backbone .3, photographs": {
        **AGGLOMERATE,
        "optim": {"backbone_lr": 0.3},
        "photographs": True,
    },
}
REPEATED = ("plain", "agglomerate, backbone .3, photographs")  # by every seed


def main() -> None:
    """Prints the table, and writes the numbers beside this file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("demo", type=Path, help="a run of `alumnus demo`, whose experts teach")
    parser.add_argument("out", type=Path, help="folder of the students; what is there is kept")
    parser.add_argument("--seeds", type=int, default=1, help="as many as the demo had")
    parser.add_argument("--steps", type=int, default=STEPS)
    asked = parser.parse_args()
    found = [
        one_seed(folder_of(asked.demo, seed), folder_of(asked.out, seed), seed=seed, steps=asked.steps)
        for seed in range(asked.seeds)
    ]
    if asked.steps >= STEPS:
        Path(__file__).with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    columns = list(found[0]["first weights"])
    print(f"| | seeds | {' | '.join(columns)} |\n|---|---:|{'---:|' * len(columns)}")
    for arm in found[0]:
        theirs = [cells[arm] for cells in found if arm in cells]
        print(
            f"| {arm} | {len(theirs)} | {' | '.join(_cell([each[key] for each in theirs]) for key in columns)} |"
        )


def one_seed(demo: Path, out: Path, *, seed: int, steps: int) -> dict[str, dict[str, float]]:
    """Returns the scores of each arm from the experts of one demo: all arms with seed 0, the decisive ones with the others."""
    settle(out, {"demo": str(demo), "steps": steps})
    first = build_student(load_config(demo / "config.yaml", out=out / "none"))
    found = {"first weights": kept(out / "first.json", lambda: scored(first.eval()))}
    for arm in ARMS if seed == 0 else REPEATED:
        name = arm.replace(", ", "-").replace(" ", "-")
        config = configured(demo, out / name, steps, **ARMS[arm])
        found[arm] = kept(
            out / f"{name}.json",
            lambda config=config: scored(load_student(train(config).student).eval()),  # type: ignore[misc]
        )
    return found


def _cell(values: Sequence[float]) -> str:
    """The mean over seeds, and the standard deviation where there are several."""
    mean = float(np.mean(values))
    return f"{mean:.3f}" if len(values) == 1 else f"{mean:.3f} ± {np.std(values, ddof=1):.3f}"


def configured(demo: Path, out: Path, steps: int, *, photographs: bool = False, **settings: Any) -> Config:
    """Returns the demo's recipe of the student, its method and rates replaced."""
    theirs = load_config(demo / "config.yaml", out=out).model_dump(exclude={"method", "optim", "data"})
    data: list[Any] = [str(datasets.get(name, size=SIZE)) for name in DOMAINS]
    if photographs:
        data += [{"path": str(datasets.get(name)), "role": "generic"} for name in PHOTOGRAPHS]
    return load_config(**{**theirs, **settings, "data": data, "steps": steps, "out": out})


def scored(student: Student) -> dict[str, float]:
    """Returns R@1 on the validation classes and the accuracies on photographs."""
    found = {"R@1": macro(*hits(student))}
    summary = CallableEncode(lambda image: student(image).features.summary, name="summary", size=SIZE)
    for name in PHOTOGRAPHS:
        data = open_dataset(datasets.get(name))
        rows = np.flatnonzero(np.isin(data.split, ("train", "val")) & (data.label >= 0))
        vectors = _encoded(summary, data, rows)
        label = np.unique(data.label[rows], return_inverse=True)[1]
        for share in SHARES:
            draws = [_few_labels(vectors, label, share=share, seed=seed) for seed in range(DRAWS)]
            found[f"{name}, {share:.0%}"] = float(np.mean(draws))
    return found


def hits(student: Student) -> tuple[Floats, Ids]:
    """Returns leave-one-out R@1 (Q,) of validation images, all domains in one index, and their domains (Q,)."""
    data = open_dataset([str(datasets.get(name, size=SIZE)) for name in DOMAINS])
    rows = np.flatnonzero((data.split == "val") & (data.label >= 0))
    vectors = _encoded(StudentEncode(student), data, rows)
    every = np.arange(len(rows))
    found = retrieve(vectors, domain=data.domain[rows], label=data.label[rows], queries=every, index=every)
    asked = found.relevant > 0
    return found.merged.recall[asked], found.domain[asked]


def _few_labels(vectors: Floats, label: Ids, *, share: float, seed: int) -> float:
    """Accuracy of the nearest class mean, as `alumnus adapt` has it, of vectors (Q, D) on those whose label is not among the share."""
    known = label_fraction(label, share, seed)
    mean = fit_prototypes({"summary": vectors[known]}, label[known]).mean
    rest = np.setdiff1d(np.arange(len(label)), known)
    closeness = 2 * unit_length(vectors[rest]) @ mean.T - (mean**2).sum(1)
    return float((closeness.argmax(1) == label[rest]).mean())


def _encoded(model: Encode, data: Dataset, rows: Ids) -> Floats:
    return encode_paths([model], [data.paths[row] for row in rows], workers=0).of[model.name]


if __name__ == "__main__":
    main()
