"""What `test_sharing.py` starts twice at once: a bench in which one process alone fails, and one whose data is away."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from torch import Tensor

from alumnus.bench.run import bench
from alumnus.distributed import is_main, joined, rank, wait
from alumnus.errors import RunError

BATCH = 20  # two of them; a teacher is never shown fewer than 16 at once


class Failing:
    """Mean colours; in the second process a KeyError for whole batches, but not when it is loaded or timed."""

    def __call__(self, image: Tensor) -> Tensor:
        """(n, 3)."""
        if rank() == 1 and len(image) == BATCH:
            raise KeyError("oops")
        return image.mean((2, 3))


def measure(folder: Path, data: Path) -> str:
    """What is said at the end of a bench of two models."""
    try:
        bench(
            suite={"name": "tiny", "tasks": [{"name": "found", "data": str(data), "task": "retrieval"}]},
            models=["pixels", {"model": Failing(), "size": 16, "name": "failing"}],
            out=folder / "out",
            cache=folder / "cache",
            batch_size=BATCH,
            workers=0,
            device="cpu",
            resamples=20,
        )
    except RunError as error:
        return str(error)
    return ""


def run_all(folder: Path) -> None:
    """Args: folder holds the data set `found`."""
    with joined():
        said = [measure(folder, folder / "found")]
        wait()
        if is_main():
            (folder / "found").rename(folder / "away")
            (folder / "found").mkdir()
        wait()
        said.append(measure(folder, folder / "found"))
        if is_main():
            (folder / "said.json").write_text(json.dumps(said))


if __name__ == "__main__":
    torch.set_num_threads(1)
    run_all(Path(sys.argv[1]))
