"""Compares the loss curves of one and of two processes, for every method: python benchmarks/faults/two_processes.py [--steps 200]

Each method of alumnus.methods trains a small vision transformer at 32 px on images that are made here (three domains of three classes,
no download), once in one process and once in two that torchrun starts (gloo, one thread each), from the same seed. Every term of every
step is compared: the largest |two - one| is reported, of the first step and of all, relative to the term's mean size over the run (some
terms are 0 at times). They differ by rounding alone, but training makes small differences larger, some objectives a millionfold in 200
steps. What rounding comes to is measured beside it: one process whose batches go through in five pieces (`accumulate: 5`), the same sums in
another order. Writes a JSON; exits with 1 if a difference is above --tolerance and above ten times that. A method that its defaults do not
suit needs a line in SETTINGS. About a minute a method on two cores.

`udon` takes domains in turn here: its dynamic sampler counts whole steps by losses, so that rounding may give one run another schedule than
the other, though never the two processes of one run.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from alumnus.errors import AlumnusError
from alumnus.log import read_metrics
from alumnus.training.config import Config
from alumnus.training.loop import train
from alumnus.training.method import method_module, method_names
from alumnus.training.recipe import load_config

SIDE, PER_CLASS = 40, 12
COLOURS = {"red": (205, 40, 45), "green": (45, 160, 60), "blue": (40, 70, 200)}
DOMAINS = ("discs", "squares", "bars")
STUDENT = {"model": "timm/vit_tiny_patch16_224", "model_args": {"depth": 2, "embed_dim": 48, "num_heads": 2}}
TEACHERS = [
    {"model": "timm/test_resnet", "name": "all", "weights": "random", "size": 32},
    {"model": "timm/test_vit", "name": "discs", "weights": "random", "size": 32, "domains": ["discs"]},
]
CLASSIFIER = {**TEACHERS[0], "name": "classes", "output": "logits"}
SETTINGS: Mapping[str, Mapping[str, object]] = {  # method -> what its run needs beside the defaults
    "udon": {"teachers": [], "sampler": "round_robin"},
    "cfl": {"teachers": [*TEACHERS, CLASSIFIER]},
    "dmc": {"teachers": [CLASSIFIER]},
    "kd": {"teachers": [CLASSIFIER]},
    "attention_transfer": {"teachers": [{**TEACHERS[0], "output": "patches"}]},
    "fitnets": {"teachers": [{**TEACHERS[0], "output": "patches"}]},
    "rkd": {"student": {**STUDENT, "split": 0.3}, "teachers": TEACHERS[:1]},
}
RUNS: Mapping[str, tuple[int, Mapping[str, object]]] = {
    "1": (1, {}),
    "2": (2, {}),
    "pieces": (1, {"accumulate": 5}),
}  # processes, and settings of their own
NOT_COMPARED = ("step", "lr", "images/s")


def main() -> None:
    """Trains, compares, prints a table, writes the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--methods", nargs="+", default=method_names())
    parser.add_argument("--lr", type=float, default=1e-3, help="a lower one makes less of rounding")
    parser.add_argument("--tolerance", type=float, default=1e-2)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    parser.add_argument("--train", type=Path, help=argparse.SUPPRESS)  # what the processes do
    parser.add_argument("--as", choices=RUNS, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.train is not None:
        train_all(asked.train, vars(asked)["as"], asked.methods, asked.steps, lr=asked.lr)
        return
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_images(root / "images")
        words = ["--steps", str(asked.steps), "--lr", str(asked.lr)]
        words += ["--methods", *asked.methods, "--train", folder]
        seconds = {name: run(name, words) for name in RUNS}
        found = {
            method: {**compared(root, method, "2"), "rounding": compared(root, method, "pieces")["largest"]}
            for method in asked.methods
        }
    report = {
        "steps": asked.steps,
        "lr": asked.lr,
        "tolerance": asked.tolerance,
        "torch": torch.__version__,
        "cores": os.cpu_count(),
        "seconds": seconds,
        "methods": found,
    }
    asked.out.write_text(json.dumps(report, indent=1) + "\n")
    print(
        "| method | terms | first step | all steps | of | at step | rounding |\n|---|---:|---:|---:|---|---:|---:|"
    )
    for method, line in found.items():
        numbers = f"{line['first']:.1e} | {line['largest']:.1e} | {line['of']} | {line['at']} | {line['rounding']:.1e}"
        print(f"| {method} | {line['terms']} | {numbers} |")
    sys.exit(any(line["largest"] > max(asked.tolerance, 10 * line["rounding"]) for line in found.values()))


def run(name: str, words: Sequence[str]) -> float:
    """Trains as one of RUNS; returns the seconds."""
    count = RUNS[name][0]
    launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"] if count > 1 else []
    started = time.monotonic()
    # Without a thread of its own each, processes would wait for one another.
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(
        [sys.executable, *launch, __file__, *words, "--as", name], env=environment, check=False
    )
    if ended.returncode:
        sys.exit(f"training in {count} process(es) ended with exit code {ended.returncode}")
    return round(time.monotonic() - started, 1)


def train_all(root: Path, name: str, methods: Sequence[str], steps: int, *, lr: float) -> None:
    """Trains methods in this process as one of RUNS."""
    torch.set_num_threads(1)
    for method in methods:
        try:
            train(config_of(root, name, method, steps, lr=lr))
        except AlumnusError as error:
            sys.exit(
                f"{method}: {error}\nIf its defaults do not suit these images and teachers, add what it needs to SETTINGS in {__file__}"
            )


def config_of(root: Path, name: str, method: str, steps: int, *, lr: float) -> Config:
    """Returns the recipe of a method; teachers, unless it learns from labels alone."""
    settings = method_module(method).Settings(name=method)
    has_teachers = settings.learns_from is None or "teachers" in settings.learns_from
    values: dict[str, object] = {
        "out": root / f"{method}-{name}",
        "data": [root / "images" / domain for domain in DOMAINS],
        "student": STUDENT,
        "teachers": TEACHERS if has_teachers else [],
        "method": method,
        "size": 32,
        "embed_dim": 16,
        "steps": steps,
        "lr": lr,
        "batch_size": 15,  # uneven shares: 8 and 7
        "workers": 0,
        "log_every": 1,
        "checkpoint_every": steps,
    }
    return load_config(**{**values, **RUNS[name][1], **SETTINGS.get(method, {})})


def compared(root: Path, method: str, name: str) -> dict[str, Any]:
    """Returns the largest relative difference of any term of a run to one process, of the first step and of all, and where it is."""
    one, two = (read_metrics(root / f"{method}-{each}" / "metrics.jsonl") for each in ("1", name))
    said: dict[str, list[float]] = {}  # rkd's phases have different terms
    for line in one:
        for term in line.keys() - set(NOT_COMPARED):
            said.setdefault(term, []).append(abs(line[term]))
    size = {term: max(float(np.mean(values)), 1e-6) for term, values in said.items()}
    largest = [(0.0, "", 0)]
    first = 0.0
    for mine, other in zip(one, two, strict=True):
        if mine.keys() != other.keys():
            raise SystemExit(
                f"{method}: step {mine['step']} reports {sorted(mine.keys() ^ other.keys())} in one of them only"
            )
        for term in size.keys() & mine.keys():
            away = abs(other[term] - mine[term]) / size[term]
            largest.append((away, term, int(mine["step"])))
            first = max(first, away) if mine["step"] == one[0]["step"] else first
    away, of, at = max(largest)
    return {
        "terms": len(size),
        "first": first,
        "largest": away,
        "of": of,
        "at": at,
    }


def make_images(folder: Path) -> None:
    """`domain/colour/0.png` …, a shape somewhere on a light noisy ground."""
    draw = np.random.default_rng(0)
    y, x = np.mgrid[:SIDE, :SIDE]
    for domain in DOMAINS:
        for name, colour in COLOURS.items():
            (folder / domain / name).mkdir(parents=True)
            for number in range(PER_CLASS):
                pixels = draw.integers(225, 256, (SIDE, SIDE, 3)).astype(np.uint8)
                (middle_x, middle_y), radius = draw.uniform(14, 26, 2), draw.uniform(8, 13)
                across, down = abs(x - middle_x), abs(y - middle_y)
                inside = {
                    "discs": np.hypot(across, down),
                    "squares": np.maximum(across, down),
                    "bars": 3 * across,
                }[domain]
                pixels[inside < radius] = colour
                Image.fromarray(pixels).save(folder / domain / name / f"{number}.png")


if __name__ == "__main__":
    main()
