"""Does a generalist among the teachers repair what experts cost? python benchmarks/claims/repcon.py runs/repcon

Representation Consolidation's claim (arXiv 2107.08039) in small, on real images: glyphs, garments and clip art at 64 px. Half of each
domain's classes are held out. The generalist is EfficientNet-Lite0 with its ImageNet weights; an expert for each domain is fine-tuned from
them with the labels of the other half, and has a linear classifier of those classes fitted on top, whose logits it teaches. Three students,
EfficientNet-Lite0 from the same weights, learn by `method=repcon` from unlabelled images of other sets (emoji, logos, flags, satellite
pictures), at equal settings: from the experts alone, from the generalist alone, from both.

Then a linear probe of the backbone's summary learns the *held-out* classes from 5 and 20 images each, and is tested on the test part of
the data (other fonts, other drawings); `--split val` has the part that settings may be chosen by. The claim holds if experts alone <
generalist < both, and both > every expert in its own domain.

Heads learn alone for the first fifth of the steps, as in UDON, and the backbone then moves at a tenth of their rate: at one rate for all
from the beginning every student ended below the weights that it began with (docs/lab/2026-11-28-first-tries.md). And a student's batch
norms keep the generalist's statistics: with those of the proxy images, which are drawings, every student lost on validation images what the
generalist knew (docs/lab/2026-11-29-repcon.md; `--batch-norm train`).

Two intervals: over test images, of the mean over seeds and draws, paired image by image; and over seeds. What is done already is kept, run
by run and probe by probe, so the same command goes on after a stop; a run of other settings is refused, probes of other draws or classes
are kept apart. About an hour on two cores. Writes repcon.json beside this file, or what `--json` names; `--split val` and less than
the defaults write only what is named. A smoke run of the whole way is `--steps 4 --expert-steps 4 --seeds 1 --draws 1 --classes 4`.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from alumnus import datasets
from alumnus.data.dataset import Dataset, open_dataset
from alumnus.demo import LITE0
from alumnus.evaluation.compare import Interval, over_runs, paired_difference
from alumnus.evaluation.encode import CallableEncode
from alumnus.evaluation.linear import LinearClassifier, fit_linear, linear_probe
from alumnus.evaluation.vectors import encode_paths
from alumnus.models.artifact import load_student
from alumnus.models.student import Student
from alumnus.teachers import load_teacher
from alumnus.teachers.spec import TeacherSpec
from alumnus.training.loop import train
from alumnus.training.recipe import load_config
from alumnus.training.run import Run

DOMAINS = {"glyphs": "glyphs_fonts", "garments": "fashion_mnist_official", "clip art": "openclipart"}
PROXY = ("emoji", "logos", "flags", "earth")
SIZE = 64
SHOTS = (5, 20)
POOL = 60  # images of a class at most that a probe draws from; garments have ten times as many
TESTED = 50  # and that it is tested on
DECAYS = (1.0, 0.1, 0.01, 0.001)  # of the probe; few images want strong ones
ARMS = {"experts": ("experts",), "generalist": ("generalist",), "both": ("experts", "generalist")}
VIEWS = 2  # of each image that students see, so that every teacher runs once on it
COMMON: Mapping[str, Any] = {
    "size": SIZE,
    "batch_size": 64,
    "workers": 1,
    "student": LITE0,
    "views": {"scale": [0.5, 1.0], "flip": 0.0},
    "log_every": 50,
}
EXPERT_RATES: Mapping[str, Any] = {"lr": 1e-3, "optim": {"backbone_lr": 0.1, "frozen": 0.2}}
# The defaults. With less of one, or with few classes, nothing is written beside this file.
FULL: Mapping[str, int] = {"seeds": 3, "draws": 3, "steps": 300, "expert_steps": 200}
Right = NDArray[np.float64]


def main() -> None:
    """Prints a Markdown table, and writes all numbers beside this file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, help="folder of the runs; what is there already is kept")
    parser.add_argument("--seeds", type=int, default=FULL["seeds"])
    parser.add_argument(
        "--draws", type=int, default=FULL["draws"], help="of the images that a probe learns from"
    )
    parser.add_argument("--steps", type=int, default=FULL["steps"], help="of a student")
    parser.add_argument("--expert-steps", type=int, default=FULL["expert_steps"])
    parser.add_argument("--lr", type=float, default=1e-3, help="of a student; experts have their own")
    parser.add_argument("--backbone-lr", type=float, default=0.1, help="the backbone's share of it")
    parser.add_argument(
        "--frozen", type=float, default=0.2, help="share of the steps before the backbone moves"
    )
    parser.add_argument(
        "--batch-norm",
        default="frozen",
        choices=("frozen", "train"),
        help="whether a student's batch norms keep the generalist's statistics, or take those of the images it sees",
    )
    parser.add_argument("--proxy", nargs="+", default=list(PROXY), help="data sets that students see")
    parser.add_argument("--split", default="test", help="val, to choose settings by")
    parser.add_argument("--classes", type=int, help="held out of a domain at most; for smoke runs")
    parser.add_argument(
        "--json", type=Path, help="where numbers go; repcon.json beside this file if the run is a full one"
    )
    asked = parser.parse_args()
    domains = {name: Domain(name, known, most=asked.classes) for name, known in DOMAINS.items()}
    seeds = [one_seed(asked, domains, seed=seed) for seed in range(asked.seeds)]
    found = compare(seeds)
    settings = {key: value for key, value in vars(asked).items() if key not in ("out", "json")}
    if path := _written(asked):
        path.write_text(json.dumps({"settings": settings, "cells": found}, indent=1) + "\n", encoding="utf-8")
    print(markdown(found))


