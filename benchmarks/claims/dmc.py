"""Does consolidation keep old classes without old pictures? python benchmarks/claims/dmc.py runs/dmc

The ten digits of MNIST come two at a time, in an order of each seed's own. After each of five steps one classifier has to tell all digits
so far apart, with no picture of the earlier ones. Deep Model Consolidation and distillation by softmax combine the classifier so far with
one of the two new digits alone, on pictures of letters (52 classes in many typefaces, no digit among them) without labels.
Fine-tuning and LwF (Li and Hoiem 2016, arXiv 1606.09282: a softmax over the new classes for labels, and one over the old for what the
classifier so far says of the same pictures) go on from the classifier so far on the new digits' pictures. "All at once" has all pictures of
all digits so far and is no competitor.

With `--task capitals` it is 25 capital letters in many typefaces, five at a time, tested in typefaces never seen, and pictures of letters
of other alphabets, none of which looks like a Latin one to whoever chose them.

`--trials` has validation pictures, and DMC with the old classifier's batch statistics kept and with five times the steps. `--long` has five
times the steps for every training, of classifiers that teach too.

About an hour and a half on one thread, and as much again for `--long`, longer beside other work; what is there already is kept. Writes
dmc.json beside this file, or dmc-capitals.json, dmc-capitals-long.json. `--steps 2 --seeds 1` is a smoke run, with a folder of its own; it
does not write that file. Letters are nearer to digits, or to other letters, than auxiliary photographs would be, which flatters what uses
them.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from classifiers import SIZE, Pictures, ask, fit, kept, minus, read, settle, shown
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from alumnus import datasets
from alumnus.data.dataset import open_dataset
from alumnus.data.read import read_image
from alumnus.evaluation.compare import Interval, over_runs
from alumnus.evaluation.incremental import score_increments
from alumnus.models.artifact import load_student, save_student
from alumnus.models.student import Architecture, Student
from alumnus.training.loop import train
from alumnus.training.recipe import load_config

NETWORK = Architecture("resnet10t", SIZE, 64, {"channels": [24, 48, 96, 192]})
NUM_STEPS = 5
LETTERS = 5000  # most auxiliary pictures
CAPITALS = "ABCDEFGHIJKLMNOPQRSTUVWXY"  # 25 of 26
ALIKE = ("latin", "greek", "cyrillic")  # scripts of which many letters look like capitals
DMC = "DMC"
LONGER = 5  # times as many steps
STATISTICS = {"optim": {"batch_norm": "frozen"}}  # those of the old classifier, not of auxiliary pictures
CONSOLIDATED: dict[str, dict[str, Any]] = {
    "softmax KD": {"method": {"name": "cfl", "common": 0, "reconstruction": 0}},
    "DMC, nothing centred": {"method": {"name": "dmc", "centre": "none"}},
    DMC: {"method": "dmc"},
    "DMC and spread": {"method": {"name": "dmc", "spread": True}},
}
TRIALS: dict[str, dict[str, Any]] = {
    DMC: CONSOLIDATED[DMC],
    "DMC, statistics kept": {"method": "dmc", **STATISTICS},
    "DMC, five times the steps": {"method": "dmc", "times": LONGER},
}
LWF = "LwF"
AT_ONCE = "all at once"
LABELLED = ("fine-tuning", LWF, AT_ONCE)
ARMS = (*LABELLED, *CONSOLIDATED)
LONG = ("fine-tuning", LWF, "softmax KD", DMC)
TRIED = ("fine-tuning", LWF, *TRIALS)
LWF_TEMPERATURE, LWF_WEIGHT = 2.0, 1.0  # the temperature of the LwF paper; its weight as there
State = tuple[Student, Path]  # a classifier and where it is kept


class Task(NamedTuple):
    """What is learnt in steps, and how."""

    train: Pictures
    test: Pictures  # or validation pictures
    views: dict[str, Any]  # of auxiliary pictures
    auxiliary: Callable[[Path], Path]  # writes them into a folder, unless they are there, and returns it
    steps: int  # of each training; with fewer nothing is written beside this file


def main() -> None:
    """Prints a Markdown table, and writes all numbers beside this file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, help="folder of all classifiers; what is there is kept")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--task", choices=TASKS, default="digits")
    parser.add_argument("--steps", type=int, help="of each training")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument(
        "--long", action="store_true", help="five times the steps for every training, and fewer arms"
    )
    kind.add_argument("--trials", action="store_true", help="other settings of DMC, on validation pictures")
    asked = parser.parse_args()
    task = TASKS[asked.task]("val" if asked.trials else "test")
    full = task.steps * (LONGER if asked.long else 1)
    steps = full if asked.steps is None else asked.steps
    arms = LONG if asked.long else TRIED if asked.trials else ARMS
    settle(asked.out, {"task": asked.task, "steps": steps, **({"split": "val"} if asked.trials else {})})
    auxiliary = task.auxiliary(asked.out / "auxiliary")
    cells: dict[str, list[dict[str, Any]]] = {arm: [] for arm in arms}
    for seed in range(asked.seeds):
        arm_of = Order(task, asked.out / f"seed-{seed}", auxiliary, seed=seed, steps=steps)
        for arm in arms:
            path = asked.out / f"seed-{seed}" / f"{_file(arm)}.json"
            cells[arm].append(kept(path, lambda arm=arm, arm_of=arm_of: arm_of.run(arm)))  # type: ignore[misc]
    found = {"steps": steps, "seeds": asked.seeds, "arms": summary(cells)}
    if steps >= full and not asked.trials:
        words = [*(() if asked.task == "digits" else (asked.task,)), *(("long",) if asked.long else ())]
        name = "-".join(("dmc", *words))
        Path(__file__).with_name(f"{name}.json").write_text(
            json.dumps(found, indent=1) + "\n", encoding="utf-8"
        )
    print(markdown(found["arms"]))


