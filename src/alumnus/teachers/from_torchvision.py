"""Teachers from torchvision: its image classifiers.

Its models have no common way to their features, but all end in a linear classifier: what enters that layer is the summary.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torchvision.models as zoo
from torch import Tensor, nn

from alumnus.errors import TeacherError, nearest
from alumnus.log import warn
from alumnus.models.backbone import IMAGENET_MEAN, IMAGENET_STD
from alumnus.models.weights import load_into, load_state
from alumnus.teachers.network import Loaded, TorchNetwork
from alumnus.teachers.spec import TeacherSpec, check_output
from alumnus.types import Features

OUTPUTS = ("summary", "logits")


def load(name: str, spec: TeacherSpec) -> Loaded:
    """Returns a torchvision network; `name` may end in a tag of its weights, as in `resnet50.IMAGENET1K_V1`.

    Raises:
        TeacherError: the name, its weights, the size or the output is wrong.
    """
    architecture, _, tag = name.partition(".")
    names = zoo.list_models(module=zoo)
    if architecture not in names:
        hint = nearest(architecture, names)
        raise TeacherError(f"torchvision has no model {architecture!r}{hint}; it has {', '.join(names)}")
    check_output(spec, OUTPUTS)
    weights = _published(architecture, tag)
    preset = weights.transforms()
    size = spec.size or int(preset.crop_size[0])
    with torch.random.fork_rng(devices=[]):  # building draws random numbers; the run's are not disturbed
        torch.manual_seed(0)  # and weights=random is the same teacher every time
        model = _build(architecture, weights, spec)
    _check_size(architecture, model, size)
    if spec.output == "summary":
        model.set_submodule(_last_linear(architecture, model), nn.Identity())
    network = TorchNetwork(model, _read)
    return Loaded(
        network,
        name=architecture,
        size=size,
        mean=tuple(preset.mean) if preset.mean else IMAGENET_MEAN,
        std=tuple(preset.std) if preset.std else IMAGENET_STD,
        num_parameters=network.num_parameters,
    )


def _published(architecture: str, tag: str) -> zoo.WeightsEnum:
    """The weights of that tag, or torchvision's choice."""
    weights = zoo.get_model_weights(architecture)
    tags = [weight.name for weight in weights]
    if tag and tag not in tags:
        raise TeacherError(
            f"torchvision has no weights {tag!r} for {architecture}{nearest(tag, tags)}; it has {', '.join(tags)}"
        )
    return weights[tag or "DEFAULT"]


def _build(architecture: str, weights: zoo.WeightsEnum, spec: TeacherSpec) -> nn.Module:
    if spec.weights is None:
        return _download(architecture, weights)
    if spec.weights == "random":
        warn(f"teacher torchvision/{architecture} has random weights, as asked for")
        return _empty(architecture)
    state = load_state(spec.weights)
    model = _empty(architecture, num_classes=_num_classes(architecture, state))
    load_into(model, state, source=spec.weights)
    return model


def _empty(architecture: str, *, num_classes: int | None = None) -> nn.Module:
    arguments = {} if num_classes is None else {"num_classes": num_classes}
    if architecture in {"googlenet", "inception_v3"}:
        arguments |= {"init_weights": True}  # torchvision warns where this is left to it
    model: nn.Module = zoo.get_model(architecture, weights=None, **arguments)
    return model


def _num_classes(architecture: str, state: Mapping[str, Tensor]) -> int | None:
    """Of the classifier in a file: by torchvision's name for it, or what comes last where a port renamed it."""
    with torch.device("meta"):
        layers = list(_empty(architecture).named_modules())
    last = {type(layer): name for name, layer in layers}  # SqueezeNet classifies by a convolution
    name = last.get(nn.Linear, last.get(nn.Conv2d))
    weight = state.get(f"{name}.weight", list(state.values())[-1])
    return len(weight) if weight.ndim else None


def _download(architecture: str, weights: zoo.WeightsEnum) -> nn.Module:
    try:
        model: nn.Module = zoo.get_model(architecture, weights=weights)
    except Exception as error:  # the server, the network below it, or the file: each has its own exceptions
        raise TeacherError(
            f"the weights {weights.name} of torchvision/{architecture} could not be downloaded "
            f"({type(error).__name__}: {error}); weights=FILE takes a local file"
        ) from error
    return model


def _check_size(architecture: str, model: nn.Module, size: int) -> None:
    if isinstance(model, zoo.VisionTransformer) and model.image_size != size:
        raise TeacherError(
            f"torchvision/{architecture} is made for size={model.image_size}, got size={size}; "
            "timm's vision transformers can be had at other sizes"
        )


def _last_linear(architecture: str, model: nn.Module) -> str:
    linear = [name for name, part in model.named_modules() if isinstance(part, nn.Linear)]
    if not linear:
        raise TeacherError(
            f"torchvision/{architecture} has no linear classifier, so that it has no summary; use output=logits"
        )
    return str(linear[-1])


def _read(model: nn.Module, image: Tensor) -> Features:
    return Features(model(image))
