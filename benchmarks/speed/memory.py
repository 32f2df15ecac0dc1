"""What keeping freed memory is worth in a training step: python benchmarks/speed/memory.py

Each measurement is a process of its own, since the setting cannot be taken back; the two alternate. About two minutes on 2 cores.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time

import timm
import torch

from alumnus.training.memory import keep_freed_memory

MODELS, SIZE, BATCH, WARM_UP, STEPS, ROUNDS = ("mobilenetv2_100", "tf_efficientnet_lite0"), 64, 64, 3, 12, 3


def images_per_second(name: str) -> float:
    """Median over steps: forward and backward, float32, channels_last, images in memory."""
    model = timm.create_model(name, num_classes=0).train().to(memory_format=torch.channels_last)
    image = torch.randn(BATCH, 3, SIZE, SIZE).contiguous(memory_format=torch.channels_last)
    times = []
    for _ in range(WARM_UP + STEPS):
        started = time.perf_counter()
        model(image).square().mean().backward()
        times.append(time.perf_counter() - started)
    return BATCH / statistics.median(times[WARM_UP:])


def measure(name: str, keep: bool) -> float:
    """The same in a process of its own."""
    command = [sys.executable, __file__, name, "keep" if keep else "return"]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    """Prints one JSON line a model."""
    for name in MODELS:
        rounds = [(measure(name, False), measure(name, True)) for _ in range(ROUNDS)]
        ratios = [kept / returned for returned, kept in rounds]
        line = {"model": name, "images/s returned, kept": rounds, "ratio": statistics.median(ratios)}
        print(json.dumps({**line, "range": [min(ratios), max(ratios)], "torch": torch.__version__}))


if __name__ == "__main__":
    if len(sys.argv) == 3:
        if sys.argv[2] == "keep":
            keep_freed_memory()
        print(images_per_second(sys.argv[1]))
    else:
        main()
