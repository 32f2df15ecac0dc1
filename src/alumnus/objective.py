"""What a method is: settings, and an objective that turns a batch and its targets into a loss.

A method is a module: `method=plain` is `alumnus.methods.plain`, `method=mypackage.mymethod` is somebody else's file. It defines

    class Settings(MethodSettings)                       its settings with their defaults
    def build(settings, setup) -> Objective              checks that the setup suits it, and builds the objective
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from alumnus.errors import ConfigError
from alumnus.models.adaptors import Adaptor
from alumnus.models.backbone import Taps
from alumnus.models.student import Student
from alumnus.moments import Moments
from alumnus.types import Batch, Targets, Terms

# Of the log, in float16: the share of the steps whose gradient was beyond it, and the scale.
SKIPPED, LOSS_SCALE = "skipped", "loss_scale"
SHOWN = 3  # names in a message
ALIKE = 1e-3  # relative difference of the losses of one batch in several processes
RESERVED = frozenset({"step", "loss", "lr", "images/s", SKIPPED, LOSS_SCALE})  # what a run itself reports


class MethodSettings(BaseModel):
    """The settings of a method; each method's file extends it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str

    @property
    def needs_moments(self) -> bool:
        """Whether `build` needs the moments of the teachers' features, which takes a pass over them."""
        return False

    def takes_as_logits(self, name: str, output: str) -> bool:
        """Returns whether what a teacher says is taken as logits, which no moments are needed of; as features by default.

        Args:
            output: the teacher's, as the recipe says it.
        """
        return False

    @property
    def needs_taps(self) -> bool:
        """Whether `build` needs to know the student's grid and earlier stages, which takes a forward pass."""
        return False

    @property
    def normalises_summary(self) -> bool:
        """Whether the student's embedding head has to start at the backbone's summary of unit length."""
        return False

    @property
    def embed_hidden(self) -> tuple[int, ...]:
        """Inner widths of the student's embedding head; none is one affine layer."""
        return ()

    @property
    def generalist_name(self) -> str | None:
        """The teacher that a setting calls the generalist; interference is measured relative to it."""
        return None

    @property
    def learns_from(self) -> frozenset[Literal["teachers", "labels"]] | None:
        """What `build` refuses to do without, so that a recipe in stages is checked before its first one; None: it is found out later.

        A method that learns from labels alone takes no teachers.
        """
        return None


@dataclass(frozen=True)
class TeacherWidth:
    """What an objective may know of a teacher."""

    num_features: int  # D of its summary
    weight: float  # share in the loss, relative to the others
    moments: Moments | None = None  # of its summaries, if the method's settings need them
    output: str = "summary"  # what its summary is: as a recipe says it, such as logits
    grid: tuple[int, int] | None = None  # (N, D) of its patches, if it gives them


@dataclass(frozen=True)
class Setup:
    """What an objective is built for."""

    num_features: int  # D of the student's summary
    embed_dim: int  # E of the student's embedding
    teachers: Mapping[str, TeacherWidth]
    num_classes: Mapping[
        str, int
    ]  # domain -> classes that occur in the training data, in the dataset's order
    taps: Taps = field(default_factory=Taps)  # of the student, if the method's settings need them
    has_assistant: bool = False  # whether the student is of two networks
    # 0 where there is no run:
    num_images: int = 0  # of the training data; a batch's `row` is below it
    batch_size: int = 0  # B, of all processes together
    steps: int = 0


class Objective(nn.Module, ABC):
    """A loss and the training-only modules that it needs (projectors, classifiers, queues): saved in checkpoints, not in the student.

    A subclass says in its docstring where gradients stop.

    It is written as for one process. Where several train, batch, targets and what `student(batch.image)` returns are of the global batch in
    each of them (see training/whole.py), so that any mean, contrast or statistic is global; only the images are a process's own. So an
    objective gives the batch's images to the student, once for each view, and otherwise works on what that returns and on modules of its
    own: a part of the student that it called by itself would count several times.
    """

    @property
    def classes(self) -> Mapping[str, int]:
        """The classes that the student shall tell apart, group -> how many; none by default.

        With some, `student(image).logits` are of all of them side by side, and the classifier is a part of the student: it is trained,
        saved and averaged with it.
        """
        return {}

    @abstractmethod
    def forward(self, student: Student, batch: Batch, targets: Targets, progress: float) -> Terms:
        """Returns the terms of one batch, whose tensors are on the student's device; progress is in [0, 1)."""

    def learning_rates(self) -> Mapping[str, float]:
        """Returns the learning rates of modules or parameters of its own, name -> share of `lr`, which rise and fall as that does.

        Those that are not named have 1; of nested names the innermost counts.
        """
        return {}

    def hand_over(self) -> Mapping[str, Adaptor]:
        """Returns adaptors by teacher that are to be kept: from then on they are the student's, which says them as `output.spaces`."""
        return {}

    def finish(self, student: Student) -> None:
        """Changes what was handed over from what was trained to what is served, once, when the student has its last weights."""


