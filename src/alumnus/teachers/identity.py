"""What a network is beside its weights, as a text that changes when its function does.

The same weights under another activation, number of heads or order of layers are another network. So the text holds, for every
sub-module, its class and its settings: the attributes that are numbers, words, tensors, functions, or made of them. Of Python that is not a
library's it holds the code too, as far as it can be reached: the methods of classes, functions, what they have from around them, and
the globals that they read. Files, sessions of other libraries and what is imported inside a function are not seen.

It is the same in every process and on every machine: no addresses, no folders, no devices, no mode of training. Numbers that libraries
compute (tables of positions, shares of a drop path) count to a few digits, for the last ones differ between processors. What a call of an
object changes, such as a counter or a cache, is no setting and is left out.
"""

from __future__ import annotations

import argparse
import dataclasses
import enum
import hashlib
import re
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import cached_property, partial
from pathlib import PurePath, PurePosixPath, PureWindowsPath
from types import (
    BuiltinFunctionType,
    EllipsisType,
    FunctionType,
    MemberDescriptorType,
    MethodDescriptorType,
    MethodType,
    MethodWrapperType,
    ModuleType,
    SimpleNamespace,
    WrapperDescriptorType,
)
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from alumnus.teachers.code import (
    LIBRARIES,
    changed_by_calls,
    closure_of,
    globals_of,
    has_text,
    origin_of,
    origin_of_module,
    text_of,
)

OF_TORCH = frozenset({*vars(nn.Module()), "training"})  # what every module has; not its settings
# Of libraries' models and configurations: where they are from, and with what they were written.
OF_ORIGIN = frozenset(
    {"_name_or_path", "name_or_path", "pretrained_cfg", "default_cfg", "transformers_version", "_commit_hash"}
)
PRIVATE_NOTES = frozenset(
    {"timm", "transformers"}
)  # whose private attributes say how a model was loaded or is to be spread
CONSTRUCTORS = frozenset({"__init__", "__new__", "__post_init__", "__init_subclass__"})
DEVICE = re.compile(r"(cpu|cuda|mps|xpu)(:\d+)?")
DEEP = 20  # containers of plain values inside each other
LONGEST_PATH = 4096
SLOT = MemberDescriptorType
BOUND = (BuiltinFunctionType, MethodWrapperType)
NAMESPACES = (SimpleNamespace, argparse.Namespace)
NAMED = (torch.dtype, torch.layout, torch.memory_format, np.dtype, re.Pattern, slice, range)

Builtin = BuiltinFunctionType | MethodDescriptorType | MethodWrapperType | WrapperDescriptorType


class Behind(NamedTuple):
    """What stands behind a callable."""

    text: str
    modules: list[nn.Module]  # none of them inside another
    is_known: bool  # code or modules were found


def structure(module: nn.Module) -> str:
    """Returns what a library's module is beside its weights."""
    walk = _Walk(reads_code=False, leaves_out_changes=False)
    return walk.of(module)


def behind(function: Callable[..., object], *, reads_code: bool = True) -> Behind:
    """Returns what stands behind a callable.

    Args:
        reads_code: whether its code is part of the text.
    """
    walk = _Walk(reads_code=reads_code, leaves_out_changes=True)
    text = walk.of(function)
    inner = {id(part) for top in walk.modules for part in top.modules() if part is not top}
    modules = [module for module in walk.modules if id(module) not in inner]
    return Behind(text, modules, bool(modules) or walk.has_code)


