"""`relational`: distances and angles between images, of the embedding against each teacher."""

from __future__ import annotations

import pytest
import torch

from alumnus.errors import ConfigError
from alumnus.losses import angle_relations, distance_relations
from alumnus.methods.relational import Settings, build
from alumnus.objective import TeacherWidth
from alumnus.types import Features, Target
from tests.methods.examples import COUNT, make_batch, make_setup, make_student, make_targets, reordered

TEACHERS = {"cars": TeacherWidth(5, 1.0), "keys": TeacherWidth(7, 3.0)}


def test_loss_is_the_weighted_sum_of_both_relations() -> None:
    """Among the images on which a teacher is trusted, and averaged over teachers by weight; in any order."""
    student = make_student()
    objective = build(Settings(distances=0.5, angles=2.0), make_setup(TEACHERS, student))
    targets = make_targets(TEACHERS, {"cars": (0, 2, 3, 5)})
    embedding = student(make_batch().image).embedding
    wanted = 0.0
    for name, share in (("cars", 0.25), ("keys", 0.75)):
        own, said = embedding[targets[name].places], targets[name].features.summary
        wanted += (
            share
            * (0.5 * distance_relations(own, said).mean() + 2 * angle_relations(own, said).mean()).item()
        )
    for each in (targets, reordered(targets)):
        assert objective(student, make_batch(), each, 0.0).loss.item() == pytest.approx(wanted, rel=1e-5)


def test_a_teacher_that_says_the_embedding_turned_and_scaled_costs_nothing() -> None:
    """Relations are all that is asked for."""
    student = make_student()
    teachers = {"self": TeacherWidth(8, 1.0)}
    turned = 7 * student(make_batch().image).embedding.detach() @ torch.linalg.qr(torch.randn(8, 8)).Q
    objective = build(Settings(), make_setup(teachers, student))
    targets = {"self": Target(Features(turned), torch.arange(COUNT))}
    assert objective(student, make_batch(), targets, 0.0).loss.item() < 1e-8


def test_fewer_than_three_images_have_no_angle() -> None:
    """The teacher is silent, and a gradient can be taken still."""
    student = make_student()
    objective = build(Settings(), make_setup(TEACHERS, student))
    terms = objective(student, make_batch(), make_targets(TEACHERS, {"cars": (1, 2), "keys": ()}), 0.0)
    assert terms.report == {}
    terms.loss.backward()


def test_teachers_get_no_gradient_and_the_student_does() -> None:
    """There is nothing else that learns."""
    student = make_student()
    objective, targets = build(Settings(), make_setup(TEACHERS, student)), make_targets(TEACHERS)
    targets["cars"].features.summary.requires_grad_()
    objective(student, make_batch(), targets, 0.0).loss.backward()
    assert targets["cars"].features.summary.grad is None
    assert student.embed.weight.grad is not None
    assert not list(objective.parameters())


def test_unsuitable_recipes_are_refused() -> None:
    """No teacher, or nothing to learn from one."""
    with pytest.raises(ConfigError, match="give `teachers`"):
        build(Settings(), make_setup({}, make_student()))
    with pytest.raises(ConfigError, match="raise one of them"):
        build(Settings(distances=0, angles=0), make_setup(TEACHERS, make_student()))
