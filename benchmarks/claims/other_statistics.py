"""What do the statistics of other images cost a pretrained network? python benchmarks/claims/other_statistics.py

EfficientNet-Lite0 with its ImageNet weights as it is, and with its batch norms' running statistics taken from 3,840 images of the sets that
students see in repcon.py, drawings and satellite pictures. No weight moves. A linear probe on validation images: of the held-out classes of
repcon.py's domains from 5 and 20 images each, and of two photo sets, all classes, from all training images.

Prints a Markdown table, and writes other_statistics.json beside this file. Some minutes on one core.
"""

from __future__ import annotations

import copy
import json
from functools import partial
from pathlib import Path

import numpy as np
import torch
from repcon import DOMAINS, PROXY, SIZE, Domain, _summary, features, probe

from alumnus import datasets
from alumnus.data.dataset import Dataset, open_dataset
from alumnus.data.loader import center_crop_batches
from alumnus.demo import LITE0
from alumnus.evaluation.linear import linear_probe
from alumnus.models.student import Student
from alumnus.training.build import build_student
from alumnus.training.recipe import load_config

BATCHES, BATCH_SIZE = 60, 64
PHOTOS = ("gcompris", "tuxpaint")


def main() -> None:
    """Prints the table, and writes the numbers beside this file."""
    proxies = open_dataset([str(datasets.get(name, size=SIZE)) for name in PROXY])
    config = load_config(
        out="unused", data=str(proxies.root), method="supervised", student=LITE0, size=SIZE, seed=0
    )
    network = build_student(config).eval()
    networks = {"as it is": network, "statistics of the proxy images": with_statistics(network, proxies)}
    domains = [Domain(name, known, most=None) for name, known in DOMAINS.items()]
    found: dict[str, dict[str, float]] = {}
    for what, each in networks.items():
        function = partial(_summary, each)
        cells = found[what] = {}
        for domain in domains:
            for shots, right in probe(domain, function, split="val", draws=3, seed=0).items():
                cells[f"{domain.name}, {shots} images a class"] = float(right.mean())
        for name in PHOTOS:
            data = open_dataset(datasets.get(name))
            train, val = (np.flatnonzero((data.split == s) & (data.label >= 0)) for s in ("train", "val"))
            vectors = features(function, data, np.concatenate([train, val]))
            known, asked = vectors[: len(train)], vectors[len(train) :]
            fit = linear_probe(known, data.label[train], asked, data.label[val], resamples=1).fit
            cells[f"{name}, all images"] = float((fit.classifier.predict(asked) == data.label[val]).mean())
    Path(__file__).with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(f"| held-out classes of | {' | '.join(found)} |\n|---|{'---:|' * len(found)}")
    for cell in found["as it is"]:
        print(f"| {cell} | {' | '.join(f'{cells[cell]:.3f}' for cells in found.values())} |")


@torch.no_grad()
def with_statistics(network: Student, images: Dataset) -> Student:
    """Returns a copy whose batch norms have seen training images, a batch after the other, with torch's momentum."""
    moved = copy.deepcopy(network).train()
    rows = np.random.default_rng(0).permutation(np.flatnonzero(images.split == "train"))
    paths = [images.paths[row] for row in rows[: BATCHES * BATCH_SIZE]]
    for _, batch, _ in center_crop_batches(paths, [SIZE], batch_size=BATCH_SIZE):
        moved(batch[SIZE])
    return moved.eval()


if __name__ == "__main__":
    main()
