"""COCO's annotation files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from alumnus.data.dataset import open_dataset
from alumnus.errors import DataError
from tests.data.shards import picture

IMAGES = [{"id": 1, "file_name": "a.png"}, {"id": 5, "file_name": "b.png"}]
CATEGORIES = [{"id": 18, "name": "dog"}, {"id": 3, "name": "car"}, {"id": 90, "name": "yak"}]
BOXES = [
    {"id": 1, "image_id": 5, "category_id": 3, "bbox": [1, 2, 3, 1.5], "iscrowd": 0},
    {
        "id": 2,
        "image_id": 5,
        "category_id": 18,
        "bbox": [0, 0, 6, 4],
        "iscrowd": 1,
        "segmentation": {"counts": []},
    },
    {"id": 3, "image_id": 5, "category_id": 18, "bbox": [0, 0, 2, 2]},
    {"id": 4, "image_id": 5, "category_id": 18, "bbox": [0, 0, 0, 2]},
]


def _save(path: Path, **found: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found))
    return path


def _instances(path: Path, **changed: object) -> Path:
    return _save(path, **{"images": IMAGES, "categories": CATEGORIES, "annotations": BOXES, **changed})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """COCO's own layout, of one split."""
    folder = tmp_path / "coco"
    (folder / "val2017").mkdir(parents=True)
    for image in IMAGES:
        (folder / "val2017" / str(image["file_name"])).write_bytes(picture(1))
    _instances(folder / "annotations" / "instances_val2017.json")
    captions = [{"id": i, "image_id": 1, "caption": text} for i, text in enumerate(("A dog. ", "One dog."))]
    _save(folder / "annotations" / "captions_val2017.json", images=IMAGES, annotations=captions)
    return folder


