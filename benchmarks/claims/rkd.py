"""Does an assistant see what the student misses, at no further cost? python benchmarks/claims/rkd.py runs/rkd

Fashion-MNIST. A residual network that was taught the ten classes teaches students from scratch, by `method=rkd` with its squared distance,
or with attention transfer beneath (`--mimic attention`, or both). Arms: the undivided student, which has the same loss all along; the same
network divided into a student and its assistant (S + A), which together cost no more multiply-adds; and the first of these two trained by
itself for all steps (S alone), which costs less. Scored on test pictures, three seeds, each with a teacher of its own:

    accuracy   of the class of near training pictures, by the embedding (weighted 20-NN)
    residual   |T - M(v)|^2 / |T - mean|^2, T the teacher's summary, M the best affine map of the student's summary v on training pictures

and of S + A at the end of the second phase, in which S and its map P to the teacher's space stood still, what A takes off: |T - P(s)|^2
and |T - P(s + a)|^2 as shares of |T|^2, T standardised. A map fitted anew to s + a would count A's features even where they have learnt
nothing (a fifth, after two steps); and the third phase moves S, so after it there is no before.

In a first try with 1,000 steps and one seed the assistant, which starts from nothing when the student has learnt, took 3 % off of
training pictures; hence 4,000. There it had four channels, too: at the usual stride of 32 the stem costs most of such a small network.
Here networks end in a grid of 4 x 4, which attention needs as well.

`--trials` has other divisions and phases, on validation pictures, and `--chosen` one of the two most accurate on test pictures, or S and A
that learn together all along, without a residual. About an hour on one core; what is there already is kept, and a folder of other settings
is refused. Writes rkd.json beside this file, or rkd-attention.json, rkd-both.json, with the name of a chosen one behind it. `--steps 5
--seeds 1` is a smoke run, with a folder of its own; it does not write that file.
"""

from __future__ import annotations

import argparse
import copy
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from classifiers import SIZE, Pictures, fit, folder_of, kept, minus, read, settle, shown
from safetensors.torch import load_file
from torch import Tensor, nn

from alumnus.errors import CheckpointError
from alumnus.evaluation.compare import Interval, over_runs
from alumnus.evaluation.knn import knn_predict
from alumnus.models.artifact import load_student, save_student
from alumnus.models.cost import counted, multiply_adds
from alumnus.models.student import Architecture, Student
from alumnus.teachers.normalize import normaliser
from alumnus.training.loop import train
from alumnus.training.recipe import load_config
from alumnus.types import Features

DATA = "fashion_mnist_official"
TEACHER = Architecture("resnet10t", SIZE, 64, {"channels": [32, 64, 128, 256], "output_stride": 8})
STUDENT: dict[str, Any] = {
    "model": "timm/resnet10t",
    "model_args": {"channels": [16, 32, 64, 128], "stem_width": 8, "output_stride": 8},
}
RATIO = 0.3
KNOWN = 6000  # training pictures that are searched, and that affine maps are fitted on
RIDGE = 1e-3  # of the maps, as a share of the mean variance
FULL, SEEDS = 4000, 3  # steps and seeds; with fewer nothing is written beside this file
TAUGHT = 4  # a teacher has a fourth of the steps: 1,000 are nine epochs
VIEWS = 4  # of each picture
PHASES = (0.4, 0.4, 0.2)  # S, A, both: the method's own
SUM = "S + A"
LONGER_TOGETHER = (0.2, 0.2, 0.6)
# S and A learn the same loss together, but for the first steps, which bring the teacher's statistics: what division costs by itself.
NO_RESIDUAL = (0.05, 0.0, 0.95)
WHOLE, PARTS, TENTH = STUDENT, {**STUDENT, "split": RATIO}, {**STUDENT, "split": 0.1}
ARMS: dict[str, tuple[dict[str, Any], tuple[float, float, float]]] = {  # student, phases
    "undivided": (WHOLE, (1, 0, 0)),
    SUM: (PARTS, PHASES),
    "S alone": (PARTS, (1, 0, 0)),
    "A of a tenth": (TENTH, PHASES),
    "longer together": (PARTS, LONGER_TOGETHER),
    "A of a tenth, longer together": (TENTH, LONGER_TOGETHER),
    "both all along": (PARTS, NO_RESIDUAL),
    "both all along, A of a tenth": (TENTH, NO_RESIDUAL),
}
MAIN = ("undivided", SUM, "S alone")
TRIED = ("undivided", SUM, "A of a tenth", "longer together", "A of a tenth, longer together")
CHOSEN: dict[
    str, tuple[str, ...]
] = {  # beside which arms; the first two were equally accurate on validation pictures
    "A of a tenth": ("undivided",),
    "longer together": ("undivided",),
    "both all along": ("undivided", SUM),
    "both all along, A of a tenth": ("undivided", "A of a tenth"),
}


