"""Splitting a network by width: two narrower ones of its family which together cost no more than it does.

After the model separation of Residual Knowledge Distillation (Gao, Shen, Li, Loy 2020, arXiv 2002.09168), by which a student and its
assistant come from one given network. The paper's rule for each layer's channels is not known here: ours narrows all layers alike, and
measures what that costs. Depth and resolution stay.

Which widths there are depends on the family:

- ResNets: `channels` of the four stages, in 32nds of the given ones, multiples of 4.
- plain vision transformers: `embed_dim`, in steps of 4 for each head; the number of heads stays.
- families that timm has in several widths by name, such as mobilenetv2_035 to _140: those widths.
"""

from __future__ import annotations

import re
import warnings
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, cast

import timm
import torch
from timm.models.resnet import ResNet
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from alumnus.errors import ConfigError
from alumnus.models.assistant import AssistantShape
from alumnus.models.backbone import create_backbone
from alumnus.models.cost import counted

NAMED = ("mobilenetv2", "mobilenetv3_small", "lcnet", "mnasnet")  # families of NAME_050
WIDTHS = 32  # steps between nothing and the whole of a ResNet
CHANNELS, HEAD_DIM = 4, 4  # multiples, of a ResNet's channels and of a head's width


class Branch(NamedTuple):
    """One of the two networks."""

    model: str  # timm's name
    model_args: dict[str, Any]
    num_features: int  # D of its own summary
    multiply_adds: int  # of one image


class Split(NamedTuple):
    """Two networks for one."""

    first: Branch
    assistant: Branch
    dim: int  # D of the undivided network's summary, to which both are brought
    cap: int  # multiply-adds that were allowed

    @property
    def multiply_adds(self) -> int:
        """Of both, and of the layers that join them."""
        return _together(self.first, self.assistant, self.dim)

    @property
    def shape(self) -> AssistantShape:
        """What the first network's architecture says of the other."""
        return AssistantShape(self.assistant.model, self.dim, self.assistant.model_args)


def split_network(
    model: str,
    *,
    size: int,
    ratio: float,
    cap: int | None = None,
    model_args: Mapping[str, Any] | None = None,
) -> Split:
    """Returns a network as two narrower ones, of which the assistant is the narrower, or as wide.

    The assistant is the widest network that takes no more than its share of the cap (the narrowest, if all take more), and the first
    network the widest that fits beside it.

    Args:
        model: timm's name, without weights.
        size: side of the input in px, for which costs are counted.
        ratio: share of the cap that the assistant may take, in (0, 0.5].
        cap: most multiply-adds of one image of both networks and the layers that join them; those of the undivided network by default.
        model_args: of the undivided network, for timm.create_model.

    Raises:
        ConfigError: the family is none that can be narrowed, or no two of its networks fit under the cap.
    """
    if not 0 < ratio <= 0.5:
        raise ConfigError(f"split.ratio={ratio}: the assistant's share lies above 0 and is at most 0.5")
    arguments = dict(model_args or {})
    whole = _measured(model, size, arguments)
    cap = whole.multiply_adds if cap is None else cap
    widths = _Widths(_narrower(model, size, arguments), size)
    one = widths.widest(lambda each: each.multiply_adds <= ratio * cap) or widths[0]
    other = widths.widest(lambda each: _together(each, one, whole.num_features) <= cap)
    if other is None:
        raise ConfigError(
            f"{model} cannot be split in two under {cap:,} multiply-adds at {size} px: the narrowest of its family costs "
            f"{widths[0].multiply_adds:,}; give a wider network, or a higher split.cap"
        )
    assistant, first = sorted((one, other), key=lambda each: each.multiply_adds)
    return Split(first, assistant, whole.num_features, cap)


