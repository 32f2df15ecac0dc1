"""Do two detectors become one without pictures of either? python benchmarks/claims/dmc_detection.py runs/demo/student runs/dmc-detection

The classes of a known data set of boxes are split in two, by an order of each seed's own. A detector of each half is adapted from the
student, on the pictures with an object of that half, other objects unlabelled. Then there are, scored on all test pictures whose
objects are known:

    old alone                  the old detector, which knows no new class
    fine-tuning                the old detector goes on with the new half's pictures and boxes
    DMC                        both detectors consolidated on the pictures of another data set, without labels
    DMC, nothing centred       the same with centre=none
    DMC, pictures of its own   on all training pictures, without labels: no competitor, the most that could be had
    all at once                all training pictures with all boxes: no competitor

Not yet timed; what is there already is kept, and a folder of other settings is refused. Writes dmc_detection.json beside this file.
`--steps 2 --seeds 1` is a smoke run, with a folder of its own; it does not write that file. The two data sets that are known have
composed or rendered pictures, and share nothing to be seen: that is hard for consolidation, whose teachers are to be asked about pictures
of such things.

Axes: C classes of all.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from classifiers import kept, settle, shown
from numpy.typing import NDArray

from alumnus import datasets
from alumnus.adaptation.artifact import ABOUT
from alumnus.adaptation.consolidate import consolidate
from alumnus.adaptation.run import adapt
from alumnus.adaptation.use import AdaptedDense, load_adapted
from alumnus.data.dataset import Dataset, open_dataset
from alumnus.data.objects import Objects
from alumnus.evaluation.compare import Interval, over_runs
from alumnus.evaluation.dense.detection import BUDGET, fit_detection, score_detection
from alumnus.evaluation.dense.encode import StudentDense
from alumnus.evaluation.dense.training import Budget, Fitted, Setup
from alumnus.models.detector import Detector

FULL, SEEDS = BUDGET.steps, 3  # with fewer nothing is written beside this file
DMC = "DMC"
CONSOLIDATED: dict[str, dict[str, Any]] = {
    DMC: {},
    "DMC, nothing centred": {"centre": "none"},
    "DMC, pictures of its own": {},
}
ARMS = ("old alone", "fine-tuning", *CONSOLIDATED, "all at once")


def main() -> None:
    """Prints a Markdown table, and writes all numbers beside this file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("student", type=Path, help="a student folder that all detectors begin with")
    parser.add_argument("out", type=Path, help="folder of all detectors; what is there is kept")
    parser.add_argument("--data", default="cutout_objects", help="a known data set, or another, with boxes")
    parser.add_argument(
        "--auxiliary", nargs="*", default=["freedoom_objects"], help="known data sets, or others"
    )
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--steps", type=int, default=FULL, help="of each training")
    asked = parser.parse_args()
    settings = {"data": asked.data, "auxiliary": asked.auxiliary, "steps": asked.steps}
    settle(asked.out, {**settings, "student": str(asked.student)})
    auxiliary = [_source(name) for name in asked.auxiliary]
    cells: dict[str, list[dict[str, Any]]] = {arm: [] for arm in ARMS}
    for seed in range(asked.seeds):
        halves = Halves(asked, auxiliary, seed=seed)
        for arm in ARMS:
            path = halves.out / f"{_file(arm)}.json"
            cells[arm].append(kept(path, lambda arm=arm, halves=halves: halves.run(arm)))  # type: ignore[misc]
    found = {**settings, "seeds": asked.seeds, "arms": summary(cells)}
    if asked.steps >= FULL and asked.seeds >= SEEDS:
        Path(__file__).with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(markdown(found["arms"]))