class Order:
    """The classes of a task in an order of the seed's own, as classes 0 to C - 1, and the classifiers of each arm.

    Axes: C classes, the same number in each step.
    """

    def __init__(self, task: Task, out: Path, auxiliary: Path, *, seed: int, steps: int) -> None:
        self.out, self.auxiliary, self.views, self.seed, self.steps = out, auxiliary, task.views, seed, steps
        count = len(task.train.classes)
        place = np.random.default_rng(seed).permutation(count)  # class of the task -> class
        self.train = task.train._replace(label=place[task.train.label])
        self.test = task.test._replace(label=place[task.test.label])
        self.a_step = count // NUM_STEPS
        self.step_of_class = np.arange(count) // self.a_step

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
            student.classify({f"step{step}": self.a_step})
            fit(
                student, pictures.image, pictures.label - self.a_step * step, steps=self.steps, seed=self.seed
            )
            return student

        return _kept_student(folder, make)

    def _next(self, arm: str, state: State, step: int) -> State:
        folder = self.out / _file(arm) / f"step-{step}"
        if arm not in LABELLED:
            return self._consolidated(arm, state, step, folder)
        return _kept_student(folder, lambda: self._labelled(arm, state[0], step))

    def _consolidated(self, arm: str, state: State, step: int, folder: Path) -> State:
        """The student goes on from the old classifier's backbone, with a new head."""
        teachers = [(state[1], "old"), (self._alone(step)[1], "new")]
        settings = {**CONSOLIDATED, **TRIALS}[arm]
        steps = self.steps * settings.get("times", 1)
        config = load_config(
            out=folder,
            data={"path": str(self.auxiliary), "role": "auxiliary"},
            student=f"alumnus:{state[1]}",
            teachers=[
                {"model": f"alumnus:{model}", "name": name, "output": "logits"} for model, name in teachers
            ],
            method=settings["method"],
            optim=settings.get("optim", {}),
            size=SIZE,
            embed_dim=NETWORK.embed_dim,
            steps=steps,
            views=self.views,
            seed=self.seed,
            workers=1,
            checkpoint_every=max(1, steps - 1),
        )
        run = train(config)
        for checkpoint in run.checkpoints.glob("step-*"):
            shutil.rmtree(checkpoint)  # of a finished run: there are dozens
        return load_student(run.student), run.student

    def _labelled(self, arm: str, old: Student, step: int) -> Student:
        torch.manual_seed(100 * self.seed + step)
        student = _grown(old, step, self.a_step)
        pictures = self._pictures(list(range(step + 1)) if arm == AT_ONCE else [step])
        more: dict[str, Any] = {}
        if arm == LWF:  # labels teach the new classes alone: a softmax over all would push the old ones down
            more = {"first": self.a_step * step, "extra": _remember(old.eval())}
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