def test_boxes_categories_and_captions_are_joined_by_image(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Crowds and boxes without area are left out and counted; an image without objects has empty lists."""
    data = open_dataset(folder)
    assert data.file_names == ("val2017/a.png", "val2017/b.png")
    assert set(data.split) == {"val"}
    assert data.object_classes == ("car", "dog", "yak")
    assert data.objects is not None
    first, second = data.objects
    assert first is not None
    assert second is not None
    assert (first.boxes.shape, first.labels.shape) == ((0, 4), (0,))
    assert second.boxes.tolist() == [[1, 2, 3, 1.5], [0, 0, 2, 2]]
    assert second.boxes.dtype == np.float32
    assert second.labels.dtype == np.int64
    assert [data.object_classes[label] for label in second.labels] == ["car", "dog"]
    assert data.text == ("A dog.\nOne dog.", None)
    assert "1 boxes of crowds left out" in capsys.readouterr().err


def test_polygons_give_the_box_that_is_not_there(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An image is not taken for an empty one; what is no polygon, and a box that is none, are counted."""
    about = {"image_id": 5, "category_id": 18}
    polygons = [[1, 2, 4, 2, 4, 7], [0.5, 3, 2, 3, 2, 5]]
    no_polygons: list[object] = [{"counts": [1]}, [[]], [1, 2, 3, 4], [["a", "b"]]]
    no_boxes: list[object] = [["a", 2, 3, 4], [1, 2, 3], None]
    annotations = [
        {**about, "segmentation": polygons},
        {**about, "segmentation": [[1, 1, 3, 1, 3, 3]], "bbox": []},
        {**about, "bbox": ["1", "2.5", "3", "4"], "segmentation": polygons},
        *({**about, "segmentation": wrong} for wrong in no_polygons),
        *({**about, "bbox": wrong} for wrong in no_boxes),
        {**about, "segmentation": []},
        {**about, "bbox": [1, 2, "0", 4]},
    ]
    _instances(folder / "annotations" / "instances_val2017.json", annotations=annotations)
    data = open_dataset(folder)
    assert data.objects is not None
    assert data.objects[1] is not None
    assert data.objects[1].boxes.tolist() == [[0.5, 2, 3.5, 5], [1, 1, 2, 2], [1, 2.5, 3, 4]]
    said = " ".join(capsys.readouterr().err.split())
    assert "4 annotations whose bbox is no box left out" in said
    assert "4 annotations with a segmentation that is no list of polygons and without a bbox left out" in said
    assert "1 boxes without area left out" in said


def test_one_file_can_be_named(folder: Path) -> None:
    """It gives the same images, without the other's captions."""
    data = open_dataset(folder / "annotations" / "instances_val2017.json")
    assert data.paths == open_dataset(folder).paths
    assert data.text is None


def test_a_file_beside_its_images_in_each_split(tmp_path: Path) -> None:
    """As annotation tools export it."""
    for split, name in (("train", "a.png"), ("valid", "b.png")):
        _instances(tmp_path / split / "_annotations.coco.json", images=[{"id": 5, "file_name": name}])
        (tmp_path / split / name).write_bytes(picture(1))
    data = open_dataset(tmp_path)
    assert data.file_names == ("train/a.png", "valid/b.png")
    assert data.split.tolist() == ["train", "val"]


def test_names_of_split_folders_may_be_in_capitals(tmp_path: Path) -> None:
    """As for every other kind of source."""
    _instances(tmp_path / "Train" / "_annotations.coco.json", images=[{"id": 5, "file_name": "a.png"}])
    (tmp_path / "Train" / "a.png").write_bytes(picture(1))
    data = open_dataset(tmp_path)
    assert (data.file_names[0], data.split.tolist()) == ("Train/a.png", ["train"])
    assert data.objects is not None


def test_what_two_files_say_alike_counts_once(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A part of a split in a file of its own adds no second box or caption; what is new in it stays."""
    notes = folder / "annotations"
    new = {"id": 1, "image_id": 5, "category_id": 90, "bbox": [1, 2, 3, 1.5]}
    images = [{**row, "file_name": f"val2017/{row['file_name']}"} for row in IMAGES]
    _instances(notes / "instances_val2017_part.json", images=images, annotations=[*BOXES, new])
    captions = json.loads((notes / "captions_val2017.json").read_text())
    _save(notes / "captions_val2017_part.json", **{**captions, "images": images})
    data = open_dataset(folder)
    assert data.objects is not None
    assert data.objects[1] is not None
    labels = data.objects[1].labels.tolist()
    assert [data.object_classes[label] for label in labels] == ["car", "dog", "yak"]
    assert data.text == ("A dog.\nOne dog.", None)
    assert "2 boxes that another file has too left out" in capsys.readouterr().err


def test_an_image_of_two_splits_is_refused(folder: Path) -> None:
    """It would be learnt from, and scored."""
    found = json.loads((folder / "annotations" / "instances_val2017.json").read_text())
    found["images"] = [{**row, "file_name": f"val2017/{row['file_name']}"} for row in found["images"]]
    _save(folder / "annotations" / "instances_train2017.json", **found)
    with pytest.raises(
        DataError, match=r"'val2017/a\.png' is of the split train, and another file has it in val"
    ):
        open_dataset(folder)


def test_a_name_without_a_split_is_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its images are to be learnt from."""
    notes = folder / "annotations"
    (notes / "instances_val2017.json").rename(notes / "instances_minival2017.json")
    (folder / "val2017").rename(folder / "images")
    (notes / "captions_val2017.json").unlink()
    assert set(open_dataset(folder).split) == {"train"}
    assert "instances_minival2017.json says no split" in capsys.readouterr().err


def test_a_file_without_images_leaves_the_others(folder: Path) -> None:
    """An empty split is no fault; its categories count."""
    more = [*CATEGORIES, {"id": 7, "name": "zebra"}]
    _instances(folder / "annotations" / "instances_test2017.json", images=[], annotations=[], categories=more)
    data = open_dataset(folder)
    assert data.file_names == ("val2017/a.png", "val2017/b.png")
    assert "zebra" in data.object_classes


def test_files_that_all_lack_images_are_refused(folder: Path) -> None:
    """There is nothing to read."""
    _instances(folder / "annotations" / "instances_val2017.json", images=[], annotations=[])
    with pytest.raises(DataError, match="names no image"):
        open_dataset(folder / "annotations" / "instances_val2017.json")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"images": {}}, "no list 'images'"),
        (
            {"images": [{"id": 1, "file_name": "../../x.png"}], "annotations": []},
            "leaves the folder|is in none of",
        ),
        ({"images": [*IMAGES, {"id": 9, "file_name": "../../x.png"}]}, "leaves the folder"),
        ({"images": [{"id": 1, "file_name": "z.png"}], "annotations": []}, "'z.png' is in none of"),
        ({"categories": []}, "category 3, which is not listed"),
        ({"annotations": [{"image_id": 4, "bbox": [0, 0, 1, 1]}]}, "image 4, which is not listed"),
        ({"annotations": [7]}, "'annotations' must be a list of objects"),
        ({"images": [{"id": None, "file_name": "a.png"}]}, "'id' is None"),
    ],
)
def test_what_is_wrong_is_said(folder: Path, changed: Mapping[str, object], message: str) -> None:
    """With the file and the fault."""
    _instances(folder / "annotations" / "instances_val2017.json", **changed)
    with pytest.raises(DataError, match=message):
        open_dataset(folder / "annotations" / "instances_val2017.json")


def test_torn_json_is_refused(folder: Path) -> None:
    """A download that broke off."""
    (folder / "annotations" / "instances_val2017.json").write_text('{"images": [')
    with pytest.raises(DataError, match="cannot be read as JSON"):
        open_dataset(folder)
