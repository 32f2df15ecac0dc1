"""ONNX teachers: graphs built by hand, against the same weights in torch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from alumnus.errors import TeacherError
from alumnus.teachers import load_teacher
from alumnus.teachers.origin import is_same, origin_of
from alumnus.teachers.spec import TeacherSpec
from alumnus.teachers.teacher import Teacher

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

WEIGHT = torch.linspace(-1, 1, 4 * 3 * 3 * 3).view(4, 3, 3, 3)
Axis = int | str


def _write(
    path: Path,
    shape: Sequence[Axis] = ("batch", 3, 16, 16),
    *,
    kind: str = "FLOAT",
    beside: bool = False,
) -> Path:
    """A 3x3 convolution of stride 2 with a grid output `grid`, and its mean over places `pooled`, which comes first."""
    helper, number = onnx.helper, getattr(onnx.TensorProto, kind)
    weight = onnx.numpy_helper.from_array(
        WEIGHT.numpy().astype(helper.tensor_dtype_to_np_dtype(number)), "weight"
    )
    nodes = [
        helper.make_node("Conv", ["nchw", "weight"], ["grid"], strides=[2, 2]),
        helper.make_node("GlobalAveragePool", ["grid"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["pooled"]),
    ]
    if shape[1] == 3:
        nodes.insert(0, helper.make_node("Identity", ["pixels"], ["nchw"]))
    else:
        nodes.insert(0, helper.make_node("Transpose", ["pixels"], ["nchw"], perm=[0, 3, 1, 2]))
    outputs = [
        helper.make_tensor_value_info("pooled", number, [shape[0], 4]),
        helper.make_tensor_value_info("grid", number, [shape[0], 4, None, None]),
    ]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("pixels", number, shape)], outputs, [weight]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(path), save_as_external_data=beside, location="w.data", size_threshold=0)
    return path


def _load(path: Path, **settings: object) -> Teacher:
    spec = TeacherSpec.model_validate({"model": f"onnx:{path}", **settings})
    return load_teacher(spec, device=torch.device("cpu"))


def _grid(image: Tensor) -> Tensor:
    return functional.conv2d(image, WEIGHT, stride=2)


@pytest.mark.parametrize(
    "shape",
    [
        ("batch", 3, 16, 16),
        ("batch", 3, "height", "width"),
        (None, 16, 16, 3),
        ("batch", "height", "width", 3),
        (1, 3, 16, 16),
        (4, 3, 16, 16),
        (4, 16, 16, 3),
    ],
)
def test_the_graph_is_run_as_it_wants(shape: Sequence[Axis], tmp_path: Path) -> None:
    """Axis order, free or fixed side, free or fixed batch (5 images in pieces): the same features as in torch."""
    image = torch.rand(5, 3, 16, 16)
    teacher = _load(_write(tmp_path / "m.onnx", shape), size=16)
    torch.testing.assert_close(teacher(image).summary, _grid(image).mean((2, 3)), rtol=1e-4, atol=1e-5)


def test_a_graph_in_half_precision(tmp_path: Path) -> None:
    """The image becomes the graph's type, the result float32."""
    image = torch.rand(2, 3, 16, 16)
    summary = _load(_write(tmp_path / "m.onnx", kind="FLOAT16"))(image).summary
    torch.testing.assert_close(summary, _grid(image).mean((2, 3)), rtol=2e-2, atol=2e-2)


def test_pixels_come_in_0_to_1_unless_the_recipe_normalises(tmp_path: Path) -> None:
    """A graph does not say."""
    image, path = torch.rand(2, 3, 16, 16), _write(tmp_path / "m.onnx")
    summary = _load(path, mean=(0.1, 0.2, 0.3), std=(0.5, 0.5, 0.5))(image).summary
    expected = _grid((image - torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1)) / 0.5).mean((2, 3))
    torch.testing.assert_close(summary, expected, rtol=1e-4, atol=1e-5)


def test_an_output_can_be_named(tmp_path: Path) -> None:
    """A grid becomes summary and patches."""
    image = torch.rand(2, 3, 16, 16)
    features = _load(_write(tmp_path / "m.onnx"), output="grid")(image)
    assert features.patches is not None
    torch.testing.assert_close(features.patches, _grid(image).flatten(2).mT, rtol=1e-4, atol=1e-5)
    with pytest.raises(TeacherError, match="did you mean 'grid'"):
        _load(tmp_path / "m.onnx", output="gird")


def test_the_size_is_the_graphs(tmp_path: Path) -> None:
    """A contradiction names both numbers; a free side asks for one."""
    assert _load(_write(tmp_path / "fixed.onnx")).size == 16
    with pytest.raises(TeacherError, match="size=112, and the graph is fixed to 16"):
        _load(tmp_path / "fixed.onnx", size=112)
    with pytest.raises(TeacherError, match="give size"):
        _load(_write(tmp_path / "free.onnx", ("batch", 3, "height", "width")))


@pytest.mark.parametrize(
    ("shape", "says"),
    [(("n", 3, 16, 32), "16x32"), (("n", 1, 16, 16), "3 channels"), (("n", 3, 16), "one image of 4 axes")],
)
def test_a_graph_of_something_else_is_refused(shape: Sequence[Axis], says: str, tmp_path: Path) -> None:
    """Not square, not RGB, no image."""
    helper, number = onnx.helper, onnx.TensorProto.FLOAT
    ends = [helper.make_tensor_value_info(name, number, shape) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", ends[:1], ends[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(tmp_path / "m.onnx"))
    with pytest.raises(TeacherError, match=says):
        _load(tmp_path / "m.onnx")


def test_a_file_that_is_no_graph_is_refused(tmp_path: Path) -> None:
    """With its name."""
    (tmp_path / "m.onnx").write_bytes(b"no graph")
    with pytest.raises(TeacherError, match=r"m\.onnx cannot be opened"):
        _load(tmp_path / "m.onnx")


@pytest.mark.parametrize("setting", [{"weights": "x.pth"}, {"dtype": "bfloat16"}])
def test_settings_without_effect_are_refused(setting: dict[str, str], tmp_path: Path) -> None:
    """The file has its own weights and precision."""
    with pytest.raises(TeacherError, match="cannot be given"):
        _load(_write(tmp_path / "m.onnx"), **setting)


def test_the_fingerprint_sees_weights_beside_the_file(tmp_path: Path) -> None:
    """The graph's own bytes stay the same."""
    path = _write(tmp_path / "m.onnx", beside=True)
    before = _load(path).fingerprint
    assert _load(path).fingerprint == before
    data = np.fromfile(tmp_path / "w.data", np.float32)
    (data * 2).tofile(tmp_path / "w.data")
    assert _load(path).fingerprint != before


def test_weights_beside_the_file_are_among_what_it_is_known_by(tmp_path: Path) -> None:
    """Without opening it: their size and time; where they are gone, or it is no graph, it is not known."""
    path = _write(tmp_path / "m.onnx", beside=True)
    spec = TeacherSpec(model=f"onnx:{path}")
    first = origin_of(spec)
    assert is_same(first, origin_of(spec))
    os.utime(tmp_path / "w.data", ns=(1, 1))
    assert not is_same(first, origin_of(spec))
    (tmp_path / "w.data").unlink()
    assert origin_of(spec) is None
    path.write_bytes(b"no graph")
    assert origin_of(spec) is None


def test_parameters_are_counted(tmp_path: Path) -> None:
    """From the graph."""
    assert _load(_write(tmp_path / "m.onnx")).num_parameters == WEIGHT.numel()
