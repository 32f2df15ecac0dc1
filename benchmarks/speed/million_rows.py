"""What a dataset of a million rows costs to write, open and hold: python benchmarks/speed/million_rows.py [rows]

Rows come from a generator; no image exists but one. Each measurement is a process of its own, so that its peak is its own; "bare" is a
process that only imports. About half a minute on 2 cores.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from alumnus.data.dataset import open_dataset, write_dataset

ROWS, CLASSES, DOMAINS = 1_000_000, 50_000, 8


def rows(count: int) -> Iterator[dict[str, object]]:
    """Names, domains, labels, splits and captions as a large set has them."""
    for number in range(count):
        yield {
            "file_name": f"images/{number % 1000:03d}/{number:09d}-of-a-large-set.jpg",
            "domain": f"domain-{number % DOMAINS}",
            "label": f"class-{number * 7919 % CLASSES}",
            "split": ("train", "train", "train", "index")[number % 4],
            "text": f"a picture of number {number}",
        }


def measure(what: str, folder: Path, count: int) -> dict[str, float]:
    """Seconds, and MiB at the peak, of one step in this process."""
    started = time.perf_counter()
    if what == "write":
        write_dataset(rows(count), folder)
    elif what != "bare":
        data = open_dataset(folder)
        assert len(data) == count
        if what == "open, select":
            assert len(data.select(split="train")) == count * 3 // 4
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": round(seconds, 2), "peak MiB": round(peak)}


def main(count: int) -> None:
    """Prints one JSON line a step."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        first = folder / str(next(rows(1))["file_name"])
        first.parent.mkdir(parents=True)
        first.touch()
        for what in ("bare", "write", "open", "open, select"):
            command = [sys.executable, __file__, what, name, str(count)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            print(json.dumps({"rows": count, "step": what, **json.loads(done.stdout)}), flush=True)
        size = (folder / "metadata.parquet").stat().st_size
        print(json.dumps({"rows": count, "metadata.parquet MiB": round(size / 2**20, 1)}))


if __name__ == "__main__":
    if len(sys.argv) == 4:
        print(json.dumps(measure(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))))
    else:
        main(int(sys.argv[1]) if len(sys.argv) == 2 else ROWS)