def main() -> None:
    """Prints a Markdown table, and writes all numbers beside this file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, help="folder of all runs; what is there is kept")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument(
        "--steps", type=int, default=FULL, help="of each student, 5 or more; a teacher has a quarter of them"
    )
    parser.add_argument("--mimic", default="l2", choices=("l2", "attention", "both"), help="the loss beneath")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument(
        "--chosen",
        choices=CHOSEN,
        help="S and A as the trials chose them, or without a residual, beside others",
    )
    kind.add_argument(
        "--trials", action="store_true", help="other divisions and phases, on validation pictures"
    )
    asked = parser.parse_args()
    if _first_two_phases(asked.steps, PHASES) == asked.steps:
        parser.error(f"--steps {asked.steps} leaves no step for the third phase; 5 are enough")
    settings = {"mimic": asked.mimic, "steps": asked.steps}
    settle(asked.out, {**settings, **({"split": "val"} if asked.trials else {})})
    known, test = read(DATA, "train"), read(DATA, "val" if asked.trials else "test")
    arms = TRIED if asked.trials else MAIN
    if asked.chosen:
        arms = (*CHOSEN[asked.chosen], asked.chosen)
    ours = asked.chosen or SUM
    known = Pictures(known.image[:KNOWN], known.label[:KNOWN], known.classes)
    cells: dict[str, list[dict[str, Any]]] = {arm: [] for arm in arms}
    for seed in range(asked.seeds):
        for arm in arms:
            folder = asked.out / f"seed-{seed}" / arm.replace(" ", "").replace(",", "-")
            cell = kept(
                folder.with_suffix(".json"),
                lambda arm=arm, folder=folder, seed=seed: run(  # type: ignore[misc]
                    arm, folder, known, test, seed=seed, **settings
                ),
            )
            cells[arm].append(cell)
    found = {**settings, "seeds": asked.seeds, "arms": summary(cells, ours=ours)}
    if asked.steps >= FULL and asked.seeds >= SEEDS and not asked.trials:
        words = [
            *(() if asked.mimic == "l2" else (asked.mimic,)),
            *(asked.chosen.replace(",", "").split() if asked.chosen else ()),
        ]
        path = Path(__file__).with_name("-".join(("rkd", *words)) + ".json")
        path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(markdown(found["arms"], ours=ours))


def run(
    arm: str, folder: Path, known: Pictures, test: Pictures, *, seed: int, steps: int, mimic: str
) -> dict[str, Any]:
    """Trains one arm and scores it."""
    taught = _teacher(folder.parent / "teacher", seed=seed, steps=max(1, steps // TAUGHT))
    network, phases = ARMS[arm]
    teacher = load_student(taught)
    output = "summary" if mimic == "l2" else "patches"
    config = load_config(
        out=folder,
        data=str(folder_of(DATA)),
        teachers=[{"model": Teacher(teacher), "name": "teacher", "size": SIZE, "output": output}],
        student=network,
        method={"name": "rkd", "mimic": mimic, "phases": phases},
        size=SIZE,
        embed_dim=TEACHER.embed_dim,
        steps=steps,
        views={"scale": [0.7, 1.0], "per_image": VIEWS},
        store=folder.parent / "store",  # of all arms
        seed=seed,
        workers=1,
        # One, as the third phase begins.
        checkpoint_every=_first_two_phases(steps, phases),
    )
    student = load_student(train(config).student)
    truth = [_said(teacher, pictures.image)["summary"] for pictures in (known, test)]
    ours = [_said(student, pictures.image) for pictures in (known, test)]
    near = knn_predict(ours[1]["embedding"].numpy(), ours[0]["embedding"].numpy(), known.label)
    found = {
        "right": (near == test.label).astype(int).tolist(),
        "accuracy": float((near == test.label).mean()),
        "residual": residual(ours[0]["summary"], truth[0], ours[1]["summary"], truth[1]),
        "multiply_adds": _cost(student, is_first_alone=arm == "S alone"),
    }
    if phases[1]:
        done = _first_two_phases(steps, phases)
        before = _before_the_third_phase(student, folder / "checkpoints" / f"step-{done}")
        found |= _energies(before, test.image, truth[1])
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    return found


class Teacher(nn.Module):
    """A student folder as a teacher of summary and grid; `alumnus:FOLDER` gives no grid."""

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.student = student

    def forward(self, image: Tensor) -> Features:
        """Images (B, 3, S, S) in [0, 1] -> summary (B, D) and patches (B, N, D)."""
        features: Features = self.student(image, patches=True).features
        return features


def _first_two_phases(steps: int, phases: Sequence[float]) -> int:
    """Steps in which S or A learns alone, by the method's own rule."""
    return sum(step / steps < phases[0] + phases[1] for step in range(steps))


