"""A timm network as a source of `Features`: built by name, its outputs brought into one form.

Axes: B images, S side in px, D width of a feature, N = h w patches of a grid, L tokens of which some are none of the grid.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import timm
import torch
from torch import Tensor, nn

from alumnus.errors import ConfigError, nearest
from alumnus.types import Features

Channels = tuple[float, float, float]

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

FINEST_PX = 8  # of the finest level; where feature pyramids for detection begin too (FPN's P3)


@runtime_checkable
class _Tapped(Protocol):
    """What nearly all of timm's networks can: give the output of every stage, NCHW, beside the final one."""

    def forward_intermediates(self, x: Tensor) -> tuple[Tensor, list[Tensor]]: ...


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


def extract(backbone: nn.Module, image: Tensor, *, patches: bool = False) -> Features:
    """Returns the features of a timm network: the summary, and the last grid if asked for.

    Args:
        image: (B, 3, S, S) float32, normalised as the network wants it.
        patches: also give the patches, row by row, without class and register tokens.

    Raises:
        ConfigError: patches are asked for, and the network ends in no grid.
    """
    output = backbone.forward_features(image)  # type: ignore[operator]
    summary = backbone.forward_head(output, pre_logits=True)  # type: ignore[operator]
    tokens = _grid(backbone, output).flatten(2).transpose(1, 2) if patches else None  # (B, N, D)
    return Features(summary.float(), None if tokens is None else tokens.float())


def levels(backbone: nn.Module, image: Tensor, *, finest_px: float = FINEST_PX) -> tuple[Tensor, ...]:
    """Returns the grids of a timm network, each (B, D, h, w) float32, fine to coarse; the last holds the patches of `extract`.

    Before the last come the outputs of earlier stages, one for each side of grid, if the network narrows its grid from stage to
    stage. A plain vision transformer does not, so it has one level.

    Args:
        image: (B, 3, S, S) float32, normalised as the network wants it.
        finest_px: stages whose cells are smaller are left out: they cost most of the memory and say least.

    Raises:
        ConfigError: the network ends in no grid.
    """
    if not isinstance(backbone, _Tapped):
        return (_grid(backbone, backbone.forward_features(image)).float(),)  # type: ignore[operator]
    output, stages = backbone.forward_intermediates(image)
    last = _grid(backbone, output)
    largest = image.shape[-1] / finest_px
    by_side = {stage.shape[-1]: stage for stage in stages if last.shape[-1] < stage.shape[-1] <= largest}
    return (*(by_side[side].float() for side in sorted(by_side, reverse=True)), last.float())


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


def grid_shape(backbone: nn.Module, *, size: int) -> tuple[int, int] | None:
    """Returns (N, D) of the patches of an image of `size` px, or None if the network ends in no grid."""
    was_training = backbone.training
    backbone.eval()
    try:
        with torch.no_grad():
            device = next(backbone.parameters()).device
            patches = extract(backbone, torch.zeros(1, 3, size, size, device=device), patches=True).patches
    except ConfigError:
        return None
    finally:
        backbone.train(was_training)
    return None if patches is None else (patches.shape[1], patches.shape[2])


def input_statistics(name: str) -> tuple[Channels, Channels]:
    """Returns mean and std of the channels in [0, 1] that the weights of a name were trained with; ImageNet's if timm knows none."""
    known = timm.get_pretrained_cfg(name, allow_unregistered=True)
    if known is None:
        return IMAGENET_MEAN, IMAGENET_STD
    return _channels(known.mean), _channels(known.std)


def _grid(backbone: nn.Module, output: object) -> Tensor:
    """What `forward_features` gives, as (B, D, h, w)."""
    if isinstance(output, Tensor) and output.ndim == 4:
        dim = backbone.num_features
        is_channels_last = output.shape[1] != dim and output.shape[3] == dim
        return output.permute(0, 3, 1, 2) if is_channels_last else output
    if isinstance(output, Tensor) and output.ndim == 3:  # (B, L, D)
        tokens = output[:, vars(backbone).get("num_prefix_tokens", 0) :]
        side = math.isqrt(tokens.shape[1])
        if side * side == tokens.shape[1]:
            return tokens.transpose(1, 2).reshape(*tokens.shape[::2], side, side)
    shape = f"of shape {tuple(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
    raise ConfigError(
        f"{type(backbone).__name__} gives features {shape}, which are no grid of patches; use its summary"
    )


def _channels(values: Sequence[float]) -> Channels:
    red, green, blue = values
    return red, green, blue


def size_arguments(architecture: str, size: int) -> dict[str, Any]:
    """Returns `{"img_size": size}` for networks of a fixed grid, which say so in timm's configuration, else nothing."""
    config = timm.get_pretrained_cfg(architecture, allow_unregistered=True)
    fixed = config is not None and config.fixed_input_size
    return {"img_size": size} if fixed else {}
