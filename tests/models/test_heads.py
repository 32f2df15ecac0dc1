"""Projectors keep distances at their start; classifiers give cosines."""

from __future__ import annotations

import pytest
import torch

from alumnus.models.heads import CosineClassifier, ProjectorKind, affine_layers, projector, sampled_classes


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


def test_affine_layers_have_norm_and_gelu_between_them() -> None:
    """None after the last; two widths are one layer, which starts without bias."""
    single = affine_layers((8, 3))
    assert isinstance(single, torch.nn.Linear)
    assert not single.bias.any()
    several = affine_layers((8, 6, 5, 3))
    assert [type(layer).__name__ for layer in several.children()] == ["Linear", "LayerNorm", "GELU"] * 2 + [
        "Linear"
    ]
    assert several(torch.randn(4, 8)).shape == (4, 3)


def test_a_sample_holds_the_batchs_classes_and_others() -> None:
    """As many as asked for; labels become places in it; the others stand for all that are not drawn."""
    label = torch.tensor([7, 90, 7, 3])
    sample = sampled_classes(label, num_classes=100, limit=11)
    assert sample is not None
    assert len(set(sample.classes.tolist())) == 11
    assert torch.equal(sample.classes[sample.label], label)
    own = torch.isin(sample.classes, label)
    assert not sample.offset[own].any()
    assert sample.offset[~own].exp().tolist() == pytest.approx([97 / 8] * 8, rel=1e-5)
    assert sampled_classes(label, num_classes=100, limit=100) is None


def test_a_batch_of_more_classes_than_the_limit_has_its_own() -> None:
    """And no others."""
    sample = sampled_classes(torch.tensor([5, 1, 3]), num_classes=9, limit=2)
    assert sample is not None
    assert sample.classes.tolist() == [1, 3, 5]
    assert sample.label.tolist() == [2, 0, 1]
    assert sample.offset.tolist() == [0.0, 0.0, 0.0]


def test_the_sum_over_a_sample_is_without_bias_that_over_all_classes() -> None:
    """Over 4,000 draws of 10 of 50 the mean sum of exponentials is within 1 %."""
    logits, label = 0.5 * torch.randn(50), torch.tensor([4])
    sums = []
    for _ in range(4000):
        sample = sampled_classes(label, num_classes=50, limit=10)
        assert sample is not None
        sums.append(float((logits[sample.classes] + sample.offset).exp().sum()))
    assert sum(sums) / len(sums) == pytest.approx(float(logits.exp().sum()), rel=0.01)
