"""The seam between Alumnus and a library: a frozen network that maps normalised images to `Features`."""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from alumnus.models.cost import num_parameters
from alumnus.models.weights import fingerprint
from alumnus.teachers.identity import structure
from alumnus.teachers.spec import Channels
from alumnus.types import Features

PIXELS: tuple[Channels, Channels] = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))  # mean and std that change nothing


class Network(ABC):
    """A frozen network. It never trains, and it is never part of a module that does."""

    @abstractmethod
    def __call__(self, image: Tensor) -> Features:
        """Returns the features of images (n, 3, S, S) float32, normalised, n >= 1; called without gradients."""

    def levels(self, image: Tensor) -> tuple[Tensor, ...]:
        """Returns its grids (n, D, h, w), fine to coarse; none where it gives no patches.

        Where a network cannot say more, that is the grid of its patches, which is square because the image is.
        """
        patches = self(image).patches
        if patches is None or math.isqrt(patches.shape[1]) ** 2 != patches.shape[1]:
            return ()
        side = math.isqrt(patches.shape[1])
        return (patches.transpose(1, 2).reshape(len(patches), -1, side, side),)

    def modules(self) -> Sequence[nn.Module]:
        """Returns the torch modules that it consists of, whose layers can be read by name; none where it is no torch."""
        return ()

    @abstractmethod
    def to(self, device: torch.device) -> None:
        """Moves it to a device."""

    @abstractmethod
    def identity(self) -> str:
        """Returns a text that changes when the network's function does: a hash of its weights and structure, or of its file."""


class Loaded(NamedTuple):
    """What an adapter knows of a network. A recipe may overrule everything but the network."""

    network: Network
    name: str  # short
    size: int  # px
    mean: Channels = PIXELS[0]
    std: Channels = PIXELS[1]
    licence: str = "unknown"
    num_parameters: int | None = None  # None: not known


class TorchNetwork(Network):
    """Final: a torch module that is ours alone, and how to read it."""

    def __init__(
        self,
        module: nn.Module,
        read: Callable[[nn.Module, Tensor], Features],
        *,
        levels: Callable[[nn.Module, Tensor], tuple[Tensor, ...]] | None = None,
        origin: Sequence[str] = (),
    ) -> None:
        """Takes the module, in eval mode.

        Args:
            read: what makes features of it.
            levels: what makes grids of its stages.
            origin: texts that decide what it says, beside its weights and settings.
        """
        self.module = module.eval().requires_grad_(False).to(memory_format=torch.channels_last)
        self._read, self._levels, self._origin = read, levels, tuple(origin)

    def __call__(self, image: Tensor) -> Features:
        """Returns what `read` makes of the module's output."""
        return self._read(self.module, image.contiguous(memory_format=torch.channels_last))

    def levels(self, image: Tensor) -> tuple[Tensor, ...]:
        """Returns what `levels` makes of the module's stages; without it the patches."""
        if self._levels is None:
            return super().levels(image)
        return self._levels(self.module, image.contiguous(memory_format=torch.channels_last))

    def modules(self) -> Sequence[nn.Module]:
        """Returns the module."""
        return (self.module,)

    def to(self, device: torch.device) -> None:
        """Moves the module."""
        self.module.to(device)

    def identity(self) -> str:
        """Returns a hash of the weights, of all layers with their settings, and of the origin."""
        parts = [*self._origin, structure(self.module), fingerprint(self.module)]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    @property
    def num_parameters(self) -> int:
        """The module's parameters."""
        return num_parameters(self.module)


def pool(grid: Tensor) -> Features:
    """Returns a grid (n, D, H, W) as its mean (n, D) and its H * W patches."""
    return Features(grid.mean(dim=(2, 3)), grid.flatten(2).transpose(1, 2))
