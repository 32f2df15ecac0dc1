"""Does consolidation keep old classes without old pictures? python benchmarks/claims/dmc.py runs/dmc

The ten digits of MNIST come two at a time, in an order of each seed's own. After each of five steps one classifier has to tell all digits
so far apart, with no picture of the earlier ones. Deep Model Consolidation and distillation by softmax combine the classifier so far with
one of the two new digits alone, on pictures of letters (52 classes in many typefaces, no digit among them) without labels.
Fine-tuning and LwF (Li and Hoiem 2016, arXiv 1606.09282: a softmax over the new classes for labels, and one over the old for what the
classifier so far says of the same pictures) go on from the classifier so far on the new digits' pictures. "All at once" has all pictures of
all digits so far and is no competitor.

About an hour on one thread, longer beside other work; what is there already is kept. Writes dmc.json beside
this file. `--steps 2 --seeds 1` is a smoke run, with a folder of its own; it does not write that file. Letters are nearer to
digits than auxiliary photographs would be, which flatters what uses them.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from classifiers import SIZE, Pictures, ask, fit, kept, minus, read, settle, shown
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from alumnus.evaluation.compare import Interval, over_runs
from alumnus.evaluation.incremental import score_increments
from alumnus.models.artifact import load_student, save_student
from alumnus.models.student import Architecture, Student
from alumnus.training.loop import train
from alumnus.training.recipe import load_config

NETWORK = Architecture("resnet10t", SIZE, 64, {"channels": [24, 48, 96, 192]})
A_STEP, NUM_STEPS = 2, 5
LETTERS = 5000  # most auxiliary pictures
FULL = 200  # steps; with fewer nothing is written beside this file
DMC = "DMC"
CONSOLIDATED: dict[str, dict[str, Any]] = {
    "softmax KD": {"name": "cfl", "common": 0, "reconstruction": 0},
    "DMC, nothing centred": {"name": "dmc", "centre": "none"},
    DMC: {"name": "dmc"},
    "DMC and spread": {"name": "dmc", "spread": True},
}
LWF = "LwF"
LABELLED = ("fine-tuning", LWF, "all at once")
ARMS = (*LABELLED, *CONSOLIDATED)
LWF_TEMPERATURE, LWF_WEIGHT = 2.0, 1.0  # the temperature of the LwF paper; its weight as there
State = tuple[Student, Path]  # a classifier and where it is kept


def main() -> None:
    """Prints a Markdown table, and writes all numbers beside this file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, help="folder of all classifiers; what is there is kept")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=FULL, help="of each training")
    asked = parser.parse_args()
    settle(asked.out, {"steps": asked.steps})
    letters = _letters(asked.out / "letters")
    cells: dict[str, list[dict[str, Any]]] = {arm: [] for arm in ARMS}
    for seed in range(asked.seeds):
        arm_of = Digits(asked.out / f"seed-{seed}", letters, seed=seed, steps=asked.steps)
        for arm in ARMS:
            path = asked.out / f"seed-{seed}" / f"{_file(arm)}.json"
            cells[arm].append(kept(path, lambda arm=arm, arm_of=arm_of: arm_of.run(arm)))  # type: ignore[misc]
    found = {"steps": asked.steps, "seeds": asked.seeds, "arms": summary(cells)}
    if asked.steps >= FULL:
        Path(__file__).with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(markdown(found["arms"]))


