"""What `tests/test_two_verbs.py` runs in one process and in two: every verb but training that several processes share."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

import alumnus
from alumnus.bench.run import bench
from alumnus.distributed import is_main, joined
from alumnus.training import cache
from tests.bench.made import MODELS


def run_all(out: Path, shared: Path) -> None:
    """Args: shared holds `student`, `images` and the folders of `suite.json`."""
    torch.set_num_threads(1)
    images, student = shared / "images", shared / "student"
    with joined():
        alumnus.embed(student, images, out / "vectors.parquet", batch_size=8, workers=0, max_bad_fraction=0.5)
        scores = alumnus.evaluate(
            student,
            data=images,
            split="train",
            out=out / "scores",
            batch_size=8,
            workers=0,
            max_bad_fraction=0.5,
        )
        teacher = "teachers=[{model: python:tests.two:Quarters, name: quarters, size: 32}]"
        words = [f"data={images}", teacher, "views.per_image=2", "workers=0", f"out={out / 'store'}"]
        cache.build(None, [*words, "precision=float32"])
        bench(
            suite=shared / "suite.json",
            models=MODELS,
            out=out / "bench",
            fractions=(0.5, 1.0),
            seeds=2,
            cache=out / "vectors",
            workers=0,
            resamples=20,
        )
        if is_main():
            (out / "said.txt").write_text(repr(sorted(scores.items())))


if __name__ == "__main__":
    run_all(Path(sys.argv[1]), Path(sys.argv[2]))
