"""Teachers from timm: any of its models, at any size that the architecture can have.

Without `weights` timm's published ones are fetched; a local file is fitted by name or order. Networks with
a fixed grid of patches are built for the size asked for, and timm resamples their position embeddings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import timm
import torch
from timm.models import PretrainedCfg
from torch import Tensor, nn

from alumnus.errors import TeacherError, nearest
from alumnus.log import warn
from alumnus.models.backbone import cut_off, extract, input_statistics, levels, size_arguments
from alumnus.models.weights import load_into, load_state
from alumnus.teachers.network import Loaded, TorchNetwork
from alumnus.teachers.spec import TeacherSpec, check_output
from alumnus.types import Features


def load(name: str, spec: TeacherSpec) -> Loaded:
    """Returns a timm network; `name` is as in `timm.create_model`.

    Raises:
        TeacherError: the name, its weights, the size or the output is wrong.
    """
    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        hint = nearest(architecture, timm.list_models())
        raise TeacherError(f"timm has no model {name!r}{hint}; timm.list_models() gives all names")
    if tag and not timm.is_model_pretrained(name):
        tags = [full.partition(".")[2] for full in timm.list_pretrained(f"{architecture}.*")]
        hint = nearest(tag, tags)
        raise TeacherError(
            f"timm has no weights {tag!r} for {architecture}{hint}; it has {', '.join(tags) or 'none'}"
        )
    check_output(spec, tuple(READERS))
    config = _config(name)
    size = spec.size or int(config.input_size[-1])
    with torch.random.fork_rng(devices=[]):  # building draws random numbers; the run's are not disturbed
        torch.manual_seed(0)  # and weights=random is the same teacher every time
        model = _build(name, spec, size)
    if fault := cut_off(model, size=size, name=name):
        raise TeacherError(fault)
    mean, std = input_statistics(name)
    network = TorchNetwork(model, READERS[spec.output], levels=None if spec.output == "logits" else levels)
    return Loaded(
        network,
        name=architecture,
        size=size,
        mean=mean,
        std=std,
        licence=(config.license if spec.weights is None else None) or "unknown",  # a local file has its own
        num_parameters=network.num_parameters,
    )


def _build(name: str, spec: TeacherSpec, size: int) -> nn.Module:
    if spec.weights is None:
        return _download(name, spec, size)
    arguments: dict[str, Any] = {} if spec.output == "logits" else {"num_classes": 0}
    if spec.weights == "random":
        warn(f"teacher timm/{name} has random weights, as asked for")
        return _create(name, size, **arguments)
    state = load_state(spec.weights)
    if spec.output == "logits":
        arguments["num_classes"] = _num_classes(name, state)
    model: nn.Module = timm.create_model(name, pretrained=False, **arguments)
    load_into(model, state, source=spec.weights)
    if size == _config(name).input_size[-1] or not size_arguments(name.partition(".")[0], size):
        return model
    return _resized(name, model, size)


def _download(name: str, spec: TeacherSpec, size: int) -> nn.Module:
    if not timm.is_model_pretrained(name):
        raise TeacherError(
            f"timm publishes no weights for {name}; give weights=FILE, or weights=random if that is meant"
        )
    arguments = {} if spec.output == "logits" else {"num_classes": 0}
    try:
        return _create(name, size, pretrained=True, **arguments)
    except TeacherError:
        raise
    except Exception as error:  # the hub, the network below it, or the file: each has its own exceptions
        raise TeacherError(
            f"the weights of timm/{name} could not be downloaded ({type(error).__name__}: {_first_line(error)}); "
            "weights=FILE takes a local file"
        ) from error


def _create(name: str, size: int, **arguments: Any) -> nn.Module:
    arguments |= size_arguments(name.partition(".")[0], size)
    try:
        model: nn.Module = timm.create_model(name, **arguments)
    except (TypeError, AssertionError) as error:
        raise TeacherError(f"timm/{name} cannot be built for {size} px: {_first_line(error)}") from error
    return model


def _resized(name: str, model: nn.Module, size: int) -> nn.Module:
    """The same weights at another size: timm's own loading resamples what depends on the grid."""
    classes = model.get_classifier()  # type: ignore[operator]
    num_classes = classes.out_features if isinstance(classes, nn.Linear) else 0
    overlay = {
        "state_dict": model.state_dict(),
        "num_classes": num_classes,
        "label_offset": 0,
        "custom_load": False,
    }
    return _create(name, size, pretrained=True, num_classes=num_classes, pretrained_cfg_overlay=overlay)


def _num_classes(name: str, state: Mapping[str, Tensor]) -> int:
    """Of the classifier in a file: timm's name for it, or what comes last."""
    weight = state.get(f"{_config(name).classifier}.weight", list(state.values())[-1])
    return len(weight) if weight.ndim else 0


def _config(name: str) -> PretrainedCfg:
    """What timm knows of the weights; its defaults (ImageNet, 224 px) where it knows nothing."""
    return timm.get_pretrained_cfg(name, allow_unregistered=True) or PretrainedCfg()


def _logits(model: nn.Module, image: Tensor) -> Features:
    return Features(model(image))


READERS: dict[str, Callable[[nn.Module, Tensor], Features]] = {
    "summary": extract,
    "patches": partial(extract, patches=True),
    "logits": _logits,
}


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
