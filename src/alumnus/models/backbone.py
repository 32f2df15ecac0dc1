"""A timm network as a source of `Features`: built by name, its outputs brought into one form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import timm
import torch
from torch import Tensor, nn

from alumnus.errors import ConfigError, nearest
from alumnus.types import Features

Channels = tuple[float, float, float]

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def create_backbone(
    name: str, *, size: int, model_args: Mapping[str, Any] | None = None, pretrained: bool = False
) -> nn.Module:
    """Returns a timm network without its classifier.

    Args:
        name: as timm writes it, e.g. `mobilenetv3_small_050` or `resnet18.a1_in1k`.
        size: side in px of its input; networks with a fixed grid are built for it.
        model_args: further arguments of the architecture, e.g. `{"depth": 6}`.
        pretrained: load timm's weights of that name (from the hub or its cache).

    Raises:
        ConfigError: the name is unknown, or the arguments do not fit.
    """
    architecture = name.split(".", maxsplit=1)[0]
    if not timm.is_model(architecture):
        hint = nearest(architecture, timm.list_models())
        raise ConfigError(f"timm has no model {name!r}{hint}; `timm.list_models()` gives all names")
    arguments = {**size_arguments(architecture, size), **dict(model_args or {})}
    try:
        model: nn.Module = timm.create_model(name, pretrained=pretrained, num_classes=0, **arguments)
    except (TypeError, AssertionError) as error:
        raise ConfigError(f"timm/{name} cannot be built with {arguments}: {error}") from error
    return model


def extract(backbone: nn.Module, image: Tensor) -> Features:
    """Returns the features of a timm network.

    Args:
        image: (B, 3, S, S) float32, normalised as the network wants it.
    """
    grid = backbone.forward_features(image)  # type: ignore[operator]
    summary = backbone.forward_head(grid, pre_logits=True)  # type: ignore[operator]
    return Features(summary.float(), None)


def feature_dim(backbone: nn.Module, *, size: int) -> int:
    """Returns D, the width of the summary."""
    was_training = backbone.training
    backbone.eval()
    with torch.no_grad():
        summary = extract(backbone, torch.zeros(1, 3, size, size)).summary
    backbone.train(was_training)
    if summary.ndim != 2:
        raise ConfigError(f"the network gives a summary of shape {tuple(summary.shape)}, needed is (B, D)")
    return int(summary.shape[1])


def input_statistics(name: str) -> tuple[Channels, Channels]:
    """Returns mean and std of the channels in [0, 1] that the weights of a name were trained with; ImageNet's if timm knows none."""
    known = timm.get_pretrained_cfg(name, allow_unregistered=True)
    if known is None:
        return IMAGENET_MEAN, IMAGENET_STD
    return _channels(known.mean), _channels(known.std)


def _channels(values: Sequence[float]) -> Channels:
    red, green, blue = values
    return red, green, blue


def size_arguments(architecture: str, size: int) -> dict[str, Any]:
    """Returns `{"img_size": size}` for networks of a fixed grid, which say so in timm's configuration, else nothing."""
    config = timm.get_pretrained_cfg(architecture, allow_unregistered=True)
    fixed = config is not None and config.fixed_input_size
    return {"img_size": size} if fixed else {}
