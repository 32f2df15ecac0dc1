"""Class means: against a loop written here, and on cases worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from alumnus.adaptation.prototype import FALLBACK, SPACES, PrototypeFit, Prototypes, fit_prototypes
from alumnus.evaluation.search import unit_length
from alumnus.models.student import Architecture, Student


def test_means_are_of_unit_length_features() -> None:
    """Length says nothing: (2, 0) and (0, 3) have the mean (1/2, 1/2)."""
    features = np.array([[2, 0], [0, 3], [-1, 0]], np.float32)
    fit = fit_prototypes({"embedding": features}, np.array([0, 0, 1]))
    np.testing.assert_allclose(fit.mean, np.array([[0.5, 0.5], [-1, 0]]))


def test_leaving_out_agrees_with_a_loop() -> None:
    """Each image is classified by means that were made without it; classes of one image are not asked."""
    random = np.random.default_rng(0)
    label = np.array([0] * 7 + [1] * 5 + [2] * 1 + [3] * 9)
    features = (random.normal(size=(22, 5)) + 0.8 * random.normal(size=(4, 5))[label]).astype(np.float32)
    unit, right = unit_length(features), []
    for row in range(22):
        if (label == label[row]).sum() < 2:
            continue
        rest = np.arange(22) != row
        means = np.stack([unit[rest & (label == c)].mean(0) for c in range(4)])
        right.append(np.square(means - unit[row]).sum(1).argmin() == label[row])
    left_out = fit_prototypes({"summary": features}, label).left_out
    assert left_out == pytest.approx(np.mean(right))
    assert 0 < np.mean(right) < 1  # so that the line above can fail


def test_the_better_space_is_taken() -> None:
    """Noise against classes; of equal ones the first."""
    label = np.repeat(np.arange(4), 5)
    noise = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    told_apart = (np.eye(4)[label] + 0.01 * noise).astype(np.float32)
    assert fit_prototypes({"embedding": noise, "summary": told_apart}, label).space == "summary"
    assert fit_prototypes({"embedding": told_apart, "summary": told_apart}, label).space == "embedding"


def test_one_image_a_class_is_enough() -> None:
    """Nothing can be left out, so nothing is chosen."""
    fit = fit_prototypes({"embedding": np.eye(3, dtype=np.float32)}, np.arange(3))
    assert fit == PrototypeFit("embedding", fit.mean, FALLBACK, None)


def test_sure_classes_are_colder_than_noise() -> None:
    """The temperature makes shares honest: low where classes are far apart, high where features say nothing."""
    label = np.repeat(np.arange(3), 30)
    noise = np.random.default_rng(0).normal(size=(90, 8)).astype(np.float32)
    sure = (np.eye(3, 8)[label] + 0.01 * noise).astype(np.float32)
    cold, warm = (fit_prototypes({"summary": values}, label).temperature for values in (sure, noise))
    assert cold < warm


@pytest.mark.parametrize("space", SPACES)
def test_the_module_names_the_nearest_mean(space: str) -> None:
    """As a search over the student's own features does."""
    args = {"depth": 1, "embed_dim": 16, "num_heads": 2, "patch_size": 8}
    student = Student(
        Architecture(model="vit_tiny_patch16_224", size=16, embed_dim=4, model_args=args)
    ).eval()
    images = torch.randint(0, 256, (6, 3, 16, 16), dtype=torch.uint8)
    with torch.inference_mode():
        output = student(images)
        features = output.embedding if space == "embedding" else output.features.summary
        unit = torch.nn.functional.normalize(features, dim=-1)
        mean = torch.stack([unit[:2].mean(0), unit[2:4].mean(0), unit[4:].mean(0)])
        module = Prototypes(student, mean, temperature=0.5, space=space)  # type: ignore[arg-type]
        distance = torch.cdist(unit, mean).square()
        torch.testing.assert_close(
            module(images).softmax(1), (-distance / 0.5).softmax(1), rtol=1e-3, atol=1e-5
        )
