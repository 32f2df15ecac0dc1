"""Tensors as a safetensors file takes them."""

from __future__ import annotations

import safetensors.torch
import torch
from torch import nn

from alumnus.models.tensors import savable


def test_tied_weights_are_written_under_each_name_and_read_back() -> None:
    """Two layers with one weight, and a view of a part of a tensor."""
    one, other = nn.Linear(3, 3), nn.Linear(3, 3)
    other.weight = one.weight
    tied = nn.ModuleDict({"one": one, "other": other})
    tensors = savable({**tied.state_dict(), "part": one.weight[1:]})
    back = safetensors.torch.load(safetensors.torch.save(tensors))
    assert torch.equal(back["one.weight"], back["other.weight"])
    assert torch.equal(back.pop("part"), one.weight.detach()[1:])
    tied.load_state_dict(back)
    assert tied["one"].weight is tied["other"].weight