class Digits:
    """The digits of one seed's order, as classes 0 to 9, and the classifiers of each arm."""

    def __init__(self, out: Path, letters: Path, *, seed: int, steps: int) -> None:
        self.out, self.letters, self.seed, self.steps = out, letters, seed, steps
        place = np.random.default_rng(seed).permutation(A_STEP * NUM_STEPS)  # digit -> class
        train_part, test = read("mnist_official", "train"), read("mnist_official", "test")
        self.train = train_part._replace(label=place[train_part.label])
        self.test = test._replace(label=place[test.label])
        self.step_of_class = np.arange(A_STEP * NUM_STEPS) // A_STEP

    def run(self, arm: str) -> dict[str, Any]:
        """Takes all steps of an arm; returns what is said of each test picture after each, and the scores."""
        said: list[NDArray[np.int64]] = []
        state = self._alone(0)
        for step in range(NUM_STEPS):
            if step:
                state = self._next(arm, state, step)
            said.append(ask(state[0], self.test.image).argmax(1).astype(np.int64))
        scores = score_increments(said, self.test.label, self.step_of_class)
        last = scores.increments[-1]
        right = [self._right(step, guess) for step, guess in enumerate(said)]
        return {
            "mean_right": np.nanmean(
                right, axis=0
            ).tolist(),  # of each test picture, over the steps that ask it
            "average": scores.average.mean,
            "average_later": scores.average_later.mean,
            "after": [each.all.mean for each in scores.increments],
            "old": last.old.mean,
            "new": last.new.mean,
            "bias": [each.new.mean - each.old.mean for each in scores.increments[1:]],
            "old_as_new": last.old_as_new.mean,
            "new_as_old": last.new_as_old.mean,
        }

    def _right(self, step: int, guess: NDArray[np.int64]) -> NDArray[np.float64]:
        is_asked = self.step_of_class[self.test.label] <= step
        return np.where(is_asked, guess == self.test.label, np.nan)

    def _pictures(self, steps: list[int]) -> Pictures:
        here = np.isin(self.step_of_class[self.train.label], steps)
        return Pictures(self.train.image[torch.from_numpy(here)], self.train.label[here], ())

    def _alone(self, step: int) -> State:
        """A classifier of one step's classes, from scratch; all arms share it."""
        folder = self.out / f"alone-{step}"

        def make() -> Student:
            torch.manual_seed(100 * self.seed + step)
            student, pictures = Student(NETWORK), self._pictures([step])
            student.classify({f"step{step}": A_STEP})
            fit(student, pictures.image, pictures.label - A_STEP * step, steps=self.steps, seed=self.seed)
            return student

        return _kept_student(folder, make)

    def _next(self, arm: str, state: State, step: int) -> State:
        folder = self.out / _file(arm) / f"step-{step}"
        if arm in CONSOLIDATED:
            return self._consolidated(arm, state, step, folder)
        return _kept_student(folder, lambda: self._labelled(arm, state[0], step))

    def _consolidated(self, arm: str, state: State, step: int, folder: Path) -> State:
        """The student goes on from the old classifier's backbone, with a new head."""
        teachers = [(state[1], "old"), (self._alone(step)[1], "new")]
        config = load_config(
            out=folder,
            data={"path": str(self.letters), "role": "auxiliary"},
            student=f"alumnus:{state[1]}",
            teachers=[
                {"model": f"alumnus:{model}", "name": name, "output": "logits"} for model, name in teachers
            ],
            method=CONSOLIDATED[arm],
            size=SIZE,
            embed_dim=NETWORK.embed_dim,
            steps=self.steps,
            views={"flip": 0, "scale": [0.7, 1.0]},
            seed=self.seed,
            workers=1,
            checkpoint_every=max(1, self.steps - 1),
        )
        run = train(config)
        for checkpoint in run.checkpoints.glob("step-*"):
            shutil.rmtree(checkpoint)  # of a finished run: there are dozens
        return load_student(run.student), run.student

    def _labelled(self, arm: str, old: Student, step: int) -> Student:
        torch.manual_seed(100 * self.seed + step)
        student = _grown(old, step)
        pictures = self._pictures(list(range(step + 1)) if arm == "all at once" else [step])
        more: dict[str, Any] = {}
        if arm == LWF:  # labels teach the new classes alone: a softmax over all would push the old ones down
            more = {"first": A_STEP * step, "extra": _remember(old.eval())}
        fit(student, pictures.image, pictures.label, steps=self.steps, seed=self.seed, **more)
        return student


