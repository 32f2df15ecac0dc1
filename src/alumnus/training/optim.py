"""AdamW, a learning rate that is a pure function of the step, and the moving average of the student."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from itertools import chain
from types import MappingProxyType
from typing import Literal, Protocol, runtime_checkable

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from alumnus.errors import ConfigError, nearest
from alumnus.models.student import Student
from alumnus.training.shards import local

BatchNormMode = Literal["train", "frozen"]


class OptimSettings(BaseModel):
    """How the weights move."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    weight_decay: float = Field(
        0.05,
        ge=0,
        description="of weights; never of norms, biases, and what a module names in no_weight_decay(), such as position embeddings",
    )
    warmup: float = Field(0.05, ge=0, lt=1, description="share of the steps with a rising learning rate")
    final_lr: float = Field(
        0.01,
        ge=0,
        le=1,
        description="end of the cosine, as a share of lr; 1, and no warm-up, is a constant rate",
    )
    backbone_lr: float = Field(
        1.0,
        ge=0,
        description="learning rate of the backbone, as a share of lr; 0 leaves its weights, but batch norms go on counting: "
        "freeze=backbone stops both",
    )
    frozen: float = Field(
        0.0, ge=0, le=1, description="share of the steps at the start in which the backbone stays as it is"
    )
    batch_norm: BatchNormMode = Field(
        "train",
        description="of the backbone: its statistics are the batches' (train), or stay those of the first weights (frozen), which keeps "
        "what pretrained weights know of other images; for small backbone_lr",
    )
    clip_norm: float = Field(
        1.0, gt=0, description="largest norm of the gradient of all weights together; .inf does not clip"
    )
    ema: float = Field(
        0.99, ge=0, lt=1, description="decay of the moving average that becomes the student; 0 = none"
    )


def make_optimizer(
    student: Student,
    objective: nn.Module,
    settings: OptimSettings,
    *,
    lr: float,
    rates: Mapping[str, float] = MappingProxyType({}),
) -> torch.optim.AdamW:
    """Returns AdamW over the backbone (at its share of lr), the kept heads and the objective's modules.

    Of a student that is sharded all parameters are, of an objective none; a group holds one kind, for torch steps no mixture. In a
    checkpoint parameters go by their number, which sharding does not change.

    Args:
        rates: module or parameter of the objective -> its share of lr.

    Raises:
        ConfigError: the objective has no such part, or a share is not above 0.
    """
    backbone = [parameter for network in student.networks for parameter in network.parameters()]
    known = {id(parameter) for parameter in backbone}
    heads = [p for p in student.parameters() if id(p) not in known]
    own = _by_rate(objective, rates)
    spared = _spared(student, objective)
    groups = [
        *_groups(
            backbone, spared=spared, base_lr=lr * settings.backbone_lr, weight_decay=settings.weight_decay
        ),
        *_groups(heads, own.pop(1.0, []), spared=spared, base_lr=lr, weight_decay=settings.weight_decay),
    ]
    for rate, parameters in own.items():
        groups += _groups(parameters, spared=spared, base_lr=lr * rate, weight_decay=settings.weight_decay)
    return torch.optim.AdamW(groups, lr=lr, fused=True)


def _by_rate(objective: nn.Module, rates: Mapping[str, float]) -> dict[float, list[nn.Parameter]]:
    """Share of lr -> the objective's parameters that have it, in their order."""
    parts = {name for name, _ in chain(objective.named_modules(), objective.named_parameters())}
    for part, rate in rates.items():
        if part not in parts:
            raise ConfigError(
                f"learning_rates() names {part!r}{nearest(part, parts)}, which the objective does not have"
            )
        if not 0 < rate < math.inf:
            raise ConfigError(
                f"learning_rates() gives {part!r} {rate}; a share of lr is above 0; requires_grad_(False) keeps a part as it is"
            )
    found: dict[float, list[nn.Parameter]] = {}
    for name, parameter in objective.named_parameters():
        own = [part for part in rates if part == name or name.startswith(f"{part}.") or not part]
        found.setdefault(rates[max(own, key=len)] if own else 1.0, []).append(parameter)
    return found


def set_lr(optimizer: torch.optim.Optimizer, settings: OptimSettings, *, progress: float) -> None:
    """Sets each group's learning rate for a step, by linear warm-up and then a cosine."""
    share = schedule(settings, progress)
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * share


def schedule(settings: OptimSettings, progress: float) -> float:
    """Returns the learning rate at `progress` in [0, 1), as a share of the peak."""
    if progress < settings.warmup:
        return max(progress / settings.warmup, 1e-3)
    after = (progress - settings.warmup) / (1 - settings.warmup)
    return settings.final_lr + (1 - settings.final_lr) * 0.5 * (1 + math.cos(math.pi * after))


# Floats of ours, floats of the module's, counts of both.
Pairs = tuple[list[Tensor], list[Tensor], list[tuple[Tensor, Tensor]]]


class Ema:
    """The moving average of a module's tensors, buffers included (so batch-norm statistics fit the averaged weights).

    Of what is sharded, each process averages its shard.

    The decay rises from 0 as (1 + t) / (10 + t), so that a short run is not held back by its first weights.
    """

    def __init__(self, module: nn.Module, *, decay: float) -> None:
        self.decay = decay
        self.tensors = {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}
        self._pairs: Pairs | None = None

    @torch.no_grad()
    def update(self, module: nn.Module, *, step: int) -> None:
        """Moves towards the module's tensors after step number `step`."""
        decay = min(self.decay, (1 + step) / (10 + step))
        if self._pairs is None:
            self._pairs = self._paired(module)
        ours, theirs, counts = self._pairs
        torch._foreach_lerp_(ours, theirs, 1 - decay)
        for our, their in counts:
            our.copy_(their)

    def _paired(self, module: nn.Module) -> Pairs:
        """Our tensors and the module's, which it changes in place, so that they are looked up once."""
        state = module.state_dict()
        floats = [name for name, tensor in self.tensors.items() if tensor.is_floating_point()]
        return (
            [local(self.tensors[name]) for name in floats],
            [local(state[name]) for name in floats],
            [(self.tensors[name], state[name]) for name in self.tensors.keys() - set(floats)],
        )


@runtime_checkable
class _Sparing(Protocol):
    """A module that says, as networks of timm do, which of its parameters are no weights of a layer."""

    def no_weight_decay(self) -> Collection[str]:
        """Returns their names."""
        ...


def _spared(*owners: nn.Module) -> set[int]:
    """Returns the ids of the parameters that a module within them names as those that do not decay."""
    found = set[int]()
    for module in chain.from_iterable(owner.modules() for owner in owners):
        names = module.no_weight_decay() if isinstance(module, _Sparing) else ()
        found |= {id(parameter) for name, parameter in module.named_parameters() if name in names}
    return found


def _groups(
    *owners: Sequence[nn.Parameter], spared: Collection[int], base_lr: float, weight_decay: float
) -> list[dict[str, object]]:
    """What decays of each owner, then what does not."""
    decayed = [[p for p in owner if p.ndim > 1 and id(p) not in spared] for owner in owners]
    plain = [[p for p in owner if p.ndim <= 1 or id(p) in spared] for owner in owners]
    return [
        *({"params": params, "base_lr": base_lr, "weight_decay": weight_decay} for params in decayed),
        *({"params": params, "base_lr": base_lr, "weight_decay": 0.0} for params in plain),
    ]
