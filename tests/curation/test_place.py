"""What a new dataset folder can hold: names come back from its list as they went in, or are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from alumnus.curation.curate import curate
from alumnus.curation.pack import pack
from alumnus.data.dataset import open_dataset
from alumnus.errors import DataError


def _fill(root: Path, *folders: str) -> Path:
    for number, folder in enumerate(folders):
        (root / folder).mkdir(parents=True)
        Image.new("RGB", (9, 9), (number * 40, 0, 0)).save(root / folder / "a.png")
    return root


@pytest.mark.parametrize(
    ("folders", "words"),
    [
        (["nan", "pizza"], "the class 'nan' cannot be written.*rename its folder"),
        (["-1", "1"], "the class '-1' cannot"),
        (["1", "1.0"], "'1' and '1.0' are one in a list, '1'; rename one"),
    ],
)
def test_names_that_a_list_would_lose_are_refused(tmp_path: Path, folders: list[str], words: str) -> None:
    """By both commands, and nothing is written."""
    food = _fill(tmp_path / "food", *folders)
    with pytest.raises(DataError, match=words):
        curate(food, tmp_path / "out", workers=0)
    with pytest.raises(DataError, match=words):
        pack(food, tmp_path / "out", short_side=8, workers=0)
    assert [path.name for path in tmp_path.iterdir()] == ["food"]


def test_a_domain_that_a_list_would_lose_is_refused(tmp_path: Path) -> None:
    """It would take the name of a folder that happens to be around."""
    sources = [_fill(tmp_path / "nan", "x"), _fill(tmp_path / "b", "y")]
    with pytest.raises(DataError, match="the domain 'nan' cannot be written"):
        pack(sources, tmp_path / "out", short_side=8, workers=0)


@pytest.mark.parametrize("folders", [["1.0", "1", "cat"], ["1", "2"], ["1.0", "2.0"], ["nano", "None"]])
def test_other_names_come_along(tmp_path: Path, folders: list[str]) -> None:
    """Also those that look alike."""
    old = open_dataset(_fill(tmp_path / "food", *folders))
    new = open_dataset(curate(old.root, tmp_path / "out", drop_duplicates=False, workers=0))
    assert new.label.tolist() == old.label.tolist()
    assert len(new.classes[0]) == len(old.classes[0])