def check_objective(objective: object, method: str) -> None:
    """Checks what `build` returned, so that a method of somebody's own is told what is wrong with it.

    Raises:
        ConfigError: it is no `Objective`, or its state is not of tensors alone, which is all that a checkpoint keeps.
    """
    if not isinstance(objective, Objective):
        raise ConfigError(
            f"method={method}: build returned a {type(objective).__name__}; return an instance of a subclass of alumnus.objective.Objective"
        )
    others = [name for name, value in objective.state_dict().items() if not isinstance(value, Tensor)]
    if others:
        raise ConfigError(
            f"method={method}: {', '.join(others)} of its state is no tensor, and a checkpoint keeps tensors alone; register what is to "
            "be remembered as buffers (register_buffer), or give a tensor in get_extra_state"
        )


def parts_of(objective: nn.Module) -> set[str]:
    """Returns the names of its modules and parameters."""
    return {name for name, _ in (*objective.named_modules(), *objective.named_parameters())}


def check_parts(objective: nn.Module, before: Set[str], method: str) -> None:
    """Checks after a step that an objective has the parts that it had before: a checkpoint is put into what `build` makes.

    Args:
        before: the names that `parts_of` gave.

    Raises:
        ConfigError: it has others, with the names of the first.
    """
    others = sorted(before ^ parts_of(objective))
    if others:
        more = f" and {len(others) - SHOWN} more" if len(others) > SHOWN else ""
        raise ConfigError(
            f"method={method}: forward changed which modules and parameters the objective has ({', '.join(others[:SHOWN])}{more}), so that "
            "a stopped run could not be resumed: make them in build, or keep what is made later as a buffer that begins as None "
            "(register_buffer(name, None)); what is only looked at, such as the student, is no attribute of it"
        )


def check_terms(terms: object, method: str, *, num_images: int) -> None:
    """Checks what an objective returned, so that a method of somebody's own is told what is wrong with it.

    Raises:
        ConfigError: it is no `Terms`, its loss is no scalar or of no graph, the rest is no detached tensor of the right shape, or a name of
            its report is one of the run's own.
    """
    if not isinstance(terms, Terms):
        raise ConfigError(
            f"method={method}: forward returned a {type(terms).__name__}; return Terms(loss, report, per_sample)"
        )
    if not isinstance(terms.report, Mapping):
        raise ConfigError(
            f"method={method}: report is a {type(terms.report).__name__}; give a dictionary, name -> detached scalar, {{}} for nothing"
        )
    if taken := sorted(RESERVED & terms.report.keys()):
        raise ConfigError(
            f"method={method}: the report's {', '.join(taken)} would stand in the log for what the run itself says under that name; choose "
            "another, such as loss/NAME for a part of the loss"
        )
    parts = {"the loss": terms.loss, "per_sample": terms.per_sample}
    parts |= {f"report[{name!r}]": value for name, value in terms.report.items()}
    parts |= {} if terms.has_loss is None else {"has_loss": terms.has_loss}
    for name, value in parts.items():
        if not isinstance(value, Tensor):
            raise ConfigError(f"method={method}: {name} is a {type(value).__name__}; give a tensor")
        wanted = (num_images,) if name in ("per_sample", "has_loss") else ()
        if value.shape != wanted:
            what = "of each of the batch's images" if wanted else "a scalar"
            raise ConfigError(
                f"method={method}: {name} has the shape {tuple(value.shape)}; it is {what}, {wanted}"
            )
        if name != "the loss" and value.requires_grad:
            raise ConfigError(f"method={method}: {name} has a gradient; detach it")
    if not terms.loss.requires_grad:
        raise ConfigError(
            f"method={method}: the loss is part of no graph; it has to depend on the student also where there is nothing to learn from a "
            "batch: 0 * output.embedding.sum()"
        )
    if terms.has_loss is not None and terms.has_loss.dtype != torch.bool:
        raise ConfigError(
            f"method={method}: has_loss is of {terms.has_loss.dtype}; it says which images have one, as bool"
        )


def check_losses(losses: Sequence[float], method: str) -> None:
    """Checks that processes which have the same batch have the same loss of it.

    Raises:
        ConfigError: with the two that are farthest apart.
    """
    least, most = min(losses), max(losses)
    if most - least > ALIKE * max(abs(least), abs(most)):
        raise ConfigError(
            f"method={method}: the loss of one step is {least:.6g} in one process and {most:.6g} in another, and has to be the same in "
            "all: batch.image is a process's share, all else is of the whole batch. Take the number of images from batch.row, draw random "
            "numbers for the whole batch (torch.rand(len(batch.row))[batch.own] is of this process's images), and give batch.image to the "
            "student and to nothing else; alumnus.contract.check_method tries it without a second process"
        )


@contextmanager
def unchanged(batch: Batch, targets: Targets, method: str) -> Iterator[None]:
    """Checks that the block, in which an objective works, leaves the batch and what teachers said as they are: other students get them too.

    Raises:
        ConfigError: it does not.
    """
    said = {f"what teacher {name} said": (*each.features, each.places) for name, each in targets.items()}
    given = [(f"the batch's {name}", each) for name, each in batch._asdict().items()]
    given += [(what, each) for what, parts in said.items() for each in parts]
    # Of inference tensors torch counts no versions: it lets nobody change them.
    counted = [(what, each) for what, each in given if isinstance(each, Tensor) and not each.is_inference()]
    before = [each._version for _, each in counted]
    yield
    changed = [
        what for (what, each), version in zip(counted, before, strict=True) if each._version != version
    ]
    if changed:
        raise ConfigError(f"method={method}: changes {changed[0]} in place; work on a copy (clone)")
