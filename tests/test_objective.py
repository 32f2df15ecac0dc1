"""What a method of somebody's own may return."""

from __future__ import annotations

import pytest
import torch

from alumnus.errors import ConfigError
from alumnus.models.student import Student
from alumnus.objective import Objective, check_objective, check_terms
from alumnus.types import Batch, Targets, Terms

WEIGHT = torch.ones(3, requires_grad=True)
RIGHT = Terms(WEIGHT.sum(), {"loss/x": torch.tensor(1.0)}, torch.zeros(3), torch.ones(3, dtype=torch.bool))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (WEIGHT.sum(), r"method=mine\.seed: forward returned a Tensor; return Terms"),
        (RIGHT._replace(loss=2 * WEIGHT), r"the loss has the shape \(3,\); it is a scalar"),
        (RIGHT._replace(loss=1.0), "the loss is a float; give a tensor"),  # type: ignore[arg-type]
        (RIGHT._replace(loss=torch.tensor(1.0)), "the loss is part of no graph"),
        (RIGHT._replace(per_sample=torch.zeros(2)), r"per_sample has the shape \(2,\).*images, \(3,\)"),
        (RIGHT._replace(per_sample=None), "per_sample is a NoneType"),  # type: ignore[arg-type]
        (RIGHT._replace(per_sample=2 * WEIGHT), "per_sample has a gradient; detach it"),
        (RIGHT._replace(has_loss=torch.ones(2)), r"has_loss has the shape \(2,\)"),
        (RIGHT._replace(has_loss=torch.ones(3)), r"has_loss is of torch\.float32.*as bool"),
        (RIGHT._replace(report={"loss/x": 1.0}), r"report\['loss/x'\] is a float; give a tensor"),  # type: ignore[dict-item]
        (RIGHT._replace(report=None), "report is a NoneType; give a dictionary"),  # type: ignore[arg-type]
        (RIGHT._replace(report=[torch.ones(())]), "report is a list"),  # type: ignore[arg-type]
        (
            RIGHT._replace(report={"step": torch.ones(())}),
            r"the report's step would stand in the log.*loss/NAME",
        ),
        (RIGHT._replace(report={"x": torch.ones(2)}), r"report\['x'\] has the shape \(2,\); it is a scalar"),
    ],
)
def test_what_is_wrong_with_an_objectives_terms_is_said(wrong: object, words: str) -> None:
    """With the method's name and what to return instead."""
    check_terms(RIGHT, "mine.seed", num_images=3)
    with pytest.raises(ConfigError, match=words):
        check_terms(wrong, "mine.seed", num_images=3)


class Remembers(Objective):
    """Something beside tensors."""

    def get_extra_state(self) -> object:
        """A dictionary."""
        return {"seen": 3}

    def forward(self, student: Student, batch: Batch, targets: Targets, progress: float) -> Terms:
        """Nothing."""
        raise NotImplementedError


def test_what_build_returns_is_checked() -> None:
    """A forgotten return, and a state that a checkpoint cannot keep."""
    with pytest.raises(ConfigError, match=r"method=mine: build returned a NoneType; return an instance"):
        check_objective(None, "mine")
    with pytest.raises(
        ConfigError, match=r"method=mine: _extra_state of its state is no tensor.*register_buffer"
    ):
        check_objective(Remembers(), "mine")
