"""What each method learns from, in tests that walk all of them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from alumnus.training.config import method_module


class Colours(nn.Module):
    """A teacher that sees the mean colour of each quarter."""

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, 12)."""
        return nn.functional.adaptive_avg_pool2d(image, 2).flatten(1)


class Brightness(nn.Module):
    """A classifier: dark, or light."""

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, 2)."""
        mean = image.mean(dim=(1, 2, 3))
        return torch.stack([0.8 - mean, mean - 0.8], 1) * 20


def given(name: str) -> dict[str, object]:
    """Teachers, settings and sampler of a method, and its student if that is not any one."""
    colours = {"model": Colours(), "name": "colours", "size": 32}
    classifier = {"model": Brightness(), "name": "brightness", "size": 32, "output": "logits"}
    teachers: dict[str, list[object]] = {
        "supervised": [],
        "udon": [],
        "cfl": [colours, {**colours, "name": "again"}, classifier],
        "kd": [classifier],
        "dmc": [classifier],
    }
    settings = method_module(name).Settings(name=name)
    return {
        "teachers": teachers.get(name, [colours]),
        "method": name,
        "sampler": "round_robin" if settings.wants_single_domains else "balanced",
        **({"student": {"model": "timm/test_vit", "split": 0.4}} if name == "rkd" else {}),
    }
