"""A small network with layer norms to begin udon.py with: python benchmarks/claims/layer_norm_start.py runs/layer-norms

No package has ImageNet weights of a small network without batch norm. This one, a ConvNeXt, learns from two that have them, by the default
method, on the training images of udon.py's domains without their labels. Then all arms begin with it:

    python benchmarks/claims/udon.py OUT --no-specialists --seeds 1 --split val --set student=alumnus:runs/layer-norms/student

A quarter of an hour on one thread; `--steps 4` is a smoke run.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from udon import DOMAINS

from alumnus import datasets
from alumnus.demo import COMMON, LITE0, MOBILENET, SIZE
from alumnus.training.loop import train
from alumnus.training.recipe import validated


def main() -> None:
    """Trains it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, help="folder of the run")
    parser.add_argument("--steps", type=int, default=1000)
    asked = parser.parse_args()
    teachers = [{**LITE0, "name": "lite0", "size": 96}, {**MOBILENET, "name": "mobilenet", "size": 96}]
    data = [str(datasets.get(name, size=SIZE)) for name in DOMAINS]
    settings = {**COMMON, "student": "timm/convnext_atto", "teachers": teachers, "data": data}
    train(validated({**settings, "steps": asked.steps, "out": asked.out}))


if __name__ == "__main__":
    main()
