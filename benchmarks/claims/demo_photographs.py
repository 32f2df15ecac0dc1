"""Can the demo's student keep its first weights' photographs? python benchmarks/claims/demo_photographs.py runs/demo runs/photographs

The demo's student (MobileNetV2 from ImageNet weights, four experts and a generalist, drawings and satellite pictures) again, in other
settings, from the experts of a demo that is there. No test image takes part. Scored are R@1 on the demo's validation classes, all domains
in one index, macro mean; and photographs of GCompris and Tux Paint, their training and validation parts together: nearest class mean of
the backbone's summary from 10 % and from half of the labels, asked of the rest, mean of 20 draws. Some arms see the training part of those
photographs, without labels, of which the generalist alone speaks.

Prints a Markdown table, and writes demo_photographs.json beside this file. Eight minutes an arm on one idle core; what is there already is
kept. `--steps 4` is a smoke run, with a folder of its own; it does not write that file.

Axes: Q images.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from classifiers import kept, settle

from alumnus import datasets
from alumnus.adaptation.prototype import fit_prototypes
from alumnus.data.dataset import Dataset, open_dataset
from alumnus.data.fractions import label_fraction
from alumnus.demo import DOMAINS, SIZE, STEPS
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

PHOTOS = ("gcompris", "tuxpaint")
SHARES, DRAWS = (0.1, 0.5), 20  # of the labels
AGGLOMERATE = {"method": {"name": "agglomerate"}}
FROZEN_3 = {"optim": {"backbone_lr": 0.3, "batch_norm": "frozen"}}
FROZEN_1 = {"optim": {"backbone_lr": 0.1, "batch_norm": "frozen"}}
ARMS: dict[str, dict[str, Any]] = {  # settings that are not the demo's; "photographs" adds them to the data
    "the demo's": {},
    "plain, backbone .3, norms frozen": FROZEN_3,
    "agglomerate, backbone .3, norms frozen": {**AGGLOMERATE, **FROZEN_3},
    "agglomerate, backbone .1, norms frozen": {**AGGLOMERATE, **FROZEN_1},
    "the same, photographs": {**AGGLOMERATE, **FROZEN_1, "photographs": True},
    "agglomerate, backbone .3, photographs": {
        **AGGLOMERATE,
        "optim": {"backbone_lr": 0.3},
        "photographs": True,
    },
}


def main() -> None:
    """Prints the table, and writes the numbers beside this file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("demo", type=Path, help="a run of `alumnus demo`, whose experts teach")
    parser.add_argument("out", type=Path, help="folder of the students; what is there is kept")
    parser.add_argument("--steps", type=int, default=STEPS)
    asked = parser.parse_args()
    settle(asked.out, {"demo": str(asked.demo), "steps": asked.steps})
    first = build_student(load_config(asked.demo / "config.yaml", out=asked.out / "none"))
    found = {"first weights": kept(asked.out / "first.json", lambda: scored(first.eval()))}
    for arm, settings in ARMS.items():
        name = arm.replace(", ", "-").replace(" ", "-").replace("'", "")
        folder = asked.out / name
        config = configured(asked.demo, folder, asked.steps, **settings)
        found[arm] = kept(
            folder.with_name(f"{name}.json"),
            lambda config=config: scored(load_student(train(config).student).eval()),  # type: ignore[misc]
        )
    if asked.steps >= STEPS:
        Path(__file__).with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(f"| | {' | '.join(found['first weights'])} |\n|---|{'---:|' * len(found['first weights'])}")
    for arm, cells in found.items():
        print(f"| {arm} | {' | '.join(f'{cell:.3f}' for cell in cells.values())} |")


def configured(demo: Path, out: Path, steps: int, *, photographs: bool = False, **settings: Any) -> Config:
    """Returns the demo's recipe of the student with other settings."""
    theirs = load_config(demo / "config.yaml", out=out).model_dump()
    if photographs:
        theirs["data"] = [*theirs["data"], *(str(datasets.get(name)) for name in PHOTOS)]
    optim = {**theirs["optim"], **settings.pop("optim", {})}
    return load_config(**{**theirs, **settings, "optim": optim, "steps": steps, "out": out})


def scored(student: Student) -> dict[str, float]:
    """Returns R@1 on the validation classes and the accuracies on photographs."""
    found = {"R@1": _merged(student)}
    summary = CallableEncode(lambda image: student(image).features.summary, name="summary", size=SIZE)
    for name in PHOTOS:
        data = open_dataset(datasets.get(name))
        rows = np.flatnonzero(np.isin(data.split, ("train", "val")) & (data.label >= 0))
        vectors = _encoded(summary, data, rows)
        label = np.unique(data.label[rows], return_inverse=True)[1]
        for share in SHARES:
            draws = [_few_labels(vectors, label, share=share, seed=seed) for seed in range(DRAWS)]
            found[f"{name}, {share:.0%}"] = float(np.mean(draws))
    return found


def _merged(student: Student) -> float:
    """Leave-one-out R@1 of validation images, all domains in one index, macro mean over domains."""
    data = open_dataset([str(datasets.get(name, size=SIZE)) for name in DOMAINS])
    rows = np.flatnonzero((data.split == "val") & (data.label >= 0))
    vectors = _encoded(StudentEncode(student), data, rows)
    every = np.arange(len(rows))
    found = retrieve(vectors, domain=data.domain[rows], label=data.label[rows], queries=every, index=every)
    asked = found.relevant > 0
    return macro(found.merged.recall[asked], found.domain[asked])


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
