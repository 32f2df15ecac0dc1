"""FitNets: first a layer inside the student learns to give a layer inside the teacher, then the whole student is distilled. A baseline.

"FitNets: Hints for Thin Deep Nets" (Romero et al. 2015, arXiv 1412.6550). It claims that a hint lets a student that is deeper and thinner
than its teacher be trained at all, and exceed it. Two phases of one run:

    hint    L = 1/2 | u_h - r(v_g) |^2      a mean over cells and channels (eq. 3)
    end     L = L_end                       the hint is gone, and the whole student learns

u_h is the layer of the teacher entry that gives a grid (`output: layer:NAME`), v_g the student's guided layer, r a regressor that is
thrown away. In the first phase what lies above the guided layer gets no gradient and so no step. L_end is what `kd` minimises where the
teacher's end is given as logits, and what `plain` does where it is a summary.

Differences from the paper. r is a 1 x 1 convolution, and the teacher's grid is brought to the student's, where the paper's kernel is as
large as the difference of the two. A guided layer before the last is seen pooled to the student's last grid; since r is affine, that
compares means over cells of r's output on the finer grid. The loss is a mean, where eq. 3 has a sum, so that its size does not depend on
the layer. No label is used: the paper adds cross-entropy, against which the weight of distillation falls from 4 to 1. The optimiser goes
on from one phase to the other. The embedding, which the paper has not, learns from L_end. Batch norms above the guided layer follow their
inputs in the first phase too.

Phases of one run and not stages of a recipe, as in `rkd`: one learning rate over both, and it resumes within and across them.

Gradients stop at the targets.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import Tensor

from alumnus.classes import ClassifierSettings
from alumnus.errors import ConfigError
from alumnus.intermediate import FinalDistillation, StudentLayers, roles_of
from alumnus.models.heads import projector
from alumnus.models.student import Student
from alumnus.objective import Objective, Setup
from alumnus.types import Batch, Target, Targets, Terms

NAME = "fitnets"


class Settings(ClassifierSettings):
    """Settings of `fitnets`."""

    name: Literal["fitnets"] = "fitnets"
    hint: float = Field(0.3, gt=0, lt=1, description="share of the steps for the hint")
    layer: int | None = Field(
        None,
        description="the student's guided layer, 0 the first, -1 the last; by default the middle one, as in the paper",
    )
    temperature: float = Field(4.0, gt=0, description="of both softmaxes, where the teacher's end is logits")

    @property
    def needs_taps(self) -> bool:
        """For the student's layers."""
        return True

    @property
    def learns_from(self) -> frozenset[Literal["teachers", "labels"]]:
        """Teachers."""
        return frozenset({"teachers"})


def build(settings: Settings, setup: Setup) -> Objective:
    """Returns the objective for the teacher's layer and its end.

    Raises:
        ConfigError: there is no grid or more than one, or no such layer.
    """
    roles = roles_of(setup, settings)
    if len(roles.layers) > 1:
        raise ConfigError(
            f"method={NAME} takes one hint, and {', '.join(roles.layers)} give grids; method=attention_transfer takes several layers"
        )
    layers = StudentLayers(setup, method=NAME)
    guided = layers.number((len(layers) - 1) // 2 if settings.layer is None else settings.layer)
    grid = setup.teachers[roles.layers[0]].grid
    assert grid is not None
    final = FinalDistillation(setup, roles.final, temperature=settings.temperature, is_logits=roles.is_logits)
    return FitNets(layers, roles.layers[0], guided, final, hint_dim=grid[1], share=settings.hint)


class FitNets(Objective):
    """The regressor, and the heads of the end."""

    def __init__(
        self,
        layers: StudentLayers,
        teacher: str,
        guided: int,
        final: FinalDistillation,
        *,
        hint_dim: int,
        share: float,
    ) -> None:
        """Args: teacher gives the hint; guided is the number of the student's layer; share is that of the first phase."""
        super().__init__()
        self.layers, self.teacher, self.guided, self.share = layers, teacher, guided, share
        # An affine map of each cell is a 1 x 1 convolution.
        self.regressor = projector(layers.dims[guided], hint_dim, kind="linear")
        self.final = final

    def forward(self, student: Student, batch: Batch, targets: Targets, progress: float) -> Terms:
        """Returns the loss of the phase, over the images on which its teacher is trusted."""
        is_hint = progress < self.share
        target = targets[self.teacher if is_hint else self.final.teacher]
        if is_hint:
            output, layers = self.layers.of(student, batch, inner=self.guided < len(self.layers) - 1)
            layer = layers[self.guided if len(layers) > 1 else -1]
            # Part of the graph even where the teacher is not trusted; while the backbone is frozen, by the head.
            total = 0 * (layer.flatten(1) if layer.requires_grad else output.embedding)[:, 0].sum()
        else:
            output = student(batch.image)
            total = 0 * output.embedding[:, 0].float().sum()
        per_sample = total.detach().float().repeat(len(batch.row))
        if not len(target.places):
            return Terms(total, {}, per_sample)
        distance = self._hint(layer, target) if is_hint else self.final(output, targets)
        per_sample = per_sample.index_add(0, target.places, distance.detach())
        key = "loss/hint" if is_hint else "loss/end"
        return Terms(total + distance.mean(), {key: distance.detach().mean()}, per_sample)

    def _hint(self, layer: Tensor, target: Target) -> Tensor:
        """(n,)."""
        guess: Tensor = self.regressor(layer[target.places]).float()
        wanted = self.layers.as_seen(target, cells=layer.shape[1])
        return (guess - wanted).square().mean((1, 2)) / 2
