"""What a stored graph (ONNX, torch.export) says about its one image, and how to call it within that."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from alumnus.errors import TeacherError


class Image(NamedTuple):
    """The input of a graph."""

    channels_last: bool  # (n, H, W, 3) instead of (n, 3, H, W)
    size: int | None  # px; None: any
    batch: int | None = None  # None: any
    least: int = 1  # images a call
    most: int | None = None  # images a call; None: any number


def read_image(shape: Sequence[object], *, source: str) -> Image:
    """Returns what a shape says; whatever in it is no integer is free.

    Raises:
        TeacherError: it is no square RGB image.
    """
    if len(shape) != 4:
        raise TeacherError(f"{source} has an input of shape {list(shape)}; needed is one image of 4 axes")
    if 3 not in {shape[1], shape[3]}:
        raise TeacherError(
            f"{source}: no axis of its input {list(shape)} is said to be the 3 channels of an RGB image, "
            "neither the second nor the last; export it with a fixed number of channels"
        )
    channels_last = shape[1] != 3
    sides = [side for side in (shape[1:3] if channels_last else shape[2:]) if isinstance(side, int)]
    if len(set(sides)) > 1:
        raise TeacherError(f"{source}: its image is {sides[0]}x{sides[1]}; teachers see squares")
    return Image(channels_last, sides[0] if sides else None, shape[0] if isinstance(shape[0], int) else None)


def choose_size(image: Image, asked: int | None, *, source: str) -> int:
    """Returns the side of the images in px: the graph's, or the recipe's where the graph takes any.

    Raises:
        TeacherError: neither says one, or they contradict each other.
    """
    if asked is None and image.size is None:
        raise TeacherError(f"{source} takes images of any size; give size, in px")
    if asked is not None and image.size is not None and asked != image.size:
        raise TeacherError(f"{source}: size={asked}, and the graph is fixed to {image.size}")
    return asked or image.size or 0


def in_pieces(call: Callable[[Tensor], Tensor], pixels: Tensor, image: Image) -> Tensor:
    """Returns what a graph says of n images, given as many at a time as it takes.

    A short piece is filled up with zeros, whose outputs are cut off again.

    Args:
        call: the graph; for (b, …) images it gives (b, …).
        pixels: (n, 3, S, S), n >= 1.
    """
    if image.channels_last:
        pixels = pixels.permute(0, 2, 3, 1).contiguous()
    pieces = torch.split(pixels, image.batch or image.most or len(pixels))
    return torch.cat([_filled(call, piece, image.batch or image.least) for piece in pieces])


def _filled(call: Callable[[Tensor], Tensor], piece: Tensor, least: int) -> Tensor:
    missing = least - len(piece)
    if missing <= 0:
        return call(piece)
    return call(torch.cat([piece, piece.new_zeros(missing, *piece.shape[1:])]))[: len(piece)]
