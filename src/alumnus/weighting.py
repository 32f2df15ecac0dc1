"""How much each teacher counts: one controller for all methods that learn from several.

The loss is `sum_k w_k l_k`, of each term k (a teacher, or a teacher's patches) its share in the recipe times

- `constant`: 1.
- `initial`, `running`: 1 / the term's loss when it was first seen, or its running mean: terms of different scale then pull alike, and what
  counts is how far each has come.
- `dynamic`: as the running mean of the term's loss over its first one, so that terms that have come least far count most: the law of UDON's
  sampler (alumnus.control), for terms instead of domains. Together they have what the shares of the terms seen so far add up to. Ours.
- `angle`: 1 / Disp^2, the mean squared angle between a teacher's summaries and their mean direction, so that a teacher whose vectors all
  lie in a narrow cone is not drowned by one whose vectors spread: the balance of C-RADIOv4's summary loss (Ranzinger et al. 2026, arXiv
  2601.17237), which has the squared angle for l_k. Difference: the statistics are cumulative, so those of the first batches,
  whose mean direction was still rough, fade; and the dispersion counts as 1e-4 rad^2 at least. A teacher's patches are not balanced.
- `uncertainty`: exp(-s_k), with s_k learnt and added to the loss: homoscedastic uncertainty (Kendall, Gal, Cipolla 2018, arXiv 1705.07115,
  eq. 7 with s = log sigma^2). Difference: twice theirs, so that it begins as `constant`.

Gradients stop at the weights; only `uncertainty` learns, its s_k. All state is in buffers and parameters, so it is in the checkpoint.

Axes: n images, D width of a teacher's summary, K terms.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, get_args

import torch
from pydantic import BeforeValidator, Discriminator, Field, Tag
from torch import Tensor, nn
from torch.nn import functional

from alumnus.control import ControlSettings, by_loss, with_floor
from alumnus.errors import nearest
from alumnus.types import Targets

WeightingKind = Literal["constant", "initial", "running", "angle", "uncertainty"]
MOMENTUM = 0.01  # of the running mean: about the last hundred steps
SPREAD = 16  # images from which on `angle` goes by the dispersion
SMALLEST = 1e-8  # of a loss that is divided by; rounding is below it
# Of a dispersion, rad^2: 0.6 degrees, below that of any network's vectors. A teacher that says the same of every image has rounding alone,
# and one over that would be a weight beside which no other teacher counts.
NARROWEST = 1e-4


class WeightingSettings(ControlSettings):
    """Those of `dynamic`, the one kind that has any."""

    name: Literal["dynamic"] = "dynamic"
    normalise: Literal["initial", "none"] = Field(
        "initial", description="what a term's running loss is divided by: its first one, or nothing"
    )


def _named(value: object) -> object:
    """`dynamic` or `{name: dynamic, …}` -> what its settings are made of; the others have none, and stay a name."""
    if isinstance(value, WeightingSettings):
        return value
    names = (*get_args(WeightingKind), "dynamic")
    given = value if isinstance(value, Mapping) else {"name": value}
    name = given.get("name", "dynamic")
    if name not in names:
        raise ValueError(
            f"{name!r} is none{nearest(str(name), names)}; there are {', '.join(map(repr, names))}"
        )
    if name != "dynamic" and len(given) > 1:
        raise ValueError(f"{name} has no settings; only dynamic has")
    return given if name == "dynamic" else name


def _tag(value: object) -> str:
    return "name" if isinstance(value, str) else "dynamic"


AnyWeighting = Annotated[
    Annotated[WeightingKind, Tag("name")] | Annotated[WeightingSettings, Tag("dynamic")],
    Discriminator(_tag),
    BeforeValidator(_named, json_schema_input_type=WeightingKind | Literal["dynamic"] | WeightingSettings),
]


class Weighting(nn.Module):
    """Turns the mean losses of the terms of a batch into one loss."""

    shares: Tensor
    level: Tensor
    first: Tensor
    seen: Tensor

    def __init__(
        self,
        kind: WeightingKind | WeightingSettings,
        shares: Mapping[str, float],
        *,
        dims: Mapping[str, int] | None = None,
    ) -> None:
        """Builds it with nothing seen.

        Args:
            kind: a name, or the settings of `dynamic`.
            shares: term -> its share, positive, as the recipe has it; they are divided by their sum.
            dims: term -> D, of those whose directions are balanced by `angle`.
        """
        super().__init__()
        self.control = kind if isinstance(kind, WeightingSettings) else None
        self.kind = kind.name if isinstance(kind, WeightingSettings) else kind
        self._place = {name: place for place, name in enumerate(shares)}
        values = torch.tensor(list(shares.values()), dtype=torch.float64)
        self.register_buffer("shares", values / values.sum(), persistent=False)
        self.register_buffer("level", torch.zeros(len(values), dtype=torch.float64))  # what is divided by
        if self.control is not None:
            self.register_buffer("first", torch.zeros(len(values), dtype=torch.float64))
        self.register_buffer(
            "seen", torch.zeros(len(values), dtype=torch.float64)
        )  # batches; `angle`: images
        for name, dim in (dims or {}).items() if kind == "angle" else ():  # of unit vectors
            self.register_buffer(f"sum_{self._place[name]}", torch.zeros(dim, dtype=torch.float64))
        self.log_variance = nn.Parameter(torch.zeros(len(values))) if kind == "uncertainty" else None

    def forward(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Returns the weighted sum of scalar losses, by term; those of silent teachers are left out."""
        weights = self.weights(losses)
        return _total([weights[name] * loss for name, loss in losses.items()]) + self.regulariser(losses)

    def weights(self, losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Returns the weight, a scalar, of each term; in training the losses are taken into the statistics first."""
        if self.training and self.kind in ("initial", "running", "dynamic"):
            for name, loss in losses.items():
                self._note(self._place[name], loss.detach().double())
        found = self._weights()
        return {name: found[self._place[name]].to(loss.dtype) for name, loss in losses.items()}

    def report(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Returns weights that `weights` gave as `weight/NAME` for the log; of `constant`, whose never move, nothing."""
        moving = weights if self.kind != "constant" else {}
        return {f"weight/{name}": weight.detach() for name, weight in moving.items()}

    def regulariser(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Returns what is added to the weighted sum of these terms, a scalar."""
        if self.log_variance is None:
            return torch.zeros((), device=self.shares.device)
        return _total(
            [self.shares[p].float() * self.log_variance[p] for p in (self._place[n] for n in losses)]
        )

    @torch.no_grad()
    def observe(self, name: str, summary: Tensor) -> None:
        """Takes a teacher's summaries (n, D), as they are compared, into the statistics; only `angle` in training needs them."""
        if self.kind != "angle" or not self.training or len(summary) == 0:
            return
        place = self._place[name]
        unit, total = functional.normalize(summary.double(), dim=-1), self.get_buffer(f"sum_{place}")
        total += unit.sum(dim=0)
        cosine = unit @ functional.normalize(total, dim=0)
        self.seen[place] += len(unit)
        self.level[place] += (cosine.clamp(-1, 1).acos().square() - self.level[place]).sum() / self.seen[
            place
        ]

    def _note(self, place: int, loss: Tensor) -> None:
        self.seen[place] += 1
        step = 1 / self.seen[place]
        if self.control is not None:
            self.first[place] = torch.where(step == 1, loss, self.first[place])
        step = (step == 1).double() if self.kind == "initial" else step.clamp(min=MOMENTUM)
        self.level[place] += step * (loss - self.level[place])

    def _weights(self) -> Tensor:
        """(K,) float64."""
        if self.log_variance is not None:
            return self.shares * torch.exp(-self.log_variance.double())
        if self.control is not None:
            return self._controlled(self.control)
        # The first image is its own mean direction, which says nothing of how far others spread.
        enough = self.seen >= (SPREAD if self.kind == "angle" else 1)
        least = NARROWEST if self.kind == "angle" else SMALLEST
        return torch.where(enough, self.shares / self.level.clamp(min=least), self.shares)

    def _controlled(self, control: WeightingSettings) -> Tensor:
        seen = self.seen >= 1
        loss = self.level / self.first.clamp(min=SMALLEST) if control.normalise == "initial" else self.level
        weight = by_loss(loss, seen, self.shares, temperature=control.temperature)
        held = (self.shares * seen).sum()  # by the terms that were seen, which divide it anew
        return torch.where(
            seen & (weight.sum() > 0), with_floor(held * weight, self.shares, control.floor), self.shares
        )


@torch.no_grad()
def over_speakers(weighted: Tensor, targets: Targets, shares: Mapping[str, float]) -> Tensor:
    """Returns each image's loss (B,) relative to the shares of the teachers that speak about it.

    So an image does not look harder to the dynamic sampler because more teachers say something about it.

    Args:
        weighted: (B,), the sum over teachers of share times loss; 0 where none speaks.
        shares: teacher -> its share, 1 in all.
    """
    spoken = torch.zeros_like(weighted)
    for name, target in targets.items():
        spoken[target.places] += shares[name]
    return torch.where(spoken > 0, weighted / spoken, weighted)


def keep_hardest(losses: Tensor, speaks: Tensor, draw: Tensor, *, drop: float) -> Tensor:
    """Returns coefficients (B, T), 1 or 0: each image keeps the teacher with its largest loss, and drops each other with a probability.

    Teacher dropping of UNIC (Sariyildiz et al. 2024, arXiv 2408.05088), which then divides by the sum of all coefficients of the batch.

    Args:
        losses: (B, T) of images and teachers.
        speaks: (B, T) bool, where the teacher speaks about the image; elsewhere the coefficient is 0.
        draw: (B, T), uniform in [0, 1).
        drop: the probability.
    """
    hardest = losses.masked_fill(~speaks, -torch.inf).argmax(dim=1, keepdim=True)
    kept = (draw >= drop).scatter(1, hardest, True)
    return (kept & speaks).to(losses.dtype)


def _total(parts: list[Tensor]) -> Tensor:
    return torch.stack(parts).sum()
