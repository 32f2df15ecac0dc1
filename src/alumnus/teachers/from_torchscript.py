"""Teachers from TorchScript files (`torch.jit.save`): deprecated by torch, but what many older projects left behind.

Such a file does not say what images it wants: the recipe gives the size, and mean and std unless it takes pixels in [0, 1].
"""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import nn

from alumnus.errors import TeacherError
from alumnus.models.cost import num_parameters
from alumnus.teachers.graph import Image
from alumnus.teachers.network import Loaded
from alumnus.teachers.program import ProgramNetwork, check_program
from alumnus.teachers.spec import TeacherSpec, short_name


def load(path: Path, spec: TeacherSpec) -> Loaded:
    """Returns the network of a TorchScript file.

    Raises:
        TeacherError: the recipe does not trust it or gives no size, or it cannot be read.
    """
    check_program(spec)
    if spec.size is None:
        raise TeacherError(f"teacher {spec.source} does not say what images it wants; give size, in px")
    program = _read(path)
    numbers = [value.dtype for value in program.parameters() if value.is_floating_point()]
    network = ProgramNetwork(
        program.to, Image(False, None), spec, path=path, dtype=numbers[0] if numbers else torch.float32
    )
    count = num_parameters(program)  # a frozen program has constants instead
    return Loaded(network, name=short_name(path.stem), size=spec.size, num_parameters=count or None)


def _read(path: Path) -> nn.Module:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", FutureWarning
            )  # that TorchScript is deprecated: docs/teachers.md says so
            program: nn.Module = torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call]
    except Exception as error:  # a file that is none raises nearly anything
        raise TeacherError(
            f"teacher torchscript:{path} cannot be read as TorchScript: {type(error).__name__}: {_first_line(error)}"
        ) from error
    if program.training:
        program.eval()
    return program


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), "")
