"""Does 10 % of the labels do, for a student? python benchmarks/claims/adapt.py runs/adapt runs/demo/student

A student adapted on a tenth of the labels against its architecture from scratch on all of them: INTERN's claim (arXiv 2111.08687,
table 1) in small, on photos of which the student's teachers saw no label. By default all known photo sets of
GCompris and Tux Paint; `--data` names others, or folders. The baseline is given three times the steps, several learning rates of which
the best on held-out training images is taken, and no decay of them from layer to layer. Of several students, as `alumnus demo --seeds 3`
makes them, each has `--seeds` draws of labels of its own, and its own difference is written down too.

Two intervals: over test images, of the mean over runs, paired image by image; and over runs. Of several data sets there is their macro
mean too. What is there already is kept. `--steps 20 --seeds 1` is a smoke run.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from classifiers import settle
from numpy.typing import NDArray

from alumnus import datasets
from alumnus.adaptation.artifact import ABOUT, TEST, About, read_about_adapted
from alumnus.adaptation.run import adapt
from alumnus.errors import DataError
from alumnus.evaluation.compare import Interval, over_runs, paired_difference

PREFIXES = ("gcompris", "tuxpaint")
Answers = Mapping[str, list[NDArray[np.float64]]]  # way -> (Q,) of each run
ADAPTED = ("student", "linear", "prototype")  # fine-tuned, and two ways that leave the backbone alone


def main() -> None:
    """Prints a Markdown table, and writes all numbers beside this file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, help="folder of the adapted models; what is there already is kept")
    parser.add_argument("students", type=Path, nargs="+")
    parser.add_argument("--data", nargs="*", help="known data sets or folders")
    parser.add_argument("--seeds", type=int, default=3, help="of each student")
    parser.add_argument("--fraction", type=float, default=0.1)
    parser.add_argument(
        "--steps", type=int, default=1000, help="of the student; the baseline has three times as many"
    )
    parser.add_argument("--scratch-lr", type=float, nargs="*", default=[1e-3, 3e-3])
    asked = parser.parse_args()
    students = [str(student) for student in asked.students]
    settle(asked.out, {"students": students, "fraction": asked.fraction, "steps": asked.steps})
    right = {}
    for name in asked.data or photo_sets():
        try:
            right[name] = answers(name, asked)
        except DataError as error:  # a set whose test classes are others, say
            print(f"{name} is left out: {error}")
    found = {name: compared([each], asked.seeds) for name, each in right.items()}
    if len(right) > 1:
        found["macro mean"] = compared(list(right.values()), asked.seeds)
    (Path(__file__).with_suffix(".json")).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(markdown(found, asked.fraction))


def photo_sets() -> list[str]:
    """Returns the known photo sets of GCompris and Tux Paint whose pictures have classes."""
    dense = ("detection", "segmentation", "depth")
    named = [name for name in datasets.names() if name.startswith(PREFIXES)]
    return [
        name
        for name in named
        if datasets.info(name).kind == "photo" and datasets.info(name).task not in dense
    ]


def answers(name: str, asked: argparse.Namespace) -> Answers:
    """Returns whether each way is right on each test image of a data set, run by run."""
    data = datasets.get(name) if name in datasets.names() else Path(name)
    right: dict[str, list[NDArray[np.float64]]] = {name: [] for name in (*ADAPTED, "scratch")}
    for seed, student in enumerate(student for student in asked.students for _ in range(asked.seeds)):
        folder = asked.out / Path(name).name / str(seed)
        few = {"fraction": asked.fraction, "seed": seed}
        tuned = {"method": "finetune", "steps": asked.steps, **few}
        right["student"].append(_right(_made(student, data, folder / "student", tuned)))
        for method in ("linear", "prototype"):
            right[method].append(_right(_made(student, data, folder / method, {"method": method, **few})))
        right["scratch"].append(_right(_best_scratch(data, folder, seed, asked)))
    return right


def compared(several: Sequence[Answers], seeds: int) -> dict[str, object]:
    """Returns accuracies on one data set, or macro means over several, and their paired differences; each student has `seeds` runs."""
    sizes = [len(right["scratch"][0]) for right in several]
    of = np.repeat(np.arange(len(several)), sizes)  # the data set of each test image
    runs = {
        key: [np.concatenate(parts) for parts in zip(*(right[key] for right in several), strict=True)]
        for key in several[0]
    }
    accuracy = {
        key: [float(np.mean([each[of == one].mean() for one in range(len(several))])) for each in found]
        for key, found in runs.items()
    }
    scratch = np.mean(runs["scratch"], axis=0)
    minus = {key: np.subtract(accuracy[key], accuracy["scratch"]) for key in ADAPTED}  # (runs,)
    return {
        "num_test": sum(sizes),
        "accuracy": accuracy,
        "minus_scratch": {
            key: {
                "over_images": paired_difference(np.mean(runs[key], axis=0), scratch, of),
                "over_runs": over_runs(minus[key].tolist()),
                "by_student": minus[key].reshape(-1, seeds).mean(axis=1).tolist(),
            }
            for key in ADAPTED
        },
    }


def markdown(found: dict[str, dict[str, object]], fraction: float) -> str:
    """Returns the table."""
    lines = [
        f"| data | test images | {fraction:.0%}: fine-tuned | linear | prototype | scratch, 100 % | fine-tuned minus it | linear "
        "| prototype |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, each in found.items():
        accuracy, minus = each["accuracy"], each["minus_scratch"]
        assert isinstance(accuracy, dict)
        assert isinstance(minus, dict)
        means = [f"{np.mean(accuracy[key]):.3f}" for key in (*ADAPTED, "scratch")]
        spans = [_shown(Interval(*minus[key]["over_images"])) for key in ADAPTED]
        lines.append(f"| {' | '.join([name, str(each['num_test']), *means, *spans])} |")
    return "\n".join(lines)


def _best_scratch(data: Path, folder: Path, seed: int, asked: argparse.Namespace) -> Path:
    """Returns the baseline whose held-out training images went best; the test part has no say."""
    made = {}
    for lr in asked.scratch_lr:
        settings = {
            "method": "finetune",
            "start": "scratch",
            "steps": 3 * asked.steps,
            "lr": lr,
            "seed": seed,
        }
        made[lr] = _made(asked.students[0], data, folder / f"scratch-{lr:g}", settings)
    return max(made.values(), key=lambda out: _held_out(read_about_adapted(out)))


def _held_out(about: About) -> float:
    return -1.0 if about.held_out is None else about.held_out


def _made(student: Path, data: Path, out: Path, settings: dict[str, object]) -> Path:
    if not (out / ABOUT).exists():
        adapt(student, data=data, out=out, **settings)  # type: ignore[arg-type]
    return out


def _right(folder: Path) -> NDArray[np.float64]:
    """Returns (Q,) whether each test image is right, in the order of the data."""
    path = folder / TEST
    if not path.exists():
        raise DataError(f"{folder} has no test images: {read_about_adapted(folder).note}")
    with path.open(encoding="utf-8", newline="") as file:
        return np.array([row["label"] == row["true"] for row in csv.DictReader(file)], np.float64)


def _shown(found: Interval) -> str:
    return f"{found.mean:+.3f} ({found.low:+.3f} to {found.high:+.3f})"


if __name__ == "__main__":
    main()