class _Walk:
    """One way through what a callable refers to; what was met before is named by its number."""

    def __init__(self, *, reads_code: bool, leaves_out_changes: bool) -> None:
        self.modules: list[nn.Module] = []
        self.has_code = False
        self._reads_code, self._leaves_out_changes = reads_code, leaves_out_changes
        self._met: dict[int, tuple[int, object]] = {}  # the object is kept, so that no other gets its id
        self._changed: dict[type, frozenset[str]] = {}
        self._classes = set[type]()  # whose code is in the text

    def of(self, value: object) -> str:
        """Returns the text of a value."""
        plain = _plain(value)
        if plain is not None:
            return plain
        if isinstance(value, Tensor | np.ndarray):
            return _numbers(value)
        if isinstance(value, type):
            return self._class(value)
        if id(value) in self._met:
            return f"#{self._met[id(value)][0]}"
        self._meet(value)
        if isinstance(value, nn.Module):
            return self._module(value)
        if callable(value):
            return self._callable(value)
        match value:
            case Mapping():
                return self._named(value.items())
            case list() | tuple() | deque():
                return f"[{self._all(value)}]"
            case set() | frozenset():
                return f"{{{', '.join(sorted(map(self.of, value)))}}}"
            case ModuleType():
                return f"module {value.__name__}"
        return self._object(value)

    def _callable(self, value: object) -> str:
        match value:
            case FunctionType():
                return self._function(value)
            case MethodType():
                return self._method(value)
            case (
                BuiltinFunctionType() | MethodDescriptorType() | WrapperDescriptorType() | MethodWrapperType()
            ):
                return self._builtin(value)
            case partial():
                return f"partial({self._all([value.func, value.args, value.keywords])})"
        return self._object(value)

    def _meet(self, value: object) -> None:
        self._met.setdefault(id(value), (len(self._met), value))

    def _all(self, values: Iterable[object]) -> str:
        return ", ".join(map(self.of, values))

    def _named(self, items: Iterable[tuple[object, object]], *, rounds: bool = False) -> str:
        """Of names and values, sorted by name."""
        pairs = sorted(((str(name), value) for name, value in items), key=lambda pair: pair[0])
        return (
            "{"
            + ", ".join(f"{name}: {(rounds and _rounded(value)) or self.of(value)}" for name, value in pairs)
            + "}"
        )

    def _module(self, top: nn.Module) -> str:
        self.modules.append(top)
        parts = list(top.named_modules(remove_duplicate=False))
        for _, part in parts:
            self._meet(part)
        return "\n".join(f"{name}: {self._part(part)}" for name, part in parts)

    def _part(self, part: nn.Module) -> str:
        kind = type(part)
        if isinstance(part, torch.jit.ScriptModule):
            return f"script {_script(part)}"
        is_library = origin_of_module(kind.__module__) == "library"
        left_out = OF_TORCH | self._changes(kind) | (OF_ORIGIN if is_library else frozenset())
        has_notes = kind.__module__.partition(".")[0] in PRIVATE_NOTES
        settings = {
            name: value
            for name, value in vars(part).items()
            if name not in left_out and not (has_notes and name.startswith("_"))
        }
        tables = {name: part._buffers[name] for name in part._non_persistent_buffers_set}
        hooks = [*part._forward_pre_hooks.values(), *part._forward_hooks.values()]
        said = [self._class(kind), self._named({**settings, **tables}.items(), rounds=is_library)]
        return " ".join([*said, self._all(hooks)] if hooks else said)

    def _changes(self, kind: type, *entries: str) -> frozenset[str]:
        if not self._leaves_out_changes:
            return frozenset()
        if entries or kind not in self._changed:
            self._changed[kind] = changed_by_calls(kind, *entries) | self._changed.get(kind, frozenset())
        return self._changed[kind]

    def _class(self, kind: type) -> str:
        name = f"{kind.__module__}.{kind.__qualname__}"
        bases = [base for base in kind.__mro__ if origin_of_module(base.__module__) != "library"]
        if not self._reads_code or not bases or kind in self._classes:
            return name
        self._classes.add(kind)
        return f"{name} [{', '.join(self._body(base, kind) for base in bases)}]"

    def _body(self, base: type, kind: type) -> str:
        """The methods and attributes of a class or one of its bases."""
        said = list[str]()
        left_out = self._changes(kind)
        for name, member in sorted(vars(base).items()):
            is_special = name.startswith("__") and name.endswith("__")
            functions = _functions_of(member)
            for function in functions:
                if has_text(function) or not is_special:  # what dataclasses make has none
                    said.append(f"{name}: {self._function(function, follows=name not in CONSTRUCTORS)}")
            if not functions and not is_special and name not in left_out and not isinstance(member, SLOT):
                said.append(f"{name}: {self.of(member)}")
        return f"{base.__qualname__} {{{', '.join(said)}}}"

    def _function(self, function: FunctionType, *, follows: bool = True) -> str:
        self._meet(function)
        self.has_code = True
        origin, is_read = origin_of(function), self._reads_code and origin_of(function) != "library"
        # A file's code is the same when it is imported and when it is the program.
        said = (
            [function.__qualname__, text_of(function)]
            if is_read
            else [f"{function.__module__}.{function.__qualname__}"]
        )
        said += [
            self.of(given) for given in (function.__defaults__, function.__kwdefaults__) if given and is_read
        ]
        said += [self._named(closure_of(function).items())] if function.__closure__ else []
        if is_read and origin == "own" and follows:
            said.append(self._named(globals_of(function).items()))
        return " ".join(said)

    def _method(self, method: MethodType) -> str:
        function, owner, known = method.__func__, method.__self__, self.has_code
        self._changes(owner if isinstance(owner, type) else type(owner), method.__name__)
        said = self.of(function)
        if isinstance(function, FunctionType) and origin_of(function) == "library":
            self.has_code = known  # what a library's object does is in the object
        return f"{said} of {self.of(owner)}"

    def _builtin(self, function: Builtin) -> str:
        self.has_code |= origin_of_module(_module_of(function)) == "library"
        owner = function.__self__ if isinstance(function, BOUND) else None
        of_owner = "" if owner is None or isinstance(owner, ModuleType) else f" of {self.of(owner)}"
        return f"{function.__qualname__}{of_owner}"

    def _object(self, value: object) -> str:
        kind = type(value)
        if isinstance(value, torch.device):
            return "device"  # where it works is not what it does
        if isinstance(value, NAMED):
            return str(value)
        if isinstance(value, PurePath):
            return repr(value.name)
        if "to_diff_dict" in dir(kind):  # a configuration of transformers
            return f"{kind.__qualname__} {self._named(_without_origin(value.to_diff_dict()).items())}"  # type: ignore[attr-defined]
        origin, found = origin_of_module(kind.__module__), _attributes(value)
        if origin == "library" and not isinstance(value, NAMESPACES) and not dataclasses.is_dataclass(value):
            is_python = kind.__module__.partition(".")[0] not in LIBRARIES
            found = {} if is_python else {name: each for name, each in found.items() if _is_simple(each)}
            return f"{self._class(kind)} {self._named(found.items(), rounds=True)}"
        settings = {name: each for name, each in found.items() if name not in self._changes(kind)}
        return f"{self._class(kind)} {self._named(settings.items())}"


