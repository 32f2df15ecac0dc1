"""Layers inside teachers and student, for methods that compare these, and what the student learns from its teacher's end beside them.

A teacher's inner layer is an entry of the recipe, `{model: timm/resnet50, name: middle, output: "layer:layer2"}`, which gives a grid.
The student's layers are its stages, first to last: blocks of a vision transformer, what narrows the grid of other networks. All but the
last are seen pooled to the grid of the last, as an objective is given them.

Axes: B images, n of them that a teacher speaks about, N cells of the student's last grid, D width of a layer, E of the embedding.
"""

from __future__ import annotations

from math import isqrt
from typing import NamedTuple

import torch
from torch import Tensor, nn

from alumnus.classes import ClassifierSettings, refuse_weights
from alumnus.errors import ConfigError
from alumnus.losses import feature_distance, softened_kl
from alumnus.models.adaptors import check_square, to_grid
from alumnus.models.heads import projector
from alumnus.models.student import Student, StudentOutput
from alumnus.objective import Setup
from alumnus.teachers.normalize import Standardise
from alumnus.types import Batch, Grid, Target, Targets

LAYER = "layer:"  # how the output of an entry begins that is no network's end


class Roles(NamedTuple):
    """Which of a run's teachers says what."""

    layers: tuple[str, ...]  # those that give a grid, in their order
    final: str  # the one whose summary or logits the student learns at its end
    is_logits: bool  # which of the two


def roles_of(setup: Setup, settings: ClassifierSettings) -> Roles:
    """Returns the teachers of layers, and the one of the end: that without a grid, or the last of the others.

    Raises:
        ConfigError: there is no layer, no end, or more than one end; a layer is no square grid; a weight is given; or one
            that is no end is said to give logits.
    """
    method = settings.name
    layers = tuple(name for name, teacher in setup.teachers.items() if teacher.grid is not None)
    ends = [name for name in setup.teachers if name not in layers]
    if not layers:
        raise ConfigError(
            f"method={method} compares grids of layers, and no teacher gives one; set output=layer:NAME or patches on one"
        )
    if len(ends) > 1:
        raise ConfigError(
            f"method={method} learns from layers of one teacher and from its end; {', '.join(ends)} give no grid, and one of them may be "
            "the end"
        )
    last = layers[-1]
    if not ends and setup.teachers[last].output.startswith(LAYER):
        raise ConfigError(
            f"method={method} needs the teacher's end too, and {last} is a layer inside; give the same model once more, under another "
            "name, with output=logits or output=summary"
        )
    final = ends[0] if ends else last
    for name in settings.logits:
        if name != final:
            raise ConfigError(f"method.logits names {name!r}, and only the end, {final!r}, may give logits")
    for name in layers:
        check_square(name, setup.teachers[name].grid)
    refuse_weights(
        setup, setup.teachers, because=f"the terms of method={method} are weighed by its own settings"
    )
    return Roles(layers, final, settings.takes_as_logits(final, setup.teachers[final].output))


class StudentLayers:
    """The student's layers by number: 0 is the first stage, -1 the last grid."""

    def __init__(self, setup: Setup, *, method: str) -> None:
        """Finds out how many there are.

        Raises:
            ConfigError: the student ends in no grid.
        """
        if setup.taps.grid is None:
            raise ConfigError(
                f"method={method} compares grids of layers, and the student ends in none; take another network"
            )
        self.grid: Grid = setup.taps.grid
        self.method = method
        self.dims = (*(setup.taps.stage_dims or ()), self.grid.dim)  # D of each
        # Of each before it is pooled to the last grid.
        self.cells = (*setup.taps.stage_cells, self.grid.height * self.grid.width)

    def __len__(self) -> int:
        """Returns how many there are."""
        return len(self.dims)

    def number(self, layer: int) -> int:
        """Returns a layer's number from 0 on.

        Raises:
            ConfigError: there is none.
        """
        if not -len(self) <= layer < len(self):
            raise ConfigError(
                f"method={self.method}: the student has {len(self)} layers, of {', '.join(map(str, self.dims))} channels: "
                f"0 to {len(self) - 1}, or -1 for the last; got {layer}"
            )
        return layer % len(self)

    def of(self, student: Student, batch: Batch, *, inner: bool) -> tuple[StudentOutput, tuple[Tensor, ...]]:
        """Returns what the student says, and its layers, each (B, N, D); those before the last only if `inner`."""
        output = student(batch.image, patches=True, stages=inner)
        assert output.features.patches is not None
        return output, (*output.stages, output.features.patches)

    @staticmethod
    def as_seen(target: Target, *, cells: int) -> Tensor:
        """Returns a teacher's layer (n, N, D) on the square grid of N cells that the student has at this step's size."""
        assert target.features.patches is not None
        side = isqrt(cells)
        return to_grid(target.features.patches.detach().float(), height=side, width=side)


class FinalDistillation(nn.Module):
    """What the student learns from its teacher's end: of logits what `kd` minimises, of a summary what `plain` does.

    The heads are for training alone; gradients stop at the targets.
    """

    def __init__(self, setup: Setup, teacher: str, *, temperature: float, is_logits: bool) -> None:
        super().__init__()
        width = setup.teachers[teacher].num_features
        self.teacher, self.temperature, self.is_logits = teacher, temperature, is_logits
        self.embedding_head = (
            nn.Linear(setup.embed_dim, width)
            if self.is_logits
            else projector(setup.embed_dim, width, kind="linear")
        )
        self.head = nn.Linear(setup.num_features, width) if self.is_logits else None
        self.normaliser = None if self.is_logits else Standardise(width)

    def forward(self, output: StudentOutput, targets: Targets) -> Tensor:
        """Returns the distance (n,) for the images on which the teacher is trusted; n may be 0."""
        places, said = targets[self.teacher].places, targets[self.teacher].features.summary.detach().float()
        embedding = output.embedding[places].float() * output.embedding.shape[-1] ** 0.5
        guess: Tensor = self.embedding_head(embedding).float()
        if self.normaliser is not None:
            return feature_distance(guess, self._standardised(said))
        assert self.head is not None
        guesses = (self.head(output.features.summary[places]).float(), guess)
        first, second = (softened_kl(each, said, temperature=self.temperature) for each in guesses)
        return (first + second) / 2

    @torch.no_grad()
    def _standardised(self, said: Tensor) -> Tensor:
        assert self.normaliser is not None
        if self.training and len(said):
            self.normaliser.update(said)
        wanted: Tensor = self.normaliser(said)
        return wanted
