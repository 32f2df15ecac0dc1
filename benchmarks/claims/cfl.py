"""Does a common feature space help a student of two different teachers? python benchmarks/claims/cfl.py runs/cfl

A residual network that knows digits (MNIST) and a small vision transformer that knows clothes (Fashion-MNIST) teach one student, from
scratch and without labels, to tell all 20 classes apart. Arms: distillation of the classes side by side, CFL, and CFL without one of its
parts or with another. Scored on test pictures of both, among all 20 classes, three seeds, each with teachers of its own. Beside accuracy
stands the effective rank of the student's test pictures in the common space: how many dimensions they use, of 64 at most. The last step is
not in it: a run keeps its student alone, and the space has to come from a checkpoint.

`--trials` has validation pictures and the settings among which the default weight of the MMD was chosen, with `--seeds 1`.
`--long` has six times the steps, for the arms that are compared with distillation at length.
`--four` has four teachers instead, with characters in typefaces and scripts of the world, 97 classes, and few arms, DMC among them.

About an hour on one core, and as much for `--four` and `--long`. What is there already is kept, and a folder of other settings is refused.
Writes cfl.json beside this file, or cfl-long.json or cfl-four.json. `--steps 2 --seeds 1` is a smoke run, with a folder of its own; it does
not write that file.

Axes: Q pictures, H width of the common space.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from classifiers import SIZE, Pictures, ask, fit, folder_of, kept, minus, read, settle, shown
from torch import Tensor

from alumnus.errors import CheckpointError
from alumnus.evaluation.rank import effective_rank
from alumnus.methods.cfl import CommonFeatures
from alumnus.models.artifact import load_student, save_student
from alumnus.models.student import Architecture, Student
from alumnus.training.config import Config
from alumnus.training.course import prepare
from alumnus.training.loop import train
from alumnus.training.recipe import load_config
from alumnus.training.run import Run

EMBED_DIM = 64
VIT = {"patch_size": 4, "embed_dim": 64, "depth": 3, "num_heads": 2}
CNN = {"channels": [24, 48, 96, 192]}
SETS = {
    "digits": "mnist_official",
    "clothes": "fashion_mnist_official",
    "characters": "glyphs_fonts",
    "scripts": "scripts",
}
TEACHERS = {
    "digits": Architecture("resnet10t", SIZE, EMBED_DIM, CNN),
    "clothes": Architecture("vit_tiny_patch16_224", SIZE, EMBED_DIM, VIT),
    "characters": Architecture("resnet10t", SIZE, EMBED_DIM, CNN),
    "scripts": Architecture("vit_tiny_patch16_224", SIZE, EMBED_DIM, VIT),
}
TWO = ("digits", "clothes")
FULL, SEEDS = 500, 3  # steps and seeds; with fewer nothing is written beside this file
LONGER = 6  # times as many steps
VIEWS = 2  # of each picture
KD = "KD"
PUBLISHED = {"common": 10, "reconstruction": 10}  # weights; with four teachers 20
ARMS: dict[str, dict[str, Any]] = {
    KD: {"common": 0, "reconstruction": 0},
    "CFL": {**PUBLISHED},
    "CFL, published kernels": {**PUBLISHED, "kernels": "published"},
    "CFL without reconstruction": {**PUBLISHED, "reconstruction": 0},
    "CFL without MMD": {**PUBLISHED, "common": 0},
    "CFL and paired": {**PUBLISHED, "paired": 10},
    # By default kernels of the median rule have a hundredth of the weight, chosen on validation pictures among 10, 1 and 0.1.
    "CFL by default": {},
    "CFL by default without reconstruction": {"reconstruction": 0},
}
TRIALS = {
    "weight of MMD 10": {"common": 10},
    "weight of MMD 1": {"common": 1},
    "weight of MMD 0.1": {"common": 0.1},
    "1, reconstruction 1": {"common": 1, "reconstruction": 1},
    "1, paired 1": {"common": 1, "paired": 1},
    "1, summary alone": {"common": 1, "source": "summary"},
    "10, summary alone": {"common": 10, "source": "summary"},
}
# What centres the classifiers' logits, which are not on one scale, beside them.
CENTRED: dict[str, dict[str, Any]] = {"DMC": {}, "DMC with spread": {"spread": True}}
LONG = (KD, "CFL by default", "CFL by default without reconstruction")
OF_FOUR = (KD, "CFL by default", "CFL by default without reconstruction", *CENTRED)


def main() -> None:
    """Prints a Markdown table, and writes all numbers beside this file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, help="folder of teachers and students; what is there is kept")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--steps", type=int, help=f"of each student and teacher; by default {FULL}")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--four", action="store_true", help="four teachers and few arms, in another folder")
    kind.add_argument(
        "--long", action="store_true", help="six times the steps and few arms, in another folder"
    )
    kind.add_argument("--trials", action="store_true", help="other settings, on validation pictures")
    asked = parser.parse_args()
    full = FULL * LONGER if asked.long else FULL
    asked.steps = asked.steps or full
    slices = tuple(SETS) if asked.four else TWO
    arms = next(
        (
            named
            for is_asked, named in ((asked.four, OF_FOUR), (asked.long, LONG), (asked.trials, (KD, *TRIALS)))
            if is_asked
        ),
        tuple(ARMS),
    )
    settings = {"teachers": slices, "steps": asked.steps, **({"split": "val"} if asked.trials else {})}
    settle(asked.out, settings)
    test = {slice_: read(SETS[slice_], "val" if asked.trials else "test") for slice_ in slices}
    cells: dict[str, list[dict[str, Any]]] = {arm: [] for arm in ("teachers", *arms)}
    for seed in range(asked.seeds):
        out = asked.out / f"seed-{seed}"
        cells["teachers"].append(
            kept(out / "teachers.json", lambda out=out, seed=seed: _teach(out, test, seed, asked.steps))  # type: ignore[misc]
        )
        for arm in arms:
            cells[arm].append(
                kept(
                    out / f"{_file(arm)}.json",
                    lambda out=out, arm=arm, seed=seed: _learn(out, test, arm, seed, asked.steps),  # type: ignore[misc]
                )
            )
    found = {**settings, "seeds": asked.seeds, "arms": summary(cells, slices)}
    if asked.steps >= full and asked.seeds >= SEEDS and not asked.trials:
        name = "cfl-four.json" if asked.four else "cfl-long.json" if asked.long else "cfl.json"
        path = Path(__file__).with_name(name)
        path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(markdown(found["arms"], slices))


