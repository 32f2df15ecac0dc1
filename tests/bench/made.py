"""A suite of three tiny tasks, made here: colours to be classified, colours to be found again, and halves to be told apart."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from alumnus.data.dataset import write_dataset

SIDE_PX = 24
COLOURS = {"red": (205, 40, 45), "green": (45, 160, 60), "blue": (40, 70, 200), "grey": (120, 120, 120)}
PIXELS, UNTRAINED = "pixels", "untrained:timm/test_efficientnet"
MODELS = (PIXELS, UNTRAINED)
NAMES = ("pixels", "untrained-test_efficientnet")


def make_colours(
    folder: Path, splits: Mapping[str, int], *, classes: tuple[str, ...] = tuple(COLOURS), noise: int = 40
) -> Path:
    """A dataset folder with so many noisy pictures of each colour in each split."""
    draw, rows = np.random.default_rng(0), list[dict[str, object]]()
    folder.mkdir(parents=True)
    for split, count in splits.items():
        for name in classes:
            for number in range(count):
                pixels = np.clip(draw.normal(COLOURS[name], noise, (SIDE_PX, SIDE_PX, 3)), 0, 255).astype(
                    np.uint8
                )
                file_name = f"{split}-{name}-{number}.png"
                Image.fromarray(pixels).save(folder / file_name)
                rows.append({"file_name": file_name, "domain": "colours", "label": name, "split": split})
    write_dataset(rows, folder)
    return folder


def make_halves(folder: Path, splits: Mapping[str, int]) -> Path:
    """A dataset folder of pictures whose left part is dark and whose right part is light, with masks of both."""
    draw, rows = np.random.default_rng(1), list[dict[str, object]]()
    folder.mkdir(parents=True)
    for split, count in splits.items():
        for number in range(count):
            mask = np.zeros((SIDE_PX, SIDE_PX), np.uint8)
            mask[:, int(draw.integers(6, 18)) :] = 1
            pixels = np.clip(draw.normal(mask[..., None] * 150.0 + 50, 20, (SIDE_PX, SIDE_PX, 3)), 0, 255)
            names = f"{split}-{number}.png", f"{split}-{number}-mask.png"
            Image.fromarray(pixels.astype(np.uint8)).save(folder / names[0])
            Image.fromarray(mask).save(folder / names[1])
            rows.append(
                {"file_name": names[0], "domain": "halves", "label": None, "split": split, "mask": names[1]}
            )
    write_dataset(rows, folder)
    (folder / "dataset.json").write_text(json.dumps({"mask_classes": ["dark", "light"]}))
    return folder


def make_suite(folder: Path) -> dict[str, object]:
    """The three tasks, in folders below `folder`."""
    colours = make_colours(folder / "colours", {"train": 8, "test": 6})
    found = make_colours(folder / "found", {"test": 5}, noise=90)
    halves = make_halves(folder / "halves", {"train": 8, "test": 4})
    return {
        "name": "tiny",
        "input_size": 32,
        "budget": "quick",
        "tasks": [
            {"name": "colours", "data": str(colours), "task": "classification"},
            {"name": "found", "data": str(found), "task": "retrieval"},
            {"name": "halves", "data": str(halves), "task": "segmentation"},
        ],
    }
