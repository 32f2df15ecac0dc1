"""`output: layer:NAME`: what one layer inside a torch network gives, of any adapter whose network is made of torch modules.

The layer is read by a forward hook while the whole network runs; weights, sizes and normalisation are the adapter's. What its output means
is said in reading.py. A layer that runs more than once an image is refused, because it would not be clear which time is meant.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor, nn

from alumnus.errors import TeacherError
from alumnus.teachers.network import Network
from alumnus.teachers.reading import choose, read
from alumnus.types import Features

LAYER = "layer:"
SHOWN = 5  # names in a message
AFFINE = frozenset({nn.Linear, nn.LayerNorm})  # on the last axis; not their heirs, as LayerNorm2d is none
CONVOLUTIONAL = (nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d, nn.GroupNorm)  # on the second axis


@final
class LayerNetwork(Network):
    """A network of which one layer is read."""

    def __init__(self, network: Network, name: str, *, source: str) -> None:
        """Finds the layer.

        Raises:
            TeacherError: it has no such layer, or is made of no torch modules.
        """
        self._network = network
        self._layer = _find(network.modules(), name, source)
        self._what = f"teacher {source}: {LAYER}{name}"

    def __call__(self, image: Tensor) -> Features:
        """Returns the layer's output as features, with patches where it has a grid or tokens."""
        seen: list[Tensor] = []

        def keep(_module: nn.Module, _given: object, output: object) -> None:
            seen.append(choose(output, None, source=self._what).clone())  # a later layer may work in place

        hook = self._layer.register_forward_hook(keep)
        try:
            self._network(image)
        except TeacherError:  # what the network says in the end may be no features; its layer spoke before
            if not seen:
                raise
        finally:
            hook.remove()
        if len(seen) != 1:
            raise TeacherError(f"{self._what} runs {len(seen)} times an image; name a layer that runs once")
        return read(seen[0], source=self._what, channels_last=_channels_last(self._layer))

    def modules(self) -> Sequence[nn.Module]:
        """Returns the network's."""
        return self._network.modules()

    def to(self, device: torch.device) -> None:
        """Moves the network."""
        self._network.to(device)

    def identity(self) -> str:
        """Returns the network's."""
        return self._network.identity()


def _find(modules: Sequence[nn.Module], name: str, source: str) -> nn.Module:
    if not modules:
        raise TeacherError(f"teacher {source}: {LAYER}{name} needs a torch network, and this one is not")
    found: list[dict[str, nn.Module]] = [dict(module.named_modules()) for module in modules]
    having = [names[name] for names in found if name and name in names]
    if len(having) == 1:
        return having[0]
    if having:
        raise TeacherError(f"teacher {source}: {len(having)} of its modules have a layer {name!r}")
    names = [one for names in found for one in names if one]
    close = difflib.get_close_matches(name, names, n=SHOWN, cutoff=0.4)
    some = f"nearest are {', '.join(close)}" if close else f"it has {_some(names)}"
    raise TeacherError(f"teacher {source} has no layer {name!r}; {some}")


def _channels_last(layer: nn.Module) -> bool | None:
    """What the kinds of its parts say of the order of axes that it works in; None if they say nothing, or both."""
    kinds = {type(part) for part in layer.modules()}
    last = not kinds.isdisjoint(AFFINE)
    first = any(issubclass(kind, CONVOLUTIONAL) for kind in kinds)
    return None if first == last else last


def _some(names: Sequence[str]) -> str:
    """The outermost ones first."""
    outer = sorted(names, key=lambda name: name.count("."))
    return ", ".join(outer[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
