"""Which method a recipe means: the module of its name, and the settings that this declares."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from alumnus.errors import ConfigError, nearest
from alumnus.imports import current_folder
from alumnus.objective import MethodSettings
from alumnus.training.messages import explain

METHODS = "alumnus.methods"
DEFAULT_METHOD = "agglomerate"


def method_names() -> list[str]:
    """Returns the names of the built-in methods: the modules of `alumnus.methods`."""
    package = importlib.import_module(METHODS)
    return sorted(module.name for module in pkgutil.iter_modules(package.__path__))


def method_module(name: str) -> Any:
    """Returns the module of a method: `plain` is `alumnus.methods.plain`, any other name is somebody else's module.

    Raises:
        ConfigError: there is none of that name, it cannot be imported, or it lacks `Settings` or `build`.
    """
    ours = method_names()
    path = f"{METHODS}.{name}" if name in ours else name
    is_name = all(part.isidentifier() for part in path.split("."))
    try:
        with current_folder():
            is_there = is_name and importlib.util.find_spec(path) is not None
            module = importlib.import_module(path) if is_there else None
    except ModuleNotFoundError as error:
        if error.name is None or not f"{path}.".startswith(f"{error.name}."):
            raise _broken_module(name, error) from error
        module = None
    except Exception as error:
        raise _broken_module(name, error) from error
    if module is None:
        what = (
            f"the module {name} of method={name} is not found"
            if "." in name
            else f"unknown method {name!r}{nearest(name, ours)}"
        )
        raise ConfigError(
            f"{what}; there are {', '.join(ours)}, or a module of your own by its path, such as mypackage.mymethod, in the "
            "current folder or one on PYTHONPATH"
        )
    lacking = [needed for needed in ("Settings", "build") if needed not in vars(module)]
    if lacking:
        raise ConfigError(
            f"the module {path} is not a method: it lacks {' and '.join(lacking)}{'' if '.' in name else nearest(name, ours)}"
        )
    return module


def method_source(name: str) -> str | None:
    """Returns the file of somebody's own method as it is now; None of ours, and of a module that has no Python file."""
    file = None if name in method_names() else method_module(name).__file__
    if file is None or not file.endswith(".py"):
        return None
    return Path(file).read_text(encoding="utf-8", errors="replace")


def method_settings(value: object) -> object:
    """`plain` or `{name: plain, …}` -> the Settings of that method's module."""
    if isinstance(value, str):
        value = {"name": value}
    if not isinstance(value, Mapping):
        return value
    value = {"name": DEFAULT_METHOD, **value}  # `method.adaptor=mlp` alone is about the default
    name = value["name"]
    if not isinstance(name, str):
        raise ConfigError(f"method.name={name!r} is none; give one as in method=plain or {{name: plain, …}}")
    module = method_module(name)
    settings: type[MethodSettings] = module.Settings
    try:
        return settings.model_validate(dict(value))
    except ValidationError as error:
        if any(item["loc"] == ("name",) for item in error.errors()):
            raise ConfigError(
                f"method={name} is the module {name}, and its Settings take another name; in {module.__file__} write\n"
                f'    name: Literal["{name}"] = "{name}"'
            ) from error
        raise ConfigError(explain(error, settings)) from error


def _broken_module(name: str, error: Exception) -> ConfigError:
    files = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.endswith(".py")]
    # A syntax error says itself where it is.
    is_theirs = files[-1].filename not in (__file__, importlib.__file__)
    where = f" ({files[-1].filename}, line {files[-1].lineno})" if is_theirs else ""
    return ConfigError(
        f"the module of method={name} is there, but cannot be imported: {type(error).__name__}: {error}{where}"
    )