class _Widths:
    """The narrower networks of a family, narrow to wide, measured when they are asked for; a wider one never costs less."""

    def __init__(self, found: Sequence[tuple[str, dict[str, Any]]], size: int) -> None:
        self._found, self._size = found, size
        self._known: dict[int, Branch] = {}

    def __getitem__(self, place: int) -> Branch:
        if place not in self._known:
            self._known[place] = _measured(self._found[place][0], self._size, self._found[place][1])
        return self._known[place]

    def widest(self, fits: Callable[[Branch], bool]) -> Branch | None:
        """Returns the widest of those that fit, or None: all up to some width do."""
        count = bisect_left(range(len(self._found)), True, key=lambda place: not fits(self[place]))
        return self[count - 1] if count else None


def _narrower(model: str, size: int, model_args: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The narrower networks of a family, narrow to wide: names and arguments."""
    with torch.device("meta"):
        network = create_backbone(model, size=size, model_args=model_args)
    found: list[tuple[str, dict[str, Any]]] = []
    if family := re.fullmatch(rf"({'|'.join(NAMED)})_\d{{3}}", model):
        known = (name for name in timm.list_models() if re.fullmatch(rf"{family[1]}_\d{{3}}", name))
        found = [(name, model_args) for name in sorted(known) if name < model]
    elif isinstance(network, ResNet):
        found = [(model, {**model_args, "channels": channels}) for channels in _channels(network)]
        if _is_grouped(network):
            found = [each for each in found if _can_be_built(*each, size=size)]
    elif isinstance(network, VisionTransformer):
        heads = int(vars(network.get_submodule("blocks.0.attn"))["num_heads"])
        dims = range(heads * HEAD_DIM, network.embed_dim, heads * HEAD_DIM)
        found = [(model, {**model_args, "embed_dim": dim, "num_heads": heads}) for dim in dims]
    else:
        raise ConfigError(
            f"{model} ({type(network).__name__}) cannot be split by width; ResNets (such as resnet18), vision transformers "
            f"(vit_tiny_patch16_224) and {', '.join(f'{name}_NNN' for name in NAMED)} can"
        )
    if not found:
        raise ConfigError(
            f"{model} is the narrowest of its family that can be built, and cannot be split; take a wider one"
        )
    return found


def _is_grouped(network: nn.Module) -> bool:
    """Whether not every number of channels suits it."""
    modules = list(network.modules())
    return any(
        isinstance(each, nn.GroupNorm) or (isinstance(each, nn.Conv2d) and each.groups > 1)
        for each in modules
    )


def _can_be_built(model: str, model_args: dict[str, Any], *, size: int) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a layer without a channel is built, with a warning
        try:
            _measured(model, size, model_args)
        except (ValueError, IndexError, RuntimeError, UserWarning):
            return False  # what torch says of channels that do not divide into groups
    return True


def _channels(network: ResNet) -> list[list[int]]:
    """The stages' channels before a block's expansion, from narrow to wide, without the given ones."""
    given = []
    for stage, info in zip(("layer1", "layer2", "layer3", "layer4"), network.feature_info[-4:], strict=True):
        expansion: int = network.get_submodule(f"{stage}.0").expansion  # type: ignore[assignment]  # of its class
        given.append(cast("int", info["num_chs"]) // expansion)
    found = []
    for step in range(1, WIDTHS):
        narrowed = [max(CHANNELS, round(each * step / WIDTHS / CHANNELS) * CHANNELS) for each in given]
        if narrowed != given and narrowed not in found:
            found.append(narrowed)
    return found


def _measured(model: str, size: int, model_args: dict[str, Any]) -> Branch:
    """A network's width and cost, found without weights."""
    with torch.device("meta"):
        network = create_backbone(model, size=size, model_args=model_args).eval()
        image, widths = torch.zeros(1, 3, size, size), list[int]()
        cost = counted(lambda: widths.append(network(image).shape[-1]))
    return Branch(model, model_args, widths[0], cost)


def _together(first: Branch, assistant: Branch, dim: int) -> int:
    """With a join wherever a network is of another width."""
    joins = sum(each.num_features * dim for each in (first, assistant) if each.num_features != dim)
    return first.multiply_adds + assistant.multiply_adds + joins
