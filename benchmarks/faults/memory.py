"""Whether memory stays flat over a long run: python benchmarks/faults/memory.py [--steps 20000] [--live] [--workers 1]

One process trains a tiny network on 16 px images that are made here (no download), batch 8, with a teacher out of a store (or live),
reading processes, checkpoints and log lines, so that all that lasts through a run is in it and each step is cheap. Every 100 steps the
resident memory (RSS) of the process, and that of its readers together, is noted. After a warm-up of a tenth of the steps, at least
1,000, a line is fitted by least squares; the run passes if neither rises by 1 MiB or more in 1,000 steps. Writes a JSON with every
sample; exits with 1 if it does not pass. Linux. About 10 minutes on one core.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from alumnus.training.loop import train
from alumnus.training.recipe import load_config

SIDE, IMAGES, EVERY, BATCH = 16, 400, 100, 8
LIMIT = 1.0  # MiB in 1,000 steps
WARM_UP, WARM_UP_STEPS = 0.1, 1000  # of the steps, and at least so many: two checkpoints
POLL_S = 0.02
STUDENT = "timm/test_efficientnet"
TEACHER = {"model": "timm/test_resnet", "name": "small", "weights": "random", "size": 32}


def main() -> None:
    """Trains, fits, prints and writes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--live", action="store_true", help="ask the teacher in every step")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    asked = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        samples = watched(Path(folder), steps=asked.steps, workers=asked.workers, live=asked.live)
    report = reported(samples, steps=asked.steps) | {
        "workers": asked.workers,
        "teacher": "live" if asked.live else "stored",
        "seconds": round(time.monotonic() - started),
        "torch": torch.__version__,
        "samples": samples,  # step, MiB of the process, MiB of its readers
    }
    asked.out.write_text(json.dumps(report) + "\n")
    print(json.dumps({key: value for key, value in report.items() if key != "samples"}, indent=1))
    sys.exit(not report["passed"])


def reported(samples: Sequence[tuple[int, float, float]], *, steps: int) -> dict[str, object]:
    """Returns slopes after the warm-up, peaks, and whether the run passed; readers that are gone at the end count no more."""
    begin = max(WARM_UP * steps, WARM_UP_STEPS)
    used = {
        name: [(sample[0], sample[at]) for sample in samples if sample[at] > 0]
        for at, name in ((1, "process"), (2, "readers"))
    }
    late = {name: [each for each in found if each[0] >= begin] for name, found in used.items()}
    slopes = {name: round(slope(found), 4) for name, found in late.items() if len(found) > 1}
    return {
        "steps": steps,
        "MiB per 1,000 steps": slopes,
        "peak MiB": {name: max(mib for _, mib in found) for name, found in used.items() if found},
        "passed": bool(slopes) and all(value < LIMIT for value in slopes.values()),
    }


def watched(root: Path, *, steps: int, workers: int, live: bool) -> list[tuple[int, float, float]]:
    """Trains while a thread looks at the log, and returns what it noted at each new line of it: step, MiB, MiB."""
    make_images(root / "images")
    config = load_config(
        out=root / "run",
        data=root / "images",
        student=STUDENT,
        teachers=[TEACHER],
        **({} if live else {"store": root / "store", "targets": "stored"}),
        views={"per_image": 2},
        size=SIDE,
        embed_dim=16,
        steps=steps,
        batch_size=BATCH,
        workers=workers,
        log_every=EVERY,
        checkpoint_every=5 * EVERY,
    )
    samples, is_over = list[tuple[int, float, float]](), threading.Event()
    log = root / "run" / "metrics.jsonl"

    def look() -> None:
        known = 0
        while not is_over.wait(POLL_S):
            size = log.stat().st_size if log.exists() else 0
            if size > known:
                known = size
                samples.append(((len(samples) + 1) * EVERY, rss(["self"]), rss(readers())))

    watching = threading.Thread(target=look)
    watching.start()
    try:
        train(config)
    finally:
        is_over.set()
        watching.join()
    return samples


def readers() -> list[str]:
    """The processes that this one started."""
    return [
        child for task in Path("/proc/self/task").glob("*/children") for child in task.read_text().split()
    ]


def rss(processes: Sequence[str]) -> float:
    """Resident memory of some processes in MiB; those that ended count nothing."""
    pages = 0
    for process in processes:
        try:
            pages += int(Path(f"/proc/{process}/statm").read_text().split()[1])
        except (OSError, IndexError):
            continue
    return round(pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20), 3)


def slope(points: Sequence[tuple[int, float]]) -> float:
    """MiB in 1,000 steps, by least squares."""
    steps, used = np.array(points, float).T
    return float(1000 * np.polyfit(steps, used, 1)[0])


def make_images(folder: Path) -> None:
    """Noise of four colours."""
    draw = np.random.default_rng(0)
    folder.mkdir()
    for number in range(IMAGES):
        ground = draw.integers(0, 256, 3) // 64 * 64
        pixels = np.clip(ground + draw.normal(0, 30, (24, 24, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")


if __name__ == "__main__":
    main()
