"""timm networks as backbones: what is asked of timm by name."""

from __future__ import annotations

from alumnus.models.backbone import IMAGENET_MEAN, IMAGENET_STD, input_statistics


def test_input_statistics_follow_the_tag_of_the_weights() -> None:
    """One architecture, two published weights, two normalisations; what timm does not know gets ImageNet's."""
    assert input_statistics("vit_base_patch16_224.dino") == (IMAGENET_MEAN, IMAGENET_STD)
    assert input_statistics("vit_base_patch16_224.augreg_in21k_ft_in1k") == ((0.5,) * 3, (0.5,) * 3)
    assert input_statistics("no_such_model") == (IMAGENET_MEAN, IMAGENET_STD)
