"""Reads the weights of TensorFlow.js models: a JSON manifest and one or more files of bytes. Used by the two examples beside it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

WIDTHS = {"float32": 4, "float16": 2, "int32": 4, "uint8": 1, "uint16": 2, "bool": 1}  # bytes
NUMBERS = {**{name: name for name in WIDTHS}, "bool": "uint8"}


def read_weights(manifest: list[dict[str, Any]], folder: Path) -> dict[str, Tensor]:
    """Returns the tensors of a weights manifest by name; quantised ones as float32, as TensorFlow.js would see them.

    Convolutions stay in TensorFlow's order: (height, width, channels in, channels out).
    """
    tensors: dict[str, Tensor] = {}
    for group in manifest:
        data = b"".join((folder / path).read_bytes() for path in group["paths"])
        start = 0
        for entry in group["weights"]:
            tensor, start = _read_one(entry, data, start)
            tensors[entry["name"]] = tensor
        if start != len(data):
            raise ValueError(f"{group['paths']} hold {len(data)} bytes, and the manifest speaks of {start}")
    return tensors


def read_manifest(path: Path) -> Any:
    """Returns the content of a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def _read_one(entry: dict[str, Any], data: bytes, start: int) -> tuple[Tensor, int]:
    quantised = entry.get("quantization", {})
    kind = quantised.get("dtype", entry["dtype"])
    count = math.prod(entry["shape"])
    end = start + count * WIDTHS[kind]
    array = np.frombuffer(data, np.dtype(NUMBERS[kind]).newbyteorder("<"), count, start).reshape(
        entry["shape"]
    )
    if "scale" in quantised:
        array = array.astype(np.float32) * np.float32(quantised["scale"]) + np.float32(quantised["min"])
    elif entry["dtype"] == "float32":
        array = array.astype(np.float32)
    return torch.from_numpy(array.copy()), end
