"""The one training loop of the dense heads: a fixed budget, AdamW, the learning rate up in a line and down in a cosine.

Nothing is chosen by looking at results, so there is nothing that the test part could leak into. A head starts with batch
normalisation, so one learning rate serves features of any scale.

Axes: N training pictures, M rows (see `features`), b rows of a batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from alumnus.errors import ConfigError, DataError, NonFiniteError
from alumnus.evaluation.arrays import Ids
from alumnus.evaluation.dense.encode import Tunable
from alumnus.evaluation.dense.features import LevelCache, Source, cached_levels, live_levels
from alumnus.log import bar
from alumnus.types import DenseEncode

WARM_UP = 0.05  # share of the steps
MAX_NORM = 10.0  # of the gradient


@dataclass(frozen=True)
class Budget:
    """How long and how fast a head learns."""

    steps: int = 600
    batch_size: int = 16
    lr: float = 1e-3
    weight_decay: float = 1e-4
    backbone_lr: float = 0.1  # of a backbone that is trained too, as a share of lr

    def __post_init__(self) -> None:
        if min(self.steps, self.batch_size) < 1 or not 0 < min(self.lr, self.backbone_lr) < math.inf:
            raise ConfigError(f"{self}: steps and batch_size must be at least 1, learning rates positive")


@dataclass(frozen=True)
class Setup:
    """How a head is trained, whatever it does."""

    budget: Budget = field(default_factory=Budget)
    finetune: bool = False  # train a copy of the backbone too
    flip: bool = False  # mirror images count as pictures; not where left and right matter
    seed: int = 0
    device: str = "cpu"  # of the head
    workers: int = 2  # reading processes; 0 reads in this one
    folder: Path | None = None  # for features that do not fit in memory


@dataclass(frozen=True, eq=False)
class Fitted:
    """A trained head and what it stands on."""

    encoder: DenseEncode  # the one given or, if it was trained too, the trained copy
    head: nn.Module
    losses: tuple[float, ...]  # of each step
    bad: Mapping[int, str]  # training pictures that took no part, with the reason
    setup: Setup

    def state(self) -> dict[str, Tensor]:
        """Returns all tensors that were trained, for a safetensors file: `head.*`, and `backbone.*` if it was trained too."""
        parts = {"head": self.head}
        if self.setup.finetune and isinstance(self.encoder, Tunable):
            parts["backbone"] = self.encoder.module
        return {
            f"{part}.{name}": tensor.detach().cpu().contiguous()
            for part, module in parts.items()
            for name, tensor in module.state_dict().items()
        }


def opened(
    encoder: DenseEncode, paths: list[str], setup: Setup, *, features: LevelCache | None
) -> tuple[DenseEncode, Source]:
    """Returns the encoder that stands beneath the head, and the training pictures as its levels.

    Args:
        features: the levels if they are there already, for several heads on the same features.

    Raises:
        ConfigError: the encoder cannot be trained, or the features given do not belong here.
        DataError: not one picture can be read.
    """
    if not setup.finetune:
        if features is not None:
            _check_features(features, encoder, paths, setup)
            return encoder, features
        return encoder, cached_levels(
            encoder, paths, mirror=setup.flip, folder=setup.folder, workers=setup.workers
        )
    if features is not None:
        raise ConfigError("finetune trains the backbone, so features that are there already have no use")
    if not isinstance(encoder, Tunable):
        raise ConfigError(f"{encoder.name!r} cannot be trained; make it the backbone of a student first")
    tuned = encoder.copied()
    return tuned, live_levels(tuned, paths, mirror=setup.flip, folder=setup.folder, workers=setup.workers)


def usable_rows(source: Source, bad: Mapping[int, str]) -> Ids:
    """Returns the rows of the pictures that can be read and have a target, mirror images included.

    Raises:
        DataError: there is none.
    """
    count = len(source.boxes)
    good = np.array([place for place in range(count) if place not in bad], np.int64)
    if not len(good):
        reason = next(iter(bad.values()), "there are no pictures")
        raise DataError(
            f"of {count} training pictures none has a target that can be read; the first: {reason}"
        )
    return np.concatenate([good, good + count]) if source.is_mirrored else good


def train(
    head: nn.Module,
    encoder: DenseEncode,
    loss_of: Callable[[Ids], Tensor],
    rows: Ids,
    setup: Setup,
    *,
    label: str,
) -> tuple[float, ...]:
    """Trains the head, and the encoder's network where the setup says so; returns the loss of each step.

    Args:
        loss_of: from rows (b,) to the loss of these.
        rows: those to learn from.

    Raises:
        NonFiniteError: the loss becomes NaN or infinite.
    """
    budget = setup.budget
    learned = {budget.lr: list(head.parameters())}
    if setup.finetune:
        assert isinstance(encoder, Tunable)
        encoder.module.requires_grad_(True)
        learned.setdefault(budget.lr * budget.backbone_lr, []).extend(encoder.module.parameters())
    groups = [{"params": parameters, "lr": lr} for lr, parameters in learned.items()]
    parameters = [parameter for group in learned.values() for parameter in group]
    optimiser = torch.optim.AdamW(groups, weight_decay=budget.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step, budget.steps))
    head.train()
    losses = list[float]()
    with bar(label, total=budget.steps) as line:
        for batch in _batches(rows, budget, seed=setup.seed):
            loss = loss_of(batch)
            losses.append(float(loss.detach()))
            if not math.isfinite(losses[-1]):
                raise NonFiniteError(f"{label}: the loss is {losses[-1]} at step {len(losses) - 1}; lower lr")
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(parameters, MAX_NORM)
            optimiser.step()
            schedule.step()
            line.say(f"loss {losses[-1]:.3f}")
            line.advance()
    head.eval()
    return tuple(losses)


def seeded(make: Callable[[], nn.Module], setup: Setup) -> nn.Module:
    """Returns a head with the first weights of the seed, on the device."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(setup.seed)
        return make().to(setup.device)


def _check_features(features: LevelCache, encoder: DenseEncode, paths: list[str], setup: Setup) -> None:
    if features.grids != encoder.grids or len(features.boxes) != len(paths):
        raise ConfigError(
            f"the features given are of {len(features.boxes)} pictures with the grids {features.grids}; "
            f"needed are {len(paths)} pictures with the grids {encoder.grids} of {encoder.name!r}"
        )
    if features.is_mirrored != setup.flip:
        raise ConfigError(f"flip={setup.flip}, but the features given have mirror={features.is_mirrored}")


def _batches(rows: Ids, budget: Budget, *, seed: int) -> Iterator[Ids]:
    """Yields a batch for each step: every row once before any comes again, a new order each time."""
    size = min(budget.batch_size, len(rows))
    waiting, epoch = np.empty(0, np.int64), 0
    for _ in range(budget.steps):
        while len(waiting) < size:
            order = np.random.default_rng([seed, epoch]).permutation(rows)
            waiting, epoch = np.concatenate([waiting, order]), epoch + 1
        yield waiting[:size]
        waiting = waiting[size:]


def _rate(step: int, steps: int) -> float:
    """The share of the learning rate at a step."""
    warm_up = max(1, round(WARM_UP * steps))
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up)))
