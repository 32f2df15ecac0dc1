"""Teachers that are any Python callable or module: the way to a library that has no adapter.

The callable takes images (n, 3, size, size) float32 in [0, 1] (normalise inside, or give mean and std) and returns

    (n, D)                     the summary
    (n, D, H, W)               a grid: its mean is the summary, its cells are the patches
    (summary, patches)         a pair, patches (n, N, D), (n, D, H, W) or None
    Features                   as above, with names
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import json
import random
from collections.abc import Callable, Iterator, Sequence
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
from alumnus.teachers.spec import TeacherSpec, check_output, describe_object, refuse, short_name
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
    check_output(spec, OUTPUTS)
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
        PythonNetwork(function, modules, origin=origin, needs_patches=spec.output == "patches"),
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
        needs_patches: bool,
    ) -> None:
        """Takes them as they are.

        Args:
            origin: texts that change when the callable does: its name, its code, the arguments that it was made with.
        """
        self._function, self._modules, self._needs_patches = function, modules, needs_patches
        self._origin = tuple(origin)
        for module in modules:
            module.eval()

    def __call__(self, image: Tensor) -> Features:
        """Returns what the callable says, as features."""
        for module in self._modules:  # they may be in use elsewhere, where they train
            if module.training:
                module.eval()
        features = _as_features(self._function(image))
        if self._needs_patches and features.patches is None:
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


def _as_features(output: object) -> Features:
    match output:
        case Features(summary=Tensor() as summary, patches=patches) | (Tensor() as summary, patches):
            return Features(_as_features(summary).summary, _as_patches(patches))
        case Tensor(ndim=4):
            return pool(output)
        case Tensor(ndim=2):
            return Features(output)
    shape = f" of shape {tuple(output.shape)}" if isinstance(output, Tensor) else ""
    raise TeacherError(
        f"a teacher gave {type(output).__name__}{shape}; allowed are a tensor (n, D) or (n, D, H, W), "
        "a pair (summary, patches) and Features"
    )


def _as_patches(output: object) -> Tensor | None:
    if output is None or (isinstance(output, Tensor) and output.ndim == 3):
        return output
    return _as_features(output).patches