class Halves:
    """The old and the new half of the classes, of one seed, and the detectors of each arm."""

    def __init__(self, asked: argparse.Namespace, auxiliary: list[str], *, seed: int) -> None:
        self.out, self.seed, self.steps = asked.out / f"seed-{seed}", seed, asked.steps
        self.student, self.auxiliary = asked.student, auxiliary
        data = open_dataset(_source(asked.data))
        self.train, self.test = data.select(split="train"), data.select(split="test")
        names = np.random.default_rng(seed).permutation(np.array(data.object_classes)).tolist()
        self.parts = names[: len(names) // 2], names[len(names) // 2 :]

    def run(self, arm: str) -> dict[str, Any]:
        """Returns the average precision of old, new and all classes, and of each, on all test pictures."""
        names = [*self.parts[0], *self.parts[1]]
        fitted, classes = self._made(arm)
        # A class that the detector does not know comes after those that it knows, and is never found.
        order = [*classes, *(name for name in names if name not in classes)]
        score = score_detection(fitted, *_renamed(self.test, order), num_classes=len(order), resamples=0)
        precision = dict(zip(order, score.per_class.tolist(), strict=True))
        old, new = ([precision[name] for name in part] for part in self.parts)
        means = {"old": old, "new": new, "all": [*old, *new]}
        return {**{key: float(np.nanmean(each)) for key, each in means.items()}, "per_class": precision}

    def _made(self, arm: str) -> tuple[Fitted, Sequence[str]]:
        old, new = (self._adapted(name, part) for name, part in zip(("old", "new"), self.parts, strict=True))
        if arm == "old alone":
            return _loaded(old)
        if arm == "fine-tuning":
            return self._fine_tuned(*_loaded(old))
        if arm == "all at once":
            return _loaded(self._adapted("all", [*self.parts[0], *self.parts[1]]))
        data = self.auxiliary if arm != "DMC, pictures of its own" else [str(self._listed("unlabelled", ()))]
        made = self._there(
            _file(arm),
            lambda out: consolidate(
                old, new, data=data, out=out, steps=self.steps, seed=self.seed, **CONSOLIDATED[arm]
            ),
        )
        return _loaded(made)

    def _adapted(self, name: str, classes: Sequence[str]) -> Path:
        """A detector of some classes, backbone and head, from the student."""
        data = self._listed(name, classes)
        settings = {"method": "finetune", "steps": self.steps, "seed": self.seed}
        return self._there(name, lambda out: adapt(self.student, data=data, out=out, **settings))  # type: ignore[arg-type]

    def _fine_tuned(self, old: Fitted, classes: Sequence[str]) -> tuple[Fitted, Sequence[str]]:
        assert isinstance(old.encoder, StudentDense)
        assert isinstance(old.head, Detector)
        names = [*classes, *self.parts[1]]
        data = open_dataset(self._listed("new", self.parts[1]))
        budget = Budget(self.steps, BUDGET.batch_size, BUDGET.lr)
        setup = Setup(budget, finetune=True, seed=self.seed, device=old.setup.device)
        return fit_detection(
            old.encoder,
            *_renamed(data, names),
            num_classes=len(names),
            setup=setup,
            begin=old.head,
        ), names

    def _listed(self, name: str, classes: Sequence[str]) -> Path:
        """A list of the training pictures with objects of some classes, and these alone; of no classes, all pictures without objects."""
        path = self.out / f"{name}.jsonl"
        rows = []
        for picture, objects in zip(self.train.paths, self.train.objects or (), strict=True):
            if not classes:
                rows.append({"file_name": picture})
            elif found := _of(objects, self.train.object_classes, classes):
                rows.append({"file_name": picture, "split": "train", "objects": found})
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return path

    def _there(self, name: str, make: Callable[[Path], object]) -> Path:
        folder = self.out / name
        if not (folder / ABOUT).is_file():
            make(folder)
        return folder


def summary(cells: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Returns each arm's scores with intervals over seeds, and DMC minus it; halves differ, so seeds are what is resampled."""
    found: dict[str, Any] = {}
    for arm, runs in cells.items():
        found[arm] = {key: over_runs([run[key] for run in runs]) for key in ("old", "new", "all")}
        found[arm]["runs"] = runs
        if arm != DMC:
            differences = [ours["all"] - run["all"] for ours, run in zip(cells[DMC], runs, strict=True)]
            found[arm]["DMC_minus"] = over_runs(differences)
    return found


def markdown(arms: dict[str, Any]) -> str:
    """Returns the table: means over seeds, and DMC minus each arm."""
    lines = ["| arm | AP, old | AP, new | AP, all | DMC minus it, all |", "|---|---:|---:|---:|---:|"]
    for arm, each in arms.items():
        difference = shown(Interval(*each["DMC_minus"])) if "DMC_minus" in each else "–"
        means = [f"{each[key][0]:.3f}" for key in ("old", "new", "all")]
        lines.append(f"| {' | '.join([arm, *means, difference])} |")
    return "\n".join(lines)


def _source(name: str) -> str:
    return str(datasets.get(name)) if name in datasets.names() else name


def _loaded(folder: Path) -> tuple[Fitted, Sequence[str]]:
    adapted = load_adapted(folder)
    assert isinstance(adapted, AdaptedDense)
    return adapted.fitted, adapted.about.classes


def _of(objects: Objects | None, names: Sequence[str], classes: Sequence[str]) -> dict[str, list[Any]] | None:
    """The objects of some classes as a list's cell has them; None if there is none."""
    if objects is None:
        return None
    words = [names[label] for label in objects.labels]
    places = [place for place, word in enumerate(words) if word in classes]
    if not places:
        return None
    return {"bbox": objects.boxes[places].tolist(), "categories": [words[place] for place in places]}


def _renamed(data: Dataset, names: Sequence[str]) -> tuple[list[str], list[Objects]]:
    """The pictures whose objects are known, and these, with labels that are places among other names."""
    place: NDArray[np.int64] = np.array([names.index(name) for name in data.object_classes], np.int64)
    known = [
        (path, Objects(each.boxes, place[each.labels]))
        for path, each in zip(data.paths, data.objects or [None] * len(data), strict=True)
        if each is not None
    ]
    return [path for path, _ in known], [objects for _, objects in known]


def _file(arm: str) -> str:
    return arm.replace(", ", "-").replace(" ", "-")


if __name__ == "__main__":
    main()
