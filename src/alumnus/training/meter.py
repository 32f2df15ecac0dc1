"""What a line of `metrics.jsonl` says: the means since the line before, and the pace."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping

import torch
from torch import Tensor

from alumnus.types import Terms


class Meter:
    """Means of the reported terms since the last line of the log, and the pace."""

    def __init__(self) -> None:
        self.last_loss = float("nan")
        self.is_silent = True  # no line had a loss so far, and nobody was told
        self._broken = set[str]()  # what was NaN or infinite in a line
        self._reset()

    def count(self, terms: Terms, images: int) -> None:
        """Adds a step."""
        self._images += images
        for name, value in {"loss": terms.loss.detach(), **terms.report}.items():
            self._sums.setdefault(name, []).append(value)

    def line(self, *, step: int, lr: float) -> dict[str, float]:
        """Returns the means, and begins anew."""
        means = {name: float(torch.stack(values).mean()) for name, values in self._sums.items()}
        self.last_loss = means["loss"]
        self.is_silent = self.is_silent and self.last_loss == 0
        pace = self._images / max(time.monotonic() - self._since, 1e-9)
        self._reset()
        return {"step": step, **means, "lr": lr, "images/s": round(pace, 1)}

    def leave_out(self, seconds: float) -> None:
        """Takes time that was no step's out of the pace."""
        self._since += seconds

    def newly_broken(self, line: Mapping[str, float]) -> list[str]:
        """Returns the names in a line that are NaN or infinite for the first time."""
        found = [
            name for name, value in line.items() if not math.isfinite(value) and name not in self._broken
        ]
        self._broken.update(found)
        return found

    def _reset(self) -> None:
        self._sums: dict[str, list[Tensor]] = {}
        self._images, self._since = 0, time.monotonic()
