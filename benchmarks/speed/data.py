"""What reading training pictures costs, part by part: python benchmarks/speed/data.py [--images 3000] [--rounds 3]

JPEG files of about 256 x 256 px at quality 90 (see `photos.py`), and the same packed at a short side of 128 px by `alumnus data pack`.
First the parts of the way from a file to a batch of 96 px, in one thread, then the whole loader (`data.loader.train_batches`) with its
processes: images a second, and the CPU time of an image in all processes, which hardly depends on what else the machine does. `--student`
adds a step of mobilenetv3_small_050 on the CPU after each batch, with several shares of readers and threads. Each loader measurement is a
process of its own; sources alternate. One JSON line each. About two minutes on 2 cores, fifteen with `--student`.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from photos import make_photos
from PIL import Image

from alumnus.data.dataset import open_dataset
from alumnus.data.loader import train_batches
from alumnus.data.locator import open_image_bytes
from alumnus.data.pixels import to_upright_rgb
from alumnus.data.read import read_image
from alumnus.data.sampler import Sampler
from alumnus.data.views import ViewSettings, apply_geometry, counter_random, draw_view

SIZE, BATCH, SHORT_SIDE, PARTS_OF, REPEATS, WARM_UP = 96, 64, 128, 200, 7, 4
VIEWS = ViewSettings()
KINDS = {
    "alone": [(0, 1), (1, 1), (2, 1)],
    "student": [(0, 1), (0, 2), (1, 1), (1, 2), (2, 1), (2, 2)],
}  # readers, threads

T = TypeVar("T")


def parts(folder: Path) -> dict[str, float]:
    """CPU microseconds an image of each part, in one thread: the best of some repeats."""
    paths = open_dataset(folder).paths[:PARTS_OF]
    contents = [_content(path) for path in paths]
    images = [read_image(path) for path in paths]
    views = [_view(image, row) for row, image in enumerate(images)]
    crops = [apply_geometry(image, view, size=SIZE) for image, view in zip(images, views, strict=True)]
    return {
        "open and read bytes": _us(_content, paths),
        "decode (bytes -> RGB)": _us(read_image, contents),
        "  of which Pillow alone": _us(lambda content: Image.open(io.BytesIO(content)).load(), contents),
        "  of which upright, RGB": _us(to_upright_rgb, images),
        "draw view": _us(lambda each: _view(*each), list(zip(images, range(PARTS_OF), strict=False))),
        "  of which generator": _us(lambda row: counter_random(0, 1, row, 0), range(PARTS_OF)),
        "crop, resize, flip": _us(
            lambda each: apply_geometry(*each, size=SIZE), list(zip(images, views, strict=True))
        ),
        "  of which resize": _us(lambda image: image.resize((SIZE, SIZE), Image.Resampling.BILINEAR), images),
        "stack": _us(lambda _: np.stack(crops[:BATCH]), range(20)) / BATCH,
    }


def _content(path: str) -> bytes:
    with open_image_bytes(path) as file:
        return file.read()


def _view(image: Image.Image, row: int):  # type: ignore[no-untyped-def]
    return draw_view(VIEWS, seed=0, row=row, view=0, aspect=image.width / image.height)


def _us(do: Callable[[T], object], items: Sequence[T]) -> float:
    best = float("inf")
    for _ in range(REPEATS):
        started = time.thread_time()
        for item in items:
            do(item)
        best = min(best, time.thread_time() - started)
    return round(1e6 * best / len(items), 1)


def loader(folder: Path, workers: int, steps: int, threads: int, student: bool) -> dict[str, float]:
    """Images a second after some batches, and CPU microseconds an image over all of them; with a student's step after each batch or not."""
    torch.set_num_threads(threads)
    dataset = open_dataset(folder)
    sampler = Sampler(dataset.domain, name="balanced", batch_size=BATCH, seed=0)
    step = _step() if student else lambda image: image.shape
    before, started = _cpu_s(), 0.0
    batches = train_batches(
        dataset, sampler, VIEWS, size=SIZE, teacher_sizes=[], start=0, steps=steps, workers=workers
    )
    for number, loaded in enumerate(batches):
        step(loaded.batch.image)
        if number == WARM_UP:
            started = time.perf_counter()
    wall = time.perf_counter() - started
    return {
        "images/s": BATCH * (steps - WARM_UP - 1) / wall,
        "CPU us": 1e6 * (_cpu_s() - before) / (BATCH * steps),
    }


def _cpu_s() -> float:
    """Seconds of this process and of those that it has waited for."""
    return sum(os.times()[:4])


def _step() -> Callable[[torch.Tensor], object]:
    import timm

    model = timm.create_model("mobilenetv3_small_050", num_classes=64).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters())

    def step(image: torch.Tensor) -> None:
        x = image.to(memory_format=torch.channels_last).float() / 255
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()

    return step


def measure(*words: str) -> dict[str, float]:
    """One loader measurement in a process of its own."""
    command = [sys.executable, __file__, "--one", *words]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def compare(folders: Sequence[Path], *, rounds: int, words: Sequence[str]) -> dict[str, object]:
    """Medians of each source, and the ratios packed / JPEG of the rounds."""
    found = [[measure(str(folder), *words) for folder in folders] for _ in range(rounds)]
    line = dict[str, object]()
    for what in ("images/s", "CPU us"):
        for place, folder in enumerate(folders):
            line[f"{folder.name} {what}"] = round(statistics.median(each[place][what] for each in found))
        ratios = sorted(each[1][what] / each[0][what] for each in found)
        line[f"ratio of {what}"] = [
            round(ratio, 2) for ratio in (statistics.median(ratios), ratios[0], ratios[-1])
        ]
    return line


def main() -> None:
    """Prints the parts, then the loader alone, then with a student's step."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--student", action="store_true")
    parser.add_argument("--one", nargs=5, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        folder, workers, steps, threads, student = asked.one
        print(json.dumps(loader(Path(folder), int(workers), int(steps), int(threads), student == "student")))
        return
    from alumnus.curation.pack import pack

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        files, packed = Path(name) / "jpeg", Path(name) / "packed"
        make_photos(files, asked.images)
        started = time.perf_counter()
        pack(files, packed, short_side=SHORT_SIDE)
        size = {
            each.name: sum(p.stat().st_size for p in each.rglob("*") if p.is_file())
            for each in (files, packed)
        }
        print(json.dumps({"pack, images/s": asked.images / (time.perf_counter() - started), "bytes": size}))
        for folder in (files, packed):
            print(json.dumps({"source": folder.name, "CPU us an image": parts(folder)}), flush=True)
        for kind, settings in KINDS.items() if asked.student else [("alone", KINDS["alone"])]:
            for workers, threads in settings:
                words = (str(workers), str(asked.steps), str(threads), kind)
                line = {"loader": kind, "workers": workers, "threads": threads}
                line |= compare((files, packed), rounds=asked.rounds, words=words)
                print(json.dumps(line), flush=True)
        print(json.dumps({"cores": os.cpu_count(), "torch": torch.__version__, "load": os.getloadavg()}))


if __name__ == "__main__":
    main()
