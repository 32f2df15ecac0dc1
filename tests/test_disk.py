"""Files and folders are whole or as they were."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from alumnus import disk
from alumnus.disk import check_replaceable
from alumnus.errors import ConfigError


def test_what_takes_a_name_is_on_the_disk_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file is synced before the rename that makes it seen, and a folder with its list of names."""
    synced, renamed = list[str](), list[tuple[str, list[str]]]()

    def sync(path: Path) -> None:
        synced.append(path.name)

    def replace(old: Path, new: Path) -> None:
        renamed.append((new.name, list(synced)))
        os.rename(old, new)

    monkeypatch.setattr(disk, "sync", sync)
    monkeypatch.setattr("alumnus.disk.os.replace", replace)
    disk.replace_text(tmp_path / "a.txt", "one")
    assert renamed == [("a.txt", [".a.txt.new"])]
    new = tmp_path / ".b.new"
    new.mkdir()
    (new / "x").write_text("x")
    (new / "y").write_text("y")
    disk.replace_folder(new, tmp_path / "b")
    name, before = renamed[-1]
    assert (name, set(before)) == ("b", {".a.txt.new", "x", "y", ".b.new"})
    assert synced[-1] == tmp_path.name


def test_a_file_that_cannot_be_written_leaves_the_old_one_and_nothing_else(tmp_path: Path) -> None:
    """Lone surrogates have no bytes in UTF-8; how they are to be written can be said."""
    path = disk.replace_text(tmp_path / "a.txt", "old")
    with pytest.raises(UnicodeEncodeError):
        disk.replace_text(path, "\udce9")
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("a.txt", "old")]
    assert disk.replace_text(path, "\udce9", errors="backslashreplace").read_text() == "\\udce9"


def test_a_folder_replaces_an_older_one(tmp_path: Path) -> None:
    """Nothing of the old one stays, nor a folder that a kill left."""
    for name, content in (("new", "2"), ("folder", "1"), (".folder.old", "0")):
        (tmp_path / name).mkdir()
        (tmp_path / name / content).write_text(content)
    disk.replace_folder(tmp_path / "new", tmp_path / "folder")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["2"]


@pytest.mark.parametrize("is_folder", [True, False])
def test_a_place_below_a_file_or_proc_is_refused(is_folder: bool, tmp_path: Path) -> None:
    """Root may write below /proc by its rights, and cannot."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match="file is a file, and nothing can lie below it"):
        disk.check_writable(tmp_path / "file" / "deep" / "out", is_folder=is_folder)
    with pytest.raises(ConfigError, match="out=/proc/none/out cannot be written"):
        disk.check_writable(Path("/proc/none/out"), is_folder=is_folder)
    with pytest.raises(ConfigError, match=r"the store there cannot be written: .*too long"):
        disk.check_writable(tmp_path / ("x" * 300) / "out", is_folder=is_folder, given="the store there")


def test_a_folder_that_none_can_take_the_place_of_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The current one and those above it, and a mount point; others are not."""
    monkeypatch.chdir(tmp_path)
    for folder in (Path("."), Path(".."), tmp_path, Path("/")):
        with pytest.raises(ConfigError, match="give a new folder below it"):
            check_replaceable(folder)
    if os.path.ismount("/proc"):
        with pytest.raises(ConfigError, match="a mount point"):
            check_replaceable(Path("/proc"))
    (tmp_path / "there").mkdir()
    check_replaceable(Path("there"))
    check_replaceable(tmp_path / "new" / "one")


def test_a_place_that_will_do_is_left_as_it_is(tmp_path: Path) -> None:
    """Nothing is made, and a file that will be replaced is no hindrance to one, but to a folder."""
    (tmp_path / "file").write_text("x")
    disk.check_writable(tmp_path / "a" / "b", is_folder=True)
    disk.check_writable(tmp_path / "a" / "b.csv", is_folder=False)
    disk.check_writable(tmp_path / "file", is_folder=False)
    with pytest.raises(ConfigError, match="file is a file, and a folder is needed"):
        disk.check_writable(tmp_path / "file", is_folder=True)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
