"""`attention_transfer`: maps of pairs of layers by the formula, which layers are compared, what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from alumnus.errors import ConfigError
from alumnus.methods.attention_transfer import AttentionTransfer, Settings, build
from alumnus.models.student import Student
from alumnus.objective import TeacherWidth
from tests.methods.examples import make_batch, make_setup, make_student, make_targets

TEACHERS = {
    "low": TeacherWidth(3, 1.0, output="layer:a", grid=(16, 3)),  # 4 x 4, the student's is 2 x 2
    "high": TeacherWidth(5, 1.0, output="layer:b", grid=(4, 5)),
    "end": TeacherWidth(6, 1.0, output="logits"),
}
SIZE = 64


def _objective(
    student: Student, teachers: dict[str, TeacherWidth] = TEACHERS, **settings: Any
) -> AttentionTransfer:
    torch.manual_seed(1)
    objective = build(Settings(**settings), make_setup(teachers, student))
    assert isinstance(objective, AttentionTransfer)
    return objective.eval()


def _map(layer: Tensor) -> Tensor:
    """(B, N, D) -> (B, N), as in the paper."""
    return functional.normalize(layer.pow(2).sum(2), dim=1)


def test_loss_is_beta_times_the_square_of_differences_of_maps_by_the_cells_of_a_layer() -> None:
    """With two layers, the last two by default, and the end; the finer grid is averaged to the student's before it is squared.

    The student's layer before the last has 4 x 4 cells, as the teacher's.
    """
    student, batch, targets = make_student(size=SIZE), make_batch(size=SIZE), make_targets(TEACHERS)
    objective = _objective(student, beta=50.0)
    output = student(batch.image, patches=True, stages=True)
    low, high = (targets[name].features.patches for name in ("low", "high"))
    assert low is not None
    assert high is not None
    averaged = functional.avg_pool2d(low.transpose(1, 2).reshape(6, 3, 4, 4), 2).flatten(2).transpose(1, 2)
    first = 50 * (_map(output.stages[-1]) - _map(averaged)).pow(2).sum(1).mean() / 16
    second = 50 * (_map(output.features.patches) - _map(high)).pow(2).sum(1).mean() / 4
    end = objective.final(output, targets).mean()
    found = objective(student, batch, targets, 0.0)
    assert found.loss.item() == pytest.approx((first + second + end).item(), rel=1e-5)
    assert found.report["loss/attention/low"].item() == pytest.approx(first.item(), rel=1e-5)
    assert found.per_sample.mean().item() == pytest.approx(found.loss.item(), rel=1e-5)


def test_a_student_that_looks_where_the_teacher_looks_pays_for_the_end_alone() -> None:
    """Its own layer as the target, scaled, has the same map."""
    student, batch = make_student(size=SIZE), make_batch(size=SIZE)
    output = student(batch.image, patches=True)
    patches = output.features.patches.detach()
    teachers = {
        "own": TeacherWidth(
            output.features.summary.shape[1], 1.0, output="patches", grid=tuple(patches.shape[1:])
        )
    }
    target = make_targets(teachers)["own"]
    targets = {"own": target._replace(features=target.features._replace(patches=7 * patches))}
    found = _objective(student, teachers)(student, batch, targets, 0.0)
    assert found.report["loss/attention/own"].item() == pytest.approx(0, abs=1e-6)
    assert found.loss.item() == pytest.approx(found.report["loss/end"].item(), rel=1e-5)


def test_layers_are_chosen_by_number() -> None:
    """A named one moves; the others stay where the order puts them."""
    student = make_student(size=SIZE)
    last = len(_objective(student).layers) - 1
    assert _objective(student).pairs == {"low": last - 1, "high": last}
    assert _objective(student, layers={"low": 0}).pairs == {"low": 0, "high": last}
    only_last = {name: TEACHERS[name] for name in ("high", "end")}
    assert not _objective(student, only_last).has_inner


def test_gradients_reach_the_student_and_not_the_teacher() -> None:
    """Also where no teacher is trusted on any image, which costs nothing."""
    student, batch = make_student(size=SIZE), make_batch(size=SIZE)
    objective, targets = _objective(student), make_targets(TEACHERS)
    said = [tensor for target in targets.values() for tensor in target.features if tensor is not None]
    for tensor in said:
        tensor.requires_grad_(True)
    objective(student, batch, targets, 0.0).loss.backward()
    assert all(tensor.grad is None for tensor in said)
    assert all(parameter.grad is not None for parameter in student.backbone.parameters())
    none = objective(student, batch, make_targets(TEACHERS, dict.fromkeys(TEACHERS, ())), 0.0)
    assert none.loss.item() == 0
    none.loss.backward()


def test_images_on_which_a_teacher_is_not_trusted_are_left_out() -> None:
    """Each layer is a teacher of its own."""
    student, batch = make_student(size=SIZE), make_batch(size=SIZE)
    places = {"low": (0, 2), "high": (), "end": (2,)}
    found = _objective(student)(student, batch, make_targets(TEACHERS, places), 0.0)
    assert found.per_sample.nonzero().flatten().tolist() == [0, 2]
    assert set(found.report) == {"loss/attention/low", "loss/end"}


def test_unsuitable_recipes_are_refused() -> None:
    """A single cell, a layer that is none, a name that is no layer, more layers than the student has."""
    with pytest.raises(ConfigError, match="single cell"):
        _objective(make_student(size=32))
    student = make_student(size=SIZE)
    with pytest.raises(ConfigError, match="got 40"):
        _objective(student, layers={"low": 40})
    with pytest.raises(ConfigError, match=r"names 'end', which is no teacher with a grid.*low, high"):
        _objective(student, layers={"end": 0})
    many = {f"t{number}": TEACHERS["low"] for number in range(9)} | {"end": TEACHERS["end"]}
    with pytest.raises(ConfigError, match="9 layers of teachers and 5 of the student"):
        _objective(student, many)
