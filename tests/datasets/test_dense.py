"""Scenes written as a dataset folder, and read back as one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alumnus.data.dataset import open_dataset
from alumnus.data.dense import read_depth, read_mask
from alumnus.datasets.dense import build_scenes, resized_mask, tight_box
from alumnus.datasets.known import Box, DatasetInfo, Scene
from alumnus.errors import DataError

INFO = DatasetInfo(
    name="made_up",
    title="Made up",
    kind="rendered",
    task="depth",
    packages=(),
    classes=2,
    images=3,
    notes="None.",
    object_classes=("cat", "dog"),
    mask_classes=("ground", "cat", "dog"),
    depth_unit="yard",
)
MADE_OF = {"name": "made_up", "size": 8}


def _scene(number: int, **other: object) -> Scene:
    mask = np.zeros((6, 8), np.uint8)
    mask[1, 2:5], mask[5, 7] = 1, 255
    depth = np.full((6, 8), 1000 * number, np.uint16)
    boxes = [Box(2, 1, 3, 1, "cat")] if number else []
    plain = {"objects": boxes, "mask": mask, "depth": depth, **other}
    image = Image.new("RGB", (8, 6), (number, 0, 0))
    return Scene(f"a/{number}", "room", ("train", "val", "test")[number], image, **plain)  # type: ignore[arg-type]


def test_what_is_written_is_read(tmp_path: Path) -> None:
    """Boxes, masks with their unknown pixels, depth in its unit, splits, and an image without objects."""
    folder = build_scenes(INFO, map(_scene, range(3)), tmp_path / "out", made_of=MADE_OF)
    data = open_dataset(folder)
    assert data.split.tolist() == ["train", "val", "test"]
    assert (data.object_classes, data.mask_classes, data.depth_unit) == (
        ("cat", "dog"),
        INFO.mask_classes,
        "yard",
    )
    assert data.objects is not None
    assert data.masks is not None
    assert data.depths is not None
    first, second = data.objects[0], data.objects[1]
    assert first is not None
    assert second is not None
    assert first.boxes.shape == (0, 4)
    assert (second.boxes.tolist(), second.labels.tolist()) == ([[2, 1, 3, 1]], [0])
    mask = read_mask(str(data.masks[0]))
    assert (mask[1, 2:5] == 1).all()
    assert mask[5, 7] == -1
    assert mask.sum() == 2
    assert (read_depth(str(data.depths[2]), unit=data.depth_unit) == 2000).all()
    told = json.loads((folder / "dataset.json").read_text())
    assert told["images"] == {"train": 1, "val": 1, "test": 1}


def test_no_scene_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    """Nor does a generator that fails on its way."""

    def failing() -> Iterator[Scene]:
        yield _scene(0)
        raise DataError("the second one fails")

    with pytest.raises(DataError, match="not one scene"):
        build_scenes(INFO, iter(()), tmp_path / "out", made_of=MADE_OF)
    with pytest.raises(DataError, match="the second one fails"):
        build_scenes(INFO, failing(), tmp_path / "out", made_of=MADE_OF)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"objects": [Box(6, 0, 3, 1, "cat")]},
        {"objects": [Box(0, 0, 0, 1, "cat")]},
        {"objects": [Box(0, 0, 1, 1, "cow")]},
        {"mask": np.full((6, 8), 3, np.uint8)},
        {"mask": np.zeros((8, 6), np.uint8)},
        {"depth": np.zeros((6, 8), np.int32)},
    ],
    ids=["beyond the border", "empty box", "unknown category", "unknown class", "turned", "not 16 bit"],
)
def test_a_scene_that_cannot_be_right_stops_the_build(tmp_path: Path, wrong: dict[str, object]) -> None:
    """It would be trained on otherwise."""
    with pytest.raises(AssertionError):
        build_scenes(INFO, [_scene(1, **wrong)], tmp_path / "out", made_of=MADE_OF)


def test_a_tight_box_holds_every_pixel_and_no_empty_row() -> None:
    """On random shapes: nothing outside, and something on each of its four sides."""
    draw = np.random.default_rng(0)
    for _ in range(50):
        shape = draw.random((9, 7)) < 0.05
        box = tight_box(shape, "cat")
        if box is None:
            assert not shape.any()
            continue
        inside = shape[box.y : box.y + box.height, box.x : box.x + box.width]
        assert inside.sum() == shape.sum()
        assert all(side.any() for side in (inside[0], inside[-1], inside[:, 0], inside[:, -1]))


def test_a_mask_is_never_mixed() -> None:
    """Halfway between 1 and 9 is one of them."""
    mask = np.array([[1, 9], [9, 1]], np.uint8)
    assert set(np.unique(resized_mask(mask, (5, 5)))) == {1, 9}
