"""Teachers from open_clip: the image towers of its CLIP models.

    open_clip:ViT-B-32/laion2b_s34b_b79k    published weights, by their tag
    open_clip:ViT-B-32, weights: FILE       a file of the whole model, as open_clip saves it
    open_clip:hf-hub:OWNER/NAME             a model of the hub
    open_clip:local-dir:FOLDER              a folder with open_clip_config.json

The summary is `encode_image`, not normalised to unit length. Files are read with safetensors or `weights_only=True`. An architecture whose
activation differs in a file (OpenAI's QuickGELU) has a name of its own, as ViT-B-32-quickgelu; for a tag it is chosen here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from alumnus.errors import MissingExtra, TeacherError, nearest
from alumnus.log import warn
from alumnus.packages import resolve_file
from alumnus.teachers.network import Loaded, TorchNetwork, pool
from alumnus.teachers.spec import TeacherSpec, check_output, refuse, short_name
from alumnus.types import Features

SCHEMES = ("hf-hub:", "local-dir:")


def load(name: str, spec: TeacherSpec) -> Loaded:
    """Returns the image tower of a model of open_clip.

    Raises:
        TeacherError: the name, its weights or the size is wrong.
        MissingExtra: open_clip is not installed.
    """
    library = _library()
    check_output(spec, tuple(READERS))
    with (
        _quiet(),
        torch.random.fork_rng(devices=[]),
    ):  # building draws random numbers; the run's are not disturbed
        torch.manual_seed(0)  # and weights=random is the same teacher every time
        model = _build(library, name, spec)
    tower: nn.Module = model.visual
    prepared = library.get_model_preprocess_cfg(model)
    size = spec.size or _side(prepared["size"])
    _check_size(tower, size, spec)
    network = TorchNetwork(tower, READERS[spec.output])
    return Loaded(
        network,
        name=short_name(name),
        size=size,
        mean=tuple(prepared["mean"]),
        std=tuple(prepared["std"]),
        num_parameters=network.num_parameters,
    )


def _library() -> Any:
    try:
        import open_clip
    except ImportError as error:
        raise MissingExtra("open_clip_torch", extra="open-clip") from error
    return open_clip


@contextmanager
def _quiet() -> Iterator[None]:
    """open_clip speaks through the root logger; what matters is said here."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(before)


def _build(library: Any, name: str, spec: TeacherSpec) -> Any:
    arguments: dict[str, Any] = {"precision": "fp32", "weights_only": True, "pretrained_text": False}
    if spec.size is not None:
        arguments["force_image_size"] = spec.size
    if name.startswith(SCHEMES):
        refuse(spec, "weights", because="the model has its own")
        return _create(library, name, spec, require_pretrained=True, **arguments)
    architecture, _, tag = name.partition("/")
    _check_name(library, architecture, tag)
    if spec.weights == "random":
        warn(f"teacher open_clip:{name} has random weights, as asked for")
        return _create(library, architecture, spec, **arguments)
    if spec.weights is not None:
        path = resolve_file(spec.weights)
        if not path.is_file():
            raise TeacherError(f"weights={spec.weights}: there is no file {path}")
        return _create(library, architecture, spec, pretrained=str(path), **arguments)
    if not tag:
        tags = ", ".join(library.list_pretrained_tags_by_model(architecture)) or "none"
        raise TeacherError(
            f"teacher open_clip:{name} needs weights: open_clip:{name}/TAG, weights=FILE, or weights=random if that is meant; "
            f"its tags are {tags}"
        )
    quick = bool(library.get_pretrained_cfg(architecture, tag).get("quick_gelu", False))
    return _create(library, architecture, spec, pretrained=tag, force_quick_gelu=quick, **arguments)


def _check_name(library: Any, architecture: str, tag: str) -> None:
    names = library.list_models()
    if architecture not in names:
        raise TeacherError(
            f"open_clip has no model {architecture!r}{nearest(architecture, names)}; open_clip.list_models() gives all names"
        )
    tags = library.list_pretrained_tags_by_model(architecture)
    if tag and tag not in tags:
        raise TeacherError(
            f"open_clip has no weights {tag!r} for {architecture}{nearest(tag, tags)}; it has {', '.join(tags) or 'none'}"
        )


def _create(library: Any, name: str, spec: TeacherSpec, **arguments: Any) -> Any:
    try:
        return library.create_model(name, **arguments)
    except Exception as error:  # the hub, the network below it, or the file: each has its own exceptions
        reason = next(iter(str(error).strip().splitlines()), "")
        what = f"weights={spec.weights} do not fit" if spec.weights else "it could not be had"
        raise TeacherError(
            f"teacher {spec.source}: {what} ({type(error).__name__}: {reason})"
            + (
                ""
                if spec.weights
                else "; weights=FILE takes a local file, open_clip:local-dir:FOLDER a folder"
            )
        ) from error


def _side(size: int | tuple[int, int]) -> int:
    return int(size if isinstance(size, int) else size[0])


def _check_size(tower: nn.Module, size: int, spec: TeacherSpec) -> None:
    """Refuses what the first layer, where it cuts the image into patches, would leave out in silence."""
    layers = (part for part in tower.modules() if isinstance(part, nn.Conv2d))
    first = next(layers, None)
    if first is None or first.stride != first.kernel_size:
        return
    patch = int(first.stride[0])
    if size % patch:
        valid = max(patch, round(size / patch) * patch)
        raise TeacherError(
            f"teacher {spec.source}: size={size} is not a multiple of its patches of {patch} px; nearest valid is {valid}"
        )


def _summary(tower: nn.Module, image: Tensor) -> Features:
    said = tower(image)
    return Features(said if isinstance(said, Tensor) else said[0])  # of CoCa a pair, with its tokens


def _patches(tower: nn.Module, image: Tensor) -> Features:
    """The last block's output, and the summary of the same pass."""
    said = tower.forward_intermediates(image, indices=1, normalize_intermediates=_has_norm(tower))  # type: ignore[operator]
    return Features(said["image_features"], pool(said["image_intermediates"][-1]).patches)


def _has_norm(tower: nn.Module) -> bool:
    """Whether a norm follows the last block; not where attention pools (CoCa), whose norm comes after it."""
    from open_clip.transformer import VisionTransformer

    return not isinstance(tower, VisionTransformer) or tower.attn_pool is None


READERS: dict[str, Callable[[nn.Module, Tensor], Features]] = {"summary": _summary, "patches": _patches}
