"""Loss scaling: float16 has no number below 6e-8, so gradients are taken of a multiple of the loss and divided by it afterwards.

torch's GradScaler finds the multiple by trying (Micikevicius et al. 2018, "Mixed precision training", arXiv 1710.03740, section 3.2): it
doubles after 2,000 good steps, and halves when a gradient is not finite; such a step is skipped. A few are skipped at the beginning.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

MAX_SKIPPED = 20  # steps in a row: from the first scale, 2^16, 16 of them lead to no scaling at all


class LossScale:
    """The scale of a run's loss, and how many steps in a row were skipped."""

    def __init__(self, device: torch.device) -> None:
        self._scaler = torch.amp.GradScaler(device.type)
        self.skipped_in_a_row = 0

    @property
    def value(self) -> float:
        """What the loss is multiplied by."""
        return self._scaler.get_scale()

    def scaled(self, loss: Tensor) -> Tensor:
        """Returns the loss, times the scale."""
        return self._scaler.scale(loss)

    def has_overflowed(self, optimizer: torch.optim.Optimizer) -> bool:
        """Divides the gradients by the scale; returns whether one is not finite: then the scale is halved, and the step to be skipped."""
        before = self.value
        self._scaler.unscale_(optimizer)
        self._scaler.update()
        has = self.value < before
        self.skipped_in_a_row = self.skipped_in_a_row + 1 if has else 0
        return has

    def tensors(self) -> dict[str, Tensor]:
        """Returns all that a checkpoint has to keep."""
        state = self._scaler.state_dict()
        return {
            "scale": torch.tensor(state["scale"], dtype=torch.float64),
            "good_steps": torch.tensor(state["_growth_tracker"]),
            "skipped_in_a_row": torch.tensor(self.skipped_in_a_row),
        }

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Puts the tensors of `tensors()` back."""
        found = {"scale": float(tensors["scale"]), "_growth_tracker": int(tensors["good_steps"])}
        self._scaler.load_state_dict({**self._scaler.state_dict(), **found})
        self.skipped_in_a_row = int(tensors["skipped_in_a_row"])
