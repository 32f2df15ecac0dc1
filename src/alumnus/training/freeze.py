"""Freezing: parts of a student that training leaves as they are, to the bit.

A frozen parameter gets no gradient, so neither a step nor weight decay moves it. A module whose parameters are all frozen is in
eval mode too: its batch norms keep their statistics and its dropout and drop path are off.

The backbone may also be frozen for the first part of a run only, while the heads find their place (`optim.frozen`). And its batch norms
may keep the statistics of the first weights throughout (`optim.batch_norm=frozen`, as detectors are fine-tuned: He et al. 2016, arXiv
1512.03385, appendix A), so that what those weights knew is not lost to the statistics of other images.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from fnmatch import fnmatchcase

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from alumnus.errors import ConfigError
from alumnus.models.student import Student
from alumnus.training.optim import BatchNormMode

SHOWN = 3  # near names in a message


def freeze(student: nn.Module, patterns: Sequence[str]) -> None:
    """Freezes the parameters that a pattern matches.

    Args:
        patterns: of parameter names as in `named_parameters`, with `*`, `?` and `[…]`; a module's name stands for all within it.

    Raises:
        ConfigError: a pattern matches nothing, or nothing is left to train.
    """
    names = [name for name, _ in student.named_parameters()]
    frozen = set[str]()
    for pattern in patterns:
        found = [name for name in names if _is_meant(name, pattern)]
        if not found:
            raise ConfigError(
                f"freeze: {pattern!r} matches no parameter of the student; near are {', '.join(_near(pattern, names))}"
            )
        frozen.update(found)
    if patterns and len(frozen) == len(names):
        raise ConfigError(
            f"freeze={list(patterns)} freezes all {len(names)} parameters of the student; leave some to train, such as embed"
        )
    for name, parameter in student.named_parameters():
        if name in frozen:
            parameter.requires_grad_(False)


def set_training(student: Student, *, batch_norm: BatchNormMode = "train") -> None:
    """Sets a student to training, and what is frozen of it to eval mode.

    Args:
        batch_norm: `frozen` keeps its networks' batch norms in eval mode; their weights learn all the same.
    """
    student.train()
    for module in student.modules():
        parameters = list(module.parameters())
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            module.eval()
    if batch_norm == "frozen":
        for network in student.networks:
            for module in network.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()


def has_batch_norm(student: Student) -> bool:
    """Returns whether a student's networks have a batch norm."""
    return any(isinstance(module, _BatchNorm) for network in student.networks for module in network.modules())


class FrozenStart:
    """Holds the backbone as it is for the first part of a run; what is frozen anyway stays so.

    Args:
        share: of the run's steps, in [0, 1].
        batch_norm: see `set_training`.
    """

    def __init__(self, student: Student, *, share: float, batch_norm: BatchNormMode = "train") -> None:
        self._student, self._share, self._batch_norm = student, share, batch_norm
        self._parameters = [
            p for network in student.networks for p in network.parameters() if p.requires_grad
        ]
        self._holds = False

    def apply(self, progress: float) -> None:
        """Freezes or thaws the backbone for a step, if it is not as it has to be; progress is in [0, 1)."""
        holds = progress < self._share
        if holds == self._holds:
            return
        self._holds = holds
        for parameter in self._parameters:
            parameter.requires_grad_(not holds)
        set_training(self._student, batch_norm=self._batch_norm)


def _is_meant(name: str, pattern: str) -> bool:
    return fnmatchcase(name, pattern) or name.startswith(f"{pattern}.")


def _near(pattern: str, names: Sequence[str]) -> list[str]:
    """The parameters and modules whose names are most like a pattern; the first parameters if none is."""
    parts = [name.split(".") for name in names]
    known = dict.fromkeys(".".join(part[:depth]) for part in parts for depth in range(1, len(part) + 1))
    word = pattern.replace("*", "").rstrip(".")
    return difflib.get_close_matches(word, list(known), n=SHOWN) or list(names[:SHOWN])
