"""`supervised`: normalised softmax per domain, from labels alone."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from alumnus.errors import ConfigError
from alumnus.methods.supervised import Settings, Supervised, build
from alumnus.models.heads import CosineClassifier
from alumnus.models.student import Architecture, Student
from alumnus.objective import Setup, TeacherWidth
from alumnus.types import Batch

SETUP = Setup(num_features=1024, embed_dim=8, teachers={}, num_classes={"a": 3, "b": 2})


def _batch(domain: list[int], label: list[int]) -> Batch:
    count = len(domain)
    image = torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8)
    zeros = torch.zeros(count, dtype=torch.int64)
    return Batch(image, {}, zeros, zeros, zeros, torch.tensor(domain), torch.tensor(label))


def _student() -> Student:
    return Student(Architecture(model="mobilenetv3_small_050", size=32, embed_dim=8)).eval()


def test_loss_equals_a_naive_loop() -> None:
    """Each image is compared with the classes of its own domain; unlabelled images are left out of the mean."""
    student, objective = _student(), Supervised(SETUP, scale=16)
    batch = _batch([0, 1, 0, 1], [2, 1, -1, 0])
    terms = objective(student, batch, {}, 0.0)
    embedding = student(batch.image).embedding
    wanted = []
    for i in (0, 1, 3):
        classifier = objective.classifiers[int(batch.domain[i])]
        assert isinstance(classifier, CosineClassifier)
        weight = functional.normalize(classifier.weight, dim=-1)
        wanted.append(-torch.log_softmax(16 * weight @ embedding[i], dim=0)[batch.label[i]])
    assert terms.loss.item() == pytest.approx(torch.stack(wanted).mean().item(), rel=1e-5)
    assert terms.per_sample[2] == 0
    assert terms.has_loss is not None
    assert not terms.has_loss[2]


def test_cosines_are_of_float32_in_low_precision() -> None:
    """Under bfloat16 autocast the embedding is float32 of unit length, and the loss is the one of that embedding."""
    student, objective = _student(), Supervised(SETUP, scale=16)
    batch = _batch([0, 1, 0], [2, 1, -1])
    with torch.autocast("cpu", torch.bfloat16):
        terms = objective(student, batch, {}, 0.0)
        embedding = student(batch.image).embedding
    assert embedding.dtype == torch.float32
    assert torch.allclose(embedding.norm(dim=1), torch.ones(3), atol=1e-6)
    wanted = []
    for i in (0, 1):
        classifier = objective.classifiers[int(batch.domain[i])]
        assert isinstance(classifier, CosineClassifier)
        logits = 16 * functional.normalize(classifier.weight, dim=-1) @ embedding[i]
        wanted.append(-torch.log_softmax(logits, dim=0)[batch.label[i]])
    assert terms.loss.item() == pytest.approx(torch.stack(wanted).mean().item(), rel=1e-5)
    terms.loss.backward()


def test_classifiers_of_absent_domains_get_no_gradient() -> None:
    """A batch of one domain leaves the other domain's classifier alone."""
    objective = Supervised(SETUP, scale=16)
    objective(_student(), _batch([0, 0], [0, 1]), {}, 0.0).loss.backward()
    assert objective.classifiers[0].weight.grad is not None
    assert objective.classifiers[1].weight.grad is None


def test_a_batch_without_labels_costs_nothing() -> None:
    """No label, no loss, and still a gradient can be taken."""
    terms = Supervised(SETUP, scale=16)(_student(), _batch([0, 1], [-1, -1]), {}, 0.0)
    assert terms.loss.item() == 0
    terms.loss.backward()


def test_a_joint_classifier_compares_with_the_classes_of_all_domains() -> None:
    """Class 1 of the second domain is number 3 + 1 of all five."""
    student, objective = _student(), Supervised(SETUP, scale=16, is_joint=True)
    batch = _batch([0, 1, 0, 1], [2, 1, -1, 0])
    terms = objective(student, batch, {}, 0.0)
    embedding = student(batch.image).embedding[[0, 1, 3]]
    (classifier,) = objective.classifiers
    assert isinstance(classifier, CosineClassifier)
    assert classifier.weight.shape == (5, 8)
    wanted = functional.cross_entropy(16 * classifier(embedding), torch.tensor([2, 4, 3]))
    assert terms.loss.item() == pytest.approx(wanted.item(), rel=1e-5)


def test_unsuitable_setups_are_refused() -> None:
    """Teachers make no sense here, and without labels there is nothing to learn."""
    with pytest.raises(ConfigError, match="teachers"):
        build(Settings(), Setup(8, 8, {"t": TeacherWidth(4, 1.0)}, {"a": 2}))
    with pytest.raises(ConfigError, match="labels"):
        build(Settings(), Setup(8, 8, {}, {"a": 0}))
