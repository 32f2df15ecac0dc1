"""What keeping freed memory is worth: python benchmarks/speed/memory.py

In a training step of a small network, and in a pass of a larger one over images, as a store is built. Each measurement is a process of its
own, since the setting cannot be taken back; the two alternate. Shown is the processor's time, which other work on the machine
disturbs less than the clock's, and the memory that the process had at most. About five minutes on 2 cores.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import time

import timm
import torch

from alumnus.memory import keep_freed_memory

BATCH, WARM_UP, STEPS, ROUNDS = 64, 3, 12, 3
STEPS_OF = (("mobilenetv2_100", 64), ("tf_efficientnet_lite0", 64))  # network, px
PASSES_OF = (
    ("resnet50", 96),
    ("resnet50", 224),
    ("vit_tiny_patch16_224", 224),
    ("tf_efficientnet_lite0", 224),
    ("mobilenetv3_small_100", 96),
)


def measure(name: str, size: int, *, trains: bool) -> dict[str, float]:
    """Images a second of processor time, median over batches, and the peak in MiB; float32, channels_last, images in memory."""
    settings = {"img_size": size} if name.startswith("vit") else {}
    model = timm.create_model(name, num_classes=0, **settings).train(trains).requires_grad_(trains)
    model = model.to(memory_format=torch.channels_last)
    image = torch.randn(BATCH, 3, size, size).contiguous(memory_format=torch.channels_last)
    times = []
    for _ in range(WARM_UP + STEPS):
        started = time.process_time()
        if trains:
            model(image).square().mean().backward()
        else:
            with torch.inference_mode():
                model(image)
        times.append(time.process_time() - started)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"images/s": BATCH / statistics.median(times[WARM_UP:]), "MiB": peak}


def asked(name: str, size: int, *, trains: bool, keeps: bool) -> dict[str, float]:
    """The same in a process of its own."""
    words = [name, str(size), "step" if trains else "pass", "keep" if keeps else "return"]
    said = subprocess.run([sys.executable, __file__, *words], check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(said.stdout)
    return found


def main() -> None:
    """Prints one JSON line a network."""
    for name, size, trains in [(*each, True) for each in STEPS_OF] + [(*each, False) for each in PASSES_OF]:
        rounds = [
            [asked(name, size, trains=trains, keeps=keeps) for keeps in (False, True)] for _ in range(ROUNDS)
        ]
        ratios = [kept["images/s"] / returned["images/s"] for returned, kept in rounds]
        peaks = [statistics.median(round_[place]["MiB"] for round_ in rounds) for place in (0, 1)]
        line = {
            "network": name,
            "px": size,
            "what": "step" if trains else "pass",
            "ratio": round(statistics.median(ratios), 3),
            "range": [round(min(ratios), 3), round(max(ratios), 3)],
            "MiB returned, kept": [round(peak) for peak in peaks],
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
        }
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    if len(sys.argv) == 5:
        if sys.argv[4] == "keep":
            keep_freed_memory()
        print(json.dumps(measure(sys.argv[1], int(sys.argv[2]), trains=sys.argv[3] == "step")))
    else:
        main()
