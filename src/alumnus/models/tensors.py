"""Tensors as a safetensors file takes them."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor


def savable(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns tensors on the CPU, contiguous, and no two in one memory: tied weights are written under each of their names."""
    found, memory = dict[str, Tensor](), set[int]()
    for name, tensor in tensors.items():
        value = tensor.detach().cpu().contiguous()
        found[name] = value.clone() if value.untyped_storage().data_ptr() in memory else value
        memory.add(value.untyped_storage().data_ptr())
    return found
