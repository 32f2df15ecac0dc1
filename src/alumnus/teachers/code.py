"""The code of Python functions: its text, what it works with, and which attributes of an object a call of it changes."""

from __future__ import annotations

import ast
import dis
import inspect
import linecache
import sys
import sysconfig
import textwrap
import tokenize
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Literal

Origin = Literal["own", "installed", "library"]

# What these do, their version says: their code is known by its name.
LIBRARIES = frozenset(
    {"PIL", "alumnus", "numpy", "onnxruntime", "open_clip", "safetensors", "timm", "torch", "torchvision"}
    | {"transformers"}
)
INSTALLED = frozenset({"site-packages", "dist-packages"})
CALLED = ("forward", "__call__")  # where the calls of an object begin
CHANGING = frozenset(
    {"add", "append", "appendleft", "clear", "discard", "extend", "insert", "pop", "popitem", "remove"}
    | {"setdefault", "update"}
)  # methods of lists, sets and mappings


def origin_of_module(name: str | None) -> Origin:
    """Returns whose code a Python module is: the user's own, that of an installed package, or of Python and LIBRARIES."""
    name = name or "builtins"
    top = name.partition(".")[0]
    if top in LIBRARIES:
        return "library"
    module = sys.modules.get(name)
    file = Path((None if module is None else vars(module).get("__file__")) or "")
    if INSTALLED.intersection(file.parts):
        return "installed"
    if top in sys.stdlib_module_names and file.parts[:-1] != ():
        # a file of the user's may have the name of one of Python's
        return "library" if file.is_relative_to(sysconfig.get_path("stdlib")) else "own"
    return "library" if top in sys.stdlib_module_names else "own"


def origin_of(function: FunctionType) -> Origin:
    """Returns whose code a function is, also where a decorator gave it another's name."""
    name = function.__globals__.get("__name__")
    return "own" if name is None else origin_of_module(name)


def text_of(function: FunctionType) -> str:
    """Returns a function's source; where there is none, what stands for it in its bytecode, which is that of this version of Python."""
    code = function.__code__
    linecache.checkcache(code.co_filename)
    lines = linecache.getlines(code.co_filename, function.__globals__)[code.co_firstlineno - 1 :]
    try:
        return "".join(inspect.getblock(lines)) if lines else _compiled(code)
    except (tokenize.TokenError, SyntaxError):  # the file changed since it was imported
        return _compiled(code)


def has_text(function: FunctionType) -> bool:
    """Whether there is a source; not for what dataclasses and named tuples make."""
    return bool(linecache.getlines(function.__code__.co_filename, function.__globals__))


def closure_of(function: FunctionType) -> dict[str, object]:
    """Returns what a function has from around it, name -> value, but for what it sets itself: that is no setting."""
    own = {"__class__", *_set_by(function.__code__)}
    found = dict[str, object]()
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            found[name] = cell.cell_contents
        except ValueError:  # not set yet
            continue
    return {name: value for name, value in found.items() if name not in own}


def globals_of(function: FunctionType) -> dict[str, object]:
    """Returns the globals that a function reads, name -> value; of a module what is read of it, as `module.name`."""
    own = _set_by(function.__code__)
    found = dict[str, object]()
    for code in _codes(function.__code__):
        for name, value in _read_by(code, function.__globals__):
            if name not in own and not name.startswith(
                "@"
            ):  # what a tool put there, as pytest does for its assertions
                found[name] = value
    return found


def changed_by_calls(kind: type, *entries: str) -> frozenset[str]:
    """Returns the names of attributes that calls of an object change, as far as its class's text shows: caches and counters.

    Args:
        entries: methods that are called, beside CALLED.
    """
    methods = defaultdict[str, list[object]](list)  # of all bases: a method may call the one that it replaces
    for base in kind.__mro__:
        for name, value in vars(base).items():
            methods[name].append(value)
    changed = {name for name, found in methods.items() if isinstance(found[0], cached_property)}
    waiting, done = [each for name in (*CALLED, *entries) for each in methods.get(name, ())], set[object]()
    while waiting:
        function = waiting.pop()
        if not isinstance(function, FunctionType) or function in done:
            continue
        done.add(function)
        waiting += [*closure_of(function).values(), *(function.__defaults__ or ())]  # what a decorator wraps
        if (
            str(function.__globals__.get("__name__")).partition(".")[0] != "torch"
        ):  # whose own calls change nothing of interest
            assigned, read = _attributes_in(function)
            changed |= assigned
            waiting += [each for name in read for each in methods.get(name, ())]
    return frozenset(changed)


def _attributes_in(function: FunctionType) -> tuple[set[str], set[str]]:
    """Names of the attributes that a function changes, and of those that it reads; without a source, as far as its bytecode shows."""
    tree = _parsed(function) if has_text(function) else None
    if tree is not None:
        return {*_assigned(tree)}, {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    steps = [step for code in _codes(function.__code__) for step in dis.get_instructions(code)]
    return (
        {str(step.argval) for step in steps if step.opname in {"STORE_ATTR", "DELETE_ATTR"}},
        {str(step.argval) for step in steps if step.opname in {"LOAD_ATTR", "LOAD_METHOD"}},
    )


def _codes(code: CodeType) -> Iterator[CodeType]:
    """A function's code and that of the functions inside it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _set_by(code: CodeType) -> set[str]:
    """Names of globals and of variables around a function that it sets."""
    stores = {"STORE_GLOBAL", "STORE_DEREF"}
    return {
        str(step.argval)
        for each in _codes(code)
        for step in dis.get_instructions(each)
        if step.opname in stores
    }


def _read_by(code: CodeType, names: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    path, value = "", None
    for step in dis.get_instructions(code):
        if step.opname in {"LOAD_GLOBAL", "LOAD_NAME"} and step.argval in names:
            path, value = str(step.argval), names[step.argval]
        elif step.opname in {"LOAD_ATTR", "LOAD_METHOD"} and isinstance(value, ModuleType):
            is_theirs = (
                origin_of_module(value.__name__) == "library"
            )  # such as os.environ, whose content is no setting
            path, value = f"{path}.{step.argval}", None if is_theirs else vars(value).get(step.argval)
        elif step.opname in {"CACHE", "PUSH_NULL"}:
            continue
        else:
            path, value = "", None
        if path and not isinstance(value, ModuleType):
            yield path, value
            path, value = "", None


def _compiled(code: CodeType) -> str:
    constants = [
        _compiled(each) if isinstance(each, CodeType) else _constant(each) for each in code.co_consts
    ]
    return f"{code.co_code.hex()} {code.co_names} {code.co_varnames} {constants}"


def _constant(value: object) -> str:
    return repr(sorted(map(repr, value))) if isinstance(value, frozenset) else repr(value)


def _parsed(function: FunctionType) -> ast.AST | None:
    try:
        return ast.parse(textwrap.dedent(text_of(function)))
    except (SyntaxError, ValueError):
        return None


def _assigned(tree: ast.AST) -> Iterator[str]:
    """Attributes that are set, whose items are, or that are told to change themselves."""
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(attr=name, ctx=ast.Store() | ast.Del()):
                yield name
            case ast.Subscript(value=ast.Attribute(attr=name), ctx=ast.Store() | ast.Del()):
                yield name
            case ast.Call(func=ast.Attribute(value=ast.Attribute(attr=name), attr=method)) if (
                method in CHANGING
            ):
                yield name