def _written(asked: argparse.Namespace) -> Path | None:
    """Where numbers go, if anywhere."""
    is_full = asked.split == "test" and asked.classes is None
    is_full = is_full and all(vars(asked)[name] >= number for name, number in FULL.items())
    return asked.json or (Path(__file__).with_suffix(".json") if is_full else None)


class Domain:
    """A data set, half of whose classes are held out: always the same ones."""

    def __init__(self, name: str, known: str, *, most: int | None) -> None:
        self.name, self.data = name, open_dataset(datasets.get(known, size=SIZE))
        labels = np.unique(self.data.label[self.data.label >= 0])
        order = np.random.default_rng(0).permutation(labels)
        candidates = order[: len(order) // 2]
        train, test = ((self.data.split == split) for split in ("train", "test"))
        enough = [c for c in candidates if self._count(c, train) >= max(SHOTS) and self._count(c, test) >= 5]
        self.held_out = np.array(sorted(enough[:most]))
        self.seen = np.array(sorted(order[len(order) // 2 :]))

    def _count(self, label: int, where: NDArray[np.bool_]) -> int:
        return int(((self.data.label == label) & where).sum())

    def rows(self, classes: NDArray[np.int64], split: str) -> NDArray[np.int64]:
        """Returns the rows of those classes in a split."""
        return np.flatnonzero(np.isin(self.data.label, classes) & (self.data.split == split))

    def write_list(self, path: Path) -> Path:
        """Writes the images that the expert learns from."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["file_name", "domain", "label", "split"])
            for row in self.rows(self.seen, "train"):
                label = self.data.classes[0][self.data.label[row]]
                writer.writerow([self.data.paths[row], self.name.replace(" ", "_"), label, "train"])
        return path


def one_seed(
    asked: argparse.Namespace, domains: Mapping[str, Domain], *, seed: int
) -> dict[str, dict[str, Right]]:
    """Returns cell "domain/shots" -> model -> (Q,) share of draws in which each test image is right."""
    folder = asked.out / f"seed-{seed}"
    experts = {name: expert(asked, domain, folder, seed=seed) for name, domain in domains.items()}
    students = {arm: student(asked, experts, arm, folder, seed=seed) for arm in ARMS}
    generalist = load_teacher(TeacherSpec(**LITE0, size=SIZE), device=torch.device("cpu"))
    models: dict[str, Callable[[Tensor], Tensor]] = {
        "ImageNet generalist": lambda image: generalist(image.float() / 255).summary,
        **{
            f"expert of {name}": partial(_summary, load_student(run.student)) for name, run in experts.items()
        },
        **{
            f"student of {arm}": partial(_summary, load_student(run.student)) for arm, run in students.items()
        },
    }
    cells: dict[str, dict[str, Right]] = {}
    probes = folder / f"probes-{asked.split}-{asked.draws}-draws-{asked.classes or 'all'}-classes"
    for name, domain in domains.items():
        for model, function in models.items():
            kept = probes / f"{name}-{model}.npz".replace(" ", "_")
            if not kept.exists():
                kept.parent.mkdir(parents=True, exist_ok=True)
                temporary = kept.with_name(f".{kept.name}")
                np.savez(
                    temporary, **probe(domain, function, split=asked.split, draws=asked.draws, seed=seed)
                )
                temporary.rename(kept)
            with np.load(kept) as found:
                for shots in SHOTS:
                    cells.setdefault(f"{name}/{shots}", {})[model] = found[str(shots)]
    return cells


def expert(asked: argparse.Namespace, domain: Domain, folder: Path, *, seed: int) -> Run:
    """Returns the generalist, fine-tuned on half of a domain's classes."""
    slug = domain.name.replace(" ", "_")
    images = domain.write_list(folder / "lists" / f"{slug}.csv")
    settings = {"method": "supervised", "steps": asked.expert_steps, "seed": seed, **EXPERT_RATES}
    return train(load_config(out=folder / "experts" / slug, data=images, **COMMON, **settings))


def student(
    asked: argparse.Namespace, experts: Mapping[str, Run], arm: str, folder: Path, *, seed: int
) -> Run:
    """Returns the generalist's weights, trained on by the teachers of an arm."""
    teachers: list[dict[str, Any]] = []
    if "experts" in ARMS[arm]:
        for name, run in experts.items():
            slug = name.replace(" ", "_")
            with_classes = classifier(run, folder / "lists" / f"{slug}.csv")
            teachers.append({"model": with_classes, "name": slug, "size": SIZE, "output": "logits"})
    if "generalist" in ARMS[arm]:
        teachers.append({**LITE0, "name": "generalist", "size": SIZE, "output": "logits"})
    named = {"generalist": "generalist"} if "generalist" in ARMS[arm] else {}
    return train(
        load_config(
            out=folder / "students" / arm,
            data=[str(datasets.get(name, size=SIZE)) for name in asked.proxy],
            teachers=teachers,
            method={"name": "repcon", **named},
            steps=asked.steps,
            seed=seed,
            store=folder / "store",  # of all arms
            lr=asked.lr,
            optim={
                "backbone_lr": asked.backbone_lr,
                "frozen": asked.frozen,
                "batch_norm": asked.batch_norm,
            },
            **{**COMMON, "views": {**COMMON["views"], "per_image": VIEWS}},
        )
    )


class Classifier(nn.Module):
    """An expert with a linear classifier of its own classes."""

    def __init__(self, network: Student, found: LinearClassifier) -> None:
        super().__init__()
        self.network = network
        self.head = nn.Linear(found.weight.shape[1], found.weight.shape[0])
        self.head.weight.data.copy_(torch.from_numpy(found.weight))
        self.head.bias.data.copy_(torch.from_numpy(found.bias))

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, S, S) in [0, 1] -> logits (B, C)."""
        logits: Tensor = self.head(self.network(image).features.summary)
        return logits


@cache
def classifier(run: Run, images: Path) -> Classifier:
    """Returns an expert that says what class an image is of: logistic regression on its summaries of the images it learnt from."""
    network, data = load_student(run.student), open_dataset(images)
    vectors = features(partial(_summary, network), data, np.arange(len(data)))
    return Classifier(network, fit_linear(vectors, data.label, decays=(0.01,)).classifier).eval()


def probe(
    domain: Domain, function: Callable[[Tensor], Tensor], *, split: str, draws: int, seed: int
) -> dict[str, Right]:
    """Returns shots -> (Q,), for each image of the split and the held-out classes the share of draws in which it is right."""
    pool, test = (
        _few(domain, domain.rows(domain.held_out, part), most=most)
        for part, most in (("train", POOL), (split, TESTED))
    )
    vectors = features(function, domain.data, np.concatenate([pool, test]))
    label = np.searchsorted(domain.held_out, domain.data.label)
    found = {}
    for shots in SHOTS:
        right = np.zeros(len(test))
        for draw in range(draws):
            random = np.random.default_rng([seed, draw, shots])
            chosen = np.concatenate(
                [
                    random.choice(np.flatnonzero(label[pool] == c), shots, replace=False)
                    for c in range(len(domain.held_out))
                ]
            )
            fit = linear_probe(
                vectors[chosen],
                label[pool[chosen]],
                vectors[len(pool) :],
                label[test],
                decays=DECAYS,
                resamples=1,
            ).fit
            right += fit.classifier.predict(vectors[len(pool) :]) == label[test]
        found[str(shots)] = right / draws
    return found


def _few(domain: Domain, rows: NDArray[np.int64], *, most: int) -> NDArray[np.int64]:
    """At most so many of each class, evenly spread."""
    kept = []
    for c in domain.held_out:
        here = rows[domain.data.label[rows] == c]
        kept.append(here[np.linspace(0, len(here) - 1, min(most, len(here))).astype(np.int64)])
    return np.concatenate(kept)


def features(
    function: Callable[[Tensor], Tensor], data: Dataset, rows: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Returns vectors (N, D) of rows of the data."""
    model = CallableEncode(function, name="model", size=SIZE)
    return np.asarray(encode_paths([model], [data.paths[row] for row in rows], workers=1).of["model"])


def _summary(network: Student, image: Tensor) -> Tensor:
    summary: Tensor = network(image).features.summary
    return summary


def compare(seeds: list[dict[str, dict[str, Right]]]) -> dict[str, dict[str, Any]]:
    """Returns cell -> each model's accuracies by seed, and "both" and "generalist" minus others, with both intervals."""
    found: dict[str, dict[str, Any]] = {}
    for cell, models in seeds[0].items():
        mean = {name: np.mean([seed[cell][name] for seed in seeds], axis=0) for name in models}
        one = np.zeros(len(next(iter(mean.values()))), np.int64)

        def versus(
            name: str, other: str, *, mean: dict[str, Right] = mean, one: Any = one, cell: str = cell
        ) -> Any:
            runs = [float((seed[cell][name] - seed[cell][other]).mean()) for seed in seeds]
            return {
                "minus": other,
                "of": name,
                "over_images": paired_difference(mean[name], mean[other], one),
                "over_seeds": over_runs(runs),
            }

        domain = cell.split("/")[0]
        found[cell] = {
            "num_test": len(one),
            "accuracy": {name: [float(seed[cell][name].mean()) for seed in seeds] for name in models},
            "differences": [
                versus("ImageNet generalist", "student of experts"),
                versus("student of both", "ImageNet generalist"),
                versus("student of both", "student of experts"),
                versus("student of both", "student of generalist"),
                versus("student of both", f"expert of {domain}"),
            ],
        }
    return found


def markdown(found: Mapping[str, Mapping[str, Any]]) -> str:
    """Returns two tables: accuracies, and differences with both intervals."""
    models = list(next(iter(found.values()))["accuracy"])
    lines = [f"| held-out classes of / shots | test images | {' | '.join(models)} |"]
    lines.append("|---|---:|" + "---:|" * len(models))
    for cell, each in found.items():
        means = [f"{np.mean(each['accuracy'][name]):.3f}" for name in models]
        lines.append(f"| {cell} | {each['num_test']} | {' | '.join(means)} |")
    lines += ["", "| cell | difference | over images | over seeds |", "|---|---|---:|---:|"]
    for cell, each in found.items():
        for one in each["differences"]:
            spans = [_shown(Interval(*one[over])) for over in ("over_images", "over_seeds")]
            lines.append(f"| {cell} | {one['of']} minus {one['minus']} | {' | '.join(spans)} |")
    return "\n".join(lines)


def _shown(found: Interval) -> str:
    return f"{found.mean:+.3f} ({found.low:+.3f} to {found.high:+.3f})"


if __name__ == "__main__":
    main()
