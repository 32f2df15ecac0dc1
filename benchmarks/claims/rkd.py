"""Does an assistant see what the student misses, at no further cost? python benchmarks/claims/rkd.py runs/rkd

Fashion-MNIST. A residual network that was taught the ten classes teaches students from scratch, by `method=rkd` with its squared distance.
Arms: the undivided student, which has the same loss all along; the same network divided into a student and its assistant (S + A),
which together cost no more multiply-adds; and the first of these two trained by itself for all steps (S alone), which costs less. Scored on
test pictures, three seeds, each with a teacher of its own:

    accuracy   of the class of near training pictures, by the embedding (weighted 20-NN)
    residual   |T - M(v)|^2 / |T - mean|^2, T the teacher's summary, M the best affine map of the student's summary v on training pictures

and of S + A the residual of its first network's own summary, which it takes away from: before and after.

In a first try with 1,000 steps and one seed the assistant, which starts from nothing when the student has learnt, took 3 % off of
training pictures; hence 4,000. Meant for an hour on 2 idle cores; what is there already is kept. Writes rkd.json beside this file.
`--steps 3 --seeds 1` is a smoke run, with a folder of its own; it does not write that file.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import torch
from classifiers import SIZE, Pictures, fit, folder_of, kept, minus, read, shown
from torch import Tensor

from alumnus.evaluation.compare import Interval, over_runs
from alumnus.evaluation.knn import knn_predict
from alumnus.models.artifact import load_student, save_student
from alumnus.models.cost import counted, multiply_adds
from alumnus.models.student import Architecture, Student
from alumnus.training.loop import train
from alumnus.training.recipe import load_config

DATA = "fashion_mnist_official"
TEACHER = Architecture("resnet10t", SIZE, 64, {"channels": [32, 64, 128, 256]})
STUDENT: dict[str, Any] = {
    "model": "timm/resnet10t",
    "model_args": {"channels": [16, 32, 64, 128], "stem_width": 8},
}
RATIO = 0.3
KNOWN = 6000  # training pictures that are searched, and that affine maps are fitted on
RIDGE = 1e-3  # of the maps, as a share of the mean variance
FULL = 4000  # steps; with fewer nothing is written beside this file
VIEWS = 4  # of each picture
SUM = "S + A"
ARMS: dict[str, dict[str, Any]] = {
    "undivided": {"student": STUDENT, "method": {"name": "rkd", "phases": [1, 0, 0]}},
    SUM: {"student": {**STUDENT, "split": RATIO}, "method": "rkd"},
    "S alone": {
        "student": {**STUDENT, "split": RATIO},
        "method": {"name": "rkd", "phases": [1, 0, 0]},
    },
}


def main() -> None:
    """Prints a Markdown table, and writes all numbers beside this file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, help="folder of all runs; what is there is kept")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=FULL, help="of each training")
    asked = parser.parse_args()
    known, test = read(DATA, "train"), read(DATA, "test")
    known = Pictures(known.image[:KNOWN], known.label[:KNOWN], known.classes)
    cells: dict[str, list[dict[str, Any]]] = {arm: [] for arm in ARMS}
    for seed in range(asked.seeds):
        for arm in ARMS:
            folder = asked.out / f"seed-{seed}" / arm.replace(" ", "")
            cell = kept(
                folder.with_suffix(".json"),
                lambda arm=arm, folder=folder, seed=seed: run(  # type: ignore[misc]
                    arm, folder, known, test, seed=seed, steps=asked.steps
                ),
            )
            cells[arm].append(cell)
    found = {"steps": asked.steps, "seeds": asked.seeds, "arms": summary(cells)}
    if asked.steps >= FULL:
        Path(__file__).with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(markdown(found["arms"]))


