"""Micro-batches: a batch goes through a network piece by piece, and only one piece's activations are held at a time.

Gradient caching (Gao, Zhang, Han, Callan 2021, "Scaling deep contrastive learning batch size under memory limited setup", arXiv
2101.06983): the pieces go through without their activations being kept, the loss is of all outputs together, and in the backward pass
each piece goes through once more and takes its rows of the loss's gradient to the weights. So a loss that looks at the whole batch (a
contrast, a relation between images) stays what it is, where the usual accumulation of gradients would compute it of each piece alone.
The paper's three stages are one call of torch's activation checkpointing for each piece: autograd itself keeps the gradient of the outputs
and comes to the pieces one after another.

A piece draws at random (dropout, drop path) in its second pass what it drew in the first. What differs from one pass of the whole batch:
batch norms see the statistics of a piece, and move their running ones once for each piece; and dropout is drawn anew for each.

The second pass comes when the call is long over, so what was true during the call alone (weights put in by `functional_call`, a mode that
was changed around it) is gone by then, and the gradient would be that of another network. Both are refused.

Axes: B images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TypeVar

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from alumnus.errors import ConfigError

T = TypeVar("T")


def in_micro_batches(
    forward: Callable[[Tensor], T], image: Tensor, *, count: int, module: nn.Module
) -> list[T]:
    """Returns what `forward` gives for each of `count` pieces of images (B, ...), with gradient; a piece has an image at least.

    Args:
        module: that `forward` works with: its running statistics move in the first pass alone.

    Raises:
        ConfigError: the module works with weights that are not its own; or, in the backward pass, its training mode has changed.
    """
    _refuse_borrowed(module)
    modes = _modes(module)

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _as_before(module, modes)

    pieces = image.tensor_split(min(count, len(image)))
    return [checkpoint(forward, piece, use_reentrant=False, context_fn=contexts) for piece in pieces]


def _refuse_borrowed(module: nn.Module) -> None:
    held = [parameter for each in module.modules() for parameter in each._parameters.values()]
    if any(parameter is not None and not isinstance(parameter, nn.Parameter) for parameter in held):
        raise ConfigError(
            "accumulate above 1 takes images through the student twice, the second time in the backward pass, and the weights of this call "
            "(functional_call) are gone by then: set accumulate=1, or make the call under torch.no_grad()"
        )


def _modes(module: nn.Module) -> list[bool]:
    return [each.training for each in module.modules()]


@contextmanager
def _as_before(module: nn.Module, modes: list[bool]) -> Iterator[None]:
    """The second pass: in the modes of the first, and batch norms stay as they are."""
    if _modes(module) != modes:
        raise ConfigError(
            "accumulate above 1 takes images through the student twice, the second time in the backward pass, and its training mode has "
            "changed in between (train or eval around the call): set accumulate=1, or leave the mode as it is"
        )
    with _statistics_kept(module):
        yield


@contextmanager
def _statistics_kept(module: nn.Module) -> Iterator[None]:
    """In the block, batch norms work on copies of their running statistics."""
    norms = [each for each in module.modules() if isinstance(each, _BatchNorm) and each.training]
    kept = [(norm, name, buffer) for norm in norms for name, buffer in norm.named_buffers(recurse=False)]
    for norm, name, buffer in kept:
        setattr(norm, name, buffer.clone())
    try:
        yield
    finally:
        for norm, name, buffer in kept:
            setattr(norm, name, buffer)
