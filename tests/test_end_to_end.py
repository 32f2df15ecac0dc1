"""The main job as a user does it: several sources of teachers, images as they come, a student that is used."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pyarrow.parquet as pq
import pytest
import timm
from onnx import TensorProto, helper, numpy_helper

import alumnus
from alumnus.data.dataset import open_dataset
from alumnus.data.names import printable
from tests.data.odd_files import make_odd_files


def _onnx_teacher(path: Path) -> Path:
    """A graph that averages each quarter of a 112 px image: (B, 3, 112, 112) -> (B, 12)."""
    nodes = [
        helper.make_node("AveragePool", ["image"], ["pooled"], kernel_shape=[56, 56], strides=[56, 56]),
        helper.make_node("Reshape", ["pooled", "shape"], ["features"]),
    ]
    graph = helper.make_graph(
        nodes,
        "quarters",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, 112, 112])],
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", 12])],
        [numpy_helper.from_array(np.array([-1, 12], np.int64), "shape")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    onnx.save(model, path)
    return path


@pytest.fixture(scope="module")
def messy_images(tmp_path_factory: pytest.TempPathFactory, tiny_images: Path) -> Path:
    """360 good images in class folders and, among them, every odd and broken file."""
    folder = tmp_path_factory.mktemp("messy") / "images"
    for copy in "abcd":
        shutil.copytree(tiny_images, folder / copy)
    make_odd_files(folder / "odd")
    return folder


@pytest.mark.filterwarnings("ignore::DeprecationWarning:onnxruntime")
def test_teachers_of_three_sources_and_sizes_train_in_one_run(tiny_images: Path, tmp_path: Path) -> None:
    """An ONNX teacher at 112 px, a torchvision teacher at 224 px and a timm teacher at 96 px: one student, each loss logged."""
    run = alumnus.train(
        out=tmp_path / "run",
        data=tiny_images,
        student="timm/mobilenetv3_small_050",
        teachers=[
            {"model": f"onnx:{_onnx_teacher(tmp_path / 'quarters.onnx')}", "size": 112, "name": "quarters"},
            {"model": "torchvision/shufflenet_v2_x0_5", "weights": "random", "size": 224, "name": "shuffle"},
            {"model": "timm/lcnet_050", "weights": "random", "size": 96, "name": "lcnet"},
        ],
        size=32,
        steps=3,
        batch_size=4,
        workers=0,
        log_every=1,
    )
    last = json.loads((run.folder / "metrics.jsonl").read_text().splitlines()[-1])
    assert {"loss/quarters", "loss/shuffle", "loss/lcnet"} <= last.keys()
    assert alumnus.load(run.folder).encode([min(tiny_images.rglob("*.png"))]).shape == (1, 64)


def test_a_messy_folder_ends_nothing(messy_images: Path, tmp_path: Path) -> None:
    """Training, embedding and evaluation end normally; every broken file is quarantined with a reason, every good one is used."""
    odd = make_odd_files(tmp_path / "again")
    broken = {printable(f"odd/{file.name}") for file in odd if not file.good}
    assert len(odd) >= 30
    run = alumnus.train(
        out=tmp_path / "run",
        data=messy_images,
        student="timm/mobilenetv3_small_050",
        method="supervised",
        size=32,
        steps=30,  # of 16 images: each of the 451 is used
        batch_size=16,
        workers=0,
        max_bad_fraction=0.5,
    )
    out = alumnus.embed(
        run.student, messy_images, tmp_path / "e" / "v.parquet", workers=0, max_bad_fraction=0.5
    )
    scores = alumnus.evaluate(
        run.student,
        data=messy_images,
        split="train",
        out=tmp_path / "s",
        workers=0,
        max_bad_fraction=0.5,
        knn=False,
    )
    lists = ("quarantine.jsonl", "v.parquet.quarantine.jsonl", "evaluate.quarantine.jsonl")
    for folder, name in zip((run.folder, tmp_path / "e", tmp_path / "s"), lists, strict=True):
        lines = [json.loads(line) for line in (folder / name).read_text().splitlines()]
        assert {line["file_name"] for line in lines} == broken
        assert all(line["reason"] for line in lines)
    table = pq.read_table(out)
    assert len(table) == len(open_dataset(messy_images)) - len(broken)
    assert np.allclose(np.linalg.norm(np.stack(table["vector"].to_pylist()), axis=1), 1, atol=1e-5)
    assert 0 <= scores["merged/R@1"] <= 1
    timm.create_model(f"local-dir:{run.student}", pretrained=True)
