"""A student, and images to adapt it to."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from alumnus.data.dataset import write_dataset
from alumnus.models.artifact import save_student
from alumnus.models.student import Architecture, Student
from tests.adaptation.made import VIT
from tests.evaluation.dense.shapes import Shapes, draw_shapes


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a transformer of one block, not trained."""
    torch.manual_seed(0)
    return save_student(
        Student(VIT), tmp_path_factory.mktemp("adapt") / "student", provenance={"from": "a test"}
    )


@pytest.fixture(scope="module")
def dense_student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with cells of 4 px, not trained."""
    torch.manual_seed(0)
    args = {**VIT.model_args, "patch_size": 4}
    architecture = Architecture(model=VIT.model, size=32, embed_dim=8, model_args=args)
    return save_student(Student(architecture), tmp_path_factory.mktemp("adapt") / "student")


@pytest.fixture(scope="module")
def discs(tiny_images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of each of six colours three discs to learn from and two to score."""
    folder = tmp_path_factory.mktemp("discs") / "discs"
    for path in sorted((tiny_images / "discs").glob("*/*.png")):
        split = "train" if int(path.stem) < 3 else "test"
        (folder / split / path.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder / split / path.parent.name / path.name)
    return folder


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures with masks, depth and objects: 9 to learn from, 4 to score."""
    folder = tmp_path_factory.mktemp("scenes") / "set"
    folder.mkdir()
    rows = [
        row
        for split, count, seed in (("train", 9, 1), ("test", 4, 2))
        for row in _rows(draw_shapes(folder / split, count, seed=seed), folder, split)
    ]
    write_dataset(rows, folder)
    (folder / "dataset.json").write_text(json.dumps({"mask_classes": ["ground", "red", "blue"]}))
    return folder


def _rows(shapes: Shapes, folder: Path, split: str) -> list[dict[str, object]]:
    names = ("red", "blue")
    return [
        {
            "file_name": str(Path(path).relative_to(folder)),
            "split": split,
            "mask": str(Path(mask).relative_to(folder)),
            "depth": str(Path(depth).relative_to(folder)),
            "objects": {
                "bbox": found.boxes.tolist(),
                "categories": [names[label] for label in found.labels],
            },
        }
        for path, mask, depth, found in zip(*shapes, strict=True)
    ]
