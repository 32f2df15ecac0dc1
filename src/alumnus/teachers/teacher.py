"""`Teacher`: a frozen network with everything that decides what it says about an image.

It is not an `nn.Module`, so that it cannot become part of a student, an optimiser or a checkpoint.

Axes: n images, N patches, D width of the feature, S side in px.
"""

from __future__ import annotations

import hashlib
import json
from typing import Literal, final

import torch
from torch import Tensor

from alumnus.errors import AlumnusError, NonFiniteError, TeacherError
from alumnus.teachers.network import PIXELS, Network
from alumnus.teachers.spec import Channels
from alumnus.types import Features

# Below this, libraries take other kernels, whose last digits differ, and an image's features would depend on how many others there are.
# Measured by benchmarks/claims/batch_sizes.py (torch 2.15, CPU): for some networks batches of 1 to 15 differ, for none those of 16 to 64.
SMALLEST_BATCH = 16


@final
class Teacher:
    """Images in [0, 1] -> features in float32, without gradients.

    Example:
        teacher = load_teacher(TeacherSpec(model="timm/resnet18.a1_in1k"), device=torch.device("cpu"))
        teacher(torch.rand(8, 3, 224, 224)).summary.shape  # (8, 512)
    """

    def __init__(
        self,
        network: Network,
        *,
        name: str,
        source: str,
        size: int,
        mean: Channels = PIXELS[0],
        std: Channels = PIXELS[1],
        dtype: Literal["float32", "bfloat16"] = "float32",
        output: str = "summary",
        domains: tuple[str, ...] | None = None,
        weight: float = 1.0,
        licence: str = "unknown",
        num_parameters: int | None = None,
        device: torch.device,
    ) -> None:
        """Moves the network to the device and runs it once, on a grey image, to learn its widths.

        Raises:
            TeacherError: the network does not run at this size, or its output is no features.
            NonFiniteError: its output is NaN or infinite.
        """
        self.name, self.source, self.size, self.mean, self.std = name, source, size, mean, std
        self.dtype, self.output, self.domains, self.weight = dtype, output, domains, weight
        self.licence, self.num_parameters = licence, num_parameters
        self._network = network
        self.to(device)
        self.fingerprint = self._fingerprint()
        probe = self._probe()
        self.num_features = int(probe.summary.shape[1])  # D
        # (N, D) of its patches
        self.grid = None if probe.patches is None else (probe.patches.shape[1], probe.patches.shape[2])

    def __call__(self, image: Tensor) -> Features:
        """Returns features in float32 of images (n, 3, size, size), float in [0, 1]; n may be 0.

        Raises:
            NonFiniteError: the output is NaN or infinite.
        """
        if image.shape[1:] != (3, self.size, self.size) or not image.is_floating_point():
            raise TeacherError(
                f"teacher {self.name} wants (n, 3, {self.size}, {self.size}) floats in [0, 1], "
                f"got {tuple(image.shape)} {image.dtype}"
            )
        if len(image) == 0:
            return self.silence()
        return self._checked(self._run(image), len(image))

    def levels(self, image: Tensor) -> tuple[Tensor, ...]:
        """Returns its grids (n, D, h, w) float32, fine to coarse, of images as for a call, n >= 1.

        Raises:
            TeacherError: it gives no patches.
        """
        with torch.no_grad(), self._precision():
            grids = self._network.levels((image.float() - self._mean) / self._std)
        if not grids:
            raise TeacherError(
                f"teacher {self.name} ({self.source}) gives no square grid of patches; output=patches, or the name of an "
                "ONNX graph's output of shape (n, D, H, W), may help"
            )
        return tuple(grid.float() for grid in grids)

    def silence(self) -> Features:
        """Returns its features of no image: (0, D) and, if it gives patches, (0, N, D)."""
        patches = None if self.grid is None else torch.zeros(0, *self.grid, device=self.device)
        return Features(torch.zeros(0, self.num_features, device=self.device), patches)

    def to(self, device: torch.device) -> Teacher:
        """Moves it to a device, and returns it."""
        self.device = device
        self._network.to(device)
        self._mean = torch.tensor(self.mean, device=device).view(1, 3, 1, 1)
        self._std = torch.tensor(self.std, device=device).view(1, 3, 1, 1)
        return self

    @torch.no_grad()
    def _run(self, image: Tensor) -> Features:
        count = len(image)
        if count < SMALLEST_BATCH:
            image = torch.cat([image, image.new_zeros(SMALLEST_BATCH - count, *image.shape[1:])])
        with self._precision():
            summary, patches = self._network((image.float() - self._mean) / self._std)
        if count < SMALLEST_BATCH:
            summary, patches = summary[:count], None if patches is None else patches[:count]
        return Features(summary.float(), None if patches is None else patches.float())

    def _precision(self) -> torch.autocast:
        # Also where a caller has autocast on: a teacher's precision is its own.
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.dtype == "bfloat16")

    def _checked(self, features: Features, count: int) -> Features:
        summary, patches = features
        if summary.ndim != 2 or len(summary) != count:
            raise TeacherError(
                f"teacher {self.name}: {count} images gave a summary of shape {tuple(summary.shape)}, "
                f"needed is ({count}, D)"
            )
        if patches is not None and (patches.ndim != 3 or len(patches) != count):
            raise TeacherError(
                f"teacher {self.name}: {count} images gave patches of shape {tuple(patches.shape)}, "
                f"needed is ({count}, N, D)"
            )
        if not all(bool(part.isfinite().all()) for part in features if part is not None):
            hint = "; dtype=float32 may help" if self.dtype == "bfloat16" else ""
            raise NonFiniteError(f"teacher {self.name} ({self.source}) gave NaN or infinite features{hint}")
        return features

    def _probe(self) -> Features:
        grey = torch.full((2, 3, self.size, self.size), 0.5, device=self.device)
        try:
            return self(grey)
        except AlumnusError:
            raise
        except Exception as error:  # another library's network, or a user's: anything may come
            raise TeacherError(
                f"teacher {self.name} ({self.source}) does not run on images of {self.size}x{self.size} px: "
                f"{type(error).__name__}: {error}"
            ) from error

    def _fingerprint(self) -> str:
        parts = [
            self._network.identity(),
            self.source,
            self.size,
            self.mean,
            self.std,
            self.dtype,
            self.output,
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
