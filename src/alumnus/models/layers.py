"""Which layer of a timm network a weight belongs to, for learning rates that fall towards the input."""

from __future__ import annotations

from typing import NamedTuple

from timm.optim import param_groups_layer_decay  # type: ignore[attr-defined]  # timm's typing does not export it
from torch import nn


class LayerGroup(NamedTuple):
    """Weights that share a learning rate and a weight decay."""

    parameters: list[nn.Parameter]
    lr_share: float  # of the learning rate of the last layer
    weight_decay: float


def layer_groups(backbone: nn.Module, *, layer_decay: float, weight_decay: float) -> list[LayerGroup]:
    """Returns the trainable weights of a timm network, each layer at `layer_decay` times the rate of the next.

    Layer-wise decay as in BEiT (Bao et al. 2022, arXiv 2106.08254); what a layer is, timm says for each architecture: a block. Norms
    and biases have no weight decay.

    Args:
        layer_decay: in (0, 1]; 1 gives every layer the same rate.
    """
    groups = param_groups_layer_decay(backbone, weight_decay=weight_decay, layer_decay=layer_decay)
    return [LayerGroup(group["params"], group["lr_scale"], group["weight_decay"]) for group in groups]
