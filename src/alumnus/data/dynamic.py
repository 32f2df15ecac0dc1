"""The dynamic sampler of UDON: batches of one domain each, domains of large loss more often.

Ypsilantis et al. 2024, "UDON: Universal Dynamic Online distillatioN for generic image representations" (NeurIPS 2024, arXiv 2406.08332),
as its released code does it. Training starts as `round_robin`. Every `every` steps the mean loss L_i of each domain gives its weight
p_i = L_i / sum_j L_j; one that was not seen keeps its old weight, and then all are scaled to sum to 1. The coming schedule is a random
permutation of a list that holds int(every p_i) times i, and the last domain for what is left.

Ours, off by default: losses divided by log C_i (a guess among C classes loses log C, so the paper's weights begin as a ranking by the
numbers of classes) or by the domain's first mean loss; a floor under every weight, and a step of every schedule with it; a temperature.

What a window's schedule depends on is known when the window begins: losses of all steps before it and none after. So readers may run ahead
within a window and stop at its end, and the schedule does not depend on how far they ran. Losses are those of the global batch;
should processes differ in their last digits, the first one's weights are taken by all.

Axes: D domains that have images, T steps of a window.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor

from alumnus.control import ControlSettings, by_loss, with_floor
from alumnus.data.sampler import Draw, Sampler
from alumnus.data.views import SCHEDULES, counter_random
from alumnus.distributed import decided
from alumnus.errors import ConfigError

Doubles = npt.NDArray[np.float64]
Ids = npt.NDArray[np.int64]
TINY = 1e-12  # instead of a first loss of 0


class DynamicSettings(ControlSettings):
    """How losses become weights, and how often."""

    name: Literal["dynamic"] = "dynamic"
    every: int = Field(1000, ge=1, description="steps of a schedule, after which there are new weights")
    clear_every: int | None = Field(
        None, ge=1, description="steps after which losses are forgotten; with each new schedule by default"
    )
    normalise: Literal["none", "log_classes", "initial"] = Field(
        "none", description="what losses are divided by: nothing, log C of the domain, or its first mean loss"
    )
    floor: float = Field(
        0.0,
        ge=0,
        le=1,
        description="least weight of a domain, as a share of 1/D, and a step in every schedule",
    )


class DynamicSampler:
    """Draws whose domains follow the losses that it is told.

    Args:
        domain: (N,) int64, the domain of each row.
        num_classes: domain -> its number of classes; only `log_classes` looks at it.
        batch_size, seed, views_per_image: as of `Sampler`.

    Raises:
        ConfigError: there is a floor, and a schedule has fewer steps than there are domains.
    """

    def __init__(
        self,
        domain: np.ndarray,
        *,
        settings: DynamicSettings,
        num_classes: Mapping[int, int],
        batch_size: int,
        seed: int,
        views_per_image: int = 0,
    ) -> None:
        self.settings, self.seed = settings, seed
        self._rows = Sampler(
            domain, name="round_robin", batch_size=batch_size, seed=seed, views_per_image=views_per_image
        )
        self._ids = np.unique(domain)  # (D,)
        self._log_classes = np.log([max(2, num_classes.get(int(d), 0)) for d in self._ids])
        count = len(self._ids)
        if settings.floor and settings.every < count:
            raise ConfigError(
                f"sampler: with a floor every one of {count} domains has a step in each schedule, and every={settings.every} are "
                f"too few: give {count} or more, or floor=0"
            )
        self._state = _State(
            observed=0,
            begin=0,
            schedule=np.arange(settings.every) % count,
            drawn=np.zeros(count, np.int64),
            loss_sum=np.zeros(count),
            loss_count=np.zeros(count, np.int64),
            initial=np.full(count, np.nan),
            weight=np.full(count, 1 / count),
        )

    @property
    def weights(self) -> Mapping[int, float]:
        """Domain -> its weight in the present schedule; 1/D before the first losses."""
        return dict(zip(self._ids.tolist(), self._state.weight.tolist(), strict=True))

    def draw(self, step: int) -> Draw:
        """Returns the rows and view indices of a step of the present window."""
        place = step - self._state.begin
        assert 0 <= place < self.settings.every, f"step {step} is not in the window of {self._state.begin}"
        pool = int(self._state.schedule[place])
        before = int(self._state.drawn[pool] + (self._state.schedule[:place] == pool).sum())
        return self._rows.batch(pool, before)

    def windows(self, start: int, steps: int) -> Iterator[range]:
        """Yields steps `start` to `steps` - 1 window by window; a new one gets its schedule when it is asked for."""
        while start < steps:
            if start == self._state.begin + self.settings.every:
                self._refresh(start)
            end = min(steps, self._state.begin + self.settings.every)
            yield range(start, end)
            start = end

    def observe(self, domain: np.ndarray, loss: np.ndarray) -> None:
        """Counts the mean loss of the images of a step that have one, (n,), all of one domain; a step without any counts as unseen."""
        state, forgets = self._state, self.settings.clear_every
        if forgets is not None and state.observed % forgets == 0:
            self._clear()
        if len(domain):
            pool = int(np.searchsorted(self._ids, domain[0]))
            state.loss_sum[pool] += float(np.mean(loss, dtype=np.float64))
            state.loss_count[pool] += 1
        state.observed += 1

    def tensors(self) -> dict[str, Tensor]:
        """Returns its state, for a checkpoint."""
        return {name: torch.as_tensor(value) for name, value in asdict(self._state).items()}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Puts the state of `tensors()` back."""
        arrays = {name: tensors[name].numpy().copy() for name in asdict(self._state)}
        counts = {name: int(arrays[name]) for name in ("observed", "begin")}
        self._state = _State(**{**arrays, **counts})  # type: ignore[arg-type]

    def _refresh(self, step: int) -> None:
        state = self._state
        seen = state.loss_count > 0
        mean = np.divide(state.loss_sum, state.loss_count, out=np.zeros_like(state.loss_sum), where=seen)
        state.initial = np.where(np.isnan(state.initial) & seen, mean, state.initial)
        by = {
            "none": np.ones_like(mean),
            "log_classes": self._log_classes,
            "initial": np.maximum(state.initial, TINY),
        }
        loss = np.where(seen, mean, 0) / np.where(seen, by[self.settings.normalise], 1)
        found = new_weights(
            loss, seen, state.weight, floor=self.settings.floor, temperature=self.settings.temperature
        )
        state.weight = np.array(decided(found.tolist))
        state.drawn = state.drawn + np.bincount(state.schedule, minlength=len(state.drawn))
        least = 1 if self.settings.floor else 0
        state.schedule = new_schedule(
            state.weight, length=self.settings.every, seed=self.seed, step=step, least=least
        )
        state.begin = step
        if self.settings.clear_every is None:
            self._clear()

    def _clear(self) -> None:
        self._state.loss_sum = np.zeros_like(self._state.loss_sum)
        self._state.loss_count = np.zeros_like(self._state.loss_count)


