"""The use of an adapted model: nothing that is read is written over, nothing old is left, and what cannot be meant is refused."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

import alumnus
from alumnus.adaptation.artifact import TEST, Method
from alumnus.adaptation.run import adapt
from alumnus.adaptation.use import AdaptedClassifier, AdaptedDense, predict
from alumnus.errors import ConfigError, DataError
from alumnus.teachers import load_teacher
from alumnus.teachers.spec import TeacherSpec
from tests.adaptation.made import FAST


def test_a_class_whose_name_is_no_text_is_adapted_to_and_predicted(
    student: Path, discs: Path, tmp_path: Path
) -> None:
    """A folder's name may be any bytes; nothing that was trained is lost for it."""
    odd = os.fsdecode(b"caf\xe9")
    shutil.copytree(discs, tmp_path / "discs")
    for split in ("train", "test"):
        first = sorted((tmp_path / "discs" / split).iterdir())[0]
        first.rename(first.with_name(odd))
    adapted = adapt(student, data=tmp_path / "discs", out=tmp_path / "model", method="prototype")
    assert odd in adapted.about.classes
    assert "caf\\xe9" in (tmp_path / "model" / TEST).read_text(encoding="utf-8")
    for name in ("labels.csv", "labels.parquet"):
        predict(tmp_path / "model", tmp_path / "discs", tmp_path / name)
    predict(tmp_path / "model", next((tmp_path / "discs").rglob("*.png")), tmp_path / "one.csv")
    assert len((tmp_path / "one.csv").read_text().splitlines()) == 2  # of an image by itself
    labels = pq.read_table(tmp_path / "labels.parquet")["label"].to_pylist()
    assert all(label.isascii() for label in labels)


def test_results_are_not_written_over_what_is_read(
    student: Path, dense_student: Path, discs: Path, scenes: Path, tmp_path: Path
) -> None:
    """A list of images stays as it is, and masks do not come among the images."""
    adapt(student, data=discs, out=tmp_path / "labels", method="prototype")
    images = sorted(discs.rglob("*.png"))[:3]
    (tmp_path / "list.csv").write_text("file_name\n" + "".join(f"{path}\n" for path in images))
    before = (tmp_path / "list.csv").read_text()
    with pytest.raises(ConfigError, match="is the list of the images"):
        predict(tmp_path / "labels", tmp_path / "list.csv", tmp_path / "list.csv")
    assert (tmp_path / "list.csv").read_text() == before
    adapt(dense_student, data=scenes, out=tmp_path / "masks", task="segmentation", method="linear", **FAST)
    plain = tmp_path / "plain"
    shutil.copytree(discs / "test", plain)
    for out in (plain, plain / "masks"):
        with pytest.raises(ConfigError, match="name a folder outside"):
            predict(tmp_path / "masks", plain, out)
    assert not list(plain.rglob("*.png.png"))


def test_what_is_predicted_again_leaves_nothing_of_before(
    dense_student: Path, scenes: Path, discs: Path, tmp_path: Path
) -> None:
    """A mask of an image that cannot be read any more goes; without one readable image the old table stays."""
    adapt(dense_student, data=scenes, out=tmp_path / "masks", task="segmentation", method="linear", **FAST)
    images = tmp_path / "images"
    shutil.copytree(sorted((discs / "test").iterdir())[0], images)
    first, *_ = sorted(images.iterdir())
    predict(tmp_path / "masks", images, tmp_path / "out", batch_size=1)
    assert (tmp_path / "out" / f"{first.name}.png").is_file()
    first.write_bytes(b"")
    predict(tmp_path / "masks", images, tmp_path / "out")
    assert not (tmp_path / "out" / f"{first.name}.png").exists()
    assert [path for path in (tmp_path / "out").iterdir() if path.suffix == ".png"]
    adapt(dense_student, data=scenes, out=tmp_path / "boxes", task="detection", method="linear", **FAST)
    (tmp_path / "objects.csv").write_text("as it was")
    for path in images.iterdir():
        path.write_bytes(b"")
    with pytest.raises(DataError, match="not one of"):
        predict(tmp_path / "boxes", images, tmp_path / "objects.csv")
    assert (tmp_path / "objects.csv").read_text() == "as it was"


def test_masks_are_not_put_into_a_folder_of_something_else(
    dense_student: Path, scenes: Path, discs: Path, tmp_path: Path
) -> None:
    """Such as another data set; an empty one and one of before are fine."""
    adapt(dense_student, data=scenes, out=tmp_path / "masks", task="segmentation", method="linear", **FAST)
    images, other = sorted((discs / "test").iterdir())[0], tmp_path / "other"
    other.mkdir()
    (other / "a.png").write_bytes(b"another's")
    with pytest.raises(ConfigError, match=r"other is not empty, and no earlier `predict` wrote it"):
        predict(tmp_path / "masks", images, other)
    assert [path.read_bytes() for path in other.iterdir()] == [b"another's"]
    (other / "a.png").unlink()
    for _ in range(2):
        predict(tmp_path / "masks", images, other)
    said = json.loads((other / "predicted.json").read_text())
    assert said["task"] == "segmentation"
    assert said["mask_classes"]


def test_one_path_and_what_is_no_path_are_refused(
    student: Path, dense_student: Path, discs: Path, scenes: Path, tmp_path: Path
) -> None:
    """A word is no list of letters."""
    labels = adapt(student, data=discs, out=tmp_path / "labels", method="prototype")
    masks = adapt(
        dense_student, data=scenes, out=tmp_path / "m", task="segmentation", method="linear", **FAST
    )
    assert isinstance(labels, AdaptedClassifier)
    assert isinstance(masks, AdaptedDense)
    path = next(discs.rglob("*.png"))
    with pytest.raises(DataError, match=r"got one, .*give \[path\]"):
        labels.predict(str(path))
    with pytest.raises(DataError, match="got a Image; save it first"):
        labels.predict([Image.new("RGB", (8, 8))])  # type: ignore[list-item]
    with pytest.raises(DataError, match=r"got one, .*give \[path\]"):
        list(masks.predict(str(path)))
    with pytest.raises(ConfigError, match="needed are 1 or more images"):
        list(masks.predict([path], batch_size=0))
    for model, out in (("labels", "labels.csv"), ("m", "pictures")):
        with pytest.raises(ConfigError, match="needed are 1 or more images"):
            predict(tmp_path / model, discs, tmp_path / out, batch_size=0)


def test_vectors_of_a_backbone_that_was_moved_are_told(
    student: Path, discs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The embedding head belongs to the weights before; a linear classifier leaves them."""
    cases: tuple[tuple[Method, bool], ...] = (("linear", False), ("finetune", True))
    for method, said in cases:
        capsys.readouterr()
        settings = FAST if method == "finetune" else {}
        adapt(student, data=discs, out=tmp_path / method, method=method, **settings)
        alumnus.load(tmp_path / method)
        assert ("mean nothing" in capsys.readouterr().err) is said
        for output in ("summary", "embedding"):
            spec = TeacherSpec(model=f"alumnus:{tmp_path / method}", output=output)
            load_teacher(spec, device=torch.device("cpu"))
            assert ("mean nothing" in capsys.readouterr().err) is (said and output == "embedding")
