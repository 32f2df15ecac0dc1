"""Teachers from ONNX files, run by ONNX Runtime: a network of any framework.

What the graph says is used: the input's name, axis order, number type, side and batch. What it cannot say is not guessed: its
input is pixels in [0, 1] unless the recipe gives mean and std.
"""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from alumnus.errors import MissingExtra, TeacherError
from alumnus.log import console
from alumnus.teachers.graph import Image, choose_size, in_pieces, read_image
from alumnus.teachers.network import Loaded, Network
from alumnus.teachers.reading import read
from alumnus.teachers.spec import TeacherSpec, check_output, refuse, short_name
from alumnus.types import Features

if TYPE_CHECKING:
    import onnx
    import onnxruntime

NUMBERS: dict[str, type[np.floating[Any]]] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
}


class Input(NamedTuple):
    """The one input of a graph."""

    name: str
    number: type[np.floating[Any]]
    image: Image


def load(path: Path, spec: TeacherSpec) -> Loaded:
    """Returns the network of an ONNX file. Its summary is the first output; `output` may name another one.

    Raises:
        TeacherError: the file is not readable, is no network of one image, or contradicts a setting.
        MissingExtra: onnxruntime or onnx is not installed.
    """
    refuse(spec, "weights", because="an ONNX file holds its own")
    if spec.dtype != "float32":
        raise TeacherError(f"teacher onnx:{path}: dtype={spec.dtype} cannot be given: the graph has its own")
    session = _open(path, torch.device("cpu"))
    given = _read_input(path, session)
    outputs = [output.name for output in session.get_outputs()]
    check_output(spec, ("summary", *outputs))
    output = outputs[0] if spec.output == "summary" else spec.output
    digest, num_parameters = _read_weights(path)
    return Loaded(
        OnnxNetwork(path, session, given, output, digest=digest),
        name=short_name(path.stem),
        size=choose_size(given.image, spec.size, source=f"teacher onnx:{path}"),
        num_parameters=num_parameters,
    )


class OnnxNetwork(Network):
    """Final: a session of ONNX Runtime on a file."""

    def __init__(
        self, path: Path, session: onnxruntime.InferenceSession, given: Input, output: str, *, digest: str
    ) -> None:
        self._path, self._session, self._device = path, session, torch.device("cpu")
        self._input, self._output, self._digest = given, output, digest

    def __call__(self, image: Tensor) -> Features:
        """Returns the graph's output as features; see reading.py."""
        result = in_pieces(self._run, image.float().cpu(), self._input.image)
        what = f"teacher onnx:{self._path}: the output {self._output}"
        return read(result.to(image.device), source=what, channels_last=self._input.image.channels_last)

    def to(self, device: torch.device) -> None:
        """Opens the session there; on a GPU if this build of ONNX Runtime has a provider for it."""
        if device != self._device:
            self._session, self._device = _open(self._path, device), device

    def identity(self) -> str:
        """Returns a hash of the file and of the files of weights beside it."""
        return self._digest

    def _run(self, pixels: Tensor) -> Tensor:
        array = np.ascontiguousarray(pixels.numpy().astype(self._input.number, copy=False))
        result: NDArray[Any] = self._session.run([self._output], {self._input.name: array})[0]
        return torch.from_numpy(result)


def _open(path: Path, device: torch.device) -> onnxruntime.InferenceSession:
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtra("onnxruntime", extra="onnx") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    # Idle threads of ONNX Runtime spin by default, and take the processor from the student's step.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    wanted = ["CUDAExecutionProvider"] if device.type == "cuda" else []
    providers = [name for name in wanted if name in onnxruntime.get_available_providers()]
    if len(providers) < len(wanted):
        console.print(f"teacher onnx:{path} runs on the CPU: this ONNX Runtime has no provider for {device}")
    try:
        return onnxruntime.InferenceSession(
            str(path), options, providers=[*providers, "CPUExecutionProvider"]
        )
    except Exception as error:  # the exceptions of ONNX Runtime have no common parent of their own
        raise TeacherError(
            f"teacher onnx:{path} cannot be opened: {type(error).__name__}: {error}"
        ) from error


def _read_input(path: Path, session: onnxruntime.InferenceSession) -> Input:
    inputs = session.get_inputs()
    if len(inputs) != 1 or len(inputs[0].shape) != 4:
        found = ", ".join(f"{item.name} {item.shape}" for item in inputs)
        raise TeacherError(f"teacher onnx:{path} has the inputs {found}; needed is one image of 4 axes")
    name, shape, kind = inputs[0].name, inputs[0].shape, inputs[0].type
    if kind not in NUMBERS:
        raise TeacherError(f"teacher onnx:{path}: its input is {kind}; allowed are {', '.join(NUMBERS)}")
    return Input(name, NUMBERS[kind], read_image(shape, source=f"teacher onnx:{path}"))


def files_of(path: Path) -> list[Path]:
    """Returns the file of a graph and those of the weights that it keeps beside it.

    Raises:
        TeacherError: it is no graph.
        MissingExtra: onnx is not installed.
    """
    return [path, *_beside(path, _read_graph(path))]


def _read_weights(path: Path) -> tuple[str, int]:
    """Returns a hash of everything that decides the network, and the number of its parameters."""
    graph = _read_graph(path)
    digest = hashlib.sha256(path.read_bytes())
    for file in _beside(path, graph):
        digest.update(file.read_bytes())
    return digest.hexdigest(), sum(math.prod(weight.dims) for weight in graph.initializer)


def _read_graph(path: Path) -> onnx.GraphProto:
    """Returns the graph; weights beside the file are not read."""
    try:
        import onnx
    except ImportError as error:
        raise MissingExtra("onnx", extra="onnx") from error
    try:
        return onnx.load(str(path), load_external_data=False).graph
    except Exception as error:  # that of protobuf, which is none of our dependencies
        raise TeacherError(f"teacher onnx:{path} cannot be read: {type(error).__name__}: {error}") from error


def _beside(path: Path, graph: onnx.GraphProto) -> list[Path]:
    names = {entry.value for w in graph.initializer for entry in w.external_data if entry.key == "location"}
    return [path.parent / name for name in sorted(names)]
