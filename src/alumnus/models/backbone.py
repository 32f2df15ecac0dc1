"""A timm network as a source of `Features`: built by name, its outputs brought into one form.

Axes: B images, S side in px, D width of a feature, N = h w patches of a grid, L tokens of which some are none of the grid.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol, runtime_checkable

import timm
import torch
from timm.layers.patch_embed import PatchEmbed
from timm.models import swin_transformer, swin_transformer_v2
from torch import Tensor, nn
from torch.nn import functional

from alumnus.errors import ConfigError, nearest
from alumnus.types import Features, Grid

Channels = tuple[float, float, float]

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

PADDED = (swin_transformer.PatchMerging, swin_transformer_v2.PatchMerging)  # an odd side gets one more row
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
    architecture = _known(name)
    arguments = {**size_arguments(architecture, size), **dict(model_args or {})}
    try:
        model: nn.Module = timm.create_model(name, pretrained=pretrained, num_classes=0, **arguments)
    except (TypeError, AssertionError) as error:
        raise ConfigError(f"timm/{name} cannot be built with {arguments}: {error}") from error
    return model


def check_name(name: str, *, fetch: bool) -> None:
    """Refuses a name that timm has not, and a tag that it has not for that name; nothing is built.

    Args:
        fetch: whether the tag's weights are wanted, or only what else timm knows of it.

    Raises:
        ConfigError: naming the nearest.
    """
    architecture, tag = _known(name), name.partition(".")[2]
    if not tag:
        return
    try:
        known = timm.get_pretrained_cfg(name)
    except RuntimeError:  # timm's answer to a tag that it has not
        known = None
    if known is None or (fetch and not known.has_weights):
        tags = [full.partition(".")[2] for full in timm.list_pretrained(f"{architecture}.*")]
        raise ConfigError(
            f"timm has no weights {tag!r} for {architecture}{nearest(tag, tags)}; it has {', '.join(tags) or 'none'}"
        )


def published_tag(name: str) -> str | None:
    """Returns the tag of the weights that timm takes for a name without one, or None if it publishes none."""
    known = timm.get_pretrained_cfg(name, allow_unregistered=True)
    return known.tag if known is not None and known.has_weights and known.tag else None


def _known(name: str) -> str:
    """The architecture of a name, if timm has it."""
    architecture = name.partition(".")[0]
    if not timm.is_model(architecture):
        hint = nearest(architecture, timm.list_models())
        raise ConfigError(f"timm has no model {name!r}{hint}; `timm.list_models()` gives all names")
    return architecture


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


class Taps(NamedTuple):
    """The shapes of what a network says beside its summary."""

    grid: Grid | None = None  # of its patches; None if it ends in no grid
    stage_dims: tuple[int, ...] | None = None  # of the stages before the last; None if it has none to tap
    stage_cells: tuple[int, ...] = ()  # of each of them before it is pooled to the last grid


def taps_of(backbone: nn.Module, *, size: int) -> Taps:
    """Returns what can be tapped, found out by one image of `size` px; the network stays as it is."""
    with _tried(backbone, size=size) as image:
        return _taps(backbone, image)


def takes(backbone: nn.Module, *, size: int) -> bool:
    """Returns whether it takes images of `size` px, found out by one; the network stays as it is."""
    with _tried(backbone, size=size) as image:
        try:
            backbone.forward_features(image)  # type: ignore[operator]
        except (AssertionError, RuntimeError):  # timm asserts; others run into shapes that do not fit
            return False
    return True


def cut_off(network: nn.Module, *, size: int, name: str) -> str | None:
    """Returns what to say of a size of which timm would cut off the last rows and columns in silence, or None.

    Such are sides that are not a whole number of patches. A convolutional network takes any, and each takes the one that it is made for.
    """
    known = timm.get_pretrained_cfg(name.partition(".")[0], allow_unregistered=True)
    if known is not None and known.input_size[-1] == size:  # LeViT's last stage has cells of 64 px, at 224
        return None
    embeds = [part for part in network.modules() if isinstance(part, PatchEmbed)]
    if not embeds and not size_arguments(name.partition(".")[0], size):
        return None
    if any(part.dynamic_img_pad for part in embeds):
        return None
    stages: list[Mapping[str, Any]] = vars(network).get("feature_info", [])
    step = max((int(stage["reduction"]) for stage in stages), default=1)
    if embeds and any(isinstance(part, PADDED) for part in network.modules()):
        step = max(part.patch_size[0] for part in embeds)
    if size % step == 0:
        return None
    valid = max(step, round(size / step) * step)
    return f"timm/{name}: size={size} is not a multiple of its patches of {step} px; nearest valid is {valid}"


def check_sizes(name: str, sizes: Iterable[int], *, model_args: Mapping[str, Any] | None = None) -> None:
    """Refuses sizes for a network of patches that it would cut off, or for which it is too large; no weights are made.

    Raises:
        ConfigError: naming the nearest valid size.
    """
    architecture = _known(name)
    if not size_arguments(architecture, 1):
        return
    try:
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            network = timm.create_model(architecture, num_classes=0, **dict(model_args or {}))
    except Exception:  # not on the meta device, or not with these arguments: building it for good will say so
        return
    for size in sizes:
        if fault := cut_off(network, size=size, name=name):
            raise ConfigError(f"student {fault}")


@contextmanager
def _tried(backbone: nn.Module, *, size: int) -> Iterator[Tensor]:
    """An image to try a network with, which is in eval mode meanwhile."""
    device = next(backbone.parameters()).device
    was_training = [(module, module.training) for module in backbone.modules()]
    backbone.eval()
    try:
        with torch.no_grad():
            yield torch.zeros(1, 3, size, size, device=device)
    finally:
        for module, training in was_training:
            module.training = training


def _taps(backbone: nn.Module, image: Tensor) -> Taps:
    try:
        last = _grid(backbone, backbone.forward_features(image))  # type: ignore[operator]
    except ConfigError:
        return Taps()
    grid = Grid(*last.shape[1:])
    if not isinstance(backbone, _Tapped):
        return Taps(grid)
    _, stages = backbone.forward_intermediates(image)
    shapes = [(stage.shape[1], stage.shape[2:].numel()) for stage in stages[:-1]]
    return Taps(grid, tuple(dim for dim, _ in shapes), tuple(cells for _, cells in shapes))


def extract_stages(
    backbone: nn.Module, image: Tensor, *, patches: bool = False
) -> tuple[Features, tuple[Tensor, ...]]:
    """Returns what `extract` does, and every stage before the last, pooled to the last grid: each (B, N, D_s) float32, first to last.

    A stage is a block of a vision transformer, and what narrows the grid in a network that does.

    Args:
        image: as for `extract`.

    Raises:
        ConfigError: the network gives no stages, or ends in no grid.
    """
    if not isinstance(backbone, _Tapped):
        raise ConfigError(
            f"{type(backbone).__name__} gives its last features alone, no earlier stages; use adaptor=mlp"
        )
    output, stages = backbone.forward_intermediates(image)
    summary = backbone.forward_head(output, pre_logits=True)  # type: ignore[operator]
    last = _grid(backbone, output)
    height, width = last.shape[2:]
    pooled = (functional.adaptive_avg_pool2d(stage.float(), (height, width)) for stage in stages[:-1])
    tokens = last.flatten(2).transpose(1, 2).float() if patches else None
    return Features(summary.float(), tokens), tuple(stage.flatten(2).transpose(1, 2) for stage in pooled)


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
