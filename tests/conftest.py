"""What every test starts from: one thread, a fixed seed, and a small folder of real image files."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

torch.set_num_threads(1)  # tests run side by side; more threads only wait for one another

# What a shell starts in its background has Ctrl-C ignored; children inherit that, and Alumnus respects it. Tests send Ctrl-C.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

COLOURS = {
    "red": (205, 40, 45),
    "green": (45, 160, 60),
    "blue": (40, 70, 200),
    "yellow": (235, 205, 50),
    "violet": (135, 60, 165),
    "grey": (120, 120, 120),
}
IMAGES_A_CLASS = 5
SIDE_PX = 40


@pytest.fixture(autouse=True)
def _fixed_seed() -> None:
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def tiny_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`shape/colour/0.png` …: 3 domains (the shapes) x 6 classes (the colours) x 5 images of 40 px. Shared: do not write to it."""
    folder = tmp_path_factory.mktemp("tiny") / "images"
    draw = np.random.default_rng(0)
    for domain, covers in SHAPES.items():
        for name, colour in COLOURS.items():
            (folder / domain / name).mkdir(parents=True)
            for index in range(IMAGES_A_CLASS):
                pixels = _draw(covers, colour, draw)
                Image.fromarray(pixels).save(folder / domain / name / f"{index}.png")
    return folder


def _draw(covers: Covers, colour: tuple[int, int, int], draw: np.random.Generator) -> np.ndarray:
    """(40, 40, 3) uint8: the shape, somewhere, on a light noisy ground."""
    pixels = draw.integers(225, 256, (SIDE_PX, SIDE_PX, 3)).astype(np.uint8)
    middle, radius = draw.uniform(15, 25, size=2), draw.uniform(9, 14)
    y, x = np.mgrid[:SIDE_PX, :SIDE_PX]
    pixels[covers(np.abs(x - middle[0]), np.abs(y - middle[1]), radius)] = colour
    return pixels


Covers = Callable[[np.ndarray, np.ndarray, float], np.ndarray]  # distances from the middle, radius -> inside?

SHAPES: dict[str, Covers] = {
    "discs": lambda x, y, radius: np.hypot(x, y) < radius,
    "squares": lambda x, y, radius: np.maximum(x, y) < radius * 0.9,
    "crosses": lambda x, y, radius: (np.minimum(x, y) < radius / 3) & (np.maximum(x, y) < radius),
}
