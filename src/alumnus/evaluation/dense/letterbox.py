"""The whole picture in a square: scaled by one factor, centred, the rest filled with grey.

Retrieval looks at the centred square; here nothing may be cut off, because every pixel and every box counts, and nothing is
stretched. Masks, depth maps and boxes go the same way as the picture, and predictions come back to its own pixels.

Axes: S side of the model's image in px, T side of a target, H and W of the picture, k boxes, C channels.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

FILL = (124, 116, 104)  # ImageNet's mean colour, so near zero after most networks' normalisation

Number = TypeVar("Number", bound=np.generic)


class Letterbox(NamedTuple):
    """Where a picture lies in the model's image; all in px."""

    width: int  # of the picture
    height: int
    size: int  # S
    left: int  # of the picture in the model's image
    top: int
    inner_width: int  # of the picture in the model's image, at least 1
    inner_height: int


def letterbox(width: int, height: int, size: int) -> Letterbox:
    """Returns where a picture comes to lie.

    >>> letterbox(200, 100, 50)
    Letterbox(width=200, height=100, size=50, left=0, top=12, inner_width=50, inner_height=25)
    """
    scale = size / max(width, height)
    inner_width, inner_height = max(1, round(width * scale)), max(1, round(height * scale))
    left, top = (size - inner_width) // 2, (size - inner_height) // 2
    return Letterbox(width, height, size, left, top, inner_width, inner_height)


def placed(image: Image.Image, box: Letterbox) -> NDArray[np.uint8]:
    """Returns the model's image (3, S, S) uint8, antialiased bilinear, of an RGB picture."""
    pixels = np.empty((3, box.size, box.size), np.uint8)
    pixels[:] = np.array(FILL, np.uint8)[:, None, None]
    inner = image.resize((box.inner_width, box.inner_height), Image.Resampling.BILINEAR)
    pixels[(slice(None), *_inner(box))] = np.asarray(inner, np.uint8).transpose(2, 0, 1)
    return pixels


def sampled(
    values: NDArray[Number], box: Letterbox, side: int, *, blank: int, dtype: type[Any]
) -> NDArray[Any]:
    """Returns a target (T, T) over the model's image: at each cell's middle the value (H, W) of the nearest pixel, `blank` outside.

    Args:
        side: T.
    """
    middle = (np.arange(side) + 0.5) * box.size / side  # px of the model's image
    columns = np.floor((middle - box.left) * box.width / box.inner_width).astype(np.int64)
    rows = np.floor((middle - box.top) * box.height / box.inner_height).astype(np.int64)
    is_column, is_row = (columns >= 0) & (columns < box.width), (rows >= 0) & (rows < box.height)
    target = np.full((side, side), blank, dtype)
    target[np.ix_(is_row, is_column)] = values[np.ix_(rows[is_row], columns[is_column])]
    return target


def boxes_in(boxes: NDArray[np.float32], box: Letterbox) -> NDArray[np.float32]:
    """Returns boxes (k, 4) x, y, width, height of the picture as left, top, right, bottom of the model's image."""
    across, down = box.inner_width / box.width, box.inner_height / box.height
    corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
    placed_corners = corners * [across, down, across, down] + [box.left, box.top, box.left, box.top]
    return placed_corners.astype(np.float32)


def boxes_out(corners: NDArray[np.float32], box: Letterbox) -> NDArray[np.float32]:
    """Returns left, top, right, bottom (k, 4) of the model's image as x, y, width, height of the picture, cut at its edges."""
    across, down = box.width / box.inner_width, box.height / box.inner_height
    back = (corners - [box.left, box.top, box.left, box.top]) * [across, down, across, down]
    back = np.clip(back, 0, [box.width, box.height, box.width, box.height])
    return np.concatenate([back[:, :2], back[:, 2:] - back[:, :2]], axis=1).astype(np.float32)


def spread(maps: Tensor, box: Letterbox) -> Tensor:
    """Returns maps (C, h, w) over the model's image as maps (C, H, W) over the picture, bilinear."""
    whole = functional.interpolate(maps[None], (box.size, box.size), mode="bilinear", align_corners=False)
    inner = whole[(slice(None), slice(None), *_inner(box))]
    return functional.interpolate(inner, (box.height, box.width), mode="bilinear", align_corners=False)[0]


def _inner(box: Letterbox) -> tuple[slice, slice]:
    return slice(box.top, box.top + box.inner_height), slice(box.left, box.left + box.inner_width)
