"""Teachers that are any Python callable or module: the way to a library that has no adapter.

The callable takes images (n, 3, size, size) float32 in [0, 1] (normalise inside, or give mean and std) and returns

    (n, D)                     the summary
    (n, D, H, W)               a grid: its mean is the summary, its cells are the patches
    (summary, patches)         a pair, patches (n, N, D), (n, D, H, W) or None
    Features                   as above, with names
    a mapping, or a sequence   of which `output: KEY` names one, read as a graph's output is; see reading.py
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from alumnus.errors import AlumnusError, TeacherError, nearest
from alumnus.imports import current_folder
from alumnus.models.cost import num_parameters
from alumnus.models.weights import fingerprint
from alumnus.teachers.identity import behind
from alumnus.teachers.network import Loaded, Network, pool
from alumnus.teachers.reading import named, read
from alumnus.teachers.spec import TeacherSpec, describe_object, refuse, short_name
from alumnus.types import Features

# `logits` says that what it returns, (n, C), is of classes; methods that take a softmax of it want to know.
OUTPUTS = ("summary", "patches", "logits")

MAKES = (
    ". `python:` names a function that makes the network, not the network itself: give one that returns it"
)


def load(path: str, spec: TeacherSpec) -> Loaded:
    """Returns the teacher that `package.module:function`, called with the recipe's arguments, makes.

    Raises:
        TeacherError: there is no such function, its arguments do not fit, it fails, or it makes something that cannot be called.
    """
    module_name, colon, function_name = path.partition(":")
    if not all(module_name.split(".")) or not colon or not function_name:
        raise TeacherError(f"teacher python:{path} is not of the form python:package.module:function")
    try:
        with current_folder(), seeded():
            module = importlib.import_module(module_name)
    except ImportError as error:
        raise TeacherError(
            f"teacher python:{path}: {module_name} cannot be imported ({error}); is it in the current folder, or its folder on PYTHONPATH?"
        ) from error
    except Exception as error:  # somebody's code: anything may come
        raise TeacherError(
            f"teacher python:{path}: {module_name} fails when it is imported: {_in_a_line(error)}"
        ) from error
    names = vars(module)
    if not callable(names.get(function_name)):
        public = [name for name, value in names.items() if callable(value) and not name.startswith("_")]
        raise TeacherError(
            f"teacher python:{path}: {module_name} has no function {function_name!r}{nearest(function_name, public)}"
        )
    check_arguments(names[function_name], spec)
    with seeded():
        made = as_callable(_call(names[function_name], spec), spec)
    return from_object(made, spec)._replace(name=short_name(function_name))


@contextmanager
def seeded() -> Iterator[None]:
    """For somebody's code that makes a network: what it draws at random is the same every time, and nobody else's draws change."""
    of_python, of_numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        random.seed(0)
        np.random.seed(0)
        torch.manual_seed(0)
        try:
            yield
        finally:
            random.setstate(of_python)
            np.random.set_state(of_numpy)


def _call(function: Callable[..., object], spec: TeacherSpec) -> object:
    try:
        return function(**spec.arguments)
    except AlumnusError:  # said on purpose
        raise
    except Exception as error:  # somebody's code: anything may come
        raise TeacherError(f"teacher {spec.source} cannot be made: {_in_a_line(error)}") from error


def _in_a_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


def check_arguments(function: Callable[..., object], spec: TeacherSpec) -> None:
    """Refuses arguments that a function does not take, or lacks.

    Raises:
        TeacherError: with the function's own.
    """
    try:
        signature = inspect.signature(function)
    except ValueError:  # some functions in C do not say
        return
    try:
        signature.bind(**spec.arguments)
    except TypeError as error:
        said = f"arguments={spec.arguments} do not fit: {error}; it takes {signature}"
        is_network = spec.source.startswith("python:") and "missing" in str(error)
        raise TeacherError(f"teacher {spec.source}: {said}{MAKES * is_network}") from error


def as_callable(made: object, spec: TeacherSpec) -> Callable[..., object]:
    """Returns what a user's function made, if it can be called.

    Raises:
        TeacherError: it cannot.
    """
    if not callable(made):
        raise TeacherError(
            f"teacher {spec.source} made an object of type {type(made).__name__}; "
            "the function has to return a callable or an nn.Module"
        )
    return made


def from_object(function: Callable[..., object], spec: TeacherSpec, *, code: str | None = None) -> Loaded:
    """Returns a callable as a network; modules that it refers to, itself or through others, are put in eval mode.

    Args:
        code: what stands for its code in the fingerprint; by default the text of what can be reached from it.

    Raises:
        TeacherError: a setting has no effect or is missing, or nothing is found by which a change of the callable could be noticed.
    """
    refuse(spec, "weights", because="a Python object brings its own")
    if spec.size is None:
        raise TeacherError(f"teacher {spec.source} does not say what images it wants; give size, in px")
    found = behind(function, reads_code=code is None)
    modules = found.modules
    if not found.is_known and code is None:
        raise TeacherError(
            f"teacher {spec.source}: behind it are neither Python code nor torch modules, so that nothing would tell when it changes; "
            "give a Python function that calls it, and change something in that function's text whenever what it calls changes"
        )
    origin = [describe_object(function), found.text, *([] if code is None else [code])]
    origin += [json.dumps(spec.arguments, sort_keys=True)] if spec.arguments else []
    return Loaded(
        PythonNetwork(function, modules, origin=origin, output=spec.output, source=spec.source),
        name=short_name(describe_object(function).rpartition(".")[2]),
        size=spec.size,
        num_parameters=sum(num_parameters(module) for module in modules) if modules else None,
    )


class PythonNetwork(Network):
    """Final: somebody's callable, and the torch modules behind it."""

    def __init__(
        self,
        function: Callable[..., object],
        modules: list[nn.Module],
        *,
        origin: Sequence[str],
        output: str,
        source: str,
    ) -> None:
        """Takes them as they are.

        Args:
            origin: texts that change when the callable does: its name, its code, the arguments that it was made with.
            output: one of `OUTPUTS`, or which part is meant of what it returns.
            source: what messages call it.
        """
        self._function, self._modules, self._output = function, modules, output
        self._what = f"teacher {source}"
        self._origin = tuple(origin)
        for module in modules:
            module.eval()

    def __call__(self, image: Tensor) -> Features:
        """Returns what the callable says, as features."""
        for module in self._modules:  # they may be in use elsewhere, where they train
            if module.training:
                module.eval()
        given = self._function(image)
        if self._output not in OUTPUTS or (self._output == "logits" and isinstance(given, Mapping)):
            return _part(given, self._output, source=self._what)
        features = _as_features(given, source=self._what)
        if self._output == "patches" and features.patches is None:
            raise TeacherError(f"{describe_object(self._function)} gives no patches; use output=summary")
        return features

    def modules(self) -> Sequence[nn.Module]:
        """Returns the modules behind the callable."""
        return self._modules

    def to(self, device: torch.device) -> None:
        """Moves the modules behind the callable."""
        for module in self._modules:
            module.to(device)

    def identity(self) -> str:
        """Returns a hash of the code, settings, arguments and weights behind it; see identity.py for what is not seen."""
        parts = [*self._origin, *(fingerprint(module) for module in self._modules)]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _part(output: object, key: str, *, source: str) -> Features:
    """Returns what `output: KEY` means, as features."""
    found = named(output)
    if key not in found:
        allowed = list(found) if isinstance(output, Mapping) else [*OUTPUTS]
        raise TeacherError(
            f"{source}: output={key!r} is not among its outputs{nearest(key, allowed)}; it has {', '.join(allowed) or 'no tensor'}"
        )
    return read(found[key], source=f"{source}: output {key}")


def _as_features(output: object, *, source: str) -> Features:
    match output:
        case Features(summary=Tensor() as summary, patches=patches) | (Tensor() as summary, patches):
            return Features(_as_features(summary, source=source).summary, _as_patches(patches, source=source))
        case Tensor(ndim=4):
            return pool(output)
        case Tensor(ndim=2):
            return Features(output)
        case Mapping() if keys := list(named(output)):
            raise TeacherError(
                f"{source} gave {type(output).__name__}; say which of its keys is meant by output={keys[0]}: there are {', '.join(keys)}"
            )
    shape = f" of shape {tuple(output.shape)}" if isinstance(output, Tensor) else ""
    raise TeacherError(
        f"{source} gave {type(output).__name__}{shape}; allowed are a tensor (n, D) or (n, D, H, W), "
        "a pair (summary, patches), Features, and a mapping with output=KEY"
    )


def _as_patches(output: object, *, source: str) -> Tensor | None:
    if output is None or (isinstance(output, Tensor) and output.ndim == 3):
        return output
    return _as_features(output, source=source).patches