def new_weights(
    loss: Doubles, seen: npt.NDArray[np.bool_], old: Doubles, *, floor: float = 0.0, temperature: float = 1.0
) -> Doubles:
    """Returns the weights (D,) of domains, which sum to 1, each at least floor / D.

    Args:
        loss: (D,) mean losses, at least 0; what stands where nothing was seen does not count.
        seen: (D,) whether there were losses.
        old: (D,) the weights before, which unseen domains keep until all are scaled.

    >>> new_weights(np.array([3.0, 1.0, 0.0]), np.array([True, True, False]), np.full(3, 0.25)).round(3).tolist()
    [0.6, 0.2, 0.2]
    """
    even = torch.full((len(old),), 1 / len(old), dtype=torch.float64)
    before, known = torch.from_numpy(old), torch.from_numpy(seen)
    found = by_loss(torch.from_numpy(loss), known, even, temperature=temperature)
    weight = torch.where(known, found, before) if found.any() else before
    return with_floor(weight / weight.sum(), even, floor).numpy()


def new_schedule(weight: Doubles, *, length: int, seed: int, step: int, least: int = 0) -> Ids:
    """Returns the domains (T,) of the coming steps: int(T p_i) times i, the last one for what is left, in an order of (seed, step).

    Args:
        least: steps that every domain has, at the cost of the most frequent ones; `length` is enough for them.
    """
    counts = np.maximum((length * weight).astype(np.int64), least)
    counts[-1] += max(0, length - counts.sum())
    while counts.sum() > length:
        counts[counts.argmax()] -= 1
    return counter_random(seed, SCHEDULES, step, 0).permutation(np.repeat(np.arange(len(weight)), counts))


@dataclass
class _State:
    """All that changes."""

    observed: int  # steps
    begin: int  # first step of the window
    schedule: Ids  # (T,)
    drawn: Ids  # (D,) batches before the window
    loss_sum: Doubles  # (D,) of batch means
    loss_count: Ids  # (D,) of batches
    initial: Doubles  # (D,) mean loss of the first window in which a domain was seen; NaN before
    weight: Doubles  # (D,)
