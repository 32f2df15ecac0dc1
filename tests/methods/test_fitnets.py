"""`fitnets`: a hint first, then the end; who learns in which phase."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from alumnus.errors import ConfigError
from alumnus.methods.fitnets import FitNets, Settings, build
from alumnus.models.student import Student
from alumnus.objective import TeacherWidth
from tests.methods.examples import make_batch, make_setup, make_student, make_targets

TEACHERS = {
    "hint": TeacherWidth(3, 1.0, output="layer:a", grid=(16, 3)),  # 4 x 4, the student's is 2 x 2
    "end": TeacherWidth(6, 1.0, output="logits"),
}
SIZE = 64
HINT, END = 0.29, 0.3  # progress on either side of the default's end


def _objective(student: Student, teachers: dict[str, TeacherWidth] = TEACHERS, **settings: Any) -> FitNets:
    torch.manual_seed(1)
    objective = build(Settings(**settings), make_setup(teachers, student))
    assert isinstance(objective, FitNets)
    return objective.eval()


@pytest.mark.parametrize("layer", [None, 0, -1])
def test_the_first_phase_is_the_squared_distance_of_a_1x1_convolution(layer: int | None) -> None:
    """Of the middle layer by default; half the mean over cells and channels, the teacher's grid averaged to the student's."""
    student, batch, targets = make_student(size=SIZE), make_batch(size=SIZE), make_targets(TEACHERS)
    objective = _objective(student, layer=layer)
    output = student(batch.image, patches=True, stages=True)
    every = (*output.stages, output.features.patches)
    guided = every[len(output.stages) // 2 if layer is None else layer]
    assert isinstance(objective.regressor, nn.Linear)
    weight, bias = objective.regressor.weight[:, :, None, None], objective.regressor.bias
    grid = guided.transpose(1, 2).reshape(6, -1, 2, 2)
    said = targets["hint"].features.patches
    assert said is not None
    wanted = functional.avg_pool2d(said.transpose(1, 2).reshape(6, 3, 4, 4), 2)
    loss = (functional.conv2d(grid, weight, bias) - wanted).pow(2).mean() / 2
    found = objective(student, batch, targets, HINT)
    assert found.loss.item() == pytest.approx(loss.item(), rel=1e-5)
    assert set(found.report) == {"loss/hint"}
    assert found.per_sample.mean().item() == pytest.approx(loss.item(), rel=1e-5)


def test_a_frozen_backbone_and_no_trusted_image_learn_nothing() -> None:
    """Nothing of the layer has a gradient then; the step is taken all the same."""
    student = make_student(size=SIZE)
    student.backbone.requires_grad_(False)
    nowhere = make_targets(TEACHERS, {"hint": (), "end": ()})
    terms = _objective(student)(student, make_batch(size=SIZE), nowhere, HINT)
    terms.loss.backward()
    assert terms.loss.item() == 0


def test_the_second_phase_is_the_end_alone() -> None:
    """What `FinalDistillation` says, over the images on which that teacher is trusted."""
    student, batch = make_student(size=SIZE), make_batch(size=SIZE)
    objective, targets = _objective(student), make_targets(TEACHERS, {"hint": (0, 1), "end": (3, 4)})
    found = objective(student, batch, targets, END)
    wanted = objective.final(student(batch.image), targets)
    assert found.loss.item() == pytest.approx(wanted.mean().item(), rel=1e-5)
    assert found.per_sample.nonzero().flatten().tolist() == [3, 4]
    assert objective(student, batch, targets, HINT).per_sample.nonzero().flatten().tolist() == [0, 1]


def test_layers_above_the_guided_one_do_not_learn_from_the_hint() -> None:
    """Nor does the embedding; the teacher never does. In the second phase all of the student learns, and the regressor does not."""
    student, batch = make_student(size=SIZE), make_batch(size=SIZE)
    objective = _objective(student)
    learned = {}
    for progress in (HINT, END):
        targets = make_targets(TEACHERS)
        said = [tensor for target in targets.values() for tensor in target.features if tensor is not None]
        for tensor in said:
            tensor.requires_grad_(True)
        student.zero_grad(set_to_none=True)
        objective.zero_grad(set_to_none=True)
        objective(student, batch, targets, progress).loss.backward()
        assert all(tensor.grad is None for tensor in said)
        modules = {"student": student, "objective": objective}
        learned[progress] = {
            f"{name}.{key}"
            for name, module in modules.items()
            for key, parameter in module.named_parameters()
            if parameter.grad is not None
        }
    backbone = {f"student.backbone.{key}" for key, _ in student.backbone.named_parameters()}
    assert any(key.startswith("student.backbone.layer1") for key in learned[HINT])
    assert not any(key.startswith(("student.backbone.layer4", "student.embed")) for key in learned[HINT])
    assert {"objective.regressor.weight", "student.backbone.conv1.0.weight"} & learned[HINT]
    assert backbone <= learned[END]
    assert not any(key.startswith("objective.regressor") for key in learned[END])


def test_a_batch_without_a_trusted_teacher_costs_nothing() -> None:
    """In either phase."""
    student, batch = make_student(size=SIZE), make_batch(size=SIZE)
    targets = make_targets(TEACHERS, {"hint": (), "end": ()})
    for progress in (HINT, END):
        found = _objective(student)(student, batch, targets, progress)
        assert found.loss.item() == 0
        found.loss.backward()


def test_unsuitable_recipes_are_refused() -> None:
    """Two hints, and a layer that the student has not."""
    student = make_student(size=SIZE)
    with pytest.raises(ConfigError, match="one hint, and hint, more give grids; method=attention_transfer"):
        _objective(student, {**TEACHERS, "more": TEACHERS["hint"]})
    with pytest.raises(ConfigError, match="got -9"):
        _objective(student, layer=-9)
