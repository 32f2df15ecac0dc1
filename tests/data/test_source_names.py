"""What is told of sources by their names: folders of one name, and folders called like splits."""

from __future__ import annotations

from pathlib import Path

import pytest

from alumnus.data.dataset import open_dataset, write_dataset
from alumnus.data.outputs import check_folder
from alumnus.data.roles import DataEntry


def _fill(root: Path, *folders: str) -> list[str]:
    for number, folder in enumerate(folders):
        (root / folder / "x").mkdir(parents=True)
        (root / folder / "x" / f"{number}.png").touch()
        (root / folder / "y").mkdir()
        (root / folder / "y" / f"{number}.png").touch()
    return [str(root / folder) for folder in folders]


@pytest.mark.parametrize(
    ("first", "second", "domain"),
    [
        ("faces/train", "photos/train", "train"),
        ("d/A/images", "d/B/images", "images"),
        ("a[1]", "b/a[1]", "a[1]"),
    ],
)
def test_different_folders_of_one_name_are_told(
    tmp_path: Path, first: str, second: str, domain: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are one domain, as ever; both are named, and what to write."""
    one, two = _fill(tmp_path, first, second)
    data = open_dataset([one, two])
    assert (data.domains, data.classes) == ((domain,), (("x", "y"),))
    said = capsys.readouterr().err
    assert f"'{one}' and '{two}' are one domain, '{domain}'" in said
    assert "{path: …, domain: …}" in said


def test_splits_of_one_data_set_are_not_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nor are folders of different names, or lists of one folder."""
    sources = _fill(tmp_path, "set/train/images", "set/test/images", "other")
    for number in (0, 1):
        (tmp_path / f"{number}.png").touch()
        (tmp_path / f"{number}.csv").write_text(f"file_name\n{number}.png\n")
    data = open_dataset([*sources, tmp_path / "0.csv", tmp_path / "1.csv"])
    assert data.domains == ("images", "other", tmp_path.name)
    assert capsys.readouterr().err == ""


def test_lists_in_different_folders_of_one_name_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A list is called after the folder that it lies in."""
    lists = []
    for folder in _fill(tmp_path, "a/pets", "b/pets"):
        path = next(Path(folder).glob("x/*.png"))
        lists.append(Path(folder) / "list.csv")
        lists[-1].write_text(f"file_name\nx/{path.name}\n")
    assert open_dataset(lists).domains == ("pets",)
    assert "list.csv' are one domain, 'pets'" in capsys.readouterr().err


def test_a_domain_that_is_said_is_not_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By the entry of one of them or by the data themselves."""
    one, two = _fill(tmp_path / "entries", "a/pets", "b/pets")
    assert open_dataset([one, DataEntry(path=two, domain="pets")]).domains == ("pets",)
    for folder in _fill(tmp_path / "metadata", "a/pets", "b/pets"):
        name = next(Path(folder).glob("x/*.png")).name
        write_dataset([{"file_name": f"x/{name}", "domain": "cats"}], folder)
    sources = [tmp_path / "metadata" / place / "pets" for place in ("a", "b")]
    assert open_dataset(sources).domains == ("cats",)
    assert capsys.readouterr().err == ""


def test_a_folder_called_like_a_split_is_told_if_it_is_for_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A source by itself is no split; alone it may be all there is, and the folder around them has splits."""
    train, test = _fill(tmp_path, "set/train", "set/test")
    assert open_dataset([train, test]).split.tolist() == ["train"] * 4
    said = capsys.readouterr().err
    assert f"'{test}' is a source by itself" in said
    assert f"the other splits, '{tmp_path / 'set'}'" in said
    assert f"'{train}' is" not in said
    assert set(open_dataset([tmp_path / "set"]).split) == {"train", "test"}
    open_dataset([test])
    assert capsys.readouterr().err == ""


def test_a_folder_called_like_a_home_is_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`~old` of a user that there is not is what it says."""
    _fill(tmp_path, "~old", "new")
    monkeypatch.chdir(tmp_path)
    assert open_dataset(["~old", "new"]).domains == ("~old", "new")
    check_folder(Path("out"), ["~old"])
