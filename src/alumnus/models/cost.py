"""What a network costs: its parameters, and the multiply-adds of one image."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


class Cost(NamedTuple):
    """The cost of a network."""

    num_parameters: int
    multiply_adds: int  # of one image: convolutions, matrix products and attention; the rest is far below 1 %


def cost(module: nn.Module, *, size: int) -> Cost:
    """Returns the cost of a module whose input is an image (1, 3, size, size) in [0, 1].

    >>> cost(nn.Conv2d(3, 8, 1, bias=False), size=10)
    Cost(num_parameters=24, multiply_adds=2400)
    """
    return Cost(num_parameters(module), multiply_adds(module, size=size))


def num_parameters(module: nn.Module) -> int:
    """Returns the number of parameters, frozen ones included, shared ones once."""
    return sum(parameter.numel() for parameter in module.parameters())


def multiply_adds(module: nn.Module, *, size: int) -> int:
    """Returns the multiply-adds of one image of `size` x `size` px, which costs a forward pass."""
    parameter = next(module.parameters(), None)
    image = torch.zeros(1, 3, size, size, device=None if parameter is None else parameter.device)
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        return counted(lambda: module(image))
    finally:
        for part in training:
            part.training = True


def counted(forward: Callable[[], object]) -> int:
    """Returns the multiply-adds that torch does during a call; what other libraries do is not seen."""
    # Attention is counted as the two products that it is: the counter does not know every fused kernel.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        forward()
    return int(counter.get_total_flops()) // 2