def summary(cells: Mapping[str, Sequence[Mapping[str, Any]]], slices: Sequence[str]) -> dict[str, Any]:
    """Returns each arm's accuracies, ranks and differences to KD, on each slice of the test pictures."""
    found: dict[str, Any] = {}
    for arm, runs in cells.items():
        found[arm] = {
            "accuracy": {slice_: [float(np.mean(run[slice_])) for run in runs] for slice_ in slices},
            "rank": [run.get("rank") for run in runs],
        }
        if arm not in (KD, "teachers"):
            found[arm]["minus_KD"] = {
                slice_: minus([run[slice_] for run in runs], [run[slice_] for run in cells[KD]])._asdict()
                for slice_ in slices
            }
    return found


def markdown(arms: Mapping[str, Any], slices: Sequence[str]) -> str:
    """Returns the table. The teachers' row is of each on its own classes alone, which is easier."""
    heads = ["arm", "effective rank"]
    for slice_ in slices:
        heads += [slice_, "minus KD, over images", "over seeds"]
    lines = [f"| {' | '.join(heads)} |", "|---|" + "---:|" * (len(heads) - 1)]
    for arm, each in arms.items():
        ranks = [rank for rank in each["rank"] if rank is not None]
        cells = [arm, f"{np.mean(ranks):.1f}" if ranks else "–"]
        for slice_ in slices:
            cells.append(f"{np.mean(each['accuracy'][slice_]):.3f}")
            differences = each.get("minus_KD", {}).get(slice_)
            cells += [shown(differences[over]) for over in differences] if differences else ["–", "–"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _teach(out: Path, test: Mapping[str, Pictures], seed: int, steps: int) -> dict[str, Any]:
    """Trains a teacher for each slice, and says where each is right among its own classes."""
    right = {}
    for slice_ in test:
        train_part = read(SETS[slice_], "train")
        torch.manual_seed(seed)
        student = Student(TEACHERS[slice_])
        student.classify({slice_: len(train_part.classes)})
        fit(student, train_part.image, train_part.label, steps=steps, seed=seed)
        save_student(student, out / "teachers" / slice_)
        right[slice_] = _right(ask(student, test[slice_].image), test[slice_].label)
    return right


def _learn(out: Path, test: Mapping[str, Pictures], arm: str, seed: int, steps: int) -> dict[str, Any]:
    """Trains one student, and says where it is right among all classes, and how many dimensions the common space uses."""
    networks = {slice_: f"alumnus:{out / 'teachers' / slice_}" for slice_ in test}
    features = [{"model": model, "name": name} for name, model in networks.items()]
    logits = [
        {"model": model, "name": f"{name}_logits", "output": "logits"} for name, model in networks.items()
    ]
    has_space = arm not in (KD, *CENTRED)
    method = {"name": "dmc", **CENTRED[arm]} if arm in CENTRED else {"name": "cfl", **{**ARMS, **TRIALS}[arm]}
    config = load_config(
        out=out / _file(arm),
        data=[{"path": str(folder_of(SETS[slice_])), "role": "proxy"} for slice_ in test],
        student={"model": "timm/resnet10t", "model_args": CNN},
        teachers=[*features, *logits] if has_space else logits,
        method=method,
        size=SIZE,
        embed_dim=EMBED_DIM,
        steps=steps,
        views={"flip": 0, "scale": [0.7, 1.0], "per_image": VIEWS},
        store=out / "store",  # of all arms
        seed=seed,
        workers=1,
        checkpoint_every=max(1, steps - 1),
    )
    student = load_student(train(config).student)
    found: dict[str, Any] = {}
    first = 0
    for (slice_, pictures), count in zip(test.items(), student.classes.values(), strict=True):
        found[slice_] = _right(ask(student, pictures.image), pictures.label + first)
        first += count
    images = torch.cat([pictures.image for pictures in test.values()])
    return {**found, "rank": _rank(config, images) if has_space else None}


@torch.no_grad()
def _rank(config: Config, image: Tensor) -> float:
    """The effective rank of pictures (Q, 3, S, S) in the common space of a run's last checkpoint."""
    course = prepare([(config, Run(config.out))])
    if not course.start:
        raise CheckpointError(
            f"{config.out} has no checkpoint, and with it no common space; delete this folder, and start again"
        )
    student, objective = course.pupils[0].student.eval(), course.pupils[0].objective.eval()
    assert isinstance(objective, CommonFeatures)
    parts = [objective.space.of_student(objective._of_student(student(part))) for part in image.split(256)]
    return effective_rank(torch.cat(parts).numpy())  # (Q, H)


def _right(logits: np.ndarray, label: np.ndarray) -> list[int]:
    return [int(right) for right in logits.argmax(1) == label]


def _file(arm: str) -> str:
    return arm.replace(", ", "-").replace(" ", "-")


if __name__ == "__main__":
    main()