def _grown(old: Student, step: int, a_step: int) -> Student:
    """A copy whose classifier has room for the new classes; the rows of old ones are kept."""
    student = Student(NETWORK)
    student.backbone.load_state_dict(old.backbone.state_dict())
    student.embed.load_state_dict(old.embed.state_dict())
    student.classify({f"step{number}": a_step for number in range(step + 1)})
    assert isinstance(student.classifier, nn.Linear)
    assert isinstance(old.classifier, nn.Linear)
    with torch.no_grad():
        student.classifier.weight[: a_step * step] = old.classifier.weight
        student.classifier.bias[: a_step * step] = old.classifier.bias
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


def digits(split: str) -> Task:
    """MNIST, and letters."""
    return Task(
        read("mnist_official", "train"),
        read("mnist_official", split),
        {"flip": 0, "scale": [0.7, 1.0]},
        _letters,
        steps=200,
    )


def capitals(split: str) -> Task:
    """Capital letters, and letters of other alphabets."""
    # A picture of `scripts` has two lines of four letters, so an eighth of its area is about a letter.
    views = {"flip": 0, "scale": [0.08, 0.2], "ratio": [0.8, 1.25]}
    return Task(_capitals("train"), _capitals(split), views, _other_alphabets, steps=300)


TASKS: dict[str, Callable[[str], Task]] = {"digits": digits, "capitals": capitals}


def _capitals(split: str) -> Pictures:
    found = read("glyphs_fonts", split)
    place = {found.classes.index(letter): number for number, letter in enumerate(CAPITALS)}
    here = np.isin(found.label, list(place))
    labels = np.array([place[label] for label in found.label[here]])
    return Pictures(found.image[torch.from_numpy(here)], labels, tuple(CAPITALS))


def _letters(folder: Path) -> Path:
    """Letters of glyphs_fonts, white on black as the digits are, as plain files without labels."""
    if not folder.is_dir():
        found = read("glyphs_fonts", "train")
        is_letter = np.array([not found.classes[label].isdigit() for label in found.label])
        chosen = found.image[torch.from_numpy(np.flatnonzero(is_letter)[:LETTERS])]
        _write_pictures(folder, (255 - chosen).permute(0, 2, 3, 1).numpy())
    return folder


def _other_alphabets(folder: Path) -> Path:
    """Pictures of `scripts`, of scripts that do not look like the Latin one, as plain files without labels."""
    if not folder.is_dir():
        data = open_dataset(datasets.get("scripts", size=128))
        chosen = [
            read_image(path)
            for path, label in zip(data.paths, data.label, strict=True)
            if data.classes[0][label] not in ALIKE
        ]
        _write_pictures(folder, [np.asarray(image) for image in chosen])
    return folder


def _write_pictures(folder: Path, pictures: Iterable[NDArray[np.uint8]]) -> None:
    temporary = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    for number, pixels in enumerate(pictures):
        Image.fromarray(pixels).save(temporary / f"{number}.png")
    temporary.rename(folder)


def _file(arm: str) -> str:
    return arm.replace(", ", "-").replace(" ", "-")


if __name__ == "__main__":
    main()
