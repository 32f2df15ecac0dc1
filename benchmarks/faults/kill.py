"""Kills real commands at random moments and starts them again until they end: python benchmarks/faults/kill.py [--runs 20]

Three commands on images that are made here (no download): `alumnus train` with a checkpoint every 1 to 3 steps, `alumnus cache build`, and
`alumnus bench`. Each is first run undisturbed, then `--runs` times with one to three SIGKILLs: at a moment drawn evenly from the time
that an undisturbed one takes, and for every other one while something is being written. A run that ends before it is killed does not
count: it is done again, and killed sooner. What comes out must be the same to the last bit: the student's files; every stored feature;
every score. Exits with 1 if one differs. About 10 s a run on two cores.

Commands are forked from one process that has imported everything, so that kills meet work and not imports.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

import alumnus.bench.run
import alumnus.methods.plain
import alumnus.training.cache
import alumnus.training.loop  # noqa: F401
from alumnus.cli import run as command
from alumnus.store.folder import folders

SIDE, PER_CLASS, STEPS = 48, 24, 24
COLOURS = {"red": (205, 40, 45), "green": (45, 160, 60), "blue": (40, 70, 200)}
STUDENT, TEACHER = "timm/test_efficientnet", {"model": "timm/test_resnet", "weights": "random", "size": 64}
MOST_KILLS = 3
SAID = Path(tempfile.gettempdir()) / f"alumnus-kill-{os.getpid()}.txt"


class Case(NamedTuple):
    """One command and what it leaves."""

    name: str
    words: Callable[[Path, int], list[str]]  # of its folder and the number of the run
    digest: Callable[[Path], str]
    writing: str  # pattern of what is there only while something is written


def main() -> None:
    """Runs everything and prints a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=20, help="of each command")
    parser.add_argument(
        "--seed", type=int, default=0, help="of the moments; what they meet is up to the machine"
    )
    asked = parser.parse_args()
    draw = random.Random(asked.seed)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        cases = make_cases(root)
        print(
            "| command | runs | kills | while writing | same bytes |\n|---|---:|---:|---:|---:|", flush=True
        )
        wrong = 0
        for case in cases:
            wanted, seconds = undisturbed(case, root / f"{case.name}-whole")
            same, kills, hit = 0, 0, 0
            for number in range(asked.runs):
                out = root / f"{case.name}-{number}"
                done = killed(case, out, number, seconds, draw)
                kills, hit = kills + done.kills, hit + done.while_writing
                same += case.digest(out) == wanted
                shutil.rmtree(out)
            wrong += asked.runs - same
            print(f"| {case.name} | {asked.runs} | {kills} | {hit} | {same} |", flush=True)
    SAID.unlink(missing_ok=True)
    sys.exit(1 if wrong else 0)


def make_cases(root: Path) -> list[Case]:
    """The three commands, on images made below `root`."""
    images, suite = make_images(root / "images"), root / "suite.yaml"
    tasks = [
        {"name": name, "data": str(root / "images"), "task": task}
        for name, task in (("colours", "classification"), ("found", "retrieval"))
    ]
    suite.write_text(json.dumps({"name": "tiny", "input_size": 32, "budget": "quick", "tasks": tasks}))
    recipe = [f"data={images}", f"teachers=[{json.dumps(TEACHER)}]", "size=32", "workers=1", "device=cpu"]
    training = [f"student={STUDENT}", "embed_dim=16", f"steps={STEPS}", "batch_size=16", "log_every=2"]

    def train(out: Path, number: int) -> list[str]:
        return ["train", *recipe, *training, f"checkpoint_every={1 + number % 3}", f"out={out}"]

    def build(out: Path, number: int) -> list[str]:
        return ["cache", "build", *recipe, "views.per_image=4", "precision=float32", f"out={out}"]

    def bench(out: Path, number: int) -> list[str]:
        models = ["--models", "pixels", f"untrained:{STUDENT}", "--fractions", "0.25", "1", "--seeds", "2"]
        return [
            "bench",
            "--suite",
            str(suite),
            *models,
            "--cache",
            str(out / "cache"),
            "--workers",
            "1",
            "--out",
            str(out),
        ]

    return [
        Case("train", train, student_digest, "checkpoints/.step-*.new"),
        Case("cache build", build, store_digest, "*/.*.new"),
        Case("bench", bench, scores_digest, "**/.*.new"),
    ]


