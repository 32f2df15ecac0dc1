"""Archives: content arrives, and no member leaves the folder."""

from __future__ import annotations

import contextlib
import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from alumnus.archives import unpack
from alumnus.errors import FetchError


def _tar(path: Path, *members: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w:gz") as file:
        for member in members:
            file.addfile(member, io.BytesIO(b"x" * member.size))
    return path


def _member(name: str, *, link: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size = 0 if link else 1
    member.type, member.linkname = (tarfile.SYMTYPE if link else tarfile.REGTYPE), link
    return member


def _zip(path: Path, *names: str) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for name in names:
            file.writestr(name, "x")
    return path


def test_npm_archive_gives_its_inner_folder(tmp_path: Path) -> None:
    """Whatever that is called."""
    archive = _tar(tmp_path / "a.tgz", _member("package/a"), _member("package/b/c"))
    assert (unpack(archive, tmp_path / "out") / "b/c").is_file()


def test_wheel_keeps_its_layout(tmp_path: Path) -> None:
    """Nothing is stripped."""
    archive = _zip(tmp_path / "a.whl", "package/a.pth")
    assert (unpack(archive, tmp_path / "out") / "package/a.pth").is_file()


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/evil"])
def test_tar_members_stay_inside(name: str, tmp_path: Path) -> None:
    """An absolute name may also be taken as a relative one, but never leave."""
    archive = _tar(tmp_path / "a.tgz", _member(name))
    with contextlib.suppress(FetchError):
        unpack(archive, tmp_path / "out")
    assert not (tmp_path / "evil").exists()
    assert not Path("/evil").exists()


def test_tar_links_stay_inside(tmp_path: Path) -> None:
    """A link to a file of the machine is refused."""
    with pytest.raises(FetchError, match="cannot be unpacked"):
        unpack(_tar(tmp_path / "a.tgz", _member("package/link", link="/etc/passwd")), tmp_path / "out")


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/evil", "..\\evil", "C:\\evil"])
def test_zip_members_stay_inside(name: str, tmp_path: Path) -> None:
    """Refused before anything is written."""
    with pytest.raises(FetchError, match="would lie outside"):
        unpack(_zip(tmp_path / "a.whl", "good", name), tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("name", ["a.tgz", "a.whl", "a.rar"])
def test_torn_or_unknown_archives_are_refused(name: str, tmp_path: Path) -> None:
    """With the name of the file."""
    (tmp_path / name).write_bytes(b"not an archive")
    with pytest.raises(FetchError, match=name):
        unpack(tmp_path / name, tmp_path / "out")
