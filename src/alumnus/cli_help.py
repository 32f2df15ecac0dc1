"""The settings under a verb's `--help`: names, defaults and first sentences of the function that the verb calls, or of `Config`.

They are read from its source, so that help imports nothing and answers at once, and cannot differ from what the function takes.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

PACKAGE = Path(__file__).parent
NEEDED = "needed"
ENTRY = re.compile(r"    (\w+(?:, \w+)*): (.*)")  # of a docstring's Args


class Setting(NamedTuple):
    """A line of help."""

    name: str
    default: str
    what: str


def settings_of(place: str) -> list[Setting]:
    """Returns the settings of `module:function` or `module:Class`, in the order of its source, the first ones of a function included.

    >>> settings_of("alumnus.encoder:embed")[3]
    Setting(name='batch_size', default='64', what='of the reading')
    """
    module, _, name = place.partition(":")
    home, node = _find(module, name)
    return list(_fields(home, node) if isinstance(node, ast.ClassDef) else _parameters(home, node))


def _parameters(home: str, node: ast.stmt) -> Iterator[Setting]:
    assert isinstance(node, ast.FunctionDef), ast.dump(node)
    said = _said(ast.get_docstring(node) or "")
    given = node.args
    plain = [*given.posonlyargs, *given.args]
    defaults: list[ast.expr | None] = [*[None] * (len(plain) - len(given.defaults)), *given.defaults]
    for argument, default in zip([*plain, *given.kwonlyargs], [*defaults, *given.kw_defaults], strict=True):
        shown = NEEDED if default is None else _shown(home, default)
        yield Setting(argument.arg, shown, said.get(argument.arg, ""))


def _said(docstring: str) -> dict[str, str]:
    """Argument -> the first sentence about it; several may share one."""
    found, names = dict[str, str](), list[str]()
    _, _, rest = docstring.partition("Args:\n")
    for line in rest.splitlines():
        entry = ENTRY.fullmatch(line)
        if entry is not None:
            names = entry[1].split(", ")
            found |= dict.fromkeys(names, entry[2])
        elif line.startswith("     "):
            found |= {name: f"{found[name]} {line.strip()}" for name in names}
        else:
            break
    return {name: _first(text) for name, text in found.items()}


def _fields(home: str, node: ast.ClassDef) -> Iterator[Setting]:
    """Of a pydantic model: what is annotated, with the default and description of its `Field`."""
    for line in node.body:
        if not isinstance(line, ast.AnnAssign) or not isinstance(line.target, ast.Name):
            continue
        value, what = line.value, ""
        default: ast.expr | None = value
        if isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "Field":
            words = {keyword.arg: keyword.value for keyword in value.keywords}
            default = value.args[0] if value.args else words.get("default")
            what = _shown(home, words["description"]) if "description" in words else ""
        shown = NEEDED if default is None else _shown(home, default)
        yield Setting(line.target.id, shown, _first(what) or _of_parts(home, value))


def _of_parts(home: str, value: ast.expr | None) -> str:
    """What a group of settings holds, such as `optim`."""
    if not isinstance(value, ast.Call) or not isinstance(value.func, ast.Name) or value.func.id == "Field":
        return ""
    place, node = _find(home, value.func.id)
    assert isinstance(node, ast.ClassDef), value.func.id
    return ", ".join(field.name for field in _fields(place, node))


def _shown(home: str, value: ast.expr) -> str:
    """A default as one writes it on the command line; one that has a name is looked up, and a group of settings has none."""
    if isinstance(value, ast.Name):
        place, node = _find(home, value.id)
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            return _shown(place, node.value)
    if isinstance(value, ast.Call):
        inner = value.args[0] if value.args else None
        return "" if inner is None else _shown(home, inner)  # Path("runs/demo")
    if isinstance(value, ast.Constant):
        return (
            ""
            if value.value is None
            else str(value.value).lower()
            if isinstance(value.value, bool)
            else str(value.value)
        )
    text = ast.unparse(value)
    return "" if text in ("()", "[]", "{}") else text


def _first(text: str) -> str:
    """The first sentence, without its full stop."""
    return re.split(r"\.\s", text.strip())[0].removesuffix(".")


def _find(module: str, name: str) -> tuple[str, ast.stmt]:
    """Where a name is defined, and the statement that does; imports of the package are followed."""
    for node in _tree(module).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
            return module, node
        if isinstance(node, ast.Assign) and any(
            isinstance(t, ast.Name) and t.id == name for t in node.targets
        ):
            return module, node
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == name:
            return module, node
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return _find(node.module, alias.name)
    raise LookupError(f"{module} has no {name}")


@cache
def _tree(module: str) -> ast.Module:
    path = PACKAGE.parent.joinpath(*module.split("."))  # importlib would import the packages above it
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return ast.parse(file.read_text(encoding="utf-8"))