def run(arm: str, folder: Path, known: Pictures, test: Pictures, *, seed: int, steps: int) -> dict[str, Any]:
    """Trains one arm and scores it."""
    teacher = _teacher(folder.parent / "teacher", seed=seed, steps=steps)
    config = load_config(
        out=folder,
        data=str(folder_of(DATA)),
        teachers=[{"model": f"alumnus:{teacher}", "name": "teacher"}],
        **ARMS[arm],
        size=SIZE,
        embed_dim=TEACHER.embed_dim,
        steps=steps,
        views={"scale": [0.7, 1.0], "per_image": VIEWS},
        store=folder.parent / "store",  # of all arms
        seed=seed,
        workers=1,
    )
    student = load_student(train(config).student)
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    speaker = load_student(teacher)
    truth = [_said(speaker, pictures.image)["summary"] for pictures in (known, test)]
    ours = [_said(student, pictures.image) for pictures in (known, test)]
    near = knn_predict(ours[1]["embedding"].numpy(), ours[0]["embedding"].numpy(), known.label)
    left = residual(ours[0]["summary"], truth[0], ours[1]["summary"], truth[1])
    before = residual(ours[0]["alone"], truth[0], ours[1]["alone"], truth[1]) if "alone" in ours[0] else left
    return {
        "right": (near == test.label).astype(int).tolist(),
        "accuracy": float((near == test.label).mean()),
        "residual": left,
        "residual_of_first": before,
        "multiply_adds": _cost(student, is_first_alone=arm == "S alone"),
    }


def residual(known: Tensor, known_truth: Tensor, test: Tensor, truth: Tensor) -> float:
    """Returns what the best affine map from vectors (n, D) to the teacher's (n, E) leaves of test pictures, as a share."""
    x, mean, middle = known.double(), known.double().mean(0), known_truth.double().mean(0)
    centred = x - mean
    gram = centred.T @ centred
    gram += RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
    weight = torch.linalg.solve(gram, centred.T @ (known_truth.double() - middle))  # (D, E)
    guess = (test.double() - mean) @ weight + middle
    return float((truth - guess).square().sum() / (truth - middle).square().sum())


def summary(cells: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Returns each arm's scores with intervals over seeds, and S + A minus it, paired."""
    found: dict[str, Any] = {}
    for arm, runs in cells.items():
        found[arm] = {
            key: over_runs([each[key] for each in runs])
            for key in ("accuracy", "residual", "residual_of_first")
        }
        found[arm]["multiply_adds"] = runs[0]["multiply_adds"]
        found[arm]["taken_off"] = over_runs(
            [1 - each["residual"] / each["residual_of_first"] for each in runs]
        )
        if arm != SUM:
            ours, theirs = ([each["right"] for each in cells[name]] for name in (SUM, arm))
            found[arm]["sum_minus"] = minus(ours, theirs)._asdict()
            found[arm]["sum_minus_residual"] = over_runs(
                [a["residual"] - b["residual"] for a, b in zip(cells[SUM], runs, strict=True)]
            )
    return found


def markdown(arms: dict[str, Any]) -> str:
    """Returns the table; differences are S + A minus the arm, with intervals over test pictures and over seeds."""
    lines = [
        "| arm | million multiply-adds | accuracy | residual | S + A minus it, accuracy over pictures | over seeds | taken off by A |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for arm, each in arms.items():
        differences = ["–", "–"]
        if "sum_minus" in each:
            differences = [shown(Interval(*each["sum_minus"][key])) for key in ("over_images", "over_seeds")]
        off = shown(Interval(*each["taken_off"])) if arm == SUM else "–"
        numbers = [
            f"{each['multiply_adds'] / 1e6:.2f}",
            f"{each['accuracy'][0]:.4f}",
            f"{each['residual'][0]:.4f}",
        ]
        lines.append(f"| {' | '.join([arm, *numbers, *differences, off])} |")
    return "\n".join(lines)


def _teacher(folder: Path, *, seed: int, steps: int) -> Path:
    if not (folder / "alumnus.json").is_file():
        torch.manual_seed(1000 + seed)
        student, pictures = Student(TEACHER), read(DATA, "train")
        student.classify({"clothes": len(pictures.classes)})
        fit(student, pictures.image, pictures.label, steps=steps, seed=seed)
        save_student(student, folder)
    return folder


@torch.no_grad()
def _said(student: Student, image: Tensor) -> dict[str, Tensor]:
    """Summary and embedding of pictures, and of S + A the summary of S."""
    outputs = [student(part) for part in image.split(256)]
    found = {
        "summary": torch.cat([each.features.summary for each in outputs]),
        "embedding": torch.cat([each.embedding for each in outputs]),
    }
    if student.assistant is not None:
        found["alone"] = torch.cat([each.alone for each in outputs])
    return found


def _cost(student: Student, *, is_first_alone: bool) -> int:
    """Multiply-adds of a picture; of S alone, without the assistant, which has learnt nothing and says nothing."""
    if not is_first_alone:
        return multiply_adds(student, size=SIZE)
    image = torch.zeros(1, 3, SIZE, SIZE)
    return counted(lambda: student(image, learning="first"))


if __name__ == "__main__":
    main()
