"""Learning rates that fall towards the input."""

from __future__ import annotations

import pytest

from alumnus.models.backbone import create_backbone
from alumnus.models.layers import layer_groups

VIT = {"depth": 2, "embed_dim": 48, "num_heads": 2, "patch_size": 8}


@pytest.mark.parametrize(
    ("name", "model_args"),
    [("vit_tiny_patch16_224", VIT), ("mobilenetv3_small_050", {}), ("resnet10t", {})],
)
def test_every_weight_has_one_rate_and_norms_have_no_decay(name: str, model_args: dict[str, int]) -> None:
    """Each parameter is in exactly one group; vectors are not decayed."""
    backbone = create_backbone(name, size=32, model_args=model_args)
    groups = layer_groups(backbone, layer_decay=0.5, weight_decay=0.1)
    of = {id(p): group for group in groups for p in group.parameters}
    assert sum(len(group.parameters) for group in groups) == len(list(backbone.parameters()))
    assert of.keys() == {id(p) for p in backbone.parameters()}
    assert all(of[id(p)].weight_decay == 0 for p in backbone.parameters() if p.ndim == 1)
    assert max(group.lr_share for group in groups) == 1
    assert {group.weight_decay for group in groups} == {0, 0.1}


def test_rates_of_a_transformer_by_hand() -> None:
    """Two blocks: the last one and the norm behind it at full rate, each layer before at half of the next one's."""
    backbone = create_backbone("vit_tiny_patch16_224", size=32, model_args=VIT)
    groups = layer_groups(backbone, layer_decay=0.5, weight_decay=0.1)
    of = {id(p): group.lr_share for group in groups for p in group.parameters}
    share = {name: of[id(p)] for name, p in backbone.named_parameters()}
    assert share["norm.weight"] == 1
    assert share["blocks.1.attn.qkv.weight"] == 1
    assert share["blocks.0.attn.qkv.weight"] == 0.5
    assert share["patch_embed.proj.weight"] == share["pos_embed"] == 0.25


def test_no_decay_leaves_one_rate() -> None:
    """`layer_decay` 1."""
    backbone = create_backbone("resnet10t", size=32)
    assert {g.lr_share for g in layer_groups(backbone, layer_decay=1.0, weight_decay=0.0)} == {1}