def summary(cells: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Returns each arm's scores with intervals over seeds, and DMC minus it."""
    found: dict[str, Any] = {}
    for arm, runs in cells.items():
        found[arm] = {
            key: over_runs([run[key] for run in runs]) for key in ("average", "average_later", "old", "new")
        }
        found[arm]["bias"] = over_runs([float(np.mean(run["bias"])) for run in runs])
        # Steps that lean to either side cancel in the mean, not in this one.
        found[arm]["unevenness"] = over_runs([float(np.mean(np.abs(run["bias"]))) for run in runs])
        found[arm]["runs"] = [{k: v for k, v in run.items() if k != "mean_right"} for run in runs]
        if arm != DMC:
            # Orders differ, so pictures are paired within a seed and seeds are what is resampled.
            ours, theirs = ([run["mean_right"] for run in cells[name]] for name in (DMC, arm))
            found[arm]["DMC_minus"] = {
                **minus(ours, theirs)._asdict(),
                "average": over_runs(
                    [a["average"] - b["average"] for a, b in zip(cells[DMC], runs, strict=True)]
                ),
            }
    return found


def markdown(arms: dict[str, Any]) -> str:
    """Returns the table: averages over steps, the last step by group, new minus old as the mean over steps, and of its absolute value."""
    lines = [
        "| arm | average accuracy | old, last step | new, last step | new minus old, mean of steps | its size | DMC minus it, average |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for arm, each in arms.items():
        difference = shown(Interval(*each["DMC_minus"]["average"])) if "DMC_minus" in each else "–"
        means = [f"{each[key][0]:.3f}" for key in ("average", "old", "new")]
        size = f"{each['unevenness'][0]:.3f}"
        lines.append(f"| {' | '.join([arm, *means, shown(Interval(*each['bias'])), size, difference])} |")
    return "\n".join(lines)


def _grown(old: Student, step: int) -> Student:
    """A copy whose classifier has room for the new classes; the rows of old ones are kept."""
    student = Student(NETWORK)
    student.backbone.load_state_dict(old.backbone.state_dict())
    student.embed.load_state_dict(old.embed.state_dict())
    student.classify({f"step{number}": A_STEP for number in range(step + 1)})
    assert isinstance(student.classifier, nn.Linear)
    assert isinstance(old.classifier, nn.Linear)
    with torch.no_grad():
        student.classifier.weight[: A_STEP * step] = old.classifier.weight
        student.classifier.bias[: A_STEP * step] = old.classifier.bias
    return student


def _remember(old: Student) -> Callable[[Tensor, Tensor], Tensor]:
    """LwF: the old classes' softened answers to the new pictures stay."""

    def loss(image: Tensor, logits: Tensor) -> Tensor:
        with torch.no_grad():
            wanted = old(image).logits
        assert wanted is not None
        soft = functional.log_softmax(logits[:, : wanted.shape[1]] / LWF_TEMPERATURE, dim=1)
        return -LWF_WEIGHT * ((wanted / LWF_TEMPERATURE).softmax(1) * soft).sum(1).mean()

    return loss


def _kept_student(folder: Path, make: Callable[[], Student]) -> State:
    if not (folder / "alumnus.json").is_file():
        save_student(make(), folder)
    return load_student(folder), folder


def _letters(folder: Path) -> Path:
    """Letters of glyphs_fonts, white on black as the digits are, as plain files without labels."""
    if not folder.is_dir():
        found = read("glyphs_fonts", "train")
        is_letter = np.array([not found.classes[label].isdigit() for label in found.label])
        temporary = folder.with_name(".letters.new")
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        for number in np.flatnonzero(is_letter)[:LETTERS]:
            pixels = 255 - found.image[number].permute(1, 2, 0).numpy()
            Image.fromarray(pixels).save(temporary / f"{number}.png")
        temporary.rename(folder)
    return folder


def _file(arm: str) -> str:
    return arm.replace(", ", "-").replace(" ", "-")


if __name__ == "__main__":
    main()