def _plain(value: object, *, rounds: bool = False, depth: int = 0) -> str | None:
    """The text of a number, a word, or a container of such; None of anything else."""
    match value:
        case enum.Enum():
            return f"{type(value).__qualname__}.{value.name}"
        case np.generic():
            return repr(value.item())
        case float() if rounds:
            return f"{value:.6g}"
        case None | bool() | int() | float() | complex() | bytes() | EllipsisType():
            return repr(value)
        case str():
            return _word(value)
        case list() | tuple() | set() | frozenset() | dict() if depth < DEEP:
            items = [*value.items()] if isinstance(value, dict) else [*value]
            texts = [_plain(each, rounds=rounds, depth=depth + 1) for each in items]
            known = [text for text in texts if text is not None]
            is_ordered = isinstance(value, list | tuple)
            return (
                None if len(known) < len(texts) else f"({', '.join(known if is_ordered else sorted(known))})"
            )
    return None


def _word(text: str) -> str:
    """A text; of a path its last part, and of a device that it is one."""
    if DEVICE.fullmatch(text):
        return "device"
    for kind in (PurePosixPath, PureWindowsPath):
        if len(text) < LONGEST_PATH and kind(text).is_absolute():
            return repr(kind(text).name)
    return repr(text)


def _rounded(value: object) -> str | None:
    """A library's number, to as many digits as processors agree on."""
    if isinstance(value, Tensor) and value.is_floating_point() and value.device.type != "meta":
        return f"{value.dtype} {tuple(value.shape)} of length {float(value.double().norm()):.3e}"
    return _plain(value, rounds=True)


def _numbers(value: Tensor | np.ndarray[Any, Any]) -> str:
    shape, kind = tuple(value.shape), str(value.dtype)
    if isinstance(value, Tensor):
        if value.device.type == "meta":
            return f"{kind} {shape}"
        plain = (
            (value.to_dense() if value.layout != torch.strided else value)
            .detach()
            .cpu()
            .contiguous()
            .flatten()
        )
        data = plain.view(torch.uint8).numpy().tobytes()
    else:
        data = value.tobytes() if value.dtype != object else repr(value.tolist()).encode()
    return f"{kind} {shape} {hashlib.sha256(data).hexdigest()}"


def _attributes(value: object) -> dict[str, object]:
    """Of an object, in its dictionary and its slots."""
    found = dict(vars(value)) if "__dict__" in dir(value) else {}
    for base in type(value).__mro__:
        for name, member in vars(base).items():
            if isinstance(member, SLOT) and name != "__weakref__":
                with suppress(AttributeError):  # not set
                    found[name] = member.__get__(value)
    return found


def _is_simple(value: object) -> bool:
    """Whether a library's object is looked into for this attribute; the rest of it is its own affair."""
    return _plain(value) is not None or isinstance(value, Tensor | nn.Module | FunctionType | partial)


def _functions_of(member: object) -> list[FunctionType]:
    """The functions that a member of a class consists of."""
    match member:
        case staticmethod() | classmethod():
            return _functions_of(member.__func__)
        case property():
            return [each for each in (member.fget, member.fset) if isinstance(each, FunctionType)]
        case cached_property():
            return _functions_of(member.func)
        case FunctionType():
            return [member]
    return []


def _without_origin(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _without_origin(value) if isinstance(value, Mapping) else value
        for name, value in values.items()
        if name not in OF_ORIGIN
    }


def _script(module: torch.jit.ScriptModule) -> str:
    try:
        return str(module.code)
    except (AttributeError, RuntimeError):  # a part that is never called
        return ""


def _module_of(function: Builtin) -> str | None:
    return (
        function.__module__ if isinstance(function, BuiltinFunctionType) else function.__objclass__.__module__
    )
