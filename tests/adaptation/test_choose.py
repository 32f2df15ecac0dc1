"""What a labelled dataset asks to be learnt, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from alumnus.adaptation.choose import choose
from alumnus.data.dataset import open_dataset
from alumnus.errors import DataError
from tests.bench.made import make_halves


@pytest.mark.parametrize("facts", [{}, {"mask_classes": ["background", "foreground"]}])
def test_binary_masks_of_0_and_255_are_refused(tmp_path: Path, facts: dict[str, object]) -> None:
    """255 is ignore, so one class is left, and everything would be right; names of two classes do not help."""
    folder = make_halves(tmp_path / "halves", {"train": 2, "test": 1})
    (folder / "dataset.json").write_text(json.dumps(facts))
    assert len(choose(open_dataset(folder)).classes) == 2
    for path in folder.glob("*-mask.png"):
        Image.fromarray(np.asarray(Image.open(path)) * np.uint8(255)).save(path)
    with pytest.raises(DataError, match=r"masks hold only 0 and 255 \(= ignore\); write foreground as 1"):
        choose(open_dataset(folder))


def test_a_list_without_labels_is_told_the_column(tmp_path: Path) -> None:
    """A column of another name, such as `kind`, is not read."""
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "list.csv").write_text("file_name,kind\na.png,cat\n")
    with pytest.raises(DataError, match="no labels at all; a list has them in a column `label`"):
        choose(open_dataset(tmp_path / "list.csv"))


@pytest.mark.parametrize(
    ("settings", "note"),
    [
        ({}, "; there are 3 images in val: test_split=val"),
        ({"split": "train+val"}, ""),
        ({"test_split": "val"}, None),
    ],
)
def test_without_a_test_split_the_one_that_could_be_scored_is_named(
    settings: dict[str, Any], note: str | None, tmp_path: Path
) -> None:
    """As in COCO, which has train and val; not one that is learnt from."""
    data = open_dataset(make_halves(tmp_path / "halves", {"train": 4, "val": 3}))
    scored = "" if note is None else f"there is no test image with what segmentation is scored on{note}"
    assert choose(data, **settings).note == scored
