"""The architecture, held by reading the source: imports point down, nothing runs in a circle, nothing is probed or unpickled."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "src" / "alumnus"

# A part is a file or a folder of src/alumnus. It imports parts of lower layers, itself, and single files of its own layer.
LAYERS: tuple[frozenset[str], ...] = (
    frozenset({"types", "errors", "disk", "imports"}),
    frozenset(
        {
            "data",
            "losses",
            "distributed",
            "lock",
            "log",
            "faults",
            "archives",
            "clients",
            "control",
            "packages",
            "licences",
            "memory",
            "models",
            "moments",
            "recipes",
            "weighting",
        }
    ),
    frozenset({"datasets", "curation", "teachers", "objective", "classes", "encoder", "index", "merging"}),
    frozenset({"store", "intermediate"}),
    frozenset({"evaluation"}),
    frozenset({"training"}),
    frozenset({"adaptation", "architect", "auditing", "contract", "scoring"}),
    frozenset({"methods", "export", "report", "serve", "doctor"}),
    frozenset({"bench"}),
    frozenset(
        {"cli", "cli_cache", "cli_help", "cli_teachers", "cli_words", "words", "demo", "alumnus", "__main__"}
    ),  # "alumnus" is the package's own __init__
)
USE = ("encoder", "index", "serve")  # whoever only uses a student …
MAKE = ("training", "teachers", "methods")  # … carries none of this
MODEL_ZOOS = frozenset({"timm", "torchvision", "transformers", "open_clip"})
MAY_IMPORT_ZOOS = frozenset({"teachers", "models"})
PICKLES = frozenset({"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"})


def test_every_part_has_a_layer() -> None:
    """A new file or folder takes its place in the table above."""
    assert {_part(module) for module in _modules()} <= frozenset().union(*LAYERS)


def test_imports_point_down() -> None:
    """A part imports lower layers, or sideways its own files and the single files of its layer."""
    wrong = [
        f"{module} (layer {_layer(module)}) imports {found} (layer {_layer(found)})"
        for module, imported in _graph().items()
        for found in imported
        if not _points_down(module, found)
    ]
    assert wrong == []


def test_no_module_imports_itself_in_a_circle() -> None:
    """Imports inside functions count too."""
    assert _circle(_graph()) is None


def test_a_circle_would_be_found() -> None:
    """The search below is not blind."""
    assert _circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]


def test_use_of_a_student_never_reaches_its_making() -> None:
    """`encoder`, `index` and `serve` do not import training, teachers or methods, not even through others."""
    reached = {
        module: sorted(found for found in _reachable(module) if _part(found) in MAKE)
        for module in _modules()
        if _part(module) in USE
    }
    assert {module: found for module, found in reached.items() if found} == {}


def test_model_zoos_stay_at_the_edge() -> None:
    """timm, torchvision and their like are imported by `teachers` and `models` only."""
    wrong = [
        f"{module} imports {name}"
        for module in _modules()
        for name in _imported_names(module)
        if name.split(".")[0] in MODEL_ZOOS and _part(module) not in MAY_IMPORT_ZOOS
    ]
    assert wrong == []


def test_no_attribute_is_probed() -> None:
    """No `hasattr` and no `getattr` with a default: declare the attribute, let a missing one fail."""
    wrong = [
        f"{module}:{call.lineno}"
        for module, call in _calls()
        if _name(call) == "hasattr" or (_name(call) == "getattr" and len(call.args) + len(call.keywords) > 2)
    ]
    assert wrong == []


def test_nothing_is_unpickled_or_executed() -> None:
    """No pickle, no `eval` or `exec`, and every `torch.load` says weights_only=True."""
    wrong = [f"{module}:{call.lineno} {_name(call)}" for module, call in _calls() if _is_unsafe(call)]
    wrong += [
        f"{module} imports {name}"
        for module in _modules()
        for name in _imported_names(module)
        if name.split(".")[0] in PICKLES
    ]
    assert wrong == []


def test_programs_that_can_hide_code_are_read_in_two_places() -> None:
    """Both ask the recipe for its trust first; see teachers/program.py."""
    where = {module for module, call in _calls() if _name(call) in {"torch.jit.load", "torch.export.load"}}
    assert where <= {"alumnus.teachers.from_torchscript", "alumnus.teachers.from_export"}


def _points_down(module: str, found: str) -> bool:
    if _part(module) == _part(found) or _layer(found) < _layer(module):
        return True
    return _layer(found) == _layer(module) and not (PACKAGE / _part(found)).is_dir()


def _is_unsafe(call: ast.Call) -> bool:
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    match _name(call):
        case "eval" | "exec" | "yaml.load" | "yaml.unsafe_load":
            return True
        case "torch.load":
            return not _is_true(given.get("weights_only"))
        case "np.load" | "numpy.load":
            return _is_true(given.get("allow_pickle"))
        case "torch.hub.load":  # from this machine only: its code is named by the user, as `python:` is
            return ast.unparse(given.get("source", ast.Constant(""))) != "'local'"
    return False


def _is_true(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Constant) and node.value is True


@cache
def _modules() -> Mapping[str, ast.Module]:
    """Dotted name -> parsed source."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = ast.parse(path.read_text(encoding="utf-8"), str(path))
    return found


@cache
def _graph() -> Mapping[str, set[str]]:
    """Module -> the modules of this package that it imports, wherever in the file."""
    return {module: _own_imports(module) - {module} for module in _modules()}


def _own_imports(module: str) -> set[str]:
    return {_known(name) for name in _imported_names(module) if name.split(".")[0] == "alumnus"}


def _known(name: str) -> str:
    """`alumnus.types.Batch` -> `alumnus.types`: the longest prefix that is a module."""
    while name not in _modules():
        name = name.rpartition(".")[0]
    return name


def _imported_names(module: str) -> Iterator[str]:
    """`import a.b` gives a.b; `from a import b` gives a.b, be b a module or a name."""
    for node in ast.walk(_modules()[module]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}:{node.lineno}: write the import in full"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _calls() -> Iterator[tuple[str, ast.Call]]:
    for module, tree in _modules().items():
        yield from ((module, node) for node in ast.walk(tree) if isinstance(node, ast.Call))


def _name(call: ast.Call) -> str:
    return ast.unparse(call.func)


def _part(module: str) -> str:
    """`alumnus.data.read` -> `data`; the package itself is `alumnus`."""
    return module.split(".")[1] if "." in module else module


def _layer(module: str) -> int:
    return next(number for number, parts in enumerate(LAYERS) if _part(module) in parts)


def _reachable(module: str) -> set[str]:
    seen, waiting = set[str](), [module]
    while waiting:
        for found in _graph()[waiting.pop()] - seen:
            seen.add(found)
            waiting.append(found)
    return seen


def _circle(graph: Mapping[str, set[str]]) -> list[str] | None:
    """A path of modules that ends where it began, or None: depth first."""
    done = set[str]()

    def visit(module: str, path: list[str]) -> list[str] | None:
        if module in path:
            return [*path[path.index(module) :], module]
        if module in done:
            return None
        for found in sorted(graph[module]):
            circle = visit(found, [*path, module])
            if circle:
                return circle
        done.add(module)
        return None

    return next((circle for module in sorted(graph) if (circle := visit(module, []))), None)
