"""Attention transfer: layers of the student look where layers of the teacher look. A baseline.

"Paying More Attention to Attention" (Zagoruyko and Komodakis 2017, arXiv 1612.03928), activation-based:

    L = L_end + beta sum_j (1 / N_j) | Q_S / |Q_S| - Q_T / |Q_T| |^2        Q: sum over channels of squared activations

Every teacher entry that gives a grid (`output: layer:NAME`, or `patches`) is a layer j, compared with one layer of the student. beta is
1000 and the squared distance is divided by N_j, the number of cells of the coarser of the two layers, as in the authors' code; eq. 2 writes
beta / 2 and the distance itself. Widths may differ, so there is nothing to project.

L_end is what `kd` minimises where the teacher's end is given as logits (the paper's AT + KD), and what `plain` does where it is a
summary.

Differences from the paper: no label is used, where the paper has cross-entropy; the embedding, which the paper has not, learns from
L_end. Layers of the student before the last are seen pooled to its last grid before they are squared, and the teacher's are brought to
that grid too, so maps are coarse where the last grid is. N_j stays that of the layers as they are, at the size of the recipe: pooling
hardly shrinks a distance of maps of unit length, so that dividing by the few cells that are left would drown L_end.

Gradients stop at the targets.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import Tensor

from alumnus.classes import ClassifierSettings
from alumnus.errors import ConfigError, nearest
from alumnus.intermediate import FinalDistillation, StudentLayers, roles_of
from alumnus.losses import attention_distance
from alumnus.models.student import Student
from alumnus.objective import Objective, Setup, TeacherWidth
from alumnus.types import Batch, Target, Targets, Terms

NAME = "attention_transfer"


class Settings(ClassifierSettings):
    """Settings of `attention_transfer`."""

    name: Literal["attention_transfer"] = "attention_transfer"
    beta: float = Field(
        1000.0,
        gt=0,
        description="weight of the maps, whose squared distance is divided by the cells of a layer; 1000 as in the authors' code",
    )
    temperature: float = Field(
        4.0, gt=0, description="of both softmaxes, where the teacher's end is logits; 4 as in the paper"
    )
    layers: dict[str, int] = Field(
        default_factory=dict,
        description="teacher entry -> the student's layer to compare it with, 0 the first, -1 the last; by default the last ones in order",
    )

    @property
    def needs_taps(self) -> bool:
        """For the student's layers."""
        return True

    @property
    def learns_from(self) -> frozenset[Literal["teachers", "labels"]]:
        """Teachers."""
        return frozenset({"teachers"})


def build(settings: Settings, setup: Setup) -> Objective:
    """Returns the objective for the layers that the teachers give.

    Raises:
        ConfigError: there is no grid, a grid of one cell, or no such layer.
    """
    roles = roles_of(setup, settings)
    layers = StudentLayers(setup, method=NAME)
    if layers.grid.height * layers.grid.width == 1:
        raise ConfigError(
            f"method={NAME} compares where networks look, and the student's last grid is a single cell; give a larger size="
        )
    for name in settings.layers:
        if name not in roles.layers:
            raise ConfigError(
                f"method.layers names {name!r}, which is no teacher with a grid{nearest(name, roles.layers)}; "
                f"there are {', '.join(roles.layers)}"
            )
    count = len(roles.layers)
    if count > len(layers) and set(settings.layers) != set(roles.layers):
        raise ConfigError(
            f"method={NAME}: {count} layers of teachers and {len(layers)} of the student; say which are compared, such as "
            f"method.layers.{roles.layers[0]}=0"
        )
    pairs = {
        name: layers.number(settings.layers.get(name, place - count))
        for place, name in enumerate(roles.layers)
    }
    final = FinalDistillation(setup, roles.final, temperature=settings.temperature, is_logits=roles.is_logits)
    factors = {
        name: settings.beta / min(layers.cells[number], _cells(setup.teachers[name]))
        for name, number in pairs.items()
    }
    return AttentionTransfer(layers, pairs, final, factors=factors)


def _cells(teacher: TeacherWidth) -> int:
    assert teacher.grid is not None
    return teacher.grid[0]


class AttentionTransfer(Objective):
    """Maps of pairs of layers, which need no module, and the heads of the end."""

    def __init__(
        self,
        layers: StudentLayers,
        pairs: dict[str, int],
        final: FinalDistillation,
        *,
        factors: dict[str, float],
    ) -> None:
        """Args: pairs is teacher -> number of the student's layer, factors is teacher -> beta / N_j."""
        super().__init__()
        self.layers, self.pairs, self.factors = layers, pairs, factors
        self.final = final
        self.has_inner = any(number < len(layers) - 1 for number in pairs.values())

    def forward(self, student: Student, batch: Batch, targets: Targets, progress: float) -> Terms:
        """Returns the end's mean distance plus each pair's, by its factor, over the images on which their teachers are trusted."""
        output, layers = self.layers.of(student, batch, inner=self.has_inner)
        total = 0 * output.embedding[:, 0].float().sum()  # part of the graph even where no teacher is trusted
        per_sample = total.detach().float().repeat(len(batch.row))
        report: dict[str, Tensor] = {}
        for name, number in self.pairs.items():
            places = targets[name].places
            if len(places):
                layer = layers[number if self.has_inner else -1]
                distance = self.factors[name] * self._distance(layer, targets[name])
                total = total + distance.mean()
                per_sample = per_sample.index_add(0, places, distance.detach())
                report[f"loss/attention/{name}"] = distance.detach().mean()
        end = self.final(output, targets)
        if len(end):
            total = total + end.mean()
            per_sample = per_sample.index_add(0, targets[self.final.teacher].places, end.detach())
            report["loss/end"] = end.detach().mean()
        return Terms(total, report, per_sample)

    def _distance(self, layer: Tensor, target: Target) -> Tensor:
        """(n,) squared distance of maps."""
        return attention_distance(layer[target.places], self.layers.as_seen(target, cells=layer.shape[1]))
