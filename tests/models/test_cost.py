"""Costs against counts made by hand."""

from __future__ import annotations

import numpy as np
import timm
import torch
from torch import nn

from alumnus.models.cost import cost, counted, multiply_adds, num_parameters


def test_convolution_and_linear_layer() -> None:
    """3x3 convolution with padding on 8x8: 64 places x 27 x 4; then 4 x 5."""
    layers = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5)
    )
    assert cost(layers, size=8) == (27 * 4 + 4 + 4 * 5 + 5, 64 * 27 * 4 + 4 * 5)


def test_attention_is_counted() -> None:
    """A ViT block: 10 T D^2 for its layers and 2 T^2 D for attention, T tokens of width D."""
    model = timm.create_model("test_vit", num_classes=0)
    tokens, width, hidden = 10 * 10 + 1, 64, 3 * 64  # test_vit has mlp_ratio 3
    depth = sum(name.endswith(".attn") for name, _ in model.named_modules())
    per_block = (4 * width**2 + 2 * width * hidden) * tokens + 2 * tokens**2 * width
    embedding = 100 * 16 * 16 * 3 * width
    assert multiply_adds(model, size=160) == depth * per_block + embedding


def test_only_the_work_of_torch_is_counted() -> None:
    """Of any call; nothing where another library does the work."""
    layer = nn.Linear(4, 5)
    assert counted(lambda: layer(torch.zeros(3, 4))) == 3 * 4 * 5
    assert counted(lambda: np.ones((3, 4)) @ np.ones((4, 5))) == 0


def test_counting_leaves_the_mode_of_every_part() -> None:
    """A frozen BatchNorm inside a training network stays frozen."""
    layers = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4).eval()).train(True)
    layers[1].eval()
    multiply_adds(layers, size=4)
    assert [part.training for part in layers.modules()] == [True, True, False]


def test_shared_parameters_count_once() -> None:
    """As they are stored."""
    layer = nn.Linear(3, 3, bias=False)
    assert num_parameters(nn.Sequential(layer, layer)) == 9