class Phase(NamedTuple):
    """What a checkpoint of S + A has, after the second phase."""

    student: Student
    map: nn.Linear  # P
    normaliser: nn.Module  # T -> T standardised


def _before_the_third_phase(student: Student, checkpoint: Path) -> Phase:
    path = checkpoint / "state.safetensors"
    if not path.is_file():
        raise CheckpointError(
            f"{path} is missing, and with it S as it was when A had learnt (stops in the third phase push it out); "
            f"delete {checkpoint.parents[1]}, and start again"
        )
    tensors = load_file(path)
    width, dim = tensors["objective/map.weight"].shape
    found = Phase(copy.deepcopy(student), nn.Linear(dim, width), normaliser("running", width))
    for prefix, module in zip(("student/", "objective/map.", "objective/normaliser."), found, strict=True):
        module.load_state_dict(
            {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
        )
    return found


@torch.no_grad()
def _energies(phase: Phase, image: Tensor, truth: Tensor) -> dict[str, float]:
    """The residuals of pictures (Q, 3, S, S) whose teacher's summaries are `truth` (Q, E), as shares of |T|^2."""
    said, wanted = _said(phase.student, image), phase.normaliser(truth)
    return {
        name: float((wanted - phase.map(said[key])).square().sum() / wanted.square().sum())
        for name, key in (("residual_of_fixed_S", "alone"), ("residual_with_A", "summary"))
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


def summary(cells: dict[str, list[dict[str, Any]]], *, ours: str) -> dict[str, Any]:
    """Returns each arm's scores with intervals over seeds, and that of S + A minus it, paired."""
    found: dict[str, Any] = {}
    for arm, runs in cells.items():
        found[arm] = {key: over_runs([each[key] for each in runs]) for key in ("accuracy", "residual")}
        found[arm]["multiply_adds"] = runs[0]["multiply_adds"]
        if arm != ours:
            right = [[each["right"] for each in cells[name]] for name in (ours, arm)]
            found[arm]["sum_minus"] = minus(*right)._asdict()
            found[arm]["sum_minus_residual"] = over_runs(
                [a["residual"] - b["residual"] for a, b in zip(cells[ours], runs, strict=True)]
            )
        elif "residual_with_A" in runs[0]:
            for key in ("residual_of_fixed_S", "residual_with_A"):
                found[arm][key] = over_runs([each[key] for each in runs])
            found[arm]["taken_off"] = over_runs(
                [1 - each["residual_with_A"] / each["residual_of_fixed_S"] for each in runs]
            )
    return found


def markdown(arms: dict[str, Any], *, ours: str) -> str:
    """Returns the table, whose differences are S + A minus the arm, with intervals over test pictures and over seeds, and a sentence."""
    lines = [
        "| arm | million multiply-adds | accuracy | residual | S + A minus it, accuracy over pictures | over seeds | residual |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for arm, each in arms.items():
        differences = ["–"] * 3
        if arm != ours:
            spans = [*each["sum_minus"].values(), each["sum_minus_residual"]]
            differences = [shown(Interval(*span)) for span in spans]
        numbers = [
            f"{each['multiply_adds'] / 1e6:.2f}",
            f"{each['accuracy'][0]:.4f}",
            f"{each['residual'][0]:.4f}",
        ]
        lines.append(f"| {' | '.join([arm, *numbers, *differences])} |")
    if "taken_off" not in arms[ours]:
        return "\n".join(lines)
    before, after = (arms[ours][key][0] for key in ("residual_of_fixed_S", "residual_with_A"))
    off = shown(Interval(*arms[ours]["taken_off"]))
    lines += [
        "",
        f"Residual of the fixed S: {before:.4f}; with A: {after:.4f}. A takes off this share of it: {off}.",
    ]
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
