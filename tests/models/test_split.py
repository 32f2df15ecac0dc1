"""Splitting by width: two narrower networks never cost more than the one that they come from, measured on the students themselves."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from alumnus.errors import ConfigError
from alumnus.models.backbone import create_backbone
from alumnus.models.cost import multiply_adds
from alumnus.models.split import split_network
from alumnus.models.student import Architecture, Student


class _Summary(Student):
    """A student whose summary is all that is counted."""

    def _embedded(self, summary: Any) -> Any:
        return summary


@pytest.mark.parametrize("ratio", [0.1, 0.5])
@pytest.mark.parametrize(
    ("model", "size", "model_args"),
    [
        ("test_resnet", 32, {}),
        ("resnet18", 32, {"layers": [1, 1, 1, 1]}),
        ("resnet50", 32, {"layers": [1, 1, 1, 1], "channels": [32, 64, 96, 128]}),
        ("vit_tiny_patch16_224", 32, {"depth": 1}),
        ("test_vit", 32, {}),
        ("mobilenetv2_100", 32, {}),
        ("mobilenetv3_small_100", 32, {}),
    ],
)
def test_two_cost_no_more_than_one(model: str, size: int, model_args: dict[str, Any], ratio: float) -> None:
    """Over families and ratios; and what is said to be the cost is what is measured."""
    found = split_network(model, size=size, ratio=ratio, model_args=model_args)
    whole = Architecture(model, size, 4, model_args)
    divided = replace(
        whole, model=found.first.model, model_args=found.first.model_args, assistant=found.shape
    )
    cost = multiply_adds(_Summary(divided), size=size)
    assert cost == found.multiply_adds
    assert cost <= multiply_adds(_Summary(whole), size=size) == found.cap
    assert found.assistant.multiply_adds <= found.first.multiply_adds


def test_the_ratio_is_the_assistants_share() -> None:
    """Where widths are fine, its share is at most the ratio and near it, and the cap is used."""
    previous = 0
    for ratio in (0.15, 0.3, 0.45):
        found = split_network("resnet18", size=64, ratio=ratio, model_args={"layers": [1, 1, 1, 1]})
        assert ratio - 0.07 < found.assistant.multiply_adds / found.cap <= ratio
        assert found.assistant.multiply_adds > previous
        assert found.multiply_adds > 0.9 * found.cap
        previous = found.assistant.multiply_adds


@pytest.mark.parametrize("model", ["resnet50_gn", "resnext50_32x4d"])
def test_channels_that_do_not_divide_into_groups_are_passed_over(model: str) -> None:
    """Of convolutions or of norms: a narrow assistant of such a network is one that can be built."""
    found = split_network(model, size=32, ratio=0.05)
    for branch in (found.first, found.assistant):
        create_backbone(branch.model, size=32, model_args=branch.model_args)
    assert found.multiply_adds <= found.cap


def test_a_lower_cap_is_kept() -> None:
    """And one that nothing fits under is refused, with what would."""
    whole = split_network("test_vit", size=32, ratio=0.5)
    lower = split_network("test_vit", size=32, ratio=0.5, cap=whole.cap // 2)
    assert lower.multiply_adds <= whole.cap // 2
    with pytest.raises(ConfigError, match="cannot be split in two under 10 multiply-adds at 32 px"):
        split_network("test_vit", size=32, ratio=0.5, cap=10)


def test_what_cannot_be_narrowed_is_refused() -> None:
    """Other families, the narrowest of one, and an assistant that is more than half."""
    with pytest.raises(ConfigError, match=r"test_convnext .ConvNeXt. cannot be split by width; ResNets"):
        split_network("test_convnext", size=32, ratio=0.3)
    with pytest.raises(
        ConfigError, match="mobilenetv3_small_050 is the narrowest of its family that can be built"
    ):
        split_network("mobilenetv3_small_050", size=32, ratio=0.3)
    with pytest.raises(ConfigError, match=r"split\.ratio=0\.6"):
        split_network("resnet18", size=32, ratio=0.6)
