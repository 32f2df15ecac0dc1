"""How features are kept: float32 as they are, float16, or one byte a number with a scale and an offset per channel.

Axes: n rows, D channels; patches have an axis N in between.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from alumnus.errors import StoreError

Precision = Literal["float32", "float16", "int8"]
BYTES: dict[Precision, int] = {"float32": 4, "float16": 2, "int8": 1}  # a number
STEPS = 254  # of int8, from -127 to 127


class Packed(NamedTuple):
    """Features as they are kept: `values * scale + offset` gives them back."""

    values: Tensor  # (n, …, D) of the precision's type
    scale: Tensor  # (D,) float32; ones but for int8
    offset: Tensor  # (D,) float32; zeros but for int8


def pack(x: Tensor, precision: Precision) -> Packed:
    """Returns features (n, …, D) float32 as they are kept.

    int8 takes each channel's own range among these rows, so its error is at most 1/508 of that range.

    Raises:
        StoreError: a value is beyond float16's range.
    """
    width = x.shape[-1]
    ones, zeros = torch.ones(width), torch.zeros(width)
    if precision == "float32":
        return Packed(x.float().contiguous(), ones, zeros)
    if precision == "float16":
        values = x.to(torch.float16)
        if not bool(values.isfinite().all()):
            raise StoreError(
                f"a feature of {float(x.abs().max()):.3g} is beyond float16's 65504; precision=int8 or float32 can keep it"
            )
        return Packed(values.contiguous(), ones, zeros)
    rows = x.reshape(-1, width).double()
    if len(rows) == 0:
        return Packed(x.to(torch.int8), ones, zeros)
    low, high = rows.amin(0), rows.amax(0)
    scale = torch.where(high > low, (high - low) / STEPS, 1.0).float()
    offset = ((high + low) / 2).float()
    values = ((x - offset) / scale).round().clamp(-127, 127).to(torch.int8)
    return Packed(values.contiguous(), scale, offset)


def unpack(packed: Packed) -> Tensor:
    """Returns features (n, …, D) float32."""
    values = packed.values.float()
    return values * packed.scale + packed.offset if packed.values.dtype == torch.int8 else values


class Loss(NamedTuple):
    """What keeping cost, over rows."""

    cosine_mean: float
    cosine_min: float
    error: float  # largest |kept - true| / |true| of a row


def loss_of(x: Tensor, kept: Tensor) -> Loss:
    """Returns how far kept rows (n, …, D) are from the true ones; patches count as rows of their own."""
    true, found = x.reshape(-1, x.shape[-1]).double(), kept.reshape(-1, x.shape[-1]).double()
    if len(true) == 0:
        return Loss(1.0, 1.0, 0.0)
    cosine = functional.cosine_similarity(true, found, dim=1)
    length = true.norm(dim=1)
    error = (found - true).norm(dim=1) / length.clamp(min=torch.finfo(torch.float64).tiny)
    alike = (length == 0) & (found.norm(dim=1) == 0)  # a row of zeros that stayed one has lost nothing
    cosine, error = torch.where(alike, 1.0, cosine), torch.where(alike, 0.0, error)
    return Loss(float(cosine.mean()), float(cosine.min()), float(error.max()))
