"""A data set whose classes only a teacher can see, and teachers of known worth.

An image of 32 px is a smooth random ground (which 8x8 pixels see, and which says nothing) with a faint texture of period 4 over it, which
is the class and averages out in 8x8 pixels. The domain is the level of the blue channel.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from alumnus.data.dataset import write_dataset

SIDE, PERIOD = 32, 4
BLUE = {"stones": 60, "leaves": 190}
DIM = 2 * PERIOD**2  # of the texture, of red and green


def plant(
    folder: Path,
    *,
    classes: int = 6,
    a_class: int = 12,
    domains: Sequence[str] = tuple(BLUE),
    split: str = "val",
    has_labels: bool = True,
) -> Path:
    """Writes a dataset folder and returns it."""
    random, rows = np.random.default_rng(0), []
    for domain in domains:
        for number in range(classes):
            texture = 14 * random.choice([-1.0, 1.0], (PERIOD, PERIOD, 2))
            texture -= texture.mean((0, 1))
            for index in range(a_class):
                name = f"{domain}-{number}-{index}.png"
                folder.mkdir(parents=True, exist_ok=True)
                Image.fromarray(_draw(texture, BLUE[domain], random)).save(folder / name)
                label = f"class{number}" if has_labels else None
                rows.append({"file_name": name, "domain": domain, "label": label, "split": split})
    write_dataset(rows, folder)
    return folder


def texture(image: Tensor) -> Tensor:
    """A good teacher: (n, 32) the mean texture of images (n, 3, 32, 32) in [0, 1], offset for life."""
    tiles = image[:, :2].unfold(2, PERIOD, PERIOD).unfold(3, PERIOD, PERIOD)  # (n, 2, 8, 8, 4, 4)
    seen = tiles.mean((2, 3))
    centred: Tensor = 10 * (seen - seen.mean((2, 3), keepdim=True)).flatten(1)
    return centred + 0.3


def turned(image: Tensor) -> Tensor:
    """The good teacher in other words: rotated and scaled."""
    turn, _ = torch.linalg.qr(torch.randn(DIM, DIM, generator=torch.Generator().manual_seed(1)))
    other_words: Tensor = texture(image) @ turn * 7
    return other_words


def only_stones(image: Tensor) -> Tensor:
    """A specialist: the texture of stones, and elsewhere the ground, which says nothing."""
    is_stone = image[:, 2:].mean((1, 2, 3)) < 0.5
    return torch.where(is_stone[:, None], texture(image), ground(image))


def ground(image: Tensor) -> Tensor:
    """A teacher that sees only what says nothing: (n, 32), numbers of the ground, scrambled."""
    coarse = functional.avg_pool2d(image[:, :2], 8).flatten(1)
    mix = torch.randn(coarse.shape[1], DIM, generator=torch.Generator().manual_seed(2))
    return torch.sin(20 * (coarse @ mix))


def _draw(texture: np.ndarray, blue: int, random: np.random.Generator) -> np.ndarray:
    coarse = torch.from_numpy(random.uniform(40, 215, (1, 2, 4, 4)))
    smooth = functional.interpolate(coarse, SIDE, mode="bilinear")[0].permute(1, 2, 0).numpy()
    pixels = np.full((SIDE, SIDE, 3), float(blue))
    pixels[:, :, :2] = smooth + np.tile(texture, (SIDE // PERIOD, SIDE // PERIOD, 1))
    pixels += random.normal(0, 6, pixels.shape)
    return pixels.clip(0, 255).round().astype(np.uint8)
