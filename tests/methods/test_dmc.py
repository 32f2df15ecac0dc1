"""`dmc`: the student's logits regressed on those of several classifiers, each centred."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch

from alumnus.errors import ConfigError
from alumnus.methods.dmc import ModelConsolidation, Settings, build
from alumnus.models.student import Architecture, Student
from alumnus.objective import Setup, TeacherWidth
from alumnus.types import Batch, Features, Target

TEACHERS = {"old": TeacherWidth(3, 1.0, output="logits"), "new": TeacherWidth(2, 1.0, output="logits")}
COUNT = 4


def _objective(teachers: Mapping[str, TeacherWidth] = TEACHERS, **settings: object) -> ModelConsolidation:
    objective = build(Settings.model_validate(settings), Setup(1024, 8, teachers, {"a": 0}))
    assert isinstance(objective, ModelConsolidation)
    return objective


def _student(objective: ModelConsolidation) -> Student:
    torch.manual_seed(0)
    student = Student(Architecture(model="test_resnet", size=32, embed_dim=8)).eval()
    student.classify(objective.classes)
    return student


def _batch() -> Batch:
    generator = torch.Generator().manual_seed(3)
    image = torch.randint(0, 256, (COUNT, 3, 32, 32), dtype=torch.uint8, generator=generator)
    zeros = torch.zeros(COUNT, dtype=torch.int64)
    return Batch(image, {}, zeros, zeros, zeros, zeros, zeros - 1)


def _targets(**places: list[int]) -> dict[str, Target]:
    found = {}
    for name, teacher in TEACHERS.items():
        generator = torch.Generator().manual_seed(len(name) + teacher.num_features)
        logits = torch.randn(COUNT, teacher.num_features, generator=generator) * 4 + 9 * (name == "new")
        here = torch.tensor(places.get(name, list(range(COUNT))), dtype=torch.int64)
        found[name] = Target(Features(logits[here]), here)
    return found


def test_where_no_classifier_speaks_nothing_is_reported() -> None:
    """No mean of nothing, which would be NaN in the log; and a gradient of zero."""
    objective = _objective()
    terms = objective(_student(objective), _batch(), _targets(old=[], new=[]), 0.0)
    assert terms.report == {}
    assert terms.loss.item() == 0
    terms.loss.backward()


@pytest.mark.parametrize("centre", ["group", "all", "none"])
@torch.no_grad()
def test_loss_equals_a_naive_reference(centre: str) -> None:
    """Mean over images of the mean over classes of the squared difference to the centred logit."""
    objective = _objective(centre=centre)
    student, targets = _student(objective), _targets()
    logits = student(_batch().image).logits
    assert logits is not None
    total = 0.0
    for i in range(COUNT):
        old, new = (targets[name].features.summary[i].tolist() for name in ("old", "new"))
        means = {
            "group": [sum(old) / 3] * 3 + [sum(new) / 2] * 2,
            "all": [sum(old + new) / 5] * 5,
            "none": [0.0] * 5,
        }[centre]
        wanted = [z - mean for z, mean in zip(old + new, means, strict=True)]
        total += sum((float(y) - t) ** 2 for y, t in zip(logits[i], wanted, strict=True)) / 5
    terms = objective(student, _batch(), targets, 0.0)
    assert terms.loss.item() == pytest.approx(total / COUNT, rel=1e-5)
    parts = 3 * terms.report["loss/old"] + 2 * terms.report["loss/new"]
    assert parts.item() / 5 == pytest.approx(total / COUNT, rel=1e-5)
    assert terms.per_sample.mean().item() == pytest.approx(total / COUNT, rel=1e-5)


@torch.no_grad()
def test_one_classifier_reduces_to_centred_logit_regression() -> None:
    """Mean squared error to its logits less their mean."""
    objective = _objective({"old": TEACHERS["old"]})
    student, targets = _student(objective), _targets()
    z = targets["old"].features.summary
    logits = student(_batch().image).logits
    wanted = torch.nn.functional.mse_loss(logits, z - z.mean(1, keepdim=True))
    assert objective(student, _batch(), targets, 0.0).loss.item() == pytest.approx(wanted.item(), rel=1e-6)


@torch.no_grad()
def test_an_offset_between_classifiers_is_removed_by_groups_alone() -> None:
    """The new one's logits 100 higher: no change with centre=group, a large one otherwise."""
    shifted = _targets()
    shifted["new"] = Target(Features(shifted["new"].features.summary + 100), shifted["new"].places)
    for centre, is_same in (("group", True), ("all", False), ("none", False)):
        objective = _objective(centre=centre)
        student = _student(objective)
        a, b = (objective(student, _batch(), t, 0.0).loss.item() for t in (_targets(), shifted))
        assert (a == pytest.approx(b, rel=1e-4)) == is_same


