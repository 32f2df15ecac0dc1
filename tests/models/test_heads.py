"""Projectors keep distances at their start; classifiers give cosines."""

from __future__ import annotations

import pytest
import torch

from alumnus.models.heads import CosineClassifier, ProjectorKind, projector


@pytest.mark.parametrize("kind", ["linear", "mlp"])
def test_a_projector_maps_width_to_width(kind: ProjectorKind) -> None:
    """(5, 8) -> (5, 3), and gradients reach its input."""
    vector = torch.randn(5, 8, requires_grad=True)
    out = projector(8, 3, kind=kind)(vector)
    out.square().sum().backward()
    assert out.shape == (5, 3)
    assert vector.grad is not None
    assert vector.grad.abs().sum() > 0


@pytest.mark.parametrize("out_dim", [16, 64, 640])
def test_a_linear_projector_starts_without_distortion(out_dim: int) -> None:
    """All its singular values are one number, and unit variance stays unit variance."""
    layer = projector(64, out_dim, kind="linear")
    assert isinstance(layer, torch.nn.Linear)
    values = torch.linalg.svdvals(layer.weight.detach())
    assert values.min().item() == pytest.approx(values.max().item(), rel=1e-4)
    out = layer(torch.randn(4000, 64))
    assert out.square().mean().item() == pytest.approx(1.0, abs=0.05)


def test_a_wide_enough_projector_keeps_every_cosine() -> None:
    """Neighbours in the embedding are neighbours after it."""
    vectors = torch.randn(10, 64)
    out = projector(64, 64, kind="linear")(vectors)
    before = torch.nn.functional.cosine_similarity(vectors[:, None], vectors[None], dim=-1)
    after = torch.nn.functional.cosine_similarity(out[:, None], out[None], dim=-1)
    assert torch.allclose(before, after, atol=1e-5)


def test_a_cosine_classifier_gives_cosines_whatever_the_length_of_its_weights() -> None:
    """A class weight scaled by 7 changes nothing, and an embedding equal to a class's direction has cosine 1."""
    head = CosineClassifier(8, 4)
    embedding = torch.nn.functional.normalize(head.weight.detach()[2:3], dim=-1)
    cosines = head(embedding)
    with torch.no_grad():
        head.weight[1] *= 7
    assert cosines[0, 2].item() == pytest.approx(1.0, abs=1e-6)
    assert torch.allclose(head(embedding), cosines, atol=1e-6)
    assert cosines.abs().max() <= 1 + 1e-6
