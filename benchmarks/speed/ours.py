"""The pace of Alumnus as its users run it, `train(load_config(…))`. `train.py` runs it, once for each measurement.

python benchmarks/speed/ours.py '{"settings": {…of a recipe}, "warm": 8, "steps": 20, "batch": 64}'
"""

from __future__ import annotations

import json
import sys

from pace import measure

from alumnus.training.loop import train
from alumnus.training.recipe import load_config


def main() -> None:
    """Prints the pace of the recipe that is given."""
    asked = json.loads(sys.argv[1])
    config = load_config(**asked["settings"])
    measure(lambda: train(config), warm=asked["warm"], steps=asked["steps"], batch=asked["batch"])


if __name__ == "__main__":
    main()
