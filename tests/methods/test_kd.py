"""`kd`: one classifier's softened probabilities. That `repcon` with one teacher is the same is tested there."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from alumnus.errors import ConfigError
from alumnus.methods.kd import KnowledgeDistillation, Settings, build
from alumnus.objective import TeacherWidth
from tests.methods.examples import make_batch, make_setup, make_student, make_targets

TEACHER = {"cars": TeacherWidth(5, 1.0, output="logits")}


def test_loss_equals_torchs_own_kl() -> None:
    """T^2 times the batch mean of torch's KL divergence, the mean of the head on the summary and that on the embedding."""
    student = make_student()
    objective = build(Settings(temperature=5.0), make_setup(TEACHER, student))
    assert isinstance(objective, KnowledgeDistillation)
    targets = make_targets(TEACHER)
    output = student(make_batch().image)
    truth = torch.softmax(targets["cars"].features.summary / 5, dim=1)
    wanted = [
        25 * functional.kl_div(torch.log_softmax(guess / 5, dim=1), truth, reduction="batchmean").item()
        for guess in (
            objective.head(output.features.summary),
            objective.embedding_head(output.embedding * 8**0.5),
        )
    ]
    assert objective(student, make_batch(), targets, 0.0).loss.item() == pytest.approx(
        sum(wanted) / 2, rel=1e-5
    )


def test_the_teacher_gets_no_gradient_and_all_else_does() -> None:
    """Targets are constants; both heads and the student learn."""
    student, targets = make_student(), make_targets(TEACHER)
    objective = build(Settings(), make_setup(TEACHER, student))
    targets["cars"].features.summary.requires_grad_()
    objective(student, make_batch(), targets, 0.0).loss.backward()
    assert targets["cars"].features.summary.grad is None
    assert all(p.grad is not None for p in (*objective.parameters(), *student.parameters()))


def test_images_on_which_the_teacher_is_not_trusted_are_left_out() -> None:
    """They cost nothing, also when there is no other."""
    student = make_student()
    objective = build(Settings(), make_setup(TEACHER, student))
    some = objective(student, make_batch(), make_targets(TEACHER, {"cars": (1, 4)}), 0.0)
    assert some.per_sample[[0, 2, 3, 5]].abs().sum() == 0
    assert some.per_sample[[1, 4]].mean().item() == pytest.approx(some.loss.item())
    none = objective(student, make_batch(), make_targets(TEACHER, {"cars": ()}), 0.0)
    assert none.loss.item() == 0
    none.loss.backward()


def test_unsuitable_recipes_are_refused() -> None:
    """It takes one classifier: neither none, nor two, nor features."""
    student = make_student()
    for teachers in ({}, {**TEACHER, "dogs": TEACHER["cars"]}):
        with pytest.raises(ConfigError, match="repcon takes several"):
            build(Settings(), make_setup(teachers, student))
    with pytest.raises(ConfigError, match="output=summary; set output=logits"):
        build(Settings(), make_setup({"cars": TeacherWidth(5, 1.0)}, student))
    graph = {"cars": TeacherWidth(5, 1.0, output="probs")}
    assert isinstance(build(Settings(logits=("cars",)), make_setup(graph, student)), KnowledgeDistillation)
