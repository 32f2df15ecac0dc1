"""Does a common feature space help a student of two different teachers? python benchmarks/claims/cfl.py runs/cfl

A residual network that knows digits (MNIST) and a small vision transformer that knows clothes (Fashion-MNIST) teach one student, from
scratch and without labels, to tell all 20 classes apart. Arms: distillation of the classes side by side, CFL, and CFL without one of its
parts or with another. Scored on test pictures of both, among all 20 classes, three seeds, each with teachers of its own.

Meant for half an hour on 2 idle cores, and not yet timed at full length; what is there already is kept. Writes cfl.json beside
this file. `--steps 2 --seeds 1` is a smoke run, with a folder of its own; it does not write that file.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from classifiers import SIZE, Pictures, ask, fit, folder_of, kept, minus, read, shown

from alumnus.log import read_metrics
from alumnus.models.artifact import load_student, save_student
from alumnus.models.student import Architecture, Student
from alumnus.training.loop import train
from alumnus.training.recipe import load_config

EMBED_DIM = 64
VIT = {"patch_size": 4, "embed_dim": 64, "depth": 3, "num_heads": 2}
CNN = {"channels": [24, 48, 96, 192]}
SETS = {"digits": "mnist_official", "clothes": "fashion_mnist_official"}
TEACHERS = {
    "digits": Architecture("resnet10t", SIZE, EMBED_DIM, CNN),
    "clothes": Architecture("vit_tiny_patch16_224", SIZE, EMBED_DIM, VIT),
}
FULL = 500  # steps; with fewer nothing is written beside this file
VIEWS = 2  # of each picture
KD = "KD"
ARMS: dict[str, dict[str, Any]] = {
    KD: {"common": 0, "reconstruction": 0},
    "CFL": {},
    "CFL, published kernels": {"kernels": "published"},
    "CFL without reconstruction": {"reconstruction": 0},
    "CFL without MMD": {"common": 0},
    "CFL and paired": {"paired": 10},
}


def main() -> None:
    """Prints a Markdown table, and writes all numbers beside this file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, help="folder of teachers and students; what is there is kept")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=FULL, help="of each student and teacher")
    asked = parser.parse_args()
    test = {slice_: read(name, "test") for slice_, name in SETS.items()}
    cells: dict[str, list[dict[str, Any]]] = {arm: [] for arm in ("teachers", *ARMS)}
    for seed in range(asked.seeds):
        out = asked.out / f"seed-{seed}"
        cells["teachers"].append(
            kept(out / "teachers.json", lambda out=out, seed=seed: _teach(out, test, seed, asked.steps))  # type: ignore[misc]
        )
        for arm in ARMS:
            cells[arm].append(
                kept(
                    out / f"{_file(arm)}.json",
                    lambda out=out, arm=arm, seed=seed: _learn(out, test, arm, seed, asked.steps),  # type: ignore[misc]
                )
            )
    found = {"steps": asked.steps, "seeds": asked.seeds, "arms": summary(cells)}
    if asked.steps >= FULL:
        Path(__file__).with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(markdown(found["arms"]))


def summary(cells: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Returns each arm's accuracies, ranks and differences to KD."""
    found: dict[str, Any] = {}
    for arm, runs in cells.items():
        found[arm] = {
            "accuracy": {slice_: [float(np.mean(run[slice_])) for run in runs] for slice_ in SETS},
            "rank": [run.get("rank") for run in runs],
        }
        if arm not in (KD, "teachers"):
            found[arm]["minus_KD"] = {
                slice_: minus([run[slice_] for run in runs], [run[slice_] for run in cells[KD]])._asdict()
                for slice_ in SETS
            }
    return found


def markdown(arms: dict[str, Any]) -> str:
    """Returns the table. The teachers' row is of each on its own classes alone, which is easier."""
    heads = ["arm", "dimensions of h"]
    for slice_ in SETS:
        heads += [slice_, "minus KD, over images", "over seeds"]
    lines = [f"| {' | '.join(heads)} |", "|---|" + "---:|" * (len(heads) - 1)]
    for arm, each in arms.items():
        ranks = [rank for rank in each["rank"] if rank is not None]
        cells = [arm, f"{np.mean(ranks):.1f}" if ranks else "–"]
        for slice_ in SETS:
            cells.append(f"{np.mean(each['accuracy'][slice_]):.3f}")
            differences = each.get("minus_KD", {}).get(slice_)
            cells += [shown(differences[over]) for over in differences] if differences else ["–", "–"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _teach(out: Path, test: dict[str, Pictures], seed: int, steps: int) -> dict[str, Any]:
    """Trains the two teachers, and says where each is right among its own classes."""
    right = {}
    for slice_, architecture in TEACHERS.items():
        train_part = read(SETS[slice_], "train")
        torch.manual_seed(seed)
        student = Student(architecture)
        student.classify({slice_: len(train_part.classes)})
        fit(student, train_part.image, train_part.label, steps=steps, seed=seed)
        save_student(student, out / "teachers" / slice_)
        right[slice_] = _right(ask(student, test[slice_].image), test[slice_].label)
    return right


def _learn(out: Path, test: dict[str, Pictures], arm: str, seed: int, steps: int) -> dict[str, Any]:
    """Trains one student, and says where it is right among all classes, and how many dimensions h filled in its last batches."""
    networks = {slice_: f"alumnus:{out / 'teachers' / slice_}" for slice_ in SETS}
    features = [{"model": model, "name": name} for name, model in networks.items()]
    logits = [
        {"model": model, "name": f"{name}_logits", "output": "logits"} for name, model in networks.items()
    ]
    config = load_config(
        out=out / _file(arm),
        data=[{"path": str(folder_of(name)), "role": "proxy"} for name in SETS.values()],
        student={"model": "timm/resnet10t", "model_args": CNN},
        teachers=logits if arm == KD else [*features, *logits],
        method={"name": "cfl", **ARMS[arm]},
        size=SIZE,
        embed_dim=EMBED_DIM,
        steps=steps,
        views={"flip": 0, "scale": [0.7, 1.0], "per_image": VIEWS},
        store=out / "store",  # of all arms
        seed=seed,
        workers=1,
        log_every=20 if steps >= 20 else 1,
    )
    run = train(config)
    student = load_student(run.student)
    found: dict[str, Any] = {}
    first = 0
    for (slice_, pictures), count in zip(test.items(), student.classes.values(), strict=True):
        found[slice_] = _right(ask(student, pictures.image), pictures.label + first)
        first += count
    last = list(read_metrics(run.folder / "metrics.jsonl"))[-1]
    return {**found, "rank": last.get("rank")}


def _right(logits: np.ndarray, label: np.ndarray) -> list[int]:
    return [int(right) for right in logits.argmax(1) == label]


def _file(arm: str) -> str:
    return arm.replace(", ", "-").replace(" ", "-")


if __name__ == "__main__":
    main()