def make_images(folder: Path) -> Path:
    """Noisy pictures of three colours, in class folders."""
    noise = np.random.default_rng(0)
    for split, count in (("train", PER_CLASS), ("test", PER_CLASS // 2)):
        for name, colour in COLOURS.items():
            (folder / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = np.clip(noise.normal(colour, 60, (SIDE, SIDE, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / split / name / f"{number}.png")
    return folder


def undisturbed(case: Case, out: Path) -> tuple[str, float]:
    """Returns the digest of what a command leaves that runs to its end, and how long one takes that is not the first."""
    to_the_end(case, out, 0)
    shutil.rmtree(out)
    began = time.monotonic()
    to_the_end(case, out, 0)
    return case.digest(out), time.monotonic() - began


def to_the_end(case: Case, out: Path, number: int) -> None:
    """Runs a command, which must end well."""
    ended = finish(start(case.words(out, number)))
    if ended != 0:
        said = SAID.read_text(errors="replace").splitlines()
        raise SystemExit("\n".join([f"{case.name}, run {number}, ended with {ended}:", *said[-20:]]))


class Killed(NamedTuple):
    """What was done to a run."""

    kills: int
    while_writing: int  # kills that came while something was written


def killed(case: Case, out: Path, number: int, seconds: float, draw: random.Random) -> Killed:
    """Runs a command, kills it some times, and then lets it end."""
    wanted, kills, hit = draw.randint(1, MOST_KILLS), 0, 0
    while kills < wanted:
        pid = start(case.words(out, number))
        wait(pid, out, case.writing if (number + kills) % 2 else None, draw.uniform(0, seconds))
        os.kill(pid, signal.SIGKILL)
        if finish(pid) == -signal.SIGKILL:
            kills += 1
            hit += is_there(out, case.writing)
        else:  # it was sooner
            seconds, kills, hit = 0.7 * seconds, 0, 0
            shutil.rmtree(out)
    to_the_end(case, out, number)
    return Killed(kills, hit)


def wait(pid: int, out: Path, writing: str | None, seconds: float) -> None:
    """Waits that long; after that, if a pattern is given, until something of it is being written; no longer than the command lives."""
    moment = time.monotonic() + seconds
    while time.monotonic() < moment or (writing is not None and not is_there(out, writing)):
        if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            return
        time.sleep(0.0005)


def is_there(out: Path, pattern: str) -> bool:
    """Whether something of that name is in a folder, which is being written meanwhile."""
    try:
        return any(out.glob(pattern))
    except OSError:
        return False


def start(words: Sequence[str]) -> int:
    """Starts a command in a process of its own and returns its number; what it says goes to SAID."""
    pid = os.fork()
    if pid:
        return pid
    with open(SAID, "w") as said:
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)
    code = 1
    try:
        code = command(words)
    except Exception:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def finish(pid: int) -> int:
    """Waits for a command; returns its exit code, or less than 0 for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def student_digest(out: Path) -> str:
    """SHA-256 over the student's weights."""
    names = ("model.safetensors", "heads.safetensors")
    return hashlib.sha256(b"".join((out / "student" / name).read_bytes() for name in names)).hexdigest()


def store_digest(out: Path) -> str:
    """SHA-256 over all outputs, by image and view: how they are spread over shards is up to who was killed when."""
    digest = hashlib.sha256()
    for folder in folders(out):
        rows = {}
        for shard in folder.shards:
            summary = shard.read(np.arange(len(shard))).summary.numpy()
            rows |= {(int(k), int(v)): row for k, v, row in zip(shard.key, shard.view, summary, strict=True)}
        for place in sorted(rows):
            digest.update(repr(place).encode() + rows[place].tobytes())
    return digest.hexdigest()


def scores_digest(out: Path) -> str:
    """SHA-256 over every cell's scores and errors; dates and seconds differ."""
    cells = {}
    for path in sorted(out.glob("cells/**/*.json")):
        cell = json.loads(path.read_text())
        cells[str(path.relative_to(out))] = [cell["scores"], cell["error"]]
    return hashlib.sha256(json.dumps(cells, sort_keys=True).encode()).hexdigest()


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
