"""timm networks as backbones: what is asked of timm by name, and what they say about places."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import Tensor, nn

from alumnus.errors import ConfigError
from alumnus.models.backbone import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    create_backbone,
    extract,
    input_statistics,
    levels,
)


def test_input_statistics_follow_the_tag_of_the_weights() -> None:
    """One architecture, two published weights, two normalisations; what timm does not know gets ImageNet's."""
    assert input_statistics("vit_base_patch16_224.dino") == (IMAGENET_MEAN, IMAGENET_STD)
    assert input_statistics("vit_base_patch16_224.augreg_in21k_ft_in1k") == ((0.5,) * 3, (0.5,) * 3)
    assert input_statistics("no_such_model") == (IMAGENET_MEAN, IMAGENET_STD)


def test_patches_only_when_asked_for() -> None:
    """The summary is the same either way."""
    backbone, image = create_backbone("test_resnet", size=64).eval(), torch.rand(2, 3, 64, 64)
    alone, both = extract(backbone, image), extract(backbone, image, patches=True)
    assert alone.patches is None
    assert torch.equal(alone.summary, both.summary)
    assert both.patches is not None
    assert both.patches.shape == (2, 4, 96)
    torch.testing.assert_close(both.patches.mean(1), both.summary)


def test_patches_of_a_transformer_leave_out_its_class_token() -> None:
    """Row by row, in the order of the tokens."""
    backbone, image = create_backbone("test_vit", size=96).eval(), torch.rand(1, 3, 96, 96)
    patches = extract(backbone, image, patches=True).patches
    assert patches is not None
    assert torch.equal(patches, backbone.forward_features(image)[:, 1:])  # type: ignore[operator]


def test_patches_of_a_channels_last_network() -> None:
    """Swin keeps its grid as (n, H, W, D): 2 x 2 cells at 64 px."""
    backbone, image = (
        create_backbone("swin_tiny_patch4_window7_224", size=64).eval(),
        torch.rand(1, 3, 64, 64),
    )
    grid = backbone.forward_features(image)  # type: ignore[operator]
    patches = extract(backbone, image, patches=True).patches
    assert patches is not None
    assert torch.equal(patches, grid.reshape(1, 4, 768))


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet"])
def test_levels_are_the_stages_of_timms_pyramid(name: str) -> None:
    """From cells of 8 px on; the last one is what the summary is pooled from."""
    backbone, image = create_backbone(name, size=96).eval(), torch.rand(2, 3, 96, 96)
    pyramid = timm.create_model(name, features_only=True).eval()
    assert not pyramid.load_state_dict(backbone.state_dict(), strict=False).missing_keys
    found = levels(backbone, image)
    assert [level.shape[-1] for level in found] == [12, 6, 3]
    for level, expected in zip(
        found[:-1], [s for s in pyramid(image) if s.shape[-1] in (12, 6)], strict=True
    ):
        torch.testing.assert_close(level, expected, rtol=1e-4, atol=1e-4)
    patches = extract(backbone, image, patches=True).patches
    assert patches is not None
    torch.testing.assert_close(found[-1].flatten(2).transpose(1, 2), patches)
    assert [level.shape[-1] for level in levels(backbone, image, finest_px=4)] == [24, 12, 6, 3]


def test_a_plain_transformer_has_one_level() -> None:
    """Its stages have the same grid, so they would say no more about places."""
    backbone, image = create_backbone("test_vit", size=96).eval(), torch.rand(1, 3, 96, 96)
    (level,) = levels(backbone, image)
    assert level.shape == (1, 64, 6, 6)


class _Flat(nn.Module):
    """Gives what is no grid: 5 tokens, or a list."""

    num_features = 4

    def __init__(self, output: object) -> None:
        super().__init__()
        self.output = output

    def forward_features(self, image: Tensor) -> object:
        return self.output

    def forward_head(self, output: object, *, pre_logits: bool) -> Tensor:
        return torch.zeros(1, 4)


@pytest.mark.parametrize("output", [torch.zeros(1, 5, 4), torch.zeros(1, 4), [torch.zeros(1, 4, 2, 2)]])
def test_what_is_no_grid_is_not_taken_for_one(output: object) -> None:
    """5 tokens are no square of cells."""
    network, image = _Flat(output), torch.zeros(1, 3, 8, 8)
    assert extract(network, image).summary.shape == (1, 4)
    for ask in (lambda: extract(network, image, patches=True), lambda: levels(network, image)):
        with pytest.raises(ConfigError, match="no grid of patches; use its summary"):
            ask()
