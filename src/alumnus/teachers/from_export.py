"""Teachers from programs of torch.export (`.pt2`): the graph of a torch network, with its weights.

What the graph says is used: axis order, number type, side, and how many images it takes at a time. Pixels are in [0, 1]
unless the recipe gives mean and std, as for ONNX.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn
from torch.export import ExportedProgram
from torch.export.passes import move_to_device_pass

from alumnus.errors import TeacherError
from alumnus.teachers.graph import Image, choose_size, read_image
from alumnus.teachers.network import Loaded
from alumnus.teachers.program import ProgramNetwork, check_program
from alumnus.teachers.spec import TeacherSpec, short_name


def load(path: Path, spec: TeacherSpec) -> Loaded:
    """Returns the network of an exported program.

    Raises:
        TeacherError: the recipe does not trust it, it cannot be read, is no network of one image, or contradicts a setting.
    """
    check_program(spec)
    program = _read(path)
    source = f"teacher {spec.source}"
    image, dtype = _read_input(program, source)

    def move(device: torch.device) -> nn.Module:
        return move_to_device_pass(program, str(device)).module()

    return Loaded(
        ProgramNetwork(move, image, spec, path=path, dtype=dtype),
        name=short_name(path.stem),
        size=choose_size(image, spec.size, source=source),
        num_parameters=sum(program.state_dict[name].numel() for name in program.graph_signature.parameters)
        or None,
    )


def _read(path: Path) -> ExportedProgram:
    try:
        return torch.export.load(path)
    except Exception as error:  # a file that is none raises nearly anything
        reason = next(iter(str(error).strip().splitlines()), "")
        raise TeacherError(
            f"teacher export:{path} cannot be read as a program of torch.export: {type(error).__name__}: {reason}"
        ) from error


def _read_input(program: ExportedProgram, source: str) -> tuple[Image, torch.dtype]:
    names = program.graph_signature.user_inputs
    values = [
        node.meta["val"] for node in program.graph.nodes if node.op == "placeholder" and node.name in names
    ]
    if len(values) != 1 or not isinstance(values[0], torch.Tensor):
        raise TeacherError(f"{source} has {len(values)} inputs; needed is one image")
    shape = [side if isinstance(side, int) else str(side) for side in values[0].shape]
    image = read_image(shape, source=source)
    if image.batch is not None:
        return image, values[0].dtype
    least, most = _bounds(program, values[0])
    return image._replace(least=least, most=most), values[0].dtype


def _bounds(program: ExportedProgram, value: torch.Tensor) -> tuple[int, int | None]:
    """How many images the program takes at a time, least and most."""
    count: torch.SymInt = value.size(0)  # type: ignore[assignment]  # torch's typing knows integers only
    bounds = program.range_constraints.get(count.node.expr)
    if bounds is None:
        return 1, None
    return int(bounds.lower), int(bounds.upper) if bounds.upper.is_Integer else None
