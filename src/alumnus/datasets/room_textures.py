"""Made-up textures of floors and walls: planks, tiles, carpet, stripes, plain paint. Every one follows from the draw that it is given."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 256  # px


def write_texture(path: Path, draw: random.Random, *, kinds: Sequence[str]) -> Path:
    """Writes a texture of one of some kinds as PNG and returns its path."""
    random_of = np.random.default_rng(draw.getrandbits(64))
    kind = draw.choice(kinds)
    colour = random_of.uniform(90, 235, 3) * [1.0, 0.95, 0.9]
    shade = SHADES[kind](random_of)  # (SIDE, SIDE), about 1
    pixels = np.clip(colour * shade[..., None], 0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(path, compress_level=1)
    return path


def _planks(draw: np.random.Generator) -> NDArray[np.float64]:
    count = int(draw.integers(10, 24))
    plank = np.arange(SIDE) * count // SIDE
    shade = draw.uniform(0.8, 1.1, count)[plank][None, :] * _grain(draw, (SIDE, 1), (1, SIDE // 4))
    edge = np.append(np.diff(plank) > 0, False)
    return np.where(edge[None, :], 0.5, shade)


def _tiles(draw: np.random.Generator) -> NDArray[np.float64]:
    count = int(draw.integers(6, 16))
    tile = np.arange(SIDE) * count // SIDE
    shade = draw.uniform(0.85, 1.05, (count, count))[tile][:, tile] * _grain(draw, (8, 8), (1, 1))
    edge = np.append(np.diff(tile) > 0, True)
    return np.where(edge[None, :] | edge[:, None], 0.6, shade)


def _carpet(draw: np.random.Generator) -> NDArray[np.float64]:
    return _grain(draw, (1, 1), (1, 1)) * _grain(draw, (32, 32), (1, 1))


def _stripes(draw: np.random.Generator) -> NDArray[np.float64]:
    count = int(draw.integers(8, 30))
    stripe = np.arange(SIDE) * count // SIDE % 2
    return np.broadcast_to(np.where(stripe, 0.85, 1.0)[None, :], (SIDE, SIDE)) * _grain(draw, (4, 4), (1, 1))


def _plain(draw: np.random.Generator) -> NDArray[np.float64]:
    return _grain(draw, (16, 16), (1, 1))


def _grain(draw: np.random.Generator, patch: tuple[int, int], least: tuple[int, int]) -> NDArray[np.float64]:
    """Noise of +-8 % in patches of so many px down and across, at least `least`."""
    down, across = max(patch[0], least[0]), max(patch[1], least[1])
    coarse = draw.uniform(0.92, 1.08, (-(-SIDE // down), -(-SIDE // across)))
    return np.repeat(np.repeat(coarse, down, axis=0), across, axis=1)[:SIDE, :SIDE]


SHADES = {"planks": _planks, "tiles": _tiles, "carpet": _carpet, "stripes": _stripes, "plain": _plain}
