"""PyBullet's software renderer: the module, and models of furniture as its bodies. It needs no display and no GPU."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from alumnus.datasets.sweethome3d import Part
from alumnus.errors import DataError, MissingExtra

MAX_PARTS = (
    16  # MAX_COMPOUND_COLLISION_SHAPES; with more the renderer writes past its array and the process dies
)


def load_bullet() -> Any:
    """Returns the pybullet module; what it prints when it is imported goes to stderr, for stdout is for results.

    Raises:
        MissingExtra: it is not installed.
    """
    sys.stdout.flush()
    kept = os.dup(1)
    try:
        os.dup2(2, 1)
        import pybullet
    except ImportError as error:
        raise MissingExtra("pybullet", extra="scenes") from error
    finally:
        os.dup2(kept, 1)
        os.close(kept)
    return pybullet


def add_model(bullet: Any, parts: Sequence[Part], *, client: int) -> int:
    """Returns the number of a new body made of some meshes, each with its colour or texture, at the origin.

    Raises:
        DataError: there are more than `MAX_PARTS` of them.
    """
    if len(parts) > MAX_PARTS:
        raise DataError(f"a model of {len(parts)} parts cannot be drawn; {MAX_PARTS} are allowed")
    shape = bullet.createVisualShapeArray(
        shapeTypes=[bullet.GEOM_MESH] * len(parts),
        fileNames=[str(part.mesh) for part in parts],
        meshScales=[[1, 1, 1]] * len(parts),
        rgbaColors=[part.colour for part in parts],
        visualFramePositions=[[0, 0, 0]] * len(parts),
        physicsClientId=client,
    )
    return add_body(bullet, shape, (0, 0, 0), [part.texture for part in parts], client=client)


def add_body(
    bullet: Any, shape: int, middle: Sequence[float], textures: Sequence[Path | None], *, client: int
) -> int:
    """Returns the number of a new body of a visual shape, its parts covered with textures where there are some."""
    body: int = bullet.createMultiBody(
        baseVisualShapeIndex=shape, basePosition=middle, physicsClientId=client
    )
    for number, texture in enumerate(textures):
        if texture is not None:
            loaded = bullet.loadTexture(str(texture), physicsClientId=client)
            bullet.changeVisualShape(
                body, -1, shapeIndex=number, textureUniqueId=loaded, physicsClientId=client
            )
    return body
