"""Teachers that tests share, and what each method learns from."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Stopped(Exception):
    """What ends a run in a test."""


class Colours(nn.Module):
    """A teacher that sees the mean colour of each quarter, and can be made to stop after a number of calls."""

    def __init__(self, calls: int | None = None) -> None:
        super().__init__()
        self.calls_left = calls

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, 12)."""
        if self.calls_left is not None:
            self.calls_left -= 1
            if self.calls_left < 0:
                raise Stopped
        return nn.functional.adaptive_avg_pool2d(image, 2).flatten(1)


class Brightness(nn.Module):
    """A classifier: dark, or light."""

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, 2)."""
        mean = image.mean(dim=(1, 2, 3))
        return torch.stack([0.8 - mean, mean - 0.8], 1) * 20


class Cells(nn.Module):
    """A teacher with a layer of 2 x 2 cells."""

    def __init__(self) -> None:
        super().__init__()
        self.cells = nn.Conv2d(3, 5, 16, stride=16)
        with torch.random.fork_rng(), torch.no_grad():  # the same each time it is made
            torch.manual_seed(0)
            self.cells.reset_parameters()

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, 5)."""
        cells: Tensor = self.cells(image)
        return cells.mean((2, 3))


def given(name: str) -> dict[str, object]:
    """Teachers, settings and sampler of a method, and its student if that is not any one."""
    colours = {"model": Colours(), "name": "colours", "size": 32}
    classifier = {"model": Brightness(), "name": "brightness", "size": 32, "output": "logits"}
    cells = {"model": Cells(), "name": "cells", "size": 32, "output": "layer:cells"}
    teachers: dict[str, list[object]] = {
        "supervised": [],
        "udon": [],
        "cfl": [colours, {**colours, "name": "again"}, classifier],
        "kd": [classifier],
        "dmc": [classifier],
        "attention_transfer": [cells, colours],
        "fitnets": [cells, colours],
    }
    return {
        "teachers": teachers.get(name, [colours]),
        # The losses of its two phases do not compare, so the first is short.
        "method": {"name": name, "hint": 0.01} if name == "fitnets" else name,
        **({"student": {"model": "timm/test_vit", "split": 0.4}} if name == "rkd" else {}),
        **({"student": "timm/test_vit"} if name in ("attention_transfer", "fitnets") else {}),
    }
