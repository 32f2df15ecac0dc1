"""What TorchScript files and torch.export programs share: a network without its Python code, read only where the recipe trusts the file.

Neither can be read safely. `torch.jit.load` says itself that a made-up file may execute code. `torch.export.load` (torch 2.15) unpickles
weights, constants and sample inputs with `weights_only=False`, or falls back to that where the safe way fails, gives expressions of the
graph to `sympify`, which evaluates them, and opens compiled libraries that lie in the archive.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import final

import torch
from torch import Tensor, nn

from alumnus.errors import TeacherError
from alumnus.teachers.graph import Image, in_pieces
from alumnus.teachers.network import Network
from alumnus.teachers.reading import choose, read
from alumnus.teachers.spec import TeacherSpec, refuse
from alumnus.types import Features


@final
class ProgramNetwork(Network):
    """A stored program. Its summary is the first output; `output` may name another one, or give its number."""

    def __init__(
        self,
        move: Callable[[torch.device], nn.Module],
        image: Image,
        spec: TeacherSpec,
        *,
        path: Path,
        dtype: torch.dtype,
    ) -> None:
        """Takes the program as it is.

        Args:
            move: gives the program on a device.
            image: what it says of its input.
            dtype: of the images that it wants.
        """
        self._move, self._image, self._dtype = move, image, dtype
        self._wanted = None if spec.output == "summary" else spec.output
        self._what, self._digest = f"teacher {spec.source}", _hash(path)
        self._device = torch.device("cpu")
        self._program = move(self._device)

    def __call__(self, image: Tensor) -> Features:
        """Returns the output as features; see reading.py."""
        result = in_pieces(self._run, image.to(self._dtype), self._image)
        return read(result, source=self._what, channels_last=self._image.channels_last)

    def to(self, device: torch.device) -> None:
        """Moves the program."""
        if device != self._device:
            self._program, self._device = self._move(device), device

    def identity(self) -> str:
        """Returns a hash of the file."""
        return self._digest

    def _run(self, pixels: Tensor) -> Tensor:
        return choose(self._program(pixels), self._wanted, source=self._what)


def check_program(spec: TeacherSpec) -> None:
    """Refuses a file that nobody vouches for, and settings that a program does not heed.

    Raises:
        TeacherError: with the way out.
    """
    refuse(spec, "weights", because="the file holds its own")
    if spec.dtype != "float32":
        raise TeacherError(
            f"teacher {spec.source}: dtype={spec.dtype} cannot be given: the program has its own"
        )
    if not spec.trusted:
        raise TeacherError(
            f"teacher {spec.source}: reading such a file can execute code that is hidden in it, as unpickling does; "
            "say trusted=true if you know where it is from. ONNX files, and safetensors for a network of timm, "
            "torchvision, hf or open_clip, need no trust"
        )


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
