"""What a tensor of a network means, where only its shape speaks: outputs of graphs, and named layers.

    (n, D)         the summary
    (n, D, H, W)   a grid; so is (n, H, W, D): teachers see squares, so that H = W tells them apart
    (n, L, D)      tokens: a square of patches, behind 0, 1, 2 or 5 others (class, distillation and four register tokens)

A guess that could be wrong is refused: a grid whose three sides are equal, if nothing else is known of it, and what is no square.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from torch import Tensor

from alumnus.errors import TeacherError, nearest
from alumnus.teachers.network import pool
from alumnus.types import Features

EXTRA_TOKENS = (
    0,
    1,
    2,
    5,
)  # none; class; class and distillation (DeiT); class and 4 registers (DINOv2, DINOv3)


def read(tensor: Tensor, *, source: str, channels_last: bool | None = None) -> Features:
    """Returns a tensor as features; patches where it has any.

    The summary of a grid is its mean; of tokens the first of those that are no patches, or else the mean.

    Args:
        source: what it is from, for messages.
        channels_last: which of the two a grid is whose three sides are equal; None if that is not known.

    Raises:
        TeacherError: the shape is none of the above.
    """
    match tensor.ndim:
        case 2:
            return Features(tensor)
        case 3:
            return _tokens(tensor, source)
        case 4:
            is_last = _is_channels_last(tensor, channels_last, source)
            return pool(tensor.permute(0, 3, 1, 2) if is_last else tensor)
    raise TeacherError(
        f"{source} has the shape {tuple(tensor.shape)}; understood are (n, D), (n, D, H, W), (n, H, W, D) and (n, L, D)"
    )


def choose(output: object, wanted: str | None, *, source: str) -> Tensor:
    """Returns one tensor of what a network gave: a tensor, a mapping, or a sequence; the first one by default.

    Args:
        wanted: its name, or its number from 0.

    Raises:
        TeacherError: there is no such output, or no tensor.
    """
    found = named(output)
    if not found:
        raise TeacherError(f"{source} gave {type(output).__name__}, which holds no tensor")
    if wanted is None:
        return next(iter(found.values()))
    if wanted in found:
        return found[wanted]
    if wanted.isdecimal() and int(wanted) < len(found):
        return list(found.values())[int(wanted)]
    raise TeacherError(
        f"{source}: output={wanted!r} is not among its outputs{nearest(wanted, found)}; "
        f"it has summary (the first), {', '.join(found)}"
    )


def split_tokens(tokens: Tensor, *, num_patches: int | None = None) -> tuple[Tensor, Tensor] | None:
    """Returns tokens (n, L, D) as those before the patches (n, L - N, D) and the patches (n, N, D); None if that cannot be said.

    Args:
        num_patches: N, if it is known; otherwise the square of the fewest other tokens.
    """
    length = tokens.shape[1]
    if num_patches is None:
        fits = (extra for extra in EXTRA_TOKENS if _is_square(length - extra))
        extra = next(fits, -1)
    else:
        extra = length - num_patches
    return None if extra < 0 else (tokens[:, :extra], tokens[:, extra:])


def _tokens(tensor: Tensor, source: str) -> Features:
    parts = split_tokens(tensor)
    if parts is None:
        raise TeacherError(
            f"{source} has the shape {tuple(tensor.shape)}: {tensor.shape[1]} tokens are no square of patches, "
            f"not even without {', '.join(map(str, EXTRA_TOKENS[1:]))} others"
        )
    others, patches = parts
    return Features(others[:, 0] if others.shape[1] else patches.mean(dim=1), patches)


def _is_channels_last(tensor: Tensor, known: bool | None, source: str) -> bool:
    _, first, second, third = tensor.shape
    if second not in {first, third}:
        raise TeacherError(f"{source} has the shape {tuple(tensor.shape)}, which is no square grid")
    if first != second or second != third:
        return first == second
    if known is None:
        raise TeacherError(
            f"{source} has the shape {tuple(tensor.shape)}, in which the channels could be the first or the last axis; "
            "another size of the images tells them apart"
        )
    return known


def named(output: object) -> dict[str, Tensor]:
    """Returns the tensors of what a network gave, by their names or else their numbers."""
    match output:
        case Tensor():
            return {"0": output}
        case Mapping():
            return {str(name): value for name, value in output.items() if isinstance(value, Tensor)}
        case Sequence() if not isinstance(output, str):
            return {str(index): value for index, value in enumerate(output) if isinstance(value, Tensor)}
    return {}


def _is_square(number: int) -> bool:
    return number > 0 and math.isqrt(number) ** 2 == number