@torch.no_grad()
def test_the_order_of_teachers_does_not_matter() -> None:
    """The same loss where the student's classes stand in the other order."""
    one, other = _objective(), _objective(dict(reversed(TEACHERS.items())))
    students = _student(one), _student(other)
    students[1].load_state_dict(students[0].state_dict())
    assert students[1].classifier is not None
    for tensor in students[1].classifier.parameters():
        tensor.copy_(tensor[[3, 4, 0, 1, 2]].clone())
    a = one(students[0], _batch(), _targets(), 0.0).loss
    b = other(students[1], _batch(), dict(reversed(_targets().items())), 0.0).loss
    assert a.item() == pytest.approx(b.item(), rel=1e-6)


@torch.no_grad()
def test_a_classifier_speaks_where_it_is_trusted() -> None:
    """Of an image with one classifier the mean is over its classes; one that nobody knows is left out."""
    objective = _objective()
    student, targets = _student(objective), _targets(old=[0, 1], new=[1, 3])
    logits = student(_batch().image).logits
    assert logits is not None
    old, new = (t.features.summary - t.features.summary.mean(1, keepdim=True) for t in targets.values())
    wanted = [
        (logits[0, :3] - old[0]).square().mean(),
        (logits[1] - torch.cat([old[1], new[0]])).square().mean(),
        (logits[3, 3:] - new[1]).square().mean(),
    ]
    terms = objective(student, _batch(), targets, 0.0)
    assert terms.loss.item() == pytest.approx(torch.stack(wanted).mean().item(), rel=1e-5)
    assert terms.per_sample[2] == 0


def test_spread_brings_classifiers_to_one_size() -> None:
    """Logits ten times as large are the same target; the running size is of all batches, and in the checkpoint."""
    objective = _objective(spread=True).train()
    large = _targets()
    large["new"] = Target(Features(large["new"].features.summary * 10), large["new"].places)
    other = _objective(spread=True).train()
    a = objective(_student(objective), _batch(), _targets(), 0.0).loss
    b = other(_student(other), _batch(), large, 0.0).loss
    assert a.item() == pytest.approx(b.item(), rel=1e-5)
    z = _targets()["old"].features.summary
    centred = z - z.mean(1, keepdim=True)
    size = (objective.squares[0] / objective.count[0]).sqrt()
    assert float(size) == pytest.approx(float(centred.square().mean().sqrt()), rel=1e-6)
    assert {"squares", "count"} <= set(objective.state_dict())


def test_gradients_reach_backbone_and_classifier_alone() -> None:
    """Not the teachers, and not the embedding, which has no part in the loss."""
    objective = _objective()
    student, targets = _student(objective), _targets()
    for target in targets.values():
        target.features.summary.requires_grad_()
    objective(student, _batch(), targets, 0.0).loss.backward()
    assert all(target.features.summary.grad is None for target in targets.values())
    untouched = [name for name, p in student.named_parameters() if p.grad is None]
    assert untouched == ["embed.weight", "embed.bias"]


def test_a_batch_that_nobody_knows_costs_nothing() -> None:
    """No loss, and still a gradient can be taken."""
    objective = _objective()
    terms = objective(_student(objective), _batch(), _targets(old=[], new=[]), 0.0)
    assert terms.loss.item() == 0
    terms.loss.backward()


@pytest.mark.parametrize(
    ("teachers", "says"),
    [
        ({}, "learns from classifiers, and there is no teacher"),
        (
            {"a": TeacherWidth(5, 1.0)},
            "'a' has output=summary; give it output=logits, or name it in method.logits",
        ),
        ({"a": TeacherWidth(5, 2.0, output="logits")}, "weight=2 has no effect, because method=dmc"),
    ],
)
def test_unsuitable_setups_are_refused(teachers: dict[str, TeacherWidth], says: str) -> None:
    """With what is missing, and what to do."""
    with pytest.raises(ConfigError, match=says):
        _objective(teachers)


def test_a_teacher_that_cannot_say_logits_is_named() -> None:
    """As those of python: and onnx:."""
    assert _objective({"a": TeacherWidth(5, 1.0)}, logits=["a"]).classes == {"a": 5}
